"""Evaluate predicted instances and write the scores as tables and figures."""

from collections.abc import Callable
from pathlib import Path

from tfseg import viz
from tfseg.files import check_overwrites
from tfseg.inference.instance_evaluation import InstanceEvaluation, evaluate_instances
from tfseg.inference.instance_predictor import instances_of
from tfseg.models.reader_fit import predicted_stuff

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
    monitor: str | None = None,
) -> InstanceEvaluation:
    """Evaluate predicted instances and write tables and figures.

    The files are evaluation.json, evaluation.csv, image_scores.csv (numbers of objects and F1 of
    every image), worst.png (true and predicted objects, and stuff if it is predicted, of up to four
    images with the lowest F1 score) and, with a history, curves.png.

    Args:
        model: see `evaluate_instances`.
        reader: a `tfseg.data.Reader` with "instances" and "classes".
        folder: output folder; created if missing.
        history: {name: one value per epoch}, or None.
        tile, object_threshold: see `predict_instances`.
        track: see `evaluate_instances`.
        monitor: name of the values in `history` that select the best epoch, which curves.png
            marks; None for no mark.

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
    worst = evaluation.worst(NUM_WORST).tolist()
    samples = [reader[index] for index in worst]
    images = [sample["image"] for sample in samples]
    found = [instances_of(model, image, tile, object_threshold) for image in images]
    titles = [f"{reader.name(i)} (F1 {evaluation.image_scores[i]:.2f})" for i in worst]
    if predicted_stuff(model, reader):
        figure = viz.panoptic_samples(images, samples, found, titles, reader.label_names)
    else:
        numbered = [[labels["instances"] for labels in side] for side in (samples, found)]
        figure = viz.instance_samples(images, *numbered, titles)
    viz.save_figure(figure, folder / "worst.png", DPI)
    if history:
        viz.save_figure(viz.curves(history, monitor), folder / "curves.png", DPI)
    return evaluation
