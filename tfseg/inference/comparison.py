"""Several ways to segment the same images, scored side by side."""

import time
from collections.abc import Callable

import numpy as np

from tfseg.data import Resize
from tfseg.inference.evaluation import Evaluation
from tfseg.inference.ground_truth import labeled_pixels
from tfseg.inference.predictor import logits_of
from tfseg.metrics import average_precision, panoptic_quality
from tfseg.ops import count_id_pairs, top_ids


def compare(
    model,
    reader,
    steps: dict,
    objects=None,
    track: Callable = lambda items, total: items,
    resize: Resize | None = None,
    window: int | tuple[int, int] | None = None,
) -> list[dict]:
    """Score a model's predictions without and with each of several refinements.

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks; with "instances" to score objects.
        steps: {name: function}. A function takes logits (H, W, C) and the image (H, W, C), and
            returns logits, class ids (H, W) or, to score objects, numbered objects (H, W).
        objects: None to score pixels. To score objects, the function that turns logits and image
            into numbered objects without a refinement.
        track: wraps the iteration to show progress; called with the indices and their number.
        resize, window: see `predict_logits`.

    Returns:
        list of dicts, first "network", then the steps. Keys: "method"; "mean_iou", "mean_dice" and
        "pixel_accuracy", or "ap50", "mean_ap" and "pq" for objects; "seconds" per image, for a
        step without the time of the network.

    Raises:
        ValueError: the reader has no masks or instances, or a step returns unknown class ids.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> steps = {"guided filter": tfseg.inference.refine.guided_filter}
        >>> rows = tfseg.inference.compare(model, reader.subset([0]), steps)
        >>> [row["method"] for row in rows]
        ['network', 'guided filter']
    """
    require_field("compare", reader, objects is not None)
    field = "instances" if objects else "mask"
    score_class = ObjectScores if objects else PixelScores
    steps = {"network": objects or _unchanged, **steps}
    scores = {name: score_class(reader) for name in steps}
    seconds = dict.fromkeys(steps, 0.0)
    for index in track(range(len(reader)), len(reader)):
        sample = reader[index]
        start = time.perf_counter()
        owner = f"compare: {reader.name(index)}"
        logits = logits_of(model, sample["image"], resize, window, owner=owner)
        seconds["network"] += (time.perf_counter() - start) / len(reader)
        for name, step in steps.items():
            start = time.perf_counter()
            result = np.asarray(step(logits, sample["image"]))
            if result.ndim == 3:
                result = top_ids(result)
            seconds[name] += (time.perf_counter() - start) / len(reader)
            scores[name].add(sample[field], result)
    return [{"method": name, **scores[name].result(), "seconds": seconds[name]} for name in steps]


def _unchanged(logits, image):
    return logits


def require_field(owner: str, reader, objects: bool):
    """Raise a ValueError unless a reader provides masks, or instances to score objects."""
    field = "instances" if objects else "mask"
    if field not in reader.fields:
        raise ValueError(
            f"{owner}: the reader provides {', '.join(reader.fields)}, but no {field} to compare "
            f"with. Use a reader with {field}."
        )


class PixelScores:
    """Scores of class ids over all images: "mean_iou", "mean_dice" and "pixel_accuracy".

    Args:
        reader: a `tfseg.data.Reader`, for the class names.
    """

    def __init__(self, reader):
        self._names = reader.label_names
        self._ignore_index = reader.ignore_index
        self._matrix = np.zeros((len(self._names),) * 2, np.int64)

    def add(self, mask, ids):
        """Count the pixels of an image: ground truth and predicted class ids, both (H, W)."""
        num_classes = len(self._names)
        counted = labeled_pixels("compare", mask, num_classes, self._ignore_index)
        if ids.min(initial=0) < 0 or ids.max(initial=0) >= num_classes:
            raise ValueError(
                f"got class ids from {ids.min()} to {ids.max()}, expected 0 to {num_classes - 1}."
            )
        self._matrix += count_id_pairs(mask[counted], ids[counted], num_classes)

    def result(self) -> dict:
        """Return {name: score}."""
        means = Evaluation(self._names, self._matrix).means()
        return {name: means[name] for name in ("mean_iou", "mean_dice", "pixel_accuracy")}


class ObjectScores:
    """Scores of numbered objects over all images: "ap50", "mean_ap" and "pq".

    See `tfseg.metrics.average_precision` and `tfseg.metrics.panoptic_quality`.

    Args:
        reader: unused; the same signature as `PixelScores`.
    """

    def __init__(self, reader):
        self._instances, self._predictions = [], []

    def add(self, instances, prediction):
        """Keep the numbered objects of an image: ground truth and prediction, both (H, W)."""
        self._instances.append(instances)
        self._predictions.append(prediction)

    def result(self) -> dict:
        """Return {name: score}."""
        precision = average_precision(self._instances, self._predictions)
        return {
            "ap50": float(precision["ap"][0]),
            "mean_ap": precision["mean_ap"],
            "pq": panoptic_quality(self._instances, self._predictions)["pq"],
        }


def scores_table(rows: list[dict], title: str = "Scores"):
    """Return a `rich.table.Table` of the rows of `compare` or `baseline`.

    Example:
        >>> import tfseg
        >>> table = tfseg.inference.scores_table([{"method": "Otsu", "mean_iou": 0.5}])
        >>> [column.header for column in table.columns]
        ['method', 'mean iou']
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name.replace("_", " "), justify="left" if _is_text(value) else "right")
    for row in rows:
        cells = [value if _is_text(value) else f"{value:.4f}" for value in row.values()]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _is_text(value):
    return isinstance(value, str)
