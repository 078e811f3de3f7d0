"""Evaluate a detector and write the scores as tables and figures."""

from collections.abc import Callable
from pathlib import Path

from tfseg import viz
from tfseg.files import check_overwrites
from tfseg.inference.object_evaluation import ObjectEvaluation, evaluate_objects
from tfseg.inference.object_predictor import detections_of

NUM_WORST = 4  # images in worst.png
DPI = 120
FIGURES = ("precision_recall.png", "confusion.png", "worst.png", "curves.png")


def report_objects(
    model,
    reader,
    folder: str | Path,
    history: dict | None = None,
    track: Callable = lambda indices, total: indices,
    monitor: str | None = None,
) -> ObjectEvaluation:
    """Evaluate a detector and write tables and figures.

    The files are evaluation.json, evaluation.csv, precision_recall.png, confusion.png, worst.png
    (ground truth and detections of up to four images with the lowest F1 score) and, with a history,
    curves.png.

    Args:
        model: a detector of `tfseg.models`.
        reader: a `tfseg.data.Reader` with objects.
        folder: output folder; created if missing.
        history: {name: one value per epoch}, or None.
        track: see `evaluate_objects`.
        monitor: name of the values in `history` that select the best epoch, which curves.png
            marks; None for no mark.

    Returns:
        ObjectEvaluation.

    Raises:
        FileExistsError: the folder has figures of these names that tfseg did not write.
        ValueError: see `evaluate_objects`.

    Example:
        >>> import tfseg
        >>> _, val = tfseg.datasets.bccd("data/bccd")  # doctest: +SKIP
        >>> scores = tfseg.inference.report_objects(model, val, "scores")  # doctest: +SKIP
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():  # the folder of a run contains only what tfseg wrote
        check_overwrites([folder / name for name in FIGURES])
    evaluation = evaluate_objects(model, reader, track)
    evaluation.save(folder)
    names = evaluation.object_names
    figures = {
        "precision_recall.png": viz.precision_recall(evaluation.curves, names),
        "confusion.png": viz.detection_confusion(evaluation.confusion, names),
        "worst.png": _draw_worst(model, reader, evaluation),
    }
    if history:
        figures["curves.png"] = viz.curves(history, monitor)
    for name, figure in figures.items():
        viz.save_figure(figure, folder / name, DPI)
    return evaluation


def _draw_worst(model, reader, evaluation):
    samples, detections, titles = [], [], []
    for index in evaluation.worst(NUM_WORST).tolist():
        samples.append(reader[index])
        detections.append(detections_of(model, samples[-1]["image"]))
        titles.append(f"{reader.name(index)} (F1 {evaluation.image_scores[index]:.2f})")
    return viz.object_samples(
        samples, detections, evaluation.object_names, titles, evaluation.object_threshold
    )
