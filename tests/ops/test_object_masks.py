"""Goldens of torchvision come from tests/goldens/roi_align_goldens.py."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.ops import crop_masks, paste_mask, paste_masks


@functools.cache
def goldens():
    with np.load(Path(__file__).parents[1] / "goldens" / "roi_align.npz") as arrays:
        return dict(arrays)


def array(values, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(values, dtype))


def cropped(instances, boxes, ids, size):
    """Return the crops of one image's objects."""
    masks = crop_masks(array(instances, "int32")[None], array([boxes]), array([ids], "int32"), size)
    return ops.convert_to_numpy(masks)[0]


@pytest.mark.parametrize("size", [5, 28])
def test_crops_equal_torchvision(size):
    found = cropped(*(goldens()[f"targets_{name}"] for name in ("instances", "boxes", "ids")), size)
    assert found == pytest.approx(goldens()[f"targets_size{size}"], abs=2e-5)


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def test_compiled_crops_of_two_images():
    instances, ids, boxes = (goldens()[f"targets_{name}"] for name in ("instances", "ids", "boxes"))
    instances = np.stack([instances, instances[::-1] * 2])
    ids, boxes = np.stack([ids, ids[::-1] * 2]), np.stack([boxes, boxes[::-1]])
    run = compiled(lambda *arguments: crop_masks(*arguments, 5))
    found = ops.convert_to_numpy(run(array(instances, "int32"), array(boxes), array(ids, "int32")))
    assert found[0] == pytest.approx(goldens()["targets_size5"], abs=2e-5)
    alone = cropped(instances[1], boxes[1], ids[1], 5)
    assert alone.max() == 1
    assert found[1] == pytest.approx(alone, abs=1e-6)


def test_crops_by_hand():
    # Object 7 covers columns 2 to 5 of row 3. Bins of 2 x 2 pixels have samples at whole and half
    # coordinates: rows 2.5 and 3.5 of the bin from 2 to 4 see the row with weight 1/2 each, columns
    # 2.5 and 3.5 see all of it; columns 4.5 and 5.5: 1 and 1/2.
    instances = np.zeros((9, 9))
    instances[3, 2:6] = 7
    found = cropped(instances, [[2, 2, 6, 6], [2, 2, 6, 6]], [7, 1], 2)
    assert found[0].tolist() == [[0.5, 0.375], [0, 0]]
    assert not found[1].any()


def test_crops_of_no_boxes():
    assert cropped(np.ones((8, 8)), np.zeros((0, 4)), [], 28).shape == (0, 28, 28)


def test_pasted_masks_equal_torchvision():
    masks, boxes = goldens()["paste_masks"], goldens()["paste_boxes"]
    found = paste_masks(masks, boxes, 33, 47)
    assert found.dtype == "float32"
    assert found == pytest.approx(goldens()["paste_pasted"], abs=1e-6)
    # pixels outside of the box are exactly 0
    assert np.array_equal(found > 0, goldens()["paste_pasted"] > 0)


def test_a_pasted_crop_and_its_place():
    for mask, box, pasted in zip(
        goldens()["paste_masks"], goldens()["paste_boxes"], goldens()["paste_pasted"], strict=True
    ):
        crop, top, left = paste_mask(mask, box, 33, 47)
        canvas = np.zeros((33, 47))
        canvas[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        assert canvas == pytest.approx(pasted, abs=1e-6)
        assert crop.shape < (33, 47) or box[2] - box[0] > 47


@pytest.mark.parametrize(
    "box", [[60, 2, 70, 9], [3, -30, 9, -10], [-9, -9, -5, -5], [2, 40, 5, 50]]
)
def test_boxes_outside_paste_nothing(box):
    crop, top, left = paste_mask(np.ones((28, 28)), np.array(box), 33, 47)
    assert crop.size == 0
    assert 0 <= top <= 33
    assert 0 <= left <= 47
    assert not paste_masks(np.ones((1, 28, 28)), np.array([box]), 33, 47).any()


def test_no_masks():
    assert paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), 5, 6).shape == (0, 5, 6)
