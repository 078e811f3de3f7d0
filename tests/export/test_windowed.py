import numpy as np
import pytest
import tensorflow as tf

from tfseg import ops
from tfseg.export.windowed import blend_weights, window_starts, windowed


@pytest.mark.parametrize("stride", [1, 8, 64])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_in_a_graph_equal_those_of_numpy(overlap, stride):
    for length in (1, 7, 31, 32, 33, 50, 61, 96, 257):
        expected = [y for y, _ in ops.window_corners((length, 1), 32, overlap, stride)]
        found = window_starts(tf.constant(length), 32, overlap, stride)
        assert found.numpy().tolist() == expected


@pytest.mark.parametrize("length", [1, 2, 5, 32])
def test_blend_weights_in_a_graph_equal_those_of_numpy(length):
    found = blend_weights(tf.constant(length)).numpy()
    assert found.dtype == "float32"
    assert found == pytest.approx(ops.blend_weights(length), abs=1e-6)


def test_logits_of_one_window_are_averaged_by_weight():
    # windows of 3 start at 0 and 2; their logits are 1 and 2, their weights (1/2, 1, 1/2): pixel 2
    # gets (1 + 2) / 2
    calls = []

    def logits_of(image):
        calls.append(image)
        return tf.zeros_like(image) + float(len(calls))

    image = tf.zeros((1, 3, 5, 1))
    with_python = windowed(logits_of, 3, 0.0, 1, 2)
    found = with_python(image)[0, 1, :, 0]
    assert [call.shape[2] for call in calls] == [3, 3]
    assert found.numpy() == pytest.approx([1, 1, 1.5, 2, 2])


def test_the_last_window_is_cut_at_the_border():
    # 9 columns, windows of 4 at stride 4 and steps of at most 4: starts 0, 4 and 8
    widths = []

    def logits_of(image):
        widths.append(image.shape[2])
        return 2 * image

    image = tf.random.uniform((2, 4, 9, 1))
    assert windowed(logits_of, 4, 0.0, 1, 4)(image).numpy() == pytest.approx(2 * image.numpy())
    assert widths == [4, 4, 1]


def test_windows_are_added_in_place():
    """Padding each window to the image would make the time grow with the square of the pixels."""
    run = tf.function(windowed(lambda image: image, 32, 0.25, 1, 1), autograph=False)
    graph = run.get_concrete_function(tf.TensorSpec((1, None, None, 1))).graph
    library = graph.as_graph_def().library.function
    operations = {node.op for function in library for node in function.node_def}
    assert "TensorStridedSliceUpdate" in operations
    assert not operations & {"Pad", "PadV2", "TensorScatterAdd", "TensorScatterUpdate"}
    assert np.isfinite(run(tf.ones((1, 40, 50, 1)))).all()
