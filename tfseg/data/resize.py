"""Resize whole images, and bring predictions back to the original pixels."""

import math
from dataclasses import dataclass

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX

POLICIES = ("letterbox", "shorter", "stretch")
OPENCV_CHANNELS = 4  # OpenCV averages over areas for at most 4 channels at a time
OPENCV_DTYPES = (np.uint8, np.uint16, np.float32, np.float64)


@dataclass(frozen=True)
class Resize:
    """Bring images of any size and their labels to one size, and predictions back.

    The corners of the image stay its corners: pixel centers are at 0.5, 1.5, ... Images are
    interpolated bilinearly, and averaged over areas where they shrink. Masks are read at the
    nearest pixel.

    Args:
        size: side in pixels, or (height, width).
        policy: "letterbox" keeps the aspect ratio and pads at the right and the bottom. "shorter"
            keeps the aspect ratio and makes the shorter side `size` pixels long, so that images
            still differ in size. "stretch" changes the aspect ratio.
        fill: value of the padding in images. Masks are 255 there, or 65535 in `pipeline` with more
            than 255 classes.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> resize = tfseg.data.Resize(32)
        >>> small = resize(reader[0])  # from 48 x 64 pixels
        >>> small["image"].shape, resize.back(small["mask"], 48, 64).shape
        ((32, 32, 3), (48, 64))
    """

    size: int | tuple
    policy: str = "letterbox"
    fill: float = 0

    def __post_init__(self):
        sides = (self.size, self.size) if np.ndim(self.size) == 0 else tuple(self.size)
        if len(sides) != 2:
            raise ValueError(f"Resize: size={self.size!r} must be a number or (height, width).")
        size = tuple(checks.positive_int("Resize", "size", side) for side in sides)
        object.__setattr__(self, "size", size)
        checks.one_of("Resize", "policy", self.policy, POLICIES)
        if self.policy == "shorter" and self.size[0] != self.size[1]:
            raise ValueError(
                f"Resize: policy='shorter' needs one length as `size`, but got {self.size}."
            )

    def fit(self, height: int, width: int) -> tuple:
        """Return the (height, width) of the result, and that of the image in it without padding.

        Args:
            height: of the original image in pixels.
            width: of the original image in pixels.
        """
        if self.policy == "stretch":
            return self.size, self.size
        factor = max if self.policy == "shorter" else min
        scale = factor(self.size[0] / height, self.size[1] / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        return (inner if self.policy == "shorter" else self.size), inner

    def shrink(self, height: int, width: int) -> int:
        """Return the power of 2, at most 8, by which an image can be read smaller before resizing.

        From 100 x 200 to 24 x 48 pixels it is 4, since 25 x 50 pixels are enough.
        """
        inner_height, inner_width = self.fit(height, width)[1]
        ratio = min(height / inner_height, width / inner_width)
        return 2 ** max(0, min(3, math.floor(math.log2(ratio))))

    def __call__(
        self, sample: dict, size: tuple | None = None, ignore_index: int = IGNORE_INDEX
    ) -> dict:
        """Resize a sample of a reader.

        Args:
            sample: dict of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes",
                "crowd", "areas".
            size: (height, width) of the original image, if the sample was read smaller.
            ignore_index: value of the padding in masks.

        Returns:
            dict of the same names and dtypes.
        """
        height, width = sample["image"].shape[:2]
        outer, inner = self.fit(*((height, width) if size is None else size))
        fills = {"image": self.fill, "mask": ignore_index, "instances": 0}
        resized = dict(sample)
        for name in fills.keys() & sample.keys():
            array = _resize(sample[name], inner, smooth=name == "image")
            padding = [(0, outer[0] - inner[0]), (0, outer[1] - inner[1]), (0, 0)][: array.ndim]
            resized[name] = np.pad(array, padding, constant_values=fills[name])
        if "boxes" in sample:
            factors = np.array([inner[1] / width, inner[0] / height] * 2, "float32")
            resized["boxes"] = sample["boxes"] * factors
        if "areas" in sample:
            factor = np.float32(inner[1] / width * inner[0] / height)
            resized["areas"] = sample["areas"] * factor
        return resized

    def back(self, prediction, height: int, width: int):
        """Bring the prediction for a resized image back to the original size.

        Args:
            prediction: (h, w) class ids, read at the nearest pixel, or (h, w, C) scores,
                interpolated bilinearly.
            height: of the original image in pixels.
            width: of the original image in pixels.

        Returns:
            (height, width) or (height, width, C) array of the prediction's dtype.

        Raises:
            ValueError: the prediction is not of the size that such an image is resized to.
        """
        outer, inner = self.fit(height, width)
        prediction = np.asarray(prediction)
        if prediction.shape[:2] != outer:
            raise ValueError(
                f"Resize: got a prediction of shape {prediction.shape}, but an image of {height} x "
                f"{width} is resized to {outer[0]} x {outer[1]}. Pass the prediction for the "
                "resized image."
            )
        part = prediction[: inner[0], : inner[1]]
        return _resize(part, (height, width), smooth=part.ndim == 3)


def _resize(array, size, smooth):
    """Resize (H, W) or (H, W, C) to another (height, width)."""
    if array.shape[:2] == tuple(size):
        return array
    if not smooth:
        rows = _nearest(array.shape[0], size[0])
        columns = _nearest(array.shape[1], size[1])
        return array[rows[:, None], columns]
    dtype = array.dtype if array.dtype in OPENCV_DTYPES else np.float32
    resized = np.concatenate(
        [
            _resize_smoothly(array[..., i : i + OPENCV_CHANNELS].astype(dtype, copy=False), size)
            for i in range(0, array.shape[-1], OPENCV_CHANNELS)
        ],
        axis=-1,
    )
    if array.dtype.kind in "iu":
        resized = np.rint(resized)
    return resized.astype(array.dtype, copy=False)


def _nearest(old, new):
    """Return the old pixel at the center of each new one: from 4 to 2 pixels these are 1 and 3."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _resize_smoothly(array, size):
    """Resize (H, W, C) with OpenCV, which averages over areas only if both sides shrink.

    From 8 x 4 to 2 x 6 pixels: averaged to 2 x 4, then interpolated to 2 x 6.
    """
    import cv2

    smaller = [min(sides) for sides in zip(array.shape[:2], size, strict=True)]
    for (height, width), method in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if array.shape[:2] != (height, width):
            array = cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=method)
            array = array.reshape(height, width, -1)  # OpenCV drops a single channel
    return array
