"""The functions behind the signatures of an exported instance model."""

from functools import partial

import tensorflow as tf

from tfseg.export.detection_outputs import blank_like, padded, spec_of
from tfseg.export.instance_graph import objects_in_graph
from tfseg.export.object_files import label_map_files
from tfseg.export.signatures import image_or_blank, serve_files

LABEL_MAPS = ("instances", "mask")


def object_decoder(model):
    """Return the tf.function (outputs for one image, size) -> dict, see `objects_in_graph`.

    All signatures call it, so that it is traced and saved once.

    Args:
        model: a model of `tfseg.models.instances`, whose thresholds are used.
    """
    outputs = {
        name: tf.TensorSpec(output.shape[1:], output.dtype) for name, output in model.output.items()
    }
    specs = [outputs, tf.TensorSpec((2,), tf.int32)]
    return tf.function(partial(objects_in_graph, model), input_signature=specs, autograph=False)


def instance_signature(decode, outputs_of, shape, dtype):
    """Return the tf.function image (B, H, W, C) -> dict of label maps and rows of objects.

    M is the largest number of objects of an image in the batch. An empty batch, and images without
    pixels, have no objects. Outputs:

    "instances" (B, H, W) int32: 0 for background, k + 1 for object k.
    "scores" (B, M) float32 in descending order; "classes" (B, M) int32, -1 for padding; "boxes"
        (B, M, 4) float32; "num_detections" (B,) int32.
    "mask" (B, H, W) int32, class ids, for the center head.

    Args:
        decode: result of `object_decoder`.
        outputs_of: function (B, H, W, C) float32 -> dict of the model's outputs.
        shape: (H, W, C) of the image, with None for any size.
        dtype: dtype of the images.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape), dtype, name="image")], autograph=False
    )
    def serve(image):
        image = tf.ensure_shape(image, (None, *shape))
        has_pixels, shown = image_or_blank(image, shape)
        found = batch_of_objects(decode, outputs_of(tf.cast(shown, tf.float32)), tf.shape(shown))
        return {
            name: _empty_unless(has_pixels, name, value, tf.shape(image), shape)
            for name, value in found.items()
        }

    return serve


def batch_of_objects(decode, outputs: dict, image_shape) -> dict:
    """Return the objects of a batch; see `instance_signature`.

    Args:
        decode: result of `object_decoder`.
        outputs: dict of the model's outputs for the batch.
        image_shape: (4,) int32, the shape of the images.
    """
    results = decode.get_concrete_function().structured_outputs
    spec = {
        name: tf.TensorSpec(value.shape, value.dtype) if name in LABEL_MAPS else spec_of(value)
        for name, value in results.items()
    }
    found = tf.map_fn(lambda row: decode(row, image_shape[1:3]), outputs, fn_output_signature=spec)
    return {name: padded(name, value) for name, value in found.items()}


def _empty_unless(has_pixels, name, value, image_shape, shape):
    """Return an output, or that of images without pixels."""

    def empty():
        if name in LABEL_MAPS:
            return tf.zeros(image_shape[:3], value.dtype)
        row = value[:1, :0] if value.shape.rank > 1 else value[:1]
        return tf.repeat(blank_like(name, row), image_shape[0], 0)

    output = tf.cond(has_pixels, lambda: value, empty)
    sides = shape[:2] if name in LABEL_MAPS else value.shape[1:]
    return tf.ensure_shape(output, (None, *sides))


def instance_file_signature(model, decode, outputs_of, shape, max_pixels: int, value_range=None):
    """Return the tf.function image_bytes (B,) string -> dict of outputs, file by file.

    Files may have different sizes. Outputs, of which those of `detection_file_signature` have the
    same names:

    "ok" (B,) bool: whether the bytes are a complete JPEG or PNG of at most `max_pixels` and of the
        range of values that the model was trained on. Otherwise there are no objects.
    "reason" (B,) string: why `ok` is False; empty where it is True.
    "scores", "classes", "boxes", "num_detections": see `instance_signature`.
    "masks_rle_bytes" (B, M) and "masks_png_bytes" (B,) string, see `label_map_files`.
    "mask_png_bytes" (B,) string, the class ids as PNG files, for the center head.

    Args:
        model: a model of `tfseg.models.instances`, whose thresholds are used.
        decode, outputs_of, shape: see `instance_signature`.
        max_pixels: maximum height x width of an image.
        value_range: see `decode_image`.
    """

    def file_outputs(image):
        found = _objects_at_image_size(model, decode, outputs_of, image, shape)
        instances, mask = found.pop("instances"), found.pop("mask", None)
        files = label_map_files(instances, found["boxes"], found["num_detections"])
        if mask is not None:
            channels = model.output["class_logits"].shape[-1]
            dtype = tf.uint8 if channels <= 256 else tf.uint16
            files["mask_png_bytes"] = tf.io.encode_png(tf.cast(mask, dtype)[..., None])
        return found | files

    return serve_files(file_outputs, shape[2], max_pixels, value_range)


def _objects_at_image_size(model, decode, outputs_of, image, shape):
    """Return the objects in an image (H, W, C) at its size.

    A model of fixed size gets the resized image, and its label map is resized back.
    """
    own_size, shown = tf.shape(image)[:2], image[None]
    height, width = shape[:2]
    is_resized = height is not None or width is not None
    if is_resized:
        sides = tf.stack([height or own_size[0], width or own_size[1]])
        shown = tf.image.resize(shown, sides, antialias=True)
    outputs = {name: value[0] for name, value in outputs_of(shown).items()}
    size = tf.shape(shown)[1:3]
    return objects_in_graph(model, outputs, size, own_size) if is_resized else decode(outputs, size)
