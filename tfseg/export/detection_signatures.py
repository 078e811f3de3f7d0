"""The functions behind the signatures of an exported detector."""

import tensorflow as tf

from tfseg.export.detection_outputs import as_object_detection_api, blank_like
from tfseg.export.object_files import object_files
from tfseg.export.signatures import image_or_blank, serve_files


def detection_signature(detect, shape, dtype):
    """Return the tf.function image (B, H, W, C) -> dict of detections.

    An empty batch returns empty outputs, and images without pixels have no detections.

    Args:
        detect: function (B, H, W, C) float32 -> dict of detections, see `with_count`.
        shape: (H, W, C) of the image, with None for any size.
        dtype: dtype of the images.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape), dtype, name="image")], autograph=False
    )
    def serve(image):
        return _detect(detect, image, shape)

    return serve


def object_detection_api_signature(detect, shape):
    """Return the tf.function input_tensor (B, H, W, C) uint8 -> dict of float32 detections.

    Names, units and dtypes are those of exports of TensorFlow's object detection API, see
    `as_object_detection_api`.

    Args:
        detect, shape: see `detection_signature`.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape), tf.uint8, name="input_tensor")],
        autograph=False,
    )
    def serve(input_tensor):
        detections = _detect(detect, input_tensor, shape)
        return as_object_detection_api(detections, tf.shape(input_tensor)[1:3])

    return serve


def _detect(detect, image, shape):
    """Return the detections in images (B, H, W, C) of any dtype, which may have no pixels."""
    image = tf.ensure_shape(image, (None, *shape))
    has_pixels, shown = image_or_blank(image, shape)
    detections = detect(tf.cast(shown, tf.float32))
    return {
        name: _empty_unless(has_pixels, name, value, tf.shape(image)[0])
        for name, value in detections.items()
    }


def _empty_unless(has_pixels, name, value, batch):
    """Return an output, or one of as many images without detections."""

    def empty():
        return tf.repeat(blank_like(name, value[:1]), batch, 0)

    output = tf.cond(has_pixels, lambda: value, empty)
    return tf.ensure_shape(output, (None, *value.shape[1:]))


def detection_file_signature(detect, shape, max_pixels: int, value_range=None):
    """Return the tf.function image_bytes (B,) string -> dict of outputs, file by file.

    Files may have different sizes. Outputs:

    "ok" (B,) bool: whether the bytes are a complete JPEG or PNG of at most `max_pixels` and of the
        range of values that the model was trained on. Otherwise there are no detections.
    "reason" (B,) string: why `ok` is False; empty where it is True.
    "boxes" (B, M, 4), "scores" (B, M), "classes" (B, M), "num_detections" (B,): with boxes in
        pixels of each image.
    "masks_rle_bytes" (B, M) and "masks_png_bytes" (B,), if the model has masks, see `object_files`.

    Args:
        detect, shape: see `detection_signature`.
        max_pixels: maximum height x width of an image.
        value_range: see `decode_image`.
    """

    def outputs_of(image):
        return _file_outputs(detect, image, shape)

    return serve_files(outputs_of, shape[2], max_pixels, value_range)


def _file_outputs(detect, image, shape):
    """Return the outputs for one image (H, W, C)."""
    size = tf.shape(image)[:2]
    detections = _detections_at_image_size(detect, image, shape)
    outputs = {name: value[0] for name, value in detections.items()}
    if "masks" not in outputs:
        return outputs
    masks = outputs.pop("masks")
    return outputs | object_files(masks, outputs["boxes"], outputs["num_detections"], size)


def _detections_at_image_size(detect, image, shape):
    """Return the detections in an image (H, W, C), a batch of one, in pixels of the image.

    A model of fixed size gets the resized image, and its boxes are resized back.
    """
    height, width = shape[:2]
    if height is None and width is None:
        return detect(image[None])
    own_size = tf.shape(image)[:2]
    size = tf.stack([height or own_size[0], width or own_size[1]])
    detections = detect(tf.image.resize(image[None], size, antialias=True))
    scale = tf.cast(own_size, tf.float32) / tf.cast(size, tf.float32)
    return {**detections, "boxes": detections["boxes"] * tf.tile(scale[::-1], [2])}
