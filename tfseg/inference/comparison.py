"""Several ways to segment the same images, scored side by side."""

import time

import numpy as np

from tfseg.inference.evaluation import Evaluation
from tfseg.inference.predictor import predict_logits
from tfseg.metrics import average_precision, panoptic_quality
from tfseg.ops import count_id_pairs, top_ids


def compare(
    model, reader, steps, objects=None, track=lambda items, total: items, resize=None, window=None
):
    """Score a model's predictions as they are, and after each of several refinements.

        compare(model, val, {"CRF": refine.crf, "guided filter": partial(refine.guided_filter, radius=8)})

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks; with "instances" if objects are to be scored.
        steps: {name: function of logits (H, W, C) and the image (H, W, C)}, which gives logits again, class ids
            (H, W) or, if objects are scored, numbered objects (H, W).
        objects: None to score pixels; to score objects, the same kind of function, for the first row: logits and
            image to numbered objects as the model alone would have them.
        track: wraps the iteration to show progress; called with the indices and their number.
        resize, window: how the model sees an image, see `predict_logits`.

    Returns:
        list of dicts, first "network", then the steps: "method"; "mean_iou", "mean_dice" and "pixel_accuracy", or
        "ap50", "mean_ap" and "pq"; "seconds" an image, of a step without those of the network.

    Raises:
        ValueError: the reader lacks what is to be scored, or a step gives other class ids.
    """
    require("compare", reader, objects is not None)
    steps = {"network": objects or (lambda logits, image: logits), **steps}
    kind = ObjectScores if objects else PixelScores
    scores, seconds = {name: kind(reader) for name in steps}, dict.fromkeys(steps, 0.0)
    for index in track(range(len(reader)), len(reader)):
        sample = reader[index]
        began = time.perf_counter()
        logits = predict_logits(model, sample["image"], resize, window)
        seconds["network"] += (time.perf_counter() - began) / len(reader)
        for name, step in steps.items():
            began = time.perf_counter()
            result = np.asarray(step(logits, sample["image"]))
            result = top_ids(result) if result.ndim == 3 else result
            seconds[name] += (time.perf_counter() - began) / len(reader)
            scores[name].add(sample["instances" if objects else "mask"], result)
    return [{"method": name, **scores[name].result(), "seconds": seconds[name]} for name in steps]


def require(owner, reader, objects):
    """Raise a ValueError unless a reader's samples hold what is scored."""
    field = "instances" if objects else "mask"
    if field not in reader.fields:
        raise ValueError(
            f"{owner}: the reader gives {', '.join(reader.fields)}, but no {field} to score by."
        )


class PixelScores:
    """ "mean_iou", "mean_dice" and "pixel_accuracy" of class ids, exact over all images."""

    def __init__(self, reader):
        self._names = reader.label_names
        self._matrix = np.zeros((len(self._names),) * 2, np.int64)

    def add(self, truth, ids):
        """Count an image's (H, W) class ids."""
        classes = len(self._names)
        if ids.min(initial=0) < 0 or ids.max(initial=0) >= classes:
            raise ValueError(
                f"class ids from {ids.min()} to {ids.max()} came, expected 0 to {classes - 1}."
            )
        counted = truth < classes
        self._matrix += count_id_pairs(truth[counted], ids[counted], classes)

    def result(self):
        """Return {name: figure}."""
        means = Evaluation(self._names, self._matrix).means()
        return {name: means[name] for name in ("mean_iou", "mean_dice", "pixel_accuracy")}


class ObjectScores:
    """ "ap50" and "mean_ap", see `average_precision`, and "pq" of numbered objects, exact over all images."""

    def __init__(self, _reader):
        self._truths, self._found = [], []

    def add(self, truth, numbers):
        """Keep an image's (H, W) numbered objects."""
        self._truths.append(truth)
        self._found.append(numbers)

    def result(self):
        """Return {name: figure}."""
        precision = average_precision(self._truths, self._found)
        return {
            "ap50": float(precision["ap"][0]),
            "mean_ap": precision["mean_ap"],
            "pq": panoptic_quality(self._truths, self._found)["pq"],
        }


def scores_table(rows, title="Scores"):
    """Return a `rich.table.Table` of the rows of `compare` or `baseline`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name in rows[0]:
        table.add_column(
            name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right"
        )
    for row in rows:
        table.add_row(
            *(Text(value if isinstance(value, str) else f"{value:.4f}") for value in row.values())
        )
    return table
