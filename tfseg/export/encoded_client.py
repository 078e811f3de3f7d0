"""Client side of the signature `encoded`: PNG files in, class ids or label maps out."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image


def encode_png(image) -> bytes:
    """(H, W, 1 or 3) uint8 or uint16 image -> bytes of a PNG file of 8 or 16 bits per channel."""
    return tf.io.encode_png(image).numpy()


def class_ids_from_files(signature, images):
    """Send images as PNG files to the signature `encoded` and return the class ids.

    Args:
        signature: the signature `encoded` of a loaded SavedModel.
        images: (B, H, W, 1 or 3) uint8 or uint16.

    Returns:
        (B, H, W) class ids, or (B,) for a classifier.
    """
    outputs = signature(image_bytes=tf.constant([encode_png(image) for image in images]))
    if "class_ids" in outputs:
        return outputs["class_ids"].numpy()
    return _decoded(outputs["mask_png_bytes"])


def with_label_maps(outputs: dict) -> dict:
    """Return the outputs of an instance model for files of one size as those of `serving_default`.

    Args:
        outputs: of the signature `encoded`. Label maps come from PNG files of 16 bits.
    """
    found = {**outputs, "instances": _decoded(outputs["masks_png_bytes"])}
    if "mask_png_bytes" in outputs:
        found["mask"] = _decoded(outputs["mask_png_bytes"])
    return found


def _decoded(files):
    """Return (B, H, W) numbers from a tensor (B,) of PNG files."""
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files.numpy()])
