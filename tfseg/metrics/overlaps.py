"""Overlaps of target and predicted objects, and what of the predictions is void or crowd."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

# Labels are below 2**31, so this number is free for the pixels without a label.
VOID = 2**31


@dataclass(frozen=True)
class Overlaps:
    """The pairs of objects of an image that share pixels, and its objects. Crowds are no objects.

    Attributes:
        target, prediction: (P,) numbers of the pairs.
        intersection, union: (P,) pixels that both have, and that either has; without void pixels.
        targets, predictions: (T,) and (N,) numbers of the objects.
        target_areas, prediction_areas: (T,) and (N,) their pixels, without void pixels.
        left_out: (N,) the fraction of each predicted object that is void or crowd.
    """

    target: np.ndarray
    prediction: np.ndarray
    intersection: np.ndarray
    union: np.ndarray
    targets: np.ndarray
    target_areas: np.ndarray
    predictions: np.ndarray
    prediction_areas: np.ndarray
    left_out: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """(P,) intersection over union of the pairs."""
        return self.intersection / self.union

    def matched(self, threshold: float, allowed: np.ndarray | None = None) -> np.ndarray:
        """Return the positions of pairs that match one to one with an IoU of at least `threshold`.

        At such an IoU, the overlap is at least half of both objects. So an object has one
        candidate, or two with IoU 0.5 that are its exact halves and have no other candidate. Taking
        either of them gives a matching with the most pairs and the largest IoU.

        Args:
            threshold: 0.5 or more.
            allowed: (P,) bool, the pairs that may match; None for all.
        """
        is_candidate = self.iou >= threshold
        if allowed is not None:
            is_candidate &= allowed
        kept = np.flatnonzero(is_candidate)
        for numbers in (self.prediction, self.target):
            kept = kept[np.unique(numbers[kept], return_index=True)[1]]
        return kept

    def first(self, count: int) -> "Overlaps":
        """Return the overlaps without the predicted objects whose number is above `count`."""
        pairs, objects = self.prediction <= count, self.predictions <= count
        return replace(
            self,
            target=self.target[pairs],
            prediction=self.prediction[pairs],
            intersection=self.intersection[pairs],
            union=self.union[pairs],
            predictions=self.predictions[objects],
            prediction_areas=self.prediction_areas[objects],
            left_out=self.left_out[objects],
        )


def image_overlaps(owner: str, targets, predictions, void, crowd, combine):
    """Yield the overlaps of each image.

    Args:
        owner: name for error messages.
        targets, predictions, void, crowd: see `tfseg.metrics.panoptic_quality`.
        combine: see `count_overlaps`.

    Raises:
        ValueError: the arguments differ in length, or see `count_overlaps`.
    """
    columns = {"targets": targets, "predictions": predictions, "void": void, "crowd": crowd}
    columns = {name: column for name, column in columns.items() if column is not None}
    for image, row in image_rows(owner, columns):
        regions = row.get("void"), row.get("crowd")
        yield count_overlaps(image, row["targets"], row["predictions"], *regions, combine)


def image_rows(owner: str, columns: dict):
    """Yield (name of an image for messages, {name of a column: its value for this image}).

    Args:
        owner: name for error messages.
        columns: {name: iterable of one value per image}.

    Raises:
        ValueError: the columns differ in length.
    """
    missing = object()
    rows = itertools.zip_longest(*columns.values(), fillvalue=missing)
    for index, values in enumerate(rows):
        row = dict(zip(columns, values, strict=True))
        short = [name for name, value in row.items() if value is missing]
        if short:
            longer = next(name for name in row if name not in short)
            raise ValueError(
                f"{owner}: {index} {short[0]}, but more {longer}. Pass one of each per image."
            )
        yield f"{owner}: image {index}", row


def count_overlaps(
    owner: str, target, prediction, void=None, crowd=None, combine=np.add
) -> Overlaps:
    """Count the pixels of every pair of objects.

    Args:
        owner: name for error messages.
        target, prediction: integer label maps (H, W) or (D, H, W), numbers in [0, 2**31).
        void: bool mask of the same shape, or None.
        crowd: numbers of targets, or None.
        combine: ufunc that combines the fractions of a prediction in void and in each crowd:
            `np.add` or `np.maximum`.

    Raises:
        ValueError: an argument is not as above.
    """
    target, prediction = check_pair(owner, target, prediction)
    if void is not None:
        target = np.where(_check_void(owner, void, target.shape), VOID, target)
    crowd = _check_crowd(owner, () if crowd is None else crowd)
    target, prediction, pixels = count_pairs(target, prediction)
    is_left_out = np.isin(target, [VOID, *crowd])
    shared = (target > 0) & (prediction > 0) & ~is_left_out
    unions = pair_unions(target, prediction, pixels)
    targets, target_areas = sum_areas(target, pixels)
    is_object = ~np.isin(targets, [VOID, *crowd])
    predictions, areas = sum_areas(prediction, pixels)
    labeled_areas = sum_areas(prediction, np.where(target == VOID, 0, pixels))[1]
    left_out = is_left_out & (prediction > 0)
    fractions = np.zeros(len(predictions))
    positions = np.searchsorted(predictions, prediction[left_out])
    combine.at(fractions, positions, pixels[left_out] / areas[positions])
    return Overlaps(
        target[shared],
        prediction[shared],
        pixels[shared],
        unions[shared],
        targets[is_object],
        target_areas[is_object],
        predictions,
        labeled_areas,
        fractions,
    )


def count_pairs(target, prediction):
    """Return the pairs of numbers that occur at a pixel, except (0, 0), and their pixels.

    Both numbers of a pixel are packed into one, so that one sort counts all pairs. Example: target
    3 and prediction 5 become 3 * 2**31 + 5.

    Args:
        target: int64 in [0, 2**31], where 2**31 is `VOID`.
        prediction: int64 of the same shape in [0, 2**31).

    Returns:
        target, prediction, pixels: (P,) int64.
    """
    packed = (target << 31 | prediction).ravel()
    packed, pixels = np.unique(packed[packed > 0], return_counts=True)
    return packed >> 31, packed & (2**31 - 1), pixels


def pair_unions(target, prediction, pixels):
    """Return the pixels of either object, for each pair; void is not part of a prediction."""
    labeled = np.where(target == VOID, 0, pixels)
    return _areas(target, pixels) + _areas(prediction, labeled) - labeled


def sum_areas(numbers, pixels):
    """Return the objects among the numbers of pairs, ascending, and the pixels of each."""
    objects, index = np.unique(numbers, return_inverse=True)
    areas = np.bincount(index, pixels, minlength=len(objects)).astype(np.int64)
    return objects[objects > 0], areas[objects > 0]


def _areas(numbers, pixels):
    """Return, for each pair, the total pixels of all pairs with the same number."""
    _, index = np.unique(numbers, return_inverse=True)
    return np.bincount(index, pixels, minlength=1).astype(np.int64)[index]


def check_pair(owner, target, prediction):
    """Return two label maps as int64; raise a ValueError if they are not a pair of label maps."""
    target = check_label_map(owner, "target", target)
    prediction = check_label_map(owner, "prediction", prediction)
    if target.shape != prediction.shape:
        raise ValueError(
            f"{owner}: target of shape {target.shape} and prediction of shape {prediction.shape} "
            "differ."
        )
    return target, prediction


def check_label_map(owner, name, labels):
    """Return a label map as a new int64 array; raise a ValueError if it is not one."""
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3):
        raise ValueError(
            f"{owner}: {name} has shape {labels.shape}, expected a label map (H, W) or (D, H, W)."
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{owner}: {name} is {labels.dtype}, expected integers: 0 for background, 1, 2, ... "
            "for objects."
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < 2**31):
        raise ValueError(
            f"{owner}: {name} has values from {labels.min()} to {labels.max()}, expected numbers "
            "in [0, 2**31)."
        )
    return labels.astype("int64")


def _check_void(owner, void, shape):
    """Return a void mask as an array; raise a ValueError if it is not one."""
    void = np.asarray(void)
    if void.dtype != bool or void.shape != shape:
        raise ValueError(
            f"{owner}: void is {void.dtype} of shape {void.shape}, expected bool of shape {shape}. "
            "Pass a comparison, such as mask == 255."
        )
    return void


def _check_crowd(owner, crowd):
    """Return target numbers as a list of ints; raise a ValueError if they are not."""
    numbers = np.asarray(crowd)
    is_number = numbers.size == 0 or (numbers.dtype.kind in "iu" and numbers.min() > 0)
    if numbers.ndim != 1 or not is_number:
        raise ValueError(
            f"{owner}: crowd is {crowd!r}, expected the numbers of the crowds in the target, such "
            'as [3, 7]. A reader marks them by row: np.flatnonzero(sample["crowd"]) + 1.'
        )
    return numbers.tolist()
