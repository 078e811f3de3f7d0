"""Images in a canvas of fixed size."""

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models.letterbox import Letterbox, size_in_canvas


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 200), (32, 64)),
        ((200, 100), (48, 24)),
        ((31, 41), (48, 63)),  # 41 * 48 / 31 = 63.48
        ((3, 1000), (1, 64)),  # never without a row
        ((48, 64), (48, 64)),
    ],
)
def test_proportions_are_kept(size, expected):
    assert size_in_canvas(*size, (48, 64)) == expected
    tensors = [ops.convert_to_tensor(side) for side in size]
    assert tuple(int(side) for side in size_in_canvas(*tensors, (48, 64))) == expected
    assert size_in_canvas(*size, None) == size


@pytest.mark.parametrize("size", [(100, 200), (20, 11), (48, 64)])
def test_images_are_resized_bilinearly(size):
    image = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    found = ops.convert_to_numpy(Letterbox((48, 64))(image))
    height, width = size_in_canvas(*size, (48, 64))
    expected = ops.convert_to_numpy(ops.image.resize(image, (height, width)))
    assert found.shape == (2, 48, 64, 3)
    assert found[:, :height, :width] == pytest.approx(expected, abs=1e-3)
    assert not found[:, height:].any()
    assert not found[:, :, width:].any()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows all sizes")
def test_unknown_sizes_give_the_same_canvas():
    import tensorflow as tf

    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 70, 3)).astype("float32")
    graph = tf.function(Letterbox((48, 64)).call, [tf.TensorSpec((None, None, None, 3))])
    assert graph(image).shape == (1, 48, 64, 3)
    assert np.array_equal(graph(image), Letterbox((48, 64))(image))
