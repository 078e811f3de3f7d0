import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import Augment
from tfseg.data.augment.crop import class_pixel as numpy_class_pixel
from tfseg.data.augment.params import draw, to_params
from tfseg.data.native.pieces import class_pixel, piece_cutter

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["classes", "one class", "ignored"])
def test_the_pixel_of_a_class_is_that_of_numpy(kind):
    mask = {
        "classes": RNG.choice([0, 0, 0, 0, 1, 7, 255], (31, 23)).astype(np.uint8),
        "one class": np.full((31, 23), 3, np.uint8),
        "ignored": np.full((31, 22), 255, np.uint8),
    }[kind]
    sampler = Augment(8).crop_sampler
    for number in range(20):
        random = draw(np.array([[5, number]]))
        params = to_params(random, sampler.ranges, sampler.probabilities)
        expected = numpy_class_pixel(mask[None], params, np)[0]
        found = class_pixel(tf.constant(mask), params, 255)
        assert found.dtype == "float32"
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [(40, 50), (20, 50), (16, 12)])
def test_pieces_with_given_corners_are_those_of_numpy(size):
    sample = {
        "image": RNG.integers(0, 256, (*size, 3), np.uint8),
        "mask": RNG.integers(0, 3, size, np.uint8),
    }
    sampler = Augment(13, scale=(0.4, 1.2)).crop_sampler
    canvas = np.minimum(sampler.canvas, (40, 50))
    tensors = {name: tf.constant(array) for name, array in sample.items()}
    cut = piece_cutter(lambda index: (tensors["image"], tensors["mask"], 0), sampler, canvas)
    for number in range(5):
        key = np.array([3, number])
        expected = sampler.extract(sample, key, canvas)
        row = key, expected["random"], expected["extent"], expected["corner"].astype(np.int32)
        found, problem = cut(tf.constant(0, tf.int64), *map(tf.constant, row))
        assert problem == 0
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array), name
