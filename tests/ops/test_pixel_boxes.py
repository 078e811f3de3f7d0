import keras
import numpy as np
from keras import ops

from tfseg.data.readers.objects import boxes_or_zero
from tfseg.ops import pixel_boxes


def found_boxes(instances, count):
    return ops.convert_to_numpy(pixel_boxes(np.asarray(instances), count))


def test_by_hand():
    instances = [
        [[0, 0, 3, 0, 0], [0, 3, 0, 0, 1], [0, 0, 0, 0, 0]],
        [[0, 0, 0, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 2, 0]],
    ]
    # Number 3 of the first image covers columns 1 and 2 of rows 0 and 1.
    expected = [
        [[4, 1, 5, 2], [0, 0, 0, 0], [1, 0, 3, 2]],
        [[0, 0, 0, 0], [0, 1, 4, 3], [0, 0, 0, 0]],
    ]
    for dtype in ("uint8", "int32", "int64"):
        found = found_boxes(np.array(instances, dtype), 3)
        assert found.dtype == "float32"
        assert found.tolist() == expected
    assert found_boxes(instances, 2).tolist() == [rows[:2] for rows in expected]
    assert found_boxes(instances, 0).shape == (2, 0, 4)


def test_equal_to_numpy_and_compiled():
    rng = np.random.default_rng(0)
    instances = np.where(rng.random((2, 30, 41)) < 0.04, rng.integers(1, 60, (2, 30, 41)), 0)
    expected = np.stack([boxes_or_zero(image, 60) for image in instances])
    assert (expected[..., 2] == 0).any()
    assert found_boxes(instances, 60).tolist() == expected.tolist()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(pixel_boxes, jit_compile=True, autograph=False)
    else:
        import jax

        run = jax.jit(pixel_boxes, static_argnums=1)
    assert ops.convert_to_numpy(run(instances, 60)).tolist() == expected.tolist()
