"""Objects, stuff, crowds and void of a sample as one map of numbered segments."""

from dataclasses import dataclass

import numpy as np

from tfseg.metrics.overlaps import VOID, check_label_map


@dataclass(frozen=True)
class Segments:
    """The segments of an image.

    Attributes:
        numbers: (H, W) int64: 0 for none, k for the k-th segment, and `VOID` for pixels without a
            label.
        classes: (S,) ids in masks of the classes of the segments 1, 2, ..., S.
        crowd: (S,) bool: whether it is a crowd.
    """

    numbers: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray

    @property
    def objects(self) -> np.ndarray:
        """(H, W) int64: the numbers of the segments, with crowds as `VOID`."""
        table = np.concatenate([[0], np.where(self.crowd, VOID, np.arange(1, len(self.crowd) + 1))])
        is_void = self.numbers == VOID
        return np.where(is_void, VOID, table[np.where(is_void, 0, self.numbers)])


def target_segments(owner: str, labels: dict, things, stuff, ignore_index: int) -> Segments:
    """Return the segments of the ground truth.

    The segments are the objects; per class of stuff, its pixels that belong to no object; and per
    class of things, its pixels that belong to no object, which are a crowd. Void are other pixels
    with `ignore_index`.

    Args:
        owner: name for error messages.
        labels: dict of "instances" (H, W), "classes" (N,) and, if there is one, "mask" (H, W), as
            readers return them.
        things: ids in masks of the object categories.
        stuff: ids in masks of the classes of stuff.
        ignore_index: id in masks of pixels without a label.

    Raises:
        ValueError: the arrays are not as above.
    """
    return _segments(owner, labels, things, stuff, ignore_index)


def predicted_segments(owner: str, found: dict, things, stuff) -> Segments:
    """Return the segments of a prediction: its objects and, per class, its stuff.

    Args:
        owner, things, stuff: see `target_segments`.
        found: dict of "instances" and "classes", and "mask" if there is stuff.

    Raises:
        ValueError: the arrays are not as above.
    """
    if len(stuff) and found.get("mask") is None:
        raise ValueError(
            f"{owner}: the prediction has {', '.join(found)}, but no mask of the stuff. Use a "
            "model that was built with stuff, or leave stuff out."
        )
    return _segments(owner, found, things, stuff, None)


def _segments(owner, labels, things, stuff, ignore_index):
    numbers = check_label_map(owner, "instances", labels["instances"])
    categories = np.asarray(labels["classes"], int)
    if numbers.max(initial=0) > len(categories):
        raise ValueError(
            f"{owner}: instances are numbered up to {numbers.max()}, but there are "
            f"{len(categories)} classes. Pass one class per object."
        )
    if categories.max(initial=-1) >= len(things):
        raise ValueError(
            f"{owner}: an object has the category {categories.max()}, expected 0 to "
            f"{len(things) - 1}: one per id in things."
        )
    classes, crowd = np.asarray(things, int)[categories].tolist(), [False] * len(categories)
    if labels.get("mask") is None:
        return Segments(numbers, np.array(classes, int), np.array(crowd, bool))
    mask = _check_mask(owner, labels["mask"], numbers.shape)
    rest = numbers == 0
    present = np.flatnonzero(np.bincount(mask[rest]))
    table = np.zeros(int(present.max(initial=0)) + 1, np.int64)
    for class_id in present.tolist():
        is_crowd = ignore_index is not None and class_id in things
        if class_id == ignore_index:
            table[class_id] = VOID
        elif class_id in stuff or is_crowd:
            classes.append(class_id)
            crowd.append(is_crowd)
            table[class_id] = len(classes)
    numbers[rest] = table[mask[rest]]
    return Segments(numbers, np.array(classes, int), np.array(crowd, bool))


def _check_mask(owner, mask, shape):
    mask = np.asarray(mask)
    if mask.dtype.kind not in "iu" or mask.shape != shape or mask.min(initial=0) < 0:
        raise ValueError(
            f"{owner}: mask is {mask.dtype} of shape {mask.shape}, expected class ids of shape "
            f"{shape}, as the instances."
        )
    return mask
