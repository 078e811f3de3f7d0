"""Evaluate a model and write the scores as tables and figures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfseg import viz
from tfseg.inference.evaluation import Evaluation, evaluate
from tfseg.inference.predictor import predict

NUM_SAMPLES = 4  # shown in samples.png, evenly spaced over the reader
DPI = 120


def report(
    model,
    reader,
    folder: str | Path,
    history: dict | None = None,
    batch_size: int = 8,
    track: Callable = lambda batches, total: batches,
    window: int | tuple[int, int] | None = None,
) -> Evaluation:
    """Evaluate a model and write tables and figures.

    The files are evaluation.json, evaluation.csv, confusion.png, samples.png (image, ground truth,
    prediction and errors of up to four samples) and, with a history, curves.png.

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks.
        folder: output folder; created if missing.
        history: {name: one value per epoch}, or None.
        batch_size, track, window: see `evaluate`.

    Returns:
        Evaluation.

    Raises:
        ValueError: see `evaluate`.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> scores = tfseg.inference.report(model, reader.subset([0]), "scores")
        >>> from pathlib import Path
        >>> sorted(file.name for file in Path("scores").iterdir())
        ['confusion.png', 'evaluation.csv', 'evaluation.json', 'samples.png']
    """
    folder = Path(folder)
    evaluation = evaluate(model, reader, batch_size, track, window=window)
    evaluation.save(folder)
    figure = viz.confusion_matrix(evaluation.matrix, evaluation.class_names)
    figure.savefig(folder / "confusion.png", dpi=DPI)
    indices = np.unique(np.linspace(0, len(reader) - 1, NUM_SAMPLES).astype(int))
    samples = [reader[i] for i in indices]
    images = [sample["image"] for sample in samples]
    masks = [sample["mask"] for sample in samples]
    predictions = [predict(model, image, window=window) for image in images]
    figure = viz.samples(images, masks, predictions, evaluation.class_names)
    figure.savefig(folder / "samples.png", dpi=DPI)
    if history:
        viz.curves(history).savefig(folder / "curves.png", dpi=DPI)
    return evaluation
