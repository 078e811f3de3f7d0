"""A small detector that finds objects in noise."""

import keras
import numpy as np
import tensorflow as tf
from plain_encoder import PLAIN

from tfseg.export.encoded_client import encode_png
from tfseg.models import DETECTORS
from tfseg.models.encoders import ENCODERS
from tfseg.models.layer_graph import input_tensors

# few proposals, so that exports are fast
SMALL = {
    "encoder": "plain",
    "proposals": (16, 16),
    "samples": (16, 8),
    "pyramid_width": 8,
    "anchor_sizes": (8, 16, 32, 64, 128),
}


def small_detector(head="mask_rcnn", num_classes=2, **options):
    """Return a detector with random weights and informative statistics of its normalization."""
    ENCODERS.update(PLAIN)
    try:
        keras.utils.set_random_seed(4)
        model = DETECTORS[head](num_classes, **(SMALL | options))
    finally:
        for name in PLAIN:
            del ENCODERS[name]
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(rng.normal(0, 0.3, weight.shape))
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    logits, deltas = _inputs_of(model, "detections")[:2]
    _standardize(model.get_layer("box_head").get_layer("class_logits"), logits, 1.5)
    _standardize(model.get_layer("box_head").get_layer("box_deltas"), deltas, 0.5)
    if model.has_masks:
        _standardize(
            model.get_layer("mask_head").get_layer("mask_logits"), _inputs_of(model, "masks")[0], 1
        )
    return model


def _inputs_of(model, name):
    """Return what the layer of this name gets for two images."""
    compute = keras.Function(model.inputs, input_tensors(model.get_layer(name)))
    return compute([images_of(2).astype(np.float32)])


def _standardize(layer, outputs, std):
    """Give the outputs (..., C) of a layer a mean of 0 and a standard deviation."""
    outputs = keras.ops.convert_to_numpy(outputs)
    outputs = outputs.reshape(-1, outputs.shape[-1])
    scale = std / outputs.std(0)
    layer.kernel.assign(layer.kernel * scale)
    layer.bias.assign((layer.bias - outputs.mean(0)) * scale)


def detections_of(model, images):
    """Return the model's detections as NumPy arrays, with the number of each image's."""
    outputs = model(images.astype(np.float32), training=False)
    outputs = {name: value.numpy() for name, value in outputs.items()}
    return outputs | {"num_detections": (outputs["classes"] >= 0).sum(1)}


def images_of(count, height=70, width=90):
    return np.random.default_rng(2).integers(0, 256, (count, height, width, 3), np.uint8)


IMAGES = images_of(2)
EMPTY = {"no images": (0, 20, 30, 3), "no rows": (2, 0, 30, 3)}
FILES = [encode_png(IMAGES[0]), b"no image", encode_png(images_of(1, 51, 83)[0])]
# {name: (signature, inputs)}
REQUESTS = {
    "floats": ("serving_default", {"image": IMAGES.astype(np.float32)}),
    "uint8": ("uint8", {"image": IMAGES}),
    "detection": ("detection", {"input_tensor": IMAGES}),
    "files": ("encoded", {"image_bytes": np.array(FILES, object)}),
    "no files": ("encoded", {"image_bytes": np.zeros(0, object)}),
}
for name, shape in EMPTY.items():
    REQUESTS[f"uint8, {name}"] = ("uint8", {"image": np.zeros(shape, np.uint8)})
    REQUESTS[f"detection, {name}"] = ("detection", {"input_tensor": np.zeros(shape, np.uint8)})


def answer(signatures, signature, arrays):
    """Return the outputs of a signature as NumPy arrays."""
    inputs = {
        key: tf.constant(value, tf.string if value.dtype == object else None)
        for key, value in arrays.items()
    }
    return {key: value.numpy() for key, value in signatures[signature](**inputs).items()}
