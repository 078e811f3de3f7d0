import functools
from pathlib import Path

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.ops import nms

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "box_goldens.npz")
TENSORFLOW = keras.backend.backend() == "tensorflow"
# IoU of box 0 with boxes 1 to 3: 0.75, 0.5, 0; of boxes 1 and 2: 2/3
BOXES = [[0, 0, 4, 4], [0, 0, 4, 3], [0, 0, 4, 2], [8, 8, 9, 9]]


def compiled(function):
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    import jax

    return jax.jit(function)


@functools.cache
def runner(max_outputs):
    """Return `nms` as it is, or for JAX, which compiles every loop it meets, compiled once."""

    def run(boxes, scores, threshold, classes, valid):
        return nms(boxes, scores, threshold, max_outputs, classes, valid)

    return run if TENSORFLOW else compiled(run)


def kept_rows(boxes, scores, threshold, max_outputs=None, classes=None, valid=None):
    """Return the indices kept of one image, without the padding."""
    indices, kept = runner(max_outputs or len(boxes))(
        np.array([boxes], "float32"),
        np.array([scores], "float32"),
        threshold,
        classes if classes is None else np.array([classes], "int32"),
        valid if valid is None else np.array([valid], bool),
    )
    assert indices.shape == kept.shape == (1, max_outputs or len(boxes))
    return without_padding(indices, kept)[0]


def without_padding(indices, kept):
    """Return the indices kept of each image; check that padding is 0 and comes last."""
    indices, kept = ops.convert_to_numpy(indices), ops.convert_to_numpy(kept)
    assert indices.dtype == "int32"
    assert (indices[~kept] == 0).all()
    assert (np.sort(~kept, axis=1) == ~kept).all()
    return [row[is_kept].tolist() for row, is_kept in zip(indices, kept, strict=True)]


def draw(rng, count, extent=9):
    """Return boxes on a grid of half pixels and few different scores: many ties of both."""
    corners = rng.integers(0, 2 * extent, (count, 2)) / 2
    boxes = np.concatenate([corners, corners + rng.integers(0, extent, (count, 2)) / 2], 1)
    return boxes, rng.integers(0, 8, count) / 8


def test_by_hand():
    # 1 and 2 overlap 0 by 0.75 and 0.5
    assert kept_rows(BOXES, [0.9, 0.8, 0.7, 0.6], 0.4) == [0, 3]
    # An IoU equal to the threshold is not above it.
    assert kept_rows(BOXES, [0.9, 0.8, 0.7, 0.6], 0.5) == [0, 2, 3]
    # 1 is dropped by 0, so it drops 2 no longer.
    assert kept_rows(BOXES, [0.9, 0.8, 0.7, 0.6], 0.6) == [0, 2, 3]
    # In another order 1 is the best and drops both.
    assert kept_rows(BOXES, [0.8, 0.9, 0.7, 0.95], 0.6) == [3, 1]


def test_of_equal_scores_the_first_counts():
    assert kept_rows(BOXES, [0.5, 0.5, 0.5, 0.5], 0.4) == [0, 3]
    assert kept_rows(BOXES[::-1], [0.5, 0.5, 0.5, 0.5], 0.55) == [0, 1, 3]


def test_classes_do_not_suppress_each_other():
    scores = [0.9, 0.8, 0.7, 0.6]
    assert kept_rows(BOXES, scores, 0.4, classes=[0, 1, 0, 0]) == [0, 1, 3]
    assert kept_rows(BOXES, scores, 0.4, classes=[0, 1, 2, 0]) == [0, 1, 2, 3]


def test_best_rows_are_kept_and_missing_ones_are_padding():
    scores = [0.1, 0.2, 0.3, 0.4]
    assert kept_rows(BOXES, scores, 0.4, max_outputs=1) == [3]
    assert kept_rows(BOXES, scores, 0.4, max_outputs=7) == [3, 2]


def test_padding_neither_stays_nor_suppresses():
    valid = [False, True, True, True]
    assert kept_rows(BOXES, [0.9, 0.8, 0.7, 0.6], 0.7, valid=valid) == [1, 2, 3]
    assert kept_rows(BOXES, [0.9, 0.8, 0.7, 0.6], 0.5, valid=valid) == [1, 3]
    assert kept_rows(BOXES, [0.9, 0.8, 0.7, 0.6], 0.5, valid=[False] * 4) == []
    # Padding may be anything.
    boxes = [[np.nan] * 4, [np.inf] * 4, *BOXES]
    scores = [np.nan, np.inf, 0.9, 0.8, 0.7, 0.6]
    assert kept_rows(boxes, scores, 0.5, valid=[False, False, *[True] * 4]) == [2, 4, 5]


def test_negative_scores_are_scores():
    assert kept_rows(BOXES, [-3.0, -1.0, -2.0, -9.0], 0.4, valid=[True, True, True, False]) == [1]


def test_boxes_without_area_stay():
    flat = [[1, 1, 1, 1], [1, 1, 1, 1], [3, 3, 2, 2]]
    assert kept_rows(flat, [0.3, 0.2, 0.1], 0.5) == [0, 1, 2]


