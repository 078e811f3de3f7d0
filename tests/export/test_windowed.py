import pytest
import tensorflow as tf

from tfseg import ops
from tfseg.export.windowed import blend_weights, window_starts


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_in_a_graph_equal_those_of_numpy(overlap):
    for length in (1, 7, 31, 32, 33, 50, 61, 96, 257):
        expected = [y for y, _ in ops.window_corners((length, 1), 32, overlap)]
        found = window_starts(tf.constant(length), 32, overlap)
        assert found.numpy().tolist() == expected


@pytest.mark.parametrize("length", [1, 2, 5, 32])
def test_blend_weights_in_a_graph_equal_those_of_numpy(length):
    found = blend_weights(tf.constant(length)).numpy()
    assert found.dtype == "float32"
    assert found == pytest.approx(ops.blend_weights(length), abs=1e-6)
