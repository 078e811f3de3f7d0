"""Goldens of torchvision's C++ kernel come from tests/goldens/roi_align_goldens.py."""

import functools
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.ops import multiscale_roi_align, roi_align

STRIDES = (4, 8, 16, 32)
SETTINGS = [(aligned, *size) for aligned in (False, True) for size in ((3, 2), (2, 3))]


@functools.cache
def goldens():
    with np.load(Path(__file__).parents[1] / "goldens" / "roi_align.npz") as arrays:
        return dict(arrays)


def array(values, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(values, dtype))


def number(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def value_and_gradients(function, maps, weights, jit_compile=None):
    """Return the result of a function of feature maps, and the gradients of its weighted sum.

    It runs eagerly, or if `jit_compile` is False or True as a graph of TensorFlow or XLA.
    """
    if keras.backend.backend() == "jax":
        import jax

        def loss(*maps):
            result = function(*maps)
            return ops.sum(result * weights), result

        run = jax.value_and_grad(loss, argnums=tuple(range(len(maps))), has_aux=True)
        (_, result), gradients = (jax.jit(run) if jit_compile else run)(*maps)
        return result, gradients
    import tensorflow as tf

    def run(*maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            result = function(*maps)
            total = tf.reduce_sum(result * weights)
        return result, tape.gradient(total, maps)

    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile)
    return run(*maps)


def test_values_by_hand():
    # row r, column c holds 8 r + c; bins of 2 x 2 pixels from 1 to 3 and 3 to 5 have samples at
    # 1.5 and 2.5, and 3.5 and 4.5: means 2 and 4, so 8 * 2 + 2 = 18 and so on. Aligned samples are
    # half a pixel before them.
    features = array(np.arange(64).reshape(1, 8, 8, 1))
    boxes = array([[[1, 1, 5, 5]]])
    assert number(roi_align(features, boxes, 2, 1)).ravel().tolist() == [18, 20, 34, 36]
    aligned = number(roi_align(features, boxes, 2, 1, aligned=True))
    assert aligned.ravel().tolist() == [13.5, 15.5, 29.5, 31.5]


def test_rows_columns_and_stride_by_hand():
    # A box 2 feature pixels wide and 4 high, one bin. Rows 1 to 5 at 2 and 4: mean 3; columns 2 to
    # 4 at 2.5 and 3.5: mean 3. 10 * 3 + 3 in the first image; the second image adds 100.
    y, x = np.mgrid[:6, :7]
    features = np.stack([10.0 * y + x, 10.0 * y + x + 100])[..., None]
    boxes = array(np.tile([[[16, 8, 32, 40]]], (2, 1, 1)))
    assert number(roi_align(array(features), boxes, 1, 8)).ravel().tolist() == [33, 133]


def test_samples_outside_by_hand():
    # One sample per bin, map of ones with 4 x 4 pixels. Columns -1.5, -0.5, ..., 5.5: at most one
    # pixel left of the first center or right of the last one counts, 4.5 does not.
    pooled = roi_align(ops.ones((1, 4, 4, 1)), array([[[-2, -2, 6, 6]]]), 8, 1, sampling_ratio=1)
    inside = np.array([0, 1, 1, 1, 1, 1, 0, 0])
    assert np.array_equal(number(pooled)[0, 0, :, :, 0], np.outer(inside, inside))


@pytest.mark.parametrize(("aligned", "size", "ratio"), SETTINGS)
def test_equals_torchvision(aligned, size, ratio):
    name = f"level_aligned{int(aligned)}_size{size}_ratio{ratio}"
    boxes = array(goldens()["level_boxes"])
    result, (gradient,) = value_and_gradients(
        lambda maps: roi_align(maps, boxes, size, 4, ratio, aligned),
        [array(goldens()["level_features"])],
        array(goldens()[f"{name}_weights"]),
    )
    assert np.abs(goldens()[name]).max() > 3
    assert number(result) == pytest.approx(goldens()[name], abs=1e-4)
    assert number(gradient) == pytest.approx(goldens()[f"{name}_gradient"], abs=1e-4)


@pytest.fixture
def in_chunks(monkeypatch):
    """Pool a few boxes at a time, with a smaller last chunk."""
    monkeypatch.setattr(sys.modules[roi_align.__module__], "CHUNK_VALUES", 2000)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_pyramid_equals_torchvision(jit_compile, in_chunks):
    boxes = array(goldens()["pyramid_boxes"])
    maps = [array(goldens()[f"pyramid_map{index}"]) for index in range(4)]
    result, gradients = value_and_gradients(
        lambda *maps: multiscale_roi_align(list(maps), boxes, STRIDES, 3),
        maps,
        array(goldens()["pyramid_weights"]),
        jit_compile,
    )
    assert number(result) == pytest.approx(goldens()["pyramid_pooled"], abs=1e-4)
    for index, gradient in enumerate(gradients):
        expected = goldens()[f"pyramid_gradient{index}"]
        assert np.abs(expected).max() > 1  # every level has boxes
        assert number(gradient) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("chunk", [2**25, 2000])
def test_eager_equals_torchvision(chunk, monkeypatch):
    monkeypatch.setattr(sys.modules[roi_align.__module__], "CHUNK_VALUES", chunk)
    maps = [array(goldens()[f"pyramid_map{index}"]) for index in range(4)]
    pooled = multiscale_roi_align(maps, array(goldens()["pyramid_boxes"]), STRIDES, 3)
    assert number(pooled) == pytest.approx(goldens()["pyramid_pooled"], abs=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_rounds_only_the_result(dtype):
    # The features are small integers, exact in both types; coordinates stay in float32.
    name = "level_aligned0_size3_ratio2"
    features = ops.cast(array(goldens()["level_features"]), dtype)
    pooled = roi_align(features, array(goldens()["level_boxes"]), 3, 4)
    assert keras.backend.standardize_dtype(pooled.dtype) == dtype
    expected = number(ops.cast(array(goldens()[name]), dtype))
    step = {"bfloat16": 2**-7, "float16": 2**-10}[dtype]
    assert number(pooled) == pytest.approx(expected, rel=step, abs=1e-4)


def test_levels_of_boxes():
    # Maps hold their level. 224 px belong to level 4; half of it is level 3, twice is level 5.
    # A side of 223 is just under; the smallest and the largest box stay on the levels there are.
    sides = [1, 0, 111, 112, 223, 224, 447, 448, 896, 1000]
    levels = [2, 2, 2, 3, 3, 4, 4, 5, 5, 5]
    maps = [
        ops.full((1, 256 // stride, 256 // stride, 1), index + 2.0)
        for index, stride in enumerate(STRIDES)
    ]
    boxes = array([[[0, 0, side, side] for side in sides]])
    pooled = number(multiscale_roi_align(maps, boxes, STRIDES, 4))
    assert pooled[0, :, 0, 0, 0].tolist() == levels
    small = number(multiscale_roi_align(maps, boxes / 8, STRIDES, 4, canonical_size=28))
    assert small[0, :, 0, 0, 0].tolist() == levels


def test_no_boxes():
    maps = [ops.ones((2, 8, 8, 3)), ops.ones((2, 4, 4, 3))]
    pooled = multiscale_roi_align(maps, ops.zeros((2, 0, 4)), (4, 8), 7)
    assert tuple(pooled.shape) == (2, 0, 7, 7, 3)


def test_boxes_get_no_gradient():
    features = array(goldens()["level_features"])
    boxes = array(goldens()["level_boxes"])
    _, (gradient,) = value_and_gradients(
        lambda boxes: roi_align(features, boxes, 2, 4), [boxes], 1.0
    )
    assert gradient is None or not number(gradient).any()


def test_unknown_batch_and_sizes_in_a_model(in_chunks):
    features = keras.Input((None, None, 3))
    boxes = keras.Input((15, 4))

    class Pool(keras.Layer):
        def call(self, features, boxes):
            return roi_align(features, boxes, 3, 4)

    model = keras.Model([features, boxes], Pool()(features, boxes))
    assert model.output.shape == (None, 15, 3, 3, 3)
    pooled = model.predict(
        [goldens()["level_features"].astype("float32"), goldens()["level_boxes"]], verbose=0
    )
    expected = goldens()["level_aligned0_size3_ratio2"]
    assert pooled == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("strides", [(4,), (4, 12), (8, 4)])
def test_wrong_strides(strides):
    maps = [ops.ones((1, 8, 8, 1)), ops.ones((1, 4, 4, 1))]
    with pytest.raises(ValueError, match="each twice the one before"):
        multiscale_roi_align(maps, ops.zeros((1, 1, 4)), strides, 2)
