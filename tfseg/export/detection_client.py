"""Client side of the signatures for objects: the same images through all of them."""

from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from tfseg.export.detection_parity import MIN_MATCHES, require_matches
from tfseg.export.encoded_client import encode_png, with_label_maps
from tfseg.export.trained_range import image_dtype, noise
from tfseg.export.verify import noise_images

SIDE = 65  # of the noise on which signatures are compared
COMPARED = 1  # images on which all signatures are compared with the model; formats take more


def compared_batches(model, images, value_range) -> list:
    """Return the batches on which signatures are compared with the model: noise, then an image.

    Args:
        model: the exported model.
        images: list of (H, W, C) images; the first ones are used.
        value_range: see `noise_images`.

    Returns:
        list of (B, H, W, C) arrays, in the dtype of whole numbers that signatures take, if they
        have such values.
    """
    sent = [_sent_image(image, value_range)[None] for image in images[:COMPARED]]
    return [noise_images(model, value_range=value_range), *sent]


def _sent_image(image, value_range):
    image = np.asarray(image)
    integers = image.astype(image_dtype(value_range))
    return integers if np.array_equal(integers, image) else image.astype(np.float32)


def answers(signatures, images, max_pixels: int) -> dict:
    """Return {signature: detections} in the terms of `serving_default`, run as they were saved.

    Args:
        signatures: of a loaded SavedModel.
        images: (B, H, W, C), whole numbers in the dtype of `image_dtype`. Images of other dtypes
            are sent to `serving_default` alone.
        max_pixels: maximum height x width of an encoded image.
    """
    with unoptimized():
        return _answers(signatures, images, max_pixels)


@contextmanager
def unoptimized():
    """Run functions without TensorFlow's graph optimizer.

    For each signature it takes longer than to load it and to detect objects.
    """
    optimizer, name = tf.config.optimizer, "disable_meta_optimizer"
    is_disabled = optimizer.get_experimental_options().get(name, False)
    optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        optimizer.set_experimental_options({name: is_disabled})


def _answers(signatures, images, max_pixels):
    found = {"serving_default": signatures["serving_default"](image=tf.cast(images, tf.float32))}
    is_uint8 = images.dtype == np.uint8
    if "uint8" in signatures and is_uint8:
        found["uint8"] = signatures["uint8"](image=tf.constant(images))
    if "detection" in signatures and is_uint8:
        outputs = signatures["detection"](input_tensor=tf.constant(images))
        found["detection"] = _from_object_detection_api(outputs, images.shape[1:3])
    fits = images[0, ..., 0].size <= max_pixels
    if "encoded" in signatures and fits and images.dtype in (np.uint8, np.uint16):
        files = tf.constant([encode_png(image) for image in images])
        found["encoded"] = signatures["encoded"](image_bytes=files)
        if "instances" in found["serving_default"]:
            found["encoded"] = with_label_maps(found["encoded"])
    return found


def verify_detections(version, metadata) -> None:
    """Raise a RuntimeError unless all signatures of a version give the same detections.

    Args:
        version: folder of the version.
        metadata: result of `read_metadata`.
    """
    signatures = tf.saved_model.load(str(version)).signatures
    height, width, channels = metadata["image_shape"]
    images = noise((1, height or SIDE, width or SIDE, channels), metadata["value_range"])
    found = answers(signatures, images, metadata["max_pixels"])
    expected = found["serving_default"]
    try:
        for name, outputs in found.items():
            require_matches(expected, outputs, f"{version} ({name})", MIN_MATCHES)
    except (RuntimeError, KeyError) as error:
        raise RuntimeError(
            f"'{version}' loads, but its signatures do not agree. Export the model again."
        ) from error


def _from_object_detection_api(outputs, size):
    """Return the outputs of the signature `detection` in the terms of `serving_default`.

    Args:
        outputs: dict of float32 tensors.
        size: height and width of the images.
    """
    boxes = outputs["detection_boxes"].numpy() * np.tile(size, 2)
    count = outputs["num_detections"].numpy()[:, None]
    classes = outputs["detection_classes"].numpy() - 1
    detections = {
        "boxes": boxes[..., [1, 0, 3, 2]].astype(np.float32),
        "scores": outputs["detection_scores"],
        # rows of padding have a class, too
        "classes": np.where(np.arange(classes.shape[1]) < count, classes, -1).astype(np.int32),
    }
    if "detection_masks" in outputs:
        detections["masks"] = outputs["detection_masks"]
    return detections