def test_images_do_not_suppress_each_other():
    boxes = np.array([BOXES, BOXES[::-1]], "float32")
    scores = np.array([[0.9, 0.8, 0.7, 0.6]] * 2, "float32")
    assert without_padding(*nms(boxes, scores, 0.55, 4)) == [[0, 2, 3], [0, 1, 3]]


def test_an_image_with_few_survivors_is_finished_too():
    position = np.arange(256, dtype="float32")[:, None]
    apart = np.concatenate([2 * position, 0 * position, 2 * position + 1, 0 * position + 1], axis=1)
    equal_first = np.where(position < 200, apart[:1], apart)
    scores = np.broadcast_to(-position[:, 0], (2, 256))
    rows = without_padding(*nms(np.stack([apart, equal_first]), scores, 0.5, 30))
    assert rows == [[*range(30)], [0, *range(200, 229)]]


def test_no_boxes():
    found = nms(np.zeros((2, 0, 4), "float32"), np.zeros((2, 0), "float32"), 0.5, 3)
    assert without_padding(*found) == [[], []]
    assert ops.convert_to_numpy(found[1]).tolist() == [[False] * 3] * 2


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.7])
def test_equal_to_torchvision(threshold):
    boxes, scores = GOLDENS["nms_boxes"], GOLDENS["nms_scores"]
    expected = GOLDENS[f"nms_{threshold}"]
    assert 20 < len(expected) < 280
    assert kept_rows(boxes, scores, threshold) == expected.tolist()
    by_class = kept_rows(boxes, scores, threshold, classes=GOLDENS["nms_classes"])
    assert by_class == GOLDENS[f"nms_by_class_{threshold}"].tolist()


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5, 0.8]), st.booleans())
@settings(deadline=None, max_examples=10)
def test_equal_to_the_greedy_loop(seed, threshold, by_class):
    rng = np.random.default_rng(seed)
    boxes, scores = draw(rng, 200)
    classes = rng.integers(0, 3, 200) if by_class else None
    valid = rng.random(200) < 0.8
    expected = oracles.nms(boxes, scores, threshold, classes, valid)
    assert kept_rows(boxes, scores, threshold, 120, classes, valid) == expected[:120]


def test_a_long_chain_of_suppression():
    # Each box overlaps the next one by 2/3: every second box stays. No round of updates settles
    # more than one more box.
    left = np.arange(200.0)
    boxes = np.stack([left, 0 * left, left + 5, 0 * left + 4], axis=1)
    assert kept_rows(boxes, -left, 0.6) == list(range(0, 200, 2))


def test_compiled_equals_eager():
    rng = np.random.default_rng(5)
    images = [draw(rng, 600, 20) for _ in range(2)]
    boxes = np.stack([boxes for boxes, _ in images]).astype("float32")
    scores = np.stack([scores for _, scores in images]).astype("float32")
    classes = rng.integers(0, 2, (2, 600))
    valid = rng.random((2, 600)) < 0.9
    run = compiled(lambda *tensors: nms(tensors[0], tensors[1], 0.3, 100, *tensors[2:]))
    found = run(*map(ops.convert_to_tensor, (boxes, scores, classes, valid)))
    expected = nms(boxes, scores, 0.3, 100, classes, valid)
    assert without_padding(*found) == without_padding(*expected)
    for image, rows in enumerate(without_padding(*found)):
        slow = oracles.nms(boxes[image], scores[image], 0.3, classes[image], valid[image])
        assert rows == slow[:100]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_is_computed_in_float32(dtype):
    # IoU 256 / 511. The areas overflow float16, and 0.501 rounds to 0.5 in bfloat16.
    boxes = np.array([[[-255, 0, 129, 256], [-127, 0, 256, 256]]], "float32")
    scores = np.array([[0.75, 0.5]], "float32")
    found = nms(ops.cast(boxes, dtype), ops.cast(scores, dtype), 0.5, 2)
    assert without_padding(*found) == [[0]]


@pytest.mark.skipif(not TENSORFLOW, reason="only TensorFlow graphs have unknown sizes")
def test_a_graph_with_unknown_sizes():
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None))]
    graph = tf.function(lambda boxes, scores: nms(boxes, scores, 0.5, 5), signature)
    assert graph.get_concrete_function().output_shapes[0][1] == 5
    for count in (0, 2, 30):
        boxes, scores = draw(np.random.default_rng(count), count)
        found = graph(boxes[None].astype("float32"), scores[None].astype("float32"))
        assert without_padding(*found)[0] == oracles.nms(boxes, scores, 0.5)[:5]


def test_gradients_pass_around_it():
    """The boxes that are kept have a gradient; their choice has none, also under JAX."""
    boxes = ops.convert_to_tensor(np.array([BOXES], "float32"))

    def total(boxes):
        indices, kept = nms(boxes, boxes[..., 3], 0.5, 4)
        rows = ops.take_along_axis(boxes, indices[..., None], axis=1)
        return ops.sum(ops.where(kept[..., None], rows, 0.0))

    if TENSORFLOW:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(boxes)
            value = total(boxes)
        gradient = tape.gradient(value, boxes)
        gradient = ops.convert_to_numpy(tf.convert_to_tensor(gradient))
    else:
        import jax

        gradient = np.array(jax.grad(total)(boxes))
    assert gradient[0, :, 0].tolist() == [1, 0, 1, 1]
