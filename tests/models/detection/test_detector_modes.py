"""Detectors in half precision, with accumulated gradients, and with parts that do not train."""

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models import freeze

# all anchors, so that every layer gets a gradient
EVERY_ANCHOR = {"samples": (2048, 16)}


@pytest.fixture
def precision(request):
    """A global dtype policy for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(request.param)
    yield request.param
    keras.mixed_precision.set_dtype_policy(before)


def kernels(model):
    """{path: values} of all kernels that train."""
    return {
        weight.path: ops.convert_to_numpy(weight)
        for weight in model.trainable_weights
        if weight.name == "kernel"
    }


def unchanged(model, before):
    """The names of layers whose kernels are as they were."""
    return {
        name.split("/")[0]
        for name, values in kernels(model).items()
        if np.array_equal(values, before[name])
    }


@pytest.mark.parametrize(
    ("precision", "layout"),
    [("mixed_float16", "light"), ("mixed_bfloat16", "v2")],
    indirect=["precision"],
)
def test_half_precision_trains_with_exact_boxes(precision, layout, make, objects):
    images, labels = objects
    model = make(layout=layout, score_threshold=0, **EVERY_ANCHOR)
    raw = model.raw(images)
    assert keras.backend.standardize_dtype(raw["levels"][0].dtype) == precision[6:]
    assert keras.backend.standardize_dtype(raw["deltas"][0].dtype) == "float32"
    # the image is wider than the integers that float16 can count
    boxes = ops.convert_to_numpy(model(np.repeat(images[:, :32], 40, axis=2))["boxes"])
    assert boxes.max() > 2048
    assert not np.array_equal(boxes.astype(np.float16), boxes)
    model.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
    before = kernels(model)
    losses = model.train_on_batch(images, labels, return_dict=True)
    assert np.isfinite(list(losses.values())).all()
    assert all(np.isfinite(weights).all() for weights in model.get_weights())
    assert len(before) > 20
    assert not unchanged(model, before)


def test_gradients_are_accumulated_and_a_frozen_encoder_stays(make, objects):
    model = make("faster_rcnn", **EVERY_ANCHOR)
    freeze(model)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model.compile(optimizer, run_eagerly=True)
    before = kernels(model)
    assert {"fpn_lateral2", "rpn_conv1", "rpn_deltas", "box_fc1"} <= unchanged(model, before)
    encoder = model.get_layer("encoder1_conv1")
    weights = encoder.get_weights()
    model.train_on_batch(*objects)
    assert all(np.array_equal(values, before[name]) for name, values in kernels(model).items())
    model.train_on_batch(*objects)
    assert not unchanged(model, before)
    assert not any(name.startswith("encoder") for name in before)
    assert np.array_equal(encoder.get_weights(), weights)
