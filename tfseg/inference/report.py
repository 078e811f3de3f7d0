"""What an evaluation leaves for people to look at."""

from pathlib import Path

import numpy as np

from tfseg import viz
from tfseg.inference.evaluation import evaluate
from tfseg.inference.predictor import predict


def report(
    model,
    reader,
    folder,
    history=None,
    batch_size=8,
    track=lambda batches, total: batches,
    window=None,
):
    """Evaluate a model and write tables and images.

    Writes evaluation.json, evaluation.csv, confusion.png, samples.png (up to four samples: image, truth,
    prediction, errors) and, with a history, curves.png.

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader`.
        folder: where to write; made if need be.
        history: {name: list of one value an epoch}, or None.
        batch_size, track, window: see `evaluate`.

    Returns:
        Evaluation.
    """
    folder = Path(folder)
    scores = evaluate(model, reader, batch_size, track, window=window)
    scores.save(folder)
    viz.confusion_matrix(scores.matrix, scores.class_names).savefig(
        folder / "confusion.png", dpi=120
    )
    shown = [reader[i] for i in np.unique(np.linspace(0, len(reader) - 1, 4).astype(int))]
    images, masks = [sample["image"] for sample in shown], [sample["mask"] for sample in shown]
    predictions = [predict(model, image, window=window) for image in images]
    viz.samples(images, masks, predictions, scores.class_names).savefig(
        folder / "samples.png", dpi=120
    )
    if history:
        viz.curves(history).savefig(folder / "curves.png", dpi=120)
    return scores
