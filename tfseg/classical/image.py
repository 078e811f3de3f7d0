"""Validate images and convert them to gray or RGB values in 0..255."""

import cv2
import numpy as np

UINT8_MAX, UINT16_MAX = 255, 65535


def to_0_255(owner: str, image):
    """Validate an image and scale its values to 0..255.

    Args:
        owner: name of the calling function, for error messages.
        image: (H, W), (H, W, 1) or (H, W, 3). The scale depends on dtype and maximum: uint8 is
            returned as it is; other integers are 0..255, or 16-bit if a value is above 255
            (multiply 12-bit images by 16 first); floats are 0..255, or 0..1 if no value is above
            1; bool becomes 0 and 255.

    Returns:
        (H, W) or (H, W, 3), uint8 or float32.

    Raises:
        ValueError: the image is empty, has another shape or dtype, or has values that are not
            finite or out of range.
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    _check_shape(owner, image)
    if image.dtype == np.uint8:
        return image
    return image.astype(np.float32) * np.float32(_scale(owner, image))


def _check_shape(owner, image):
    is_gray = image.ndim == 2
    is_rgb = image.ndim == 3 and image.shape[-1] == 3
    if not (is_gray or is_rgb) or image.dtype.kind not in "buif":
        raise ValueError(
            f"{owner}: got an image of shape {image.shape} and dtype {image.dtype}, expected "
            "numbers of shape (H, W) (gray) or (H, W, 3) (RGB). "
            "`tfseg.data.read_image(file, channels=3)` reads such an image from a file."
        )
    if not image.size:
        raise ValueError(f"{owner}: got an image of shape {image.shape}, which has no pixels.")


def _scale(owner, image):
    """Return the factor that brings the image to 0..255."""
    lowest, highest = float(image.min()), float(image.max())
    is_float = image.dtype.kind == "f"
    # Interpolation can push 0..1 images slightly above 1. As 0..255 they would be nearly black.
    if is_float and 1 < highest < 2:
        raise ValueError(
            f"{owner}: the image has values up to {highest:g}, expected a range of 0..1 or 0..255. "
            "Clip to 0..1, or scale to 0..255."
        )
    limit = UINT8_MAX if is_float else UINT16_MAX
    if not (lowest >= 0 and highest <= limit):  # NaN fails both comparisons
        raise ValueError(
            f"{owner}: the image has values from {lowest:g} to {highest:g}, expected finite values "
            "in 0..255, floats in 0..1 or 16-bit integers. "
            "Replace NaN, then scale: (image - low) * (255 / (high - low))."
        )
    if image.dtype == bool or (is_float and highest <= 1):
        return UINT8_MAX
    if not is_float and highest > UINT8_MAX:
        return UINT8_MAX / UINT16_MAX
    return 1


def to_gray(owner: str, image):
    """Convert an image to gray (H, W) in 0..255, with the luma weights of ITU-R BT.601.

    See `to_0_255` for the arguments. The result is uint8 or float32.
    """
    image = to_0_255(owner, image)
    if image.ndim == 2:
        return image
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def to_rgb(owner: str, image):
    """Convert an image to RGB (H, W, 3) in 0..255; a gray channel is repeated.

    See `to_0_255` for the arguments. The result is uint8 or float32.
    """
    image = to_0_255(owner, image)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    return np.ascontiguousarray(image)


def to_uint8(image):
    """Round an image in 0..255 to uint8."""
    if image.dtype == np.uint8:
        return image
    return np.rint(image).astype(np.uint8)


def to_mask(owner: str, name: str, mask, shape=None):
    """Validate a mask and convert it to bool.

    Args:
        owner: name of the calling function, for error messages.
        name: name of the argument, for error messages.
        mask: (H, W) bool or integers; nonzero is True.
        shape: required (H, W); None accepts any.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: the mask has another shape or dtype.
    """
    mask = np.asarray(mask)
    fits = mask.ndim == 2 if shape is None else mask.shape == tuple(shape)
    if not fits or mask.dtype.kind not in "bui":
        expected = "(H, W)" if shape is None else tuple(shape)
        raise ValueError(
            f"{owner}: got {name} of shape {mask.shape} and dtype {mask.dtype}, "
            f"expected bool or integers of shape {expected}."
        )
    return mask != 0
