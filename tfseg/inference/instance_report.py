"""Evaluate predicted instances and write the scores as tables and figures."""

from collections.abc import Callable
from pathlib import Path

from tfseg import viz
from tfseg.files import check_overwrites
from tfseg.inference.instance_evaluation import InstanceEvaluation, evaluate_instances
from tfseg.inference.instance_predictor import instances_of

NUM_WORST = 4  # images in worst.png
DPI = 120


def report_instances(
    model,
    reader,
    folder: str | Path,
    history: dict | None = None,
    tile: int | None = None,
    object_threshold: float | None = None,
    track: Callable = lambda indices, total: indices,
) -> InstanceEvaluation:
    """Evaluate predicted instances and write tables and figures.

    The files are evaluation.json, evaluation.csv, image_scores.csv (numbers of objects and F1 of
    every image), worst.png (true and predicted objects of up to four images with the lowest F1
    score) and, with a history, curves.png.

    Args:
        model: see `evaluate_instances`.
        reader: a `tfseg.data.Reader` with "instances" and "classes".
        folder: output folder; created if missing.
        history: {name: one value per epoch}, or None.
        tile, object_threshold: see `predict_instances`.
        track: see `evaluate_instances`.

    Returns:
        InstanceEvaluation.

    Raises:
        FileExistsError: the folder has figures of these names that tfseg did not write.
        ValueError: see `evaluate_instances`.

    Example:
        >>> import tfseg
        >>> _, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> scores = tfseg.inference.report_instances(model, val, "scores")  # doctest: +SKIP
    """
    folder = Path(folder)
    names = ["worst.png", *(["curves.png"] if history else [])]
    if not (folder / "run.json").is_file():  # the folder of a run contains only what tfseg wrote
        check_overwrites([folder / name for name in names])
    evaluation = evaluate_instances(model, reader, tile, object_threshold, track=track)
    evaluation.save(folder)
    images, targets, found, titles = [], [], [], []
    for index in evaluation.worst(NUM_WORST).tolist():
        labels = reader[index]
        images.append(labels["image"])
        targets.append(labels["instances"])
        found.append(instances_of(model, images[-1], tile, object_threshold)["instances"])
        titles.append(f"{reader.name(index)} (F1 {evaluation.image_scores[index]:.2f})")
    figure = viz.instance_samples(images, targets, found, titles)
    viz.save_figure(figure, folder / "worst.png", DPI)
    if history:
        viz.save_figure(viz.curves(history), folder / "curves.png", DPI)
    return evaluation
