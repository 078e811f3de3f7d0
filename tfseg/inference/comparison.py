"""Several ways to segment the same pictures, scored side by side."""

import time
from collections import defaultdict

import numpy as np

from tfseg.inference.evaluation import Evaluation
from tfseg.inference.predictor import predict_logits, top_ids
from tfseg.metrics import average_precision, panoptic_quality


def compare(model, reader, steps, objects=None, track=lambda items, total: items, resize=None, window=None):
    """Score a model's predictions as they are, and after each of several refinements.

        compare(model, val, {"CRF": refine.crf, "guided filter": partial(refine.guided_filter, radius=8)})

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks; with "instances" if objects are to be scored.
        steps: {name: function of logits (H, W, C) and the picture (H, W, C)}, which gives logits again, class ids
            (H, W) or, if objects are scored, numbered objects (H, W).
        objects: None to score pixels; to score objects, the same kind of function, for the first row: logits and
            picture to numbered objects as the model alone would have them.
        track: wraps the iteration to show progress; called with the indices and their number.
        resize, window: how the model sees a picture, see `predict_logits`.

    Returns:
        list of dicts, first "network", then the steps: "method"; "mean_iou", "mean_dice" and "pixel_accuracy", or
        "ap50", "mean_ap" and "pq"; "seconds" a picture, of a step without those of the network.

    Raises:
        ValueError: the reader lacks what is to be scored, or a step gives other class ids.
    """
    require("compare", reader, objects is not None)
    steps = {"network": objects or (lambda logits, image: logits), **steps}
    truths, found, seconds = [], defaultdict(list), defaultdict(float)
    for index in track(range(len(reader)), len(reader)):
        sample = reader[index]
        began = time.perf_counter()
        logits = predict_logits(model, sample["image"], resize, window)
        seconds["network"] += (time.perf_counter() - began) / len(reader)
        truths.append(sample["instances" if objects else "mask"])
        for name, step in steps.items():
            began = time.perf_counter()
            result = np.asarray(step(logits, sample["image"]))
            found[name].append(top_ids(result) if result.ndim == 3 else result)
            seconds[name] += (time.perf_counter() - began) / len(reader)
    scores = object_scores if objects else pixel_scores
    return [{"method": name, **scores(reader, truths, found[name]), "seconds": seconds[name]} for name in steps]


def require(owner, reader, objects):
    """Raise a ValueError unless a reader's samples hold what is scored."""
    field = "instances" if objects else "mask"
    if field not in reader.fields:
        raise ValueError(f"{owner}: the reader gives {', '.join(reader.fields)}, but no {field} to score by.")


def pixel_scores(reader, truths, found):
    """Return "mean_iou", "mean_dice" and "pixel_accuracy" of class ids, exact over all pictures."""
    classes = len(reader.label_names)
    matrix = np.zeros((classes, classes), np.int64)
    for truth, ids in zip(truths, found, strict=True):
        if ids.min(initial=0) < 0 or ids.max(initial=0) >= classes:
            raise ValueError(f"class ids from {ids.min()} to {ids.max()} came, expected 0 to {classes - 1}.")
        counted = truth < classes
        pairs = truth[counted].astype(int) * classes + ids[counted]
        matrix += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    means = Evaluation(reader.label_names, matrix).means()
    return {name: means[name] for name in ("mean_iou", "mean_dice", "pixel_accuracy")}


def object_scores(reader, truths, found):
    """Return "ap50" and "mean_ap", see `average_precision`, and "pq" of numbered objects, exact over all pictures."""
    precision = average_precision(truths, found)
    return {
        "ap50": float(precision["ap"][0]),
        "mean_ap": precision["mean_ap"],
        "pq": panoptic_quality(truths, found)["pq"],
    }


def scores_table(rows, title="Scores"):
    """Return a `rich.table.Table` of the rows of `compare` or `baseline`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(Text(value if isinstance(value, str) else f"{value:.4f}") for value in row.values()))
    return table
