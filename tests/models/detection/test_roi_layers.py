"""Layers on regions of interest."""

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models.batch_norm import BatchNorm
from tfseg.models.detection.heads import ClassMasks, box_head, call_head
from tfseg.models.detection.roi_layers import FoldRois, RoiAlign, RoiBatchNorm, UnfoldRois


def random(*shape):
    return np.random.default_rng(0).normal(2, 3, shape).astype("float32")


def weights_of(layer):
    return np.stack([ops.convert_to_numpy(weight) for weight in layer.weights])


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="BatchNorm keeps a biased variance elsewhere"
)
def test_batch_norm_of_all_rois_is_batch_norm():
    x = random(6, 3, 3, 4)
    ours, theirs = RoiBatchNorm(epsilon=1e-3), BatchNorm(epsilon=1e-3)
    found = ops.convert_to_numpy(ours(x, np.ones((2, 3), bool), training=True))
    assert found == pytest.approx(ops.convert_to_numpy(theirs(x, training=True)), abs=1e-4)
    assert weights_of(ours) == pytest.approx(weights_of(theirs), rel=1e-4)
    found = ops.convert_to_numpy(ours(x, np.zeros((2, 3), bool)))
    assert found == pytest.approx(ops.convert_to_numpy(theirs(x)), abs=1e-4)


def test_padded_rois_do_not_count_in_the_statistics():
    x, valid = random(6, 3, 3, 4), np.array([[True, False, True], [True, True, False]])
    few, all_of_them = RoiBatchNorm(), RoiBatchNorm()
    rows = valid.reshape(-1)
    expected = all_of_them(x[rows], np.ones((1, 4), bool), training=True)
    x[~rows] = 1e4
    found = ops.convert_to_numpy(few(x, valid, training=True))
    assert found[rows] == pytest.approx(ops.convert_to_numpy(expected), abs=1e-5)
    assert weights_of(few) == pytest.approx(weights_of(all_of_them), rel=1e-5)


def test_a_batch_without_rois_leaves_the_statistics():
    layer = RoiBatchNorm()
    found = layer(random(2, 3, 3, 4), np.zeros((1, 2), bool), training=True)
    assert np.isfinite(ops.convert_to_numpy(found)).all()
    assert weights_of(layer).tolist() == [[1] * 4, [0] * 4, [0] * 4, [1] * 4]


def test_a_frozen_layer_keeps_its_statistics():
    layer = RoiBatchNorm(trainable=False)
    x = random(2, 3, 3, 4)
    found = ops.convert_to_numpy(layer(x, np.ones((1, 2), bool), training=True))
    assert found == pytest.approx(x, rel=1e-4)
    assert weights_of(layer)[2].tolist() == [0] * 4


def test_the_head_gives_real_rois_the_same_outputs_whatever_the_padding_contains():
    keras.utils.set_random_seed(0)
    head = box_head(2, 4, "v2")
    start = head.get_weights()
    x, valid = random(2, 3, 7, 7, 4), np.array([[True, True, False], [True, False, False]])
    first = call_head(head, x, valid, training=True)
    head.set_weights(start)
    x[~valid] = -99
    second = call_head(head, x, valid, training=True)
    for name, values in first.items():
        expected = ops.convert_to_numpy(values)[valid]
        assert ops.convert_to_numpy(second[name])[valid] == pytest.approx(expected, abs=1e-5)


def test_folding_keeps_the_order():
    x = random(2, 3, 4, 5)
    folded = FoldRois()(x)
    assert np.array_equal(ops.convert_to_numpy(folded), x.reshape(6, 4, 5))
    assert np.array_equal(ops.convert_to_numpy(UnfoldRois()(folded, x)), x)


def test_boxes_stay_in_float32_in_half_precision():
    # 2049 is not a float16; the ramp has the value x + 1 at the pixel x of stride 4
    ramp = np.arange(1, 1025, dtype="float32")[None, None, :, None].repeat(8, 1)
    align = RoiAlign(2, (4,), dtype="mixed_float16")
    found = ops.convert_to_numpy(align([ramp], np.array([[[2049, 0, 2057, 8]]], "float32")))
    assert found[0, 0, 0, :, 0] == pytest.approx([513.75, 514.75])


def test_masks_are_those_of_the_detected_class():
    logits = np.zeros((1, 3, 1, 2, 3), "float32")
    logits[0, 0, 0, :, 1], logits[0, 1, 0, :, 2] = np.log(3), -np.log(3)
    found = ops.convert_to_numpy(ClassMasks()(logits, np.array([[0, 1, -1]], "int32")))
    assert found[0, :, 0] == pytest.approx(np.array([[0.75, 0.75], [0.25, 0.25], [0, 0]]))
