"""Panoptic quality of things and stuff, per class."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.metrics.overlaps import VOID, count_pairs, pair_unions, sum_areas
from tfseg.metrics.panoptic_segments import predicted_segments, target_segments

SCORES = ("pq", "sq", "rq")


class PanopticQuality:
    """Panoptic quality (PQ, arXiv:1801.00868) of a dataset with several classes.

    The score of panopticapi, computed on the host in NumPy. A segment is an object, or all pixels
    of a class of stuff in an image. Segments of one class match if their IoU is above 0.5; per
    class, PQ is the sum of these IoU / (TP + FP / 2 + FN / 2). The scores are averaged over the
    classes that occur in the ground truth or the predictions.

    Void pixels do not affect the IoU. A prediction without a match is not counted if more than half
    of its pixels are void or in a crowd of its class. Void are the pixels of `ignore_index`, a
    crowd the pixels of a class of things that belong to no object.

    Args:
        things: ids in masks of the object categories, `reader.object_label_ids`.
        stuff: ids in masks of the classes of stuff. Other ids are background, without segments.
        ignore_index: id in masks of pixels without a label, `reader.ignore_index`.

    Raises:
        ValueError: an id is not a whole number of at least 0, or is listed twice.

    Example:
        >>> import numpy as np, tfseg
        >>> labels = {"instances": np.array([[1, 1, 1, 0]]), "classes": np.array([0]),
        ...           "mask": np.array([[1, 1, 1, 2]])}
        >>> found = {"instances": np.array([[0, 1, 1, 0]]), "classes": np.array([0]),
        ...          "mask": np.array([[0, 1, 1, 2]])}
        >>> metric = tfseg.metrics.PanopticQuality(things=[1], stuff=[2])
        >>> metric.update_state(labels, found)
        >>> result = metric.result()  # one object of IoU 2 / 3, stuff of IoU 1
        >>> round(result["pq_things"], 3), result["pq_stuff"], round(result["pq"], 3)
        (0.667, 1.0, 0.833)
    """

    def __init__(
        self,
        things: Sequence[int],
        stuff: Sequence[int] = (),
        ignore_index: int = IGNORE_INDEX,
    ):
        self.things, self.stuff = check_ids("PanopticQuality", things, stuff)
        self.ignore_index = checks.ignore_index("PanopticQuality", ignore_index)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all images."""
        self._counts = np.zeros((len(self.things) + len(self.stuff), 3), np.int64)  # TP, FP, FN
        self._ious = [[] for _ in self._counts]

    def update_state(self, labels: dict, found: dict) -> None:
        """Add an image.

        Args:
            labels: dict of "instances" (H, W), "classes" (N,) and, if there is one, "mask" (H, W),
                as readers return them.
            found: dict of "instances" (H, W), numbered 1..N, and "classes" (N,), object categories
                from 0; and, if there is stuff, "mask" (H, W) class ids, as
                `tfseg.inference.predict_instances` returns them.

        Raises:
            ValueError: the arrays are not as above, or differ in size.
        """
        target, prediction = self._segments(labels, found)
        self._add(count_pairs(target.numbers, prediction.numbers), target, prediction)

    def of_first_objects(self, labels: dict, found: dict, counts: Iterable[int]) -> dict:
        """Do what `InstanceMetrics.of_first_objects` does; stuff is kept."""
        target, prediction = self._segments(labels, found)
        targets, predictions, pixels = count_pairs(target.numbers, prediction.numbers)
        is_object = predictions <= len(found["classes"])  # numbers above are stuff
        metrics = {}
        for count in counts:
            kept = np.where(is_object & (predictions > count), 0, predictions)
            metrics[count] = PanopticQuality(self.things, self.stuff, self.ignore_index)
            metrics[count]._add((targets, kept, pixels), target, prediction)
        return metrics

    def _segments(self, labels, found):
        """Return the `Segments` of the ground truth and of the prediction."""
        owner = "PanopticQuality"
        target = target_segments(owner, labels, self.things, self.stuff, self.ignore_index)
        prediction = predicted_segments(owner, found, self.things, self.stuff)
        if target.numbers.shape != prediction.numbers.shape:
            raise ValueError(
                f"{owner}: the labels have the shape {target.numbers.shape}, the prediction "
                f"{prediction.numbers.shape}. Expected one size."
            )
        return target, prediction

    def _add(self, pairs, target, prediction):
        """Add an image; see `_match_segments`."""
        ids = [*self.things, *self.stuff]
        places = np.zeros(max(ids, default=0) + 1, int)
        places[ids] = np.arange(len(ids))
        ious, counts = _match_segments(pairs, target, prediction, places, len(ids))
        self._counts += counts
        for known, new in zip(self._ious, ious, strict=True):
            known.extend(new)

    def merge_state(self, metrics) -> None:
        """Add the images of other metrics of the same classes.

        Args:
            metrics: iterable of `PanopticQuality`.
        """
        for metric in metrics:
            self._counts += metric._counts
            for known, new in zip(self._ious, metric._ious, strict=True):
                known.extend(new)

    def result(self) -> dict[str, float]:
        """Return the means over the classes.

        Returns:
            dict of floats: "pq"; "sq", segmentation quality, the mean IoU of the matches; "rq",
            recognition quality, TP / (TP + FP / 2 + FN / 2). If there is stuff, also "pq_things",
            "pq_stuff" and so on. NaN if no class occurs.
        """
        scores, things = self.per_class(), len(self.things)
        result = {name: _mean(scores[name]) for name in SCORES}
        if self.stuff:
            result |= {f"{name}_things": _mean(scores[name][:things]) for name in SCORES}
            result |= {f"{name}_stuff": _mean(scores[name][things:]) for name in SCORES}
        return result

    def per_class(self) -> dict[str, np.ndarray]:
        """Return one number per class, those of `things` first, then those of `stuff`.

        Returns:
            dict of "pq", "sq" and "rq" (C,) float64, NaN for classes that do not occur, and "tp",
            "fp" and "fn" (C,) int64.
        """
        tp, fp, fn = self._counts.T
        iou_sums = np.array([math.fsum(ious) for ious in self._ious])
        total = tp + (fp + fn) / 2
        occurs = total > 0
        nothing = np.full(len(tp), np.nan)
        rq = np.divide(tp, total, out=nothing.copy(), where=occurs)
        sq = np.where(occurs, iou_sums / np.maximum(tp, 1), np.nan)
        return {"pq": sq * rq, "sq": sq, "rq": rq, "tp": tp, "fp": fp, "fn": fn}


