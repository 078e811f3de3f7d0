"""What every method takes: an image, brought to gray levels or colors of 0..255."""

import cv2
import numpy as np


def levels(owner, image):
    """Return an image in 0..255: uint8 as it is, anything else as float32.

    Args:
        owner: name for error messages.
        image: (H, W), (H, W, 1) or (H, W, 3). Integers are in 0..255; if one is above, they are taken for 16 bit and
            scaled; multiply images of 12 bit by 16 first. Floating values are in 0..255; if none is above 1, they
            are taken for 0..1 and scaled, as bool is.

    Returns:
        (H, W) or (H, W, 3), uint8 or float32.

    Raises:
        ValueError: no image of one or three channels, no pixel, values that are not finite or out of range.
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if (
        not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3))
        or image.dtype.kind not in "buif"
    ):
        raise ValueError(
            f"{owner}: an image of shape {image.shape} and dtype {image.dtype} came, expected gray (H, W) or RGB "
            "(H, W, 3) numbers. `tfseg.data.read_image(file, channels=3)` reads files so."
        )
    if not image.size:
        raise ValueError(f"{owner}: an image of shape {image.shape} came, which has no pixel.")
    if image.dtype == np.uint8:
        return image
    least, most = float(image.min()), float(image.max())
    if image.dtype.kind == "f":
        if 1 < most < 2:  # as interpolation leaves it; taken for 0..255 it would be all but black
            raise ValueError(
                f"{owner}: the image has values up to {most:g}. Clip to 0..1, or scale to 0..255."
            )
        top, scale = 255, 255 if most <= 1 else 1
    else:
        top, scale = 65535, 255 if image.dtype == bool else 255 / 65535 if most > 255 else 1
    if not (least >= 0 and most <= top):  # neither is true of NaN
        raise ValueError(
            f"{owner}: the image has values from {least:g} to {most:g}, expected finite ones in 0..255, floats of 0..1 "
            "or integers of 16 bit. Replace NaN, then scale: (image - low) * (255 / (high - low))."
        )
    return image.astype(np.float32) * np.float32(scale)


def gray(owner, image):
    """Return the gray levels (H, W) of an image, uint8 or float32 in 0..255; colors weigh as in ITU-R BT.601."""
    image = levels(owner, image)
    return (
        image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    )


def rgb(owner, image):
    """Return the colors (H, W, 3) of an image, uint8 or float32 in 0..255; gray is repeated."""
    image = levels(owner, image)
    return (
        np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else np.ascontiguousarray(image)
    )


def as_bytes(image):
    """Return an image in 0..255 rounded to uint8, for functions that take nothing else."""
    return image if image.dtype == np.uint8 else np.rint(image).astype(np.uint8)


def mask_of(owner, name, mask, shape=None):
    """Return a mask (H, W) as bool: bool, or integers that are 0 outside; of the shape (H, W) if one is given.

    Raises:
        ValueError: another shape, or no such values.
    """
    mask = np.asarray(mask)
    fits = mask.ndim == 2 if shape is None else mask.shape == tuple(shape)
    if not fits or mask.dtype.kind not in "bui":
        expected = "(H, W)" if shape is None else tuple(shape)
        raise ValueError(
            f"{owner}: {name} of shape {mask.shape} and dtype {mask.dtype} came, expected bool or integers {expected}."
        )
    return mask != 0
