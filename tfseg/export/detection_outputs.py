"""Outputs of exported detectors: boxes, scores, classes, masks and the number of detections."""

import tensorflow as tf

NAMES = ("boxes", "scores", "classes")
PADDING = {"classes": -1}  # value of rows without a detection; 0 in other outputs
FIRST_TF_CLASS = 1  # the TensorFlow object detection API counts classes from 1


def has_detections(model) -> bool:
    """Whether a model's output is a dict of boxes, scores and classes, as that of a detector."""
    output = getattr(model, "output", None)
    return isinstance(output, dict) and set(NAMES) <= output.keys()


def with_count(detections: dict) -> dict:
    """Return detections with "num_detections" (B,) int32, the number of rows before padding."""
    found = tf.cast(detections["classes"] >= 0, tf.int32)
    return {**detections, "num_detections": tf.reduce_sum(found, -1)}


def object_names_of(owner: str, model, names) -> list[str]:
    """Return one name per object category of a model, "0", "1" ... if `names` is None.

    Args:
        owner: name for the error message.
        model: a detector, or the settings of an instance model: what has `num_classes`.
        names: list of str, or None.

    Raises:
        ValueError: the number of names does not fit the model.
    """
    names = [str(index) for index in range(model.num_classes)] if names is None else list(names)
    if len(names) != model.num_classes:
        raise ValueError(
            f"{owner}: got {len(names)} object names {names} for a model with "
            f"{model.num_classes} object categories. Pass one name per category."
        )
    return names


def blank_like(name: str, value):
    """Return what an output with this name and shape contains without detections."""
    if value.dtype == tf.string:
        return tf.fill(tf.shape(value), "")
    return tf.fill(tf.shape(value), tf.cast(PADDING.get(name, 0), value.dtype))


def padded(name: str, value):
    """Return an output as a dense tensor: rows of padding follow those of images with fewer.

    Args:
        name: of the output.
        value: ragged tensor (B, None, ...), or a dense tensor, which is returned as it is.
    """
    if not isinstance(value, tf.RaggedTensor):
        return value
    blank = "" if value.dtype == tf.string else PADDING.get(name, 0)
    dense = value.to_tensor(tf.constant(blank, value.dtype))
    # `tf.map_fn` over an empty batch leaves out the inner sides, such as the 4 of boxes
    return tf.reshape(dense, tf.concat([tf.shape(dense)[:2], value.shape[2:]], 0))


def spec_of(value):
    """Return the `fn_output_signature` of `tf.map_fn` for an output with this shape and dtype.

    The number of rows may differ between images if it is unknown; see `padded`.
    """
    if value.shape.rank and value.shape[0] is None:
        return tf.RaggedTensorSpec(value.shape, value.dtype, ragged_rank=0)
    return tf.TensorSpec(value.shape, value.dtype)


def as_object_detection_api(detections: dict, size) -> dict:
    """Return detections in the names, units and dtypes of TensorFlow's object detection API.

    Its exporter (`exporter_lib_v2.py`) casts all outputs to float32, adds 1 to the classes of all
    rows, also of padding, and leaves masks in their boxes.

    Args:
        detections: dict of "boxes" (B, M, 4), x_min, y_min, x_max, y_max in pixels; "scores",
            "classes" (B, M), from 0, with -1 for padding; "num_detections" (B,); and, if the model
            has masks, "masks" (B, M, S, S).
        size: (2,) int32, height and width of the images.

    Returns:
        dict of float32 tensors: "detection_boxes" (B, M, 4), y_min, x_min, y_max, x_max as
        fractions of height and width; "detection_scores" (B, M); "detection_classes" (B, M), from
        1; "num_detections" (B,); "detection_masks" (B, M, S, S).
    """
    height_width = tf.cast(tf.maximum(size, 1), tf.float32)
    boxes = tf.gather(detections["boxes"], [1, 0, 3, 2], axis=-1)
    outputs = {
        "detection_boxes": boxes / tf.tile(height_width, [2]),
        "detection_scores": detections["scores"],
        "detection_classes": tf.maximum(detections["classes"], 0) + FIRST_TF_CLASS,
        "num_detections": detections["num_detections"],
    }
    if "masks" in detections:
        outputs["detection_masks"] = detections["masks"]
    return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}
