"""Evaluate the models of a cross-validation: each image by the model that has not seen it."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfseg.inference.evaluation import Evaluation, evaluate
from tfseg.inference.image_scores import ImageScores
from tfseg.inference.predictor import predict
from tfseg.inference.report import check_report_files, write_report

SCORES_OF_FOLDS = ("mean_iou", "mean_dice", "pixel_accuracy")


def report_folds(
    models,
    reader,
    val_names,
    folder: str | Path,
    batch_size: int = 8,
    track: Callable = lambda batches, total: batches,
    window: int | tuple[int, int] | None = None,
) -> tuple[Evaluation, list[Evaluation]]:
    """Evaluate each model on its own images, and write tables and figures of all images together.

    The files are those of `report`, without curves.png, and fold_scores.csv with one row per fold.
    The scores of all images come from the sum of the confusion matrices of the folds.

    Args:
        models: K models of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks.
        val_names: K lists of names of samples: those that the model has not been trained on. Each
            sample of the reader is in one of them.
        folder: output folder; created if missing.
        batch_size, track, window: see `evaluate`.

    Returns:
        (all, folds): the `Evaluation` of all images, and a list of those of the folds.

    Raises:
        FileExistsError: the folder has figures of these names that tfseg did not write.
        ValueError: see `evaluate`; or a sample is in no fold or in several.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"])
        >>> models = [tfseg.models.tiny_unet(1, filters=4) for _ in range(2)]
        >>> val_names = [["leaf0", "leaf3"], ["leaf1", "leaf2"]]
        >>> scores, folds = tfseg.inference.report_folds(models, reader, val_names, "scores")
        >>> bool((scores.matrix == folds[0].matrix + folds[1].matrix).all())
        True
    """
    fold_of = _fold_of_each(reader, val_names)
    check_report_files(folder)
    folds = [
        evaluate(model, reader.select(names), batch_size, track, window=window)
        for model, names in zip(models, val_names, strict=True)
    ]
    pooled = _pool(folds, fold_of)

    def predicted(index):
        model = models[fold_of[reader.name(index)]]
        return predict(model, reader[index]["image"], window=window)

    write_report(pooled, reader, folder, predicted)
    _save_fold_scores(folds, Path(folder) / "fold_scores.csv")
    return pooled, folds


def _fold_of_each(reader, val_names):
    """Return {name of a sample: position of its fold}, in the order of the reader."""
    names = [reader.name(index) for index in range(len(reader))]
    listed = [name for fold in val_names for name in fold]
    if sorted(listed) != sorted(names):
        raise ValueError(
            f"report_folds: val_names has {len(listed)} names, {len(set(listed) & set(names))} of "
            f"the reader's {len(names)}. Expected each of them in exactly one fold."
        )
    positions = {name: position for position, fold in enumerate(val_names) for name in fold}
    return {name: positions[name] for name in names}


def _pool(folds, order):
    """Return the evaluation of all images from those of the folds.

    Args:
        folds: list of `Evaluation`.
        order: names of the images, as they are listed.
    """
    first = folds[0]
    rows = {name: i for i, name in enumerate(name for fold in folds for name in fold.images.names)}
    chosen = [rows[name] for name in order]
    counts = [
        np.concatenate([getattr(fold.images, name) for fold in folds])[chosen]
        for name in ("tp", "fp", "fn")
    ]
    images = ImageScores(list(order), first.images.class_names, *counts)
    return Evaluation(first.class_names, sum(fold.matrix for fold in folds), images)


def _save_fold_scores(folds, file):
    """Write a CSV file with the scores of each fold; undefined ones are empty."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["fold", "images", "pixels", *SCORES_OF_FOLDS])
        for number, fold in enumerate(folds, 1):
            means = fold.means()
            scores = [means[name] for name in SCORES_OF_FOLDS]
            texts = ["" if np.isnan(score) else f"{score:.6f}" for score in scores]
            writer.writerow([number, len(fold.images.names), int(fold.matrix.sum()), *texts])
