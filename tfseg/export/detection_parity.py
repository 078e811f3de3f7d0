"""Comparison of the detections of two formats of a model."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfseg.ops import box_iou

MIN_IOU = 0.99
MAX_SCORE_DIFFERENCE = 0.01
# Fraction of detections. On noise, scores are close and suppress each other; batches and single
# images round differently.
MIN_MATCHES = 0.98
ROUNDED_PIXELS = 2  # at the border of an object in a label map, more than 1% of a small one
MAX_MASK_DIFFERENCE = 0.01  # mean over the pixels of a mask


@dataclass(frozen=True)
class DetectionParity:
    """Comparison of one format of a detector or an instance model with the Keras model.

    Two detections match if they have the same class, an IoU of at least 0.99, scores within 0.01
    and masks that differ by at most 0.01 on average. The IoU is that of the boxes, or of the pixels
    in label maps, where up to 2 pixels may differ in small objects.

    Attributes:
        format: name of the format, such as "SavedModel".
        agreement: fraction of the detections of both that have a match in the other.
        worst_image: index of the image with the lowest agreement.
        worst_agreement: agreement on that image.
        detections: number of detections of the Keras model on all images.
        smallest_iou: of matched detections; None without any.
        difference: largest absolute difference of matched scores; None without any.
        milliseconds: {batch size: median time of a batch at the size of the first image}.
        bytes: size of the file or folder; None for Keras.
    """

    format: str
    agreement: float
    worst_image: int
    worst_agreement: float
    detections: int
    smallest_iou: float | None
    difference: float | None
    milliseconds: dict[int, float]
    bytes: int | None

    def problem(self, min_agreement: float, class_names) -> str | None:
        """Return what differs too much from the Keras model, or None if nothing does.

        Args:
            min_agreement: minimum fraction of matched detections.
            class_names: not used; other rows name classes.
        """
        if self.agreement >= min_agreement:
            return None
        return (
            f"{self.format} agrees with the Keras model on {self.agreement:.2%} of the detections, "
            f"expected at least {min_agreement:.2%}. Agreement is lowest on image "
            f"{self.worst_image} ({self.worst_agreement:.2%})."
        )


class Matches(NamedTuple):
    """Matched detections of two models in one image.

    Attributes:
        pairs: (K, 2) int, indices of the first and of the second.
        ious: (K,) IoU of each pair.
        score_differences: (K,) absolute difference of the scores of each pair.
        counts: number of detections of the first and of the second.
    """

    pairs: np.ndarray
    ious: np.ndarray
    score_differences: np.ndarray
    counts: tuple[int, int]

    @property
    def agreement(self) -> float:
        """The fraction of the detections of both that are matched; 1 if there are none."""
        return _agreement([self])


def match_detections(first: dict, second: dict) -> Matches:
    """Match the detections of two models in one image one to one.

    Args:
        first: dict of "boxes" (M, 4), "scores" (M,), "classes" (M,), -1 for padding, and optionally
            "masks" (M, S, S); or with "instances" (H, W), the pixels of which decide, not the
            boxes.
        second: the same of the other model.
    """
    label_maps = [found["instances"] for found in (first, second) if "instances" in found]
    first, second = _without_padding(first), _without_padding(second)
    counts = len(first["scores"]), len(second["scores"])
    if len(label_maps) == 2:
        iou, is_close = _compare_label_maps(*label_maps, *counts)
    else:
        iou = np.asarray(box_iou(first["boxes"], second["boxes"]))
        is_close = iou >= MIN_IOU
    distance = np.abs(first["scores"][:, None] - second["scores"])
    fits = first["classes"][:, None] == second["classes"]
    fits &= is_close & (distance <= MAX_SCORE_DIFFERENCE)
    pairs = []
    for index, row in enumerate(fits):
        for other in np.flatnonzero(row)[np.argsort(-iou[index, row], kind="stable")]:
            if _have_close_masks(first, second, index, other):
                pairs.append((index, other))
                fits[:, other] = False
                break
    pairs = np.array(pairs, int).reshape(-1, 2)
    chosen = tuple(pairs.T)
    return Matches(pairs, iou[chosen], distance[chosen], counts)


def compare_detections(name: str, found, expected, milliseconds, size) -> DetectionParity:
    """Return the comparison of one format with the Keras model.

    Args:
        name: of the format.
        found: list of dicts of detections of one image (1, M, ...) each.
        expected: the same of the Keras model.
        milliseconds, size: see `DetectionParity`.
    """
    matches = [match_detections(_image(e), _image(f)) for e, f in zip(expected, found, strict=True)]
    by_image = [match.agreement for match in matches]
    ious = np.concatenate([match.ious for match in matches])
    differences = np.concatenate([match.score_differences for match in matches])
    worst = int(np.argmin(by_image))
    return DetectionParity(
        format=name,
        agreement=_agreement(matches),
        worst_image=worst,
        worst_agreement=by_image[worst],
        detections=sum(match.counts[0] for match in matches),
        smallest_iou=float(ious.min()) if len(ious) else None,
        difference=float(differences.max()) if len(ious) else None,
        milliseconds=milliseconds,
        bytes=size,
    )


def require_matches(expected: dict, found: dict, source, min_agreement: float) -> None:
    """Raise a RuntimeError unless enough detections of a batch are matched.

    Args:
        expected: dict of the model's detections (B, M, ...).
        found: the same of an exported format.
        source: what gave `found`, for the message.
        min_agreement: minimum fraction of matched detections.
    """
    images = range(len(expected["scores"]))
    agreement = _agreement(
        [match_detections(_image(expected, index), _image(found, index)) for index in images]
    )
    if agreement < min_agreement:
        raise RuntimeError(
            f"The export ({source}) agrees with the model on {agreement:.2%} of the detections; "
            f"expected at least {min_agreement:.1%}."
        )


def _agreement(matches):
    """Return the fraction of the detections of both models on all images that are matched."""
    total = sum(sum(match.counts) for match in matches)
    return 2 * sum(len(match.pairs) for match in matches) / total if total else 1.0


def _image(detections, index=0):
    """Return the detections of one image of a batch, as NumPy arrays."""
    return {name: np.asarray(value)[index] for name, value in detections.items()}


def _without_padding(detections):
    found = detections["classes"] >= 0
    return {
        name: detections[name][found]
        for name in ("boxes", "scores", "classes", "masks")
        if name in detections
    }


def _compare_label_maps(first, second, count, other_count):
    """Return the IoU (count, other_count) of the objects of two label maps, and which are close."""
    columns = other_count + 1
    places = first.ravel().astype(np.int64) * columns + second.ravel()
    pixels = np.bincount(places, minlength=(count + 1) * columns).reshape(count + 1, columns)
    inter = pixels[1:, 1:]
    union = pixels[1:].sum(1)[:, None] + pixels[:, 1:].sum(0) - inter
    iou = inter / np.maximum(union, 1)
    is_close = (iou >= MIN_IOU) | ((iou > 0.5) & (union - inter <= ROUNDED_PIXELS))
    return iou, is_close


def _have_close_masks(first, second, index, other):
    """Whether the masks of two detections agree; True if one of the models gives none."""
    if "masks" not in first or "masks" not in second:
        return True
    difference = np.abs(first["masks"][index] - second["masks"][other]).mean()
    return difference <= MAX_MASK_DIFFERENCE