def check_ids(owner: str, things, stuff) -> tuple[list[int], list[int]]:
    """Return ids in masks as lists of int.

    Raises:
        ValueError: an id is not a whole number of at least 0, or is listed twice.
    """
    things, stuff = (np.asarray(ids).ravel().tolist() for ids in (things, stuff))
    wrong = [i for i in (*things, *stuff) if isinstance(i, bool) or i % 1 != 0 or i < 0]
    if wrong or len({*things, *stuff}) < len(things) + len(stuff):
        raise ValueError(
            f"{owner}: things={things} and stuff={stuff} must be ids in masks, each once, such as "
            "reader.object_label_ids."
        )
    return [int(i) for i in things], [int(i) for i in stuff]


def _match_segments(pairs, target, prediction, places, count):
    """Return a list of the IoU of the matches per class, and the (C, 3) TP, FP and FN.

    Args:
        pairs: numbers of the target, numbers of the prediction and pixels (P,), see `count_pairs`.
        target, prediction: their `Segments`.
        places: table of the place of each id in masks among the classes.
        count: number of classes, C.
    """
    targets, predictions, pixels = pairs
    iou = pixels / pair_unions(targets, predictions, pixels)
    is_segment = (targets > 0) & (targets < VOID)
    # 0 and VOID have no class and are no crowd
    rows = np.where(is_segment, targets, 0)
    target_places = np.append(-1, places[target.classes])[rows]
    crowd = np.append(False, target.crowd)[rows]
    predicted_places = np.append(-2, places[prediction.classes])[predictions]
    is_same = is_segment & (predictions > 0) & (target_places == predicted_places)
    matched = np.flatnonzero(is_same & ~crowd & (iou > 0.5))
    ious = [iou[matched[target_places[matched] == place]].tolist() for place in range(count)]

    found, areas = sum_areas(predictions, pixels)
    left_out = np.zeros(len(found), np.int64)
    is_left_out = (predictions > 0) & ((targets == VOID) | (is_same & crowd))
    np.add.at(left_out, np.searchsorted(found, predictions[is_left_out]), pixels[is_left_out])
    is_wrong = ~np.isin(found, predictions[matched]) & (2 * left_out <= areas)
    present = np.unique(targets[is_segment & ~crowd])
    missed = present[~np.isin(present, targets[matched])]
    columns = (
        target_places[matched],
        places[prediction.classes[found[is_wrong] - 1]],
        places[target.classes[missed - 1]],
    )
    counts = [np.bincount(column, minlength=count) for column in columns]
    return ious, np.stack(counts, axis=1)


def _mean(values):
    defined = values[~np.isnan(values)]
    return math.fsum(defined) / len(defined) if len(defined) else math.nan
