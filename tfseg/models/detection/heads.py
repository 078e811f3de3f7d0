"""The networks on the features of each proposal: classes and boxes, and masks."""

import math

import keras
from keras import initializers, layers, ops

from tfseg.models.detection.pyramid import EPSILON, depthwise
from tfseg.models.detection.roi_layers import FoldRois, RoiBatchNorm, UnfoldRois

BOX_POOL = 7
MASK_POOL = 14
MASK_SIZE = 28
HIDDEN_UNITS = {"light": 512, "v1": 1024, "v2": 1024}


def box_head(num_classes: int, width: int, layout: str) -> keras.Model:
    """Classify proposals and refine their boxes (arXiv:1506.01497).

    "v1" and "light" have two dense layers; "v2" has four convolutions with batch normalization and
    one dense layer.

    Args:
        num_classes: number of categories C, without background.
        width: channels of the features.
        layout: one of `pyramid.LAYOUTS`.

    Returns:
        keras.Model "box_head": features (B, R, 7, 7, width), and for "v2" also a bool (B, R), False
        for padding -> dict of "class_logits" (B, R, C + 1) float32 with background first, and
        "box_deltas" (B, R, 4 (C + 1)) float32, four per class.
    """
    features, inputs, valid = _head_inputs(BOX_POOL, width, layout)
    x = FoldRois(name="box_fold")(features)
    if layout == "v2":
        x = _convolutions(x, valid, width, "box_conv")
    x = layers.Flatten(name="box_flatten")(x)
    for index in (1,) if layout == "v2" else (1, 2):
        x = _dense(HIDDEN_UNITS[layout], f"box_fc{index}", activation="relu")(x)
    logits = _dense(num_classes + 1, "class_logits", dtype="float32")(x)
    deltas = _dense(4 * (num_classes + 1), "box_deltas", dtype="float32")(x)
    outputs = {
        "class_logits": UnfoldRois(dtype="float32", name="class_unfold")(logits, features),
        "box_deltas": UnfoldRois(dtype="float32", name="box_unfold")(deltas, features),
    }
    return keras.Model(inputs, outputs, name="box_head")


def mask_head(num_classes: int, width: int, layout: str) -> keras.Model:
    """Predict a mask per class inside each box (arXiv:1703.06870).

    Four convolutions, a transposed one that doubles the resolution, and a 1 x 1 convolution. "v2"
    has batch normalization, "light" depthwise convolutions with group normalization.

    Args:
        num_classes: number of categories C, without background.
        width: channels of the features.
        layout: one of `pyramid.LAYOUTS`.

    Returns:
        keras.Model "mask_head": features (B, R, 14, 14, width), and for "v2" also a bool (B, R),
        False for padding -> (B, R, 28, 28, C + 1) float32 logits with background first.
    """
    features, inputs, valid = _head_inputs(MASK_POOL, width, layout)
    x = FoldRois(name="mask_fold")(features)
    if layout == "light":
        x = _light_convolutions(x, width)
    else:
        x = _convolutions(x, valid, width, "mask_conv")
    kernel = _fan_out()
    x = layers.Conv2DTranspose(
        width, 2, strides=2, activation="relu", kernel_initializer=kernel, name="mask_deconv"
    )(x)
    x = layers.Conv2D(num_classes + 1, 1, kernel_initializer=kernel, name="mask_logits")(x)
    logits = UnfoldRois(dtype="float32", name="mask_unfold")(x, features)
    return keras.Model(inputs, logits, name="mask_head")


def call_head(head: keras.Model, features, valid, **options):
    """Call a head, with or without the validity of the RoIs."""
    inputs = [features, valid] if len(head.inputs) > 1 else features
    return head(inputs, **options)


def _head_inputs(side, width, layout):
    """Return the features, all inputs of the head, and the validity (None without batch norm)."""
    features = keras.Input((None, side, side, width), name="features")
    if layout != "v2":
        return features, features, None
    valid = keras.Input((None,), dtype="bool", name="valid")
    return features, [features, valid], valid


def _convolutions(x, valid, width, name):
    """Four 3 x 3 convolutions, with batch normalization if there is a validity, and ReLU."""
    for index in range(1, 5):
        x = layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=valid is None,
            kernel_initializer=_fan_out(),
            name=f"{name}{index}",
        )(x)
        if valid is not None:
            x = RoiBatchNorm(epsilon=EPSILON, name=f"{name}{index}_bn")(x, valid)
        x = layers.ReLU(name=f"{name}{index}_relu")(x)
    return x


def _light_convolutions(x, width):
    """Four separable convolutions with group normalization, which does not mix RoIs, and ReLU."""
    for index in range(1, 5):
        name = f"mask_conv{index}"
        x = depthwise(x, f"{name}_depthwise", use_bias=False)
        x = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name=name)(x)
        x = layers.GroupNormalization(math.gcd(16, width), name=f"{name}_gn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def _dense(units, name, **options):
    # PyTorch's default: uniform within 1 / sqrt(inputs)
    kernel = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return layers.Dense(units, kernel_initializer=kernel, name=name, **options)


def _fan_out():
    return initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


@keras.saving.register_keras_serializable(package="tfseg")
class ClassMasks(layers.Layer):
    """Turn the mask logits of all classes into probabilities of the predicted class.

    (B, M, s, s, C + 1) logits with background first and (B, M) classes -> (B, M, s, s) float32,
    zeros for padding (class -1).
    """

    def __init__(self, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def call(self, logits, classes):
        """Return the probabilities."""
        chosen = class_channel(logits, classes + 1)
        exists = ops.cast(classes >= 0, "float32")[..., None, None]
        return ops.sigmoid(chosen) * exists

    def compute_output_spec(self, logits, classes):
        """Return the symbolic masks."""
        return keras.KerasTensor(logits.shape[:-1], "float32")


def class_channel(values, channels):
    """Return channel (B, R) of (B, R, ..., C) values: (B, R, ...) float32."""
    one_hot = ops.one_hot(channels, values.shape[-1], dtype="float32")
    for _ in range(len(values.shape) - 3):
        one_hot = one_hot[:, :, None]
    return ops.sum(ops.cast(values, "float32") * one_hot, axis=-1)
