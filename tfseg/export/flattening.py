"""Copies of models for exports: without models inside them, and computed in float32."""

import keras

from tfseg.models.layer_graph import all_layers, is_graph, run_graph

HALF_PRECISION = ("float16", "bfloat16")


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy that computes in float32 if a model was built under a mixed policy.

    Mixed precision serves the training. Most export formats lack it, and its rounding would hide
    faults of an export.
    """
    return flatten(model) if any(map(_is_half_precision, all_layers(model))) else model


def flatten(model: keras.Model) -> keras.Model:
    """Return a float32 model with the layers of inner models in place of these models.

    Args:
        model: functional or Sequential. It is not changed: its layers are copied.

    Returns:
        functional keras.Model; the model itself if it contains no functional or Sequential model
        and computes in float32.
    """
    has_inner = any(map(_is_inner_graph, model.layers))
    if not has_inner and not any(map(_is_half_precision, model.layers)):
        return model
    # an inner model may be used twice: its copies then share their layers
    copies = {}
    names = set()

    def call_layer(operation):
        if _is_inner_graph(operation):
            # a Sequential model passes `mask`, which images do not have
            return lambda image, **_: run_graph(operation, image, call_layer)
        if not isinstance(operation, keras.Layer) or isinstance(operation, keras.Model):
            return operation
        if operation not in copies:
            copies[operation] = _copy(operation, names)
        return copies[operation]

    image = keras.Input(model.input_shape[1:], name="image")
    flat_model = keras.Model(image, run_graph(model, image, call_layer), name=model.name)
    for layer, copy in copies.items():
        copy.set_weights(layer.get_weights())
    return flat_model


def _is_inner_graph(operation):
    return isinstance(operation, keras.Model) and is_graph(operation)


def _is_half_precision(layer):
    return layer.compute_dtype in HALF_PRECISION


def _copy(layer, names):
    """Return a float32 layer of the same configuration whose name is not among `names`; add it."""
    config = layer.get_config()
    if _is_half_precision(layer):
        config["dtype"] = "float32"
    while config["name"] in names or config["name"] == "image":
        config["name"] += "_inner"
    names.add(config["name"])
    return layer.__class__.from_config(config)
