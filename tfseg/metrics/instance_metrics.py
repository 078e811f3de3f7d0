"""All scores of predicted instances in one pass over a dataset."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.metrics.instance_matching import THRESHOLDS, f1_of, mean_defined, ratio
from tfseg.metrics.jaccard import jaccard_counts, jaccard_of
from tfseg.metrics.overlaps import VOID, count_overlaps
from tfseg.metrics.panoptic import check_ids
from tfseg.metrics.panoptic_segments import predicted_segments, target_segments

AT_50, AT_75 = THRESHOLDS.index(0.5), THRESHOLDS.index(0.75)


class InstanceMetrics:
    """Scores of predicted instances and of their numbers, computed on the host in NumPy.

    Objects match one to one within their class, see `average_precision`. Pixels without a label and
    crowds are void: they do not affect the IoU, and a prediction without a match is not counted if
    the fraction of its pixels in them reaches the threshold of the IoU. Crowds are the pixels of an
    object class that belong to no object.

    Args:
        things: ids in masks of the object categories, `reader.object_label_ids`.
        ignore_index: id in masks of pixels without a label, `reader.ignore_index`.

    Raises:
        ValueError: an id is not a whole number of at least 0, or is listed twice.

    Example:
        >>> import numpy as np, tfseg
        >>> labels = {"instances": np.array([[1, 1, 0, 2]]), "classes": np.array([0, 0])}
        >>> found = {"instances": np.array([[1, 1, 1, 0]]), "classes": np.array([0])}
        >>> metric = tfseg.metrics.InstanceMetrics()
        >>> metric.update_state(labels, found)
        >>> result = metric.result()  # one match of IoU 2 / 3, one object that is missed
        >>> result["ap50"], result["ap"], result["count_error"]
        (0.5, 0.2, 1.0)
    """

    def __init__(self, things: Sequence[int] = (1,), ignore_index: int = IGNORE_INDEX):
        self.things, _ = check_ids("InstanceMetrics", things, ())
        self.ignore_index = checks.ignore_index("InstanceMetrics", ignore_index)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all images."""
        self._counts = np.zeros((len(self.things), len(THRESHOLDS), 3), np.int64)
        self._image_counts, self._jaccard, self._numbers = [], [], []

    def update_state(self, labels: dict, found: dict) -> None:
        """Add an image.

        Args:
            labels: dict of "instances" (H, W), "classes" (N,) and, if there is one, "mask" (H, W),
                as readers return them.
            found: dict of "instances" (H, W), numbered 1..N, and "classes" (N,), object categories
                from 0, as `tfseg.inference.predict_instances` returns them.

        Raises:
            ValueError: the arrays are not as above, or differ in size.
        """
        self._add(*self._overlaps(labels, found))

    def of_first_objects(self, labels: dict, found: dict, counts: Iterable[int]) -> dict:
        """Score an image with only the first of its predicted objects, for several numbers of them.

        The pixels are counted once. This is for objects in descending order of their scores, to
        compare thresholds.

        Args:
            labels, found: see `update_state`.
            counts: numbers of objects to keep; the others become background.

        Returns:
            {number of objects: `InstanceMetrics` of this image alone}.

        Raises:
            ValueError: see `update_state`.
        """
        overlaps, *classes = self._overlaps(labels, found)
        metrics = {count: InstanceMetrics(self.things, self.ignore_index) for count in counts}
        for count, metric in metrics.items():
            metric._add(overlaps.first(count), *classes)
        return metrics

    def _overlaps(self, labels, found):
        """Return the overlaps of an image, and the classes of its targets and predictions."""
        owner = "InstanceMetrics"
        target = target_segments(owner, labels, self.things, (), self.ignore_index)
        prediction = predicted_segments(owner, found, self.things, ())
        objects = target.objects
        is_void = objects == VOID
        overlaps = count_overlaps(
            owner, np.where(is_void, 0, objects), prediction.numbers, void=is_void
        )
        return overlaps, target.classes, prediction.classes

    def _add(self, overlaps, target_classes, classes):
        """Add an image; see `_overlaps`."""
        counts = self._class_counts(overlaps, target_classes, classes)
        self._counts += counts
        self._image_counts.append(counts.sum(axis=0))
        self._jaccard.append(jaccard_counts(overlaps))
        self._numbers.append((len(overlaps.targets), len(overlaps.predictions)))

    def merge_state(self, metrics) -> None:
        """Add the images of other metrics of the same classes.

        Args:
            metrics: iterable of `InstanceMetrics`.
        """
        for metric in metrics:
            self._counts += metric._counts
            self._image_counts += metric._image_counts
            self._jaccard += metric._jaccard
            self._numbers += metric._numbers

    def _class_counts(self, overlaps, target_classes, classes):
        """Return (C, T, 3): TP, FP and FN per class and threshold."""
        places = np.zeros(max(self.things, default=0) + 1, int)
        places[self.things] = np.arange(len(self.things))
        target_places, found_places = places[target_classes], places[classes]
        place = target_places[overlaps.target - 1]
        is_same = place == found_places[overlaps.prediction - 1]
        size = len(self.things)
        targets = np.bincount(target_places[overlaps.targets - 1], minlength=size)
        counts = []
        for threshold in THRESHOLDS:
            kept = overlaps.matched(threshold, is_same)
            is_matched = np.isin(overlaps.predictions, overlaps.prediction[kept])
            is_wrong = ~is_matched & (overlaps.left_out < threshold)
            wrong = found_places[overlaps.predictions[is_wrong] - 1]
            tp, fp = np.bincount(place[kept], minlength=size), np.bincount(wrong, minlength=size)
            counts.append(np.stack([tp, fp, targets - tp], axis=-1))
        return np.stack(counts, axis=1)

    def result(self) -> dict[str, float]:
        """Return the scores over all images.

        Returns:
            dict of floats. Means over the classes that occur: "ap", TP / (TP + FP + FN) as the mean
            over the IoU thresholds 0.5, 0.55, ..., 0.95, with counts summed over images; "ap50" and
            "ap75"; "f1", "precision" and "recall" at an IoU of 0.5. Of all classes together:
            "ap_by_image", the mean of each image's own "ap"; "aji", see `aggregated_jaccard`;
            "count_error", the mean over images of the difference between the numbers of predicted
            and true objects without its sign, and "count_bias" with it. NaN where there are no
            objects.
        """
        result = {name: float(mean_defined(v, axis=0)) for name, v in self.per_class().items()}
        by_image = mean_defined(_average_precision(self._image_counts), axis=1)
        result["ap_by_image"] = float(mean_defined(by_image, axis=0))
        result["aji"] = jaccard_of(self._jaccard, by_image=False)
        differences = np.diff(self.numbers).ravel()
        for name, values in (("count_error", np.abs(differences)), ("count_bias", differences)):
            result[name] = float(values.mean()) if len(values) else math.nan
        return result

    def per_class(self) -> dict[str, np.ndarray]:
        """Return scores per class, NaN for classes that do not occur.

        Returns:
            dict of (C,) float64 "ap", "ap50", "ap75", "f1", "precision" and "recall".
        """
        ap = _average_precision(self._counts)  # (C, T)
        tp, fp, fn = self._counts[:, AT_50].T
        return {
            "ap": mean_defined(ap, axis=1),
            "ap50": ap[:, AT_50],
            "ap75": ap[:, AT_75],
            "f1": f1_of(ap[:, AT_50]),
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn),
        }

    @property
    def image_f1(self) -> np.ndarray:
        """(images,) F1 scores at an IoU of 0.5; 1 for an image without objects and predictions."""
        return np.nan_to_num(f1_of(_average_precision(self._image_counts)[:, AT_50]), nan=1.0)

    @property
    def numbers(self) -> np.ndarray:
        """(images, 2) int64: numbers of true and of predicted objects."""
        return np.array(self._numbers, np.int64).reshape(-1, 2)


def _average_precision(counts):
    """Return (N, T) TP / (TP + FP + FN) of N times (T, 3) counts."""
    counts = np.array(counts, np.int64).reshape(-1, len(THRESHOLDS), 3)
    return ratio(counts[..., 0], counts.sum(axis=-1))
