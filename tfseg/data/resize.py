"""Whole images at another size, and the way back to their own pixels."""

import math
from dataclasses import dataclass

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX

POLICIES = ("letterbox", "shorter", "stretch")
OPENCV_CHANNELS = 4  # as many as OpenCV averages over areas at a time


@dataclass(frozen=True)
class Resize:
    """Bring images of any size to one, labels alike, and predictions back.

    The same corners stay corners: a pixel's middle lies at whole numbers and a half. Images are read bilinearly, and
    averaged over areas where they shrink; masks at the nearest pixel.

    Args:
        size: pixels, or (height, width).
        policy: "letterbox" keeps the shape and fills up at the right and the bottom; "shorter" makes the shorter side
            `size` pixels long and keeps the shape, so that images still differ in size; "stretch" changes the shape.
        fill: what images hold where they are filled up. Masks hold 255 there.
    """

    size: int | tuple
    policy: str = "letterbox"
    fill: float = 0

    def __post_init__(self):
        sides = (self.size, self.size) if np.ndim(self.size) == 0 else tuple(self.size)
        if len(sides) != 2:
            raise ValueError(f"Resize: size={self.size!r} must be pixels, or (height, width).")
        object.__setattr__(
            self, "size", tuple(checks.positive_int("Resize", "size", side) for side in sides)
        )
        checks.one_of("Resize", "policy", self.policy, POLICIES)
        if self.policy == "shorter" and self.size[0] != self.size[1]:
            raise ValueError(
                f"Resize: the policy 'shorter' takes one length; size={self.size} came."
            )

    def fit(self, height, width):
        """Return ((height, width) of the result, (height, width) of the image in it)."""
        if self.policy == "stretch":
            return self.size, self.size
        factor = max if self.policy == "shorter" else min
        scale = factor(self.size[0] / height, self.size[1] / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        return (inner if self.policy == "shorter" else self.size), inner

    def shrink(self, height, width):
        """Return the power of 2, at most 8, by which an image may be read smaller before it is resized."""
        inner = self.fit(height, width)[1]
        return 2 ** max(0, min(3, math.floor(math.log2(min(height / inner[0], width / inner[1])))))

    def __call__(self, sample, size=None):
        """Resize a sample of a reader: a dict of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes".

        Args:
            sample: the sample.
            size: (height, width) of the image, if the sample was read smaller.

        Returns:
            dict of the same names and dtypes.
        """
        height, width = sample["image"].shape[:2]
        outer, inner = self.fit(*(size if size is not None else (height, width)))
        fills = {"image": self.fill, "mask": IGNORE_INDEX, "instances": 0}
        resized = dict(sample)
        for name in fills.keys() & sample.keys():
            array = _resized(sample[name], inner, smooth=name == "image")
            pads = [(0, outer[0] - inner[0]), (0, outer[1] - inner[1]), (0, 0)][: array.ndim]
            resized[name] = np.pad(array, pads, constant_values=fills[name])
        if "boxes" in sample:
            factors = np.array([inner[1] / width, inner[0] / height] * 2, "float32")
            resized["boxes"] = sample["boxes"] * factors
        return resized

    def back(self, prediction, height, width):
        """Bring a prediction for a resized image back to the image's own pixels.

        Args:
            prediction: (h, w) class ids, read at the nearest pixel, or (h, w, C) scores, read bilinearly.
            height, width: of the image.

        Returns:
            (height, width) or (height, width, C) of the prediction's dtype.

        Raises:
            ValueError: the prediction has not the size that such an image is resized to.
        """
        outer, inner = self.fit(height, width)
        prediction = np.asarray(prediction)
        if prediction.shape[:2] != outer:
            raise ValueError(
                f"Resize: a prediction of shape {prediction.shape} came back for an image of {height} x {width}, "
                f"which is resized to {outer[0]} x {outer[1]}. Pass what the model made of the resized image."
            )
        part = prediction[: inner[0], : inner[1]]
        return _resized(part, (height, width), smooth=part.ndim == 3)


def _resized(array, size, smooth):
    """(H, W) or (H, W, C) at another (height, width)."""
    if array.shape[:2] == tuple(size):
        return array
    if not smooth:
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new)
            for new, old in zip(size, array.shape[:2], strict=True)
        )
        return array[rows[:, None], columns]
    kind = (
        array.dtype if array.dtype in (np.uint8, np.uint16, np.float32, np.float64) else np.float32
    )
    groups = [
        array[..., i : i + OPENCV_CHANNELS] for i in range(0, array.shape[-1], OPENCV_CHANNELS)
    ]
    resized = np.concatenate(
        [_smoothly(group.astype(kind, copy=False), size) for group in groups], axis=-1
    )
    return (np.rint(resized) if array.dtype.kind in "iu" else resized).astype(
        array.dtype, copy=False
    )


def _smoothly(array, size):
    """(H, W, C) by OpenCV, which averages areas only where both sides shrink: so first what shrinks, then the rest."""
    import cv2

    smaller = [min(sides) for sides in zip(array.shape[:2], size, strict=True)]
    for (height, width), how in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if array.shape[:2] != (height, width):
            resized = cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=how)
            array = resized.reshape(height, width, -1)  # OpenCV drops a single channel
    return array
