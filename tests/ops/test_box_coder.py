from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tfseg.ops import decode_boxes, encode_boxes

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "box_goldens.npz")
WEIGHTS = {"rpn": (1.0, 1.0, 1.0, 1.0), "heads": (10.0, 10.0, 5.0, 5.0)}


def encode(boxes, anchors, *weights):
    return ops.convert_to_numpy(encode_boxes(np.array(boxes), np.array(anchors), *weights))


def decode(deltas, anchors, *weights):
    return ops.convert_to_numpy(decode_boxes(np.array(deltas), np.array(anchors), *weights))


def test_deltas_by_hand():
    # anchor: center (4, 6), 8 wide, 4 high; box: center (10, 5), 4 wide, 12 high
    expected = [10 * (10 - 4) / 8, 20 * (5 - 6) / 4, 5 * np.log(4 / 8), 6 * np.log(12 / 4)]
    deltas = encode([[8, -1, 12, 11]], [[0, 4, 8, 8]], (10, 20, 5, 6))
    assert deltas[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", WEIGHTS)
def test_equal_to_torchvision(name):
    anchors = GOLDENS["coder_anchors"]
    encoded = encode(GOLDENS["coder_boxes"], anchors, WEIGHTS[name])
    assert encoded == pytest.approx(GOLDENS[f"coder_encoded_{name}"], rel=1e-6, abs=1e-6)
    decoded = decode(GOLDENS["coder_deltas"], anchors, WEIGHTS[name])
    assert decoded == pytest.approx(GOLDENS[f"coder_decoded_{name}"], rel=1e-5, abs=1e-4)


def test_decoded_sides_are_limited():
    # exp(log(1000 / 16)) * 16 = 1000 pixels wide and 62.5 * 8 = 500 high
    box = decode([[0.0, 0.0, 99.0, 5.0]], [[0.0, 0.0, 16.0, 8.0]])[0]
    assert box == pytest.approx([8 - 500, 4 - 250, 8 + 500, 4 + 250])


corners = arrays("float32", (3, 2, 2), elements=st.floats(0, 800, width=32))


@given(corners, corners)
@settings(deadline=None, max_examples=25)
def test_decoding_inverts_encoding(boxes, anchors):
    boxes = np.concatenate([boxes[:, 0], boxes[:, 0] + boxes[:, 1] / 2 + 20], -1)
    anchors = np.concatenate([anchors[:, 0], anchors[:, 0] + anchors[:, 1] / 2 + 20], -1)
    weights = (10, 10, 5, 5)
    again = decode(encode(boxes, anchors, weights), anchors, weights)
    assert again == pytest.approx(boxes, abs=2e-3)


def test_boxes_without_area_have_finite_deltas():
    flat = [[3.0, 3.0, 3.0, 3.0], [5.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    anchors = [[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0], [9.0, 9.0, 9.0, 9.0]]
    assert np.isfinite(encode(flat, anchors)).all()
    assert np.isfinite(encode(anchors, flat)).all()
    assert np.isfinite(decode(np.full((3, 4), 1e4), flat)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_is_computed_in_float32(dtype):
    # 2049 is not a float16, and a center of 1027.5 needs more digits than either type has.
    anchors = ops.convert_to_tensor([[1024.0, 0.0, 1032.0, 16.0]], dtype)
    deltas = ops.convert_to_tensor([[-0.0625, 0.0, 0.0, 0.0]], dtype)
    boxes = decode_boxes(deltas, anchors)
    assert ops.dtype(boxes) == "float32"
    assert ops.convert_to_numpy(boxes).tolist() == [[1023.5, 0, 1031.5, 16]]
    assert ops.dtype(encode_boxes(anchors, anchors)) == "float32"


def test_no_boxes():
    none = np.zeros((2, 0, 4), "float32")
    assert encode(none, none).shape == (2, 0, 4)
    assert decode(none, none).shape == (2, 0, 4)
