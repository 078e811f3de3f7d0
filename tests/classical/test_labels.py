import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage import measure

from tfseg.classical.labels import boxes, connected_components, relabel

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)


def slow_relabel(labels, background):
    """Renumber pixel by pixel."""
    numbers = {} if background is None else {background: 0}
    return np.array(
        [numbers.setdefault(value, len(numbers)) for value in labels.ravel().tolist()]
    ).reshape(labels.shape)


def slow_components(labels, connectivity):
    """Label by flooding from each pixel in turn."""
    components, count = np.zeros(labels.shape, int), 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)][:connectivity]
    for start in np.ndindex(labels.shape):
        if labels[start] == 0 or components[start]:
            continue
        count += 1
        components[start], stack = count, [start]
        while stack:
            y, x = stack.pop()
            for dy, dx in steps:
                place = (y + dy, x + dx)
                inside = 0 <= place[0] < labels.shape[0] and 0 <= place[1] < labels.shape[1]
                if inside and labels[place] == labels[start] and not components[place]:
                    components[place] = count
                    stack.append(place)
    return components


def same(result, expected):
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, expected)


def test_relabel_by_hand():
    labels = np.array([[0, 7, 7, 2], [0, 2, 9, 0]])
    same(relabel(labels), [[0, 1, 1, 2], [0, 2, 3, 0]])
    same(relabel(labels, background=None), [[0, 1, 1, 2], [0, 2, 3, 0]])
    same(relabel(labels, background=2), [[1, 2, 2, 0], [1, 0, 3, 1]])
    same(relabel(labels[:, 1:3]), [[1, 1], [2, 3]])  # without background, still from 1
    same(relabel(labels[:, 1:3], background=None), [[0, 0], [1, 2]])
    same(relabel(labels > 0), [[0, 1, 1, 1], [0, 1, 1, 0]])


@given(
    st.one_of(
        arrays(st.sampled_from(("int8", "uint16", "int64")), SHAPES, elements=st.integers(0, 5)),
        arrays("int32", SHAPES, elements=st.integers(-3, 3)),
        arrays("int64", SHAPES, elements=st.sampled_from((-(10**15), -1, 0, 3, 10**15))),
        arrays("int64", SHAPES, elements=st.sampled_from((-(2**63), -1, 0, 3, 2**63 - 1))),
        arrays("uint64", SHAPES, elements=st.sampled_from((0, 1, 3, 2**64 - 1))),
    ),
    st.sampled_from((0, 3, None)),
)
@settings(deadline=None, max_examples=80)
def test_relabel_equals_a_slow_reference(labels, background):
    same(relabel(labels, background), slow_relabel(labels, background))


def test_components_by_hand():
    mask = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 1], [1, 0, 1, 0, 0]], bool)
    same(connected_components(mask), [[0, 1, 0, 0, 2], [3, 0, 0, 2, 2], [3, 0, 4, 0, 0]])
    same(
        connected_components(mask, connectivity=8),
        [[0, 1, 0, 0, 2], [1, 0, 0, 2, 2], [1, 0, 2, 0, 0]],
    )
    classes = np.array([[5, 5, 2], [2, 5, 2], [5, 2, 0]])
    same(connected_components(classes), [[1, 1, 2], [3, 1, 2], [4, 5, 0]])
    same(connected_components(classes, connectivity=8), [[1, 1, 2], [2, 1, 2], [1, 2, 0]])


@given(
    st.one_of(
        arrays(bool, SHAPES),
        arrays(st.sampled_from(("uint8", "int64")), SHAPES, elements=st.integers(0, 3)),
        arrays("int32", SHAPES, elements=st.sampled_from((-1, 0, 10**9))),
    ),
    st.sampled_from((4, 8)),
)
@settings(deadline=None, max_examples=80)
def test_components_equal_a_slow_reference(labels, connectivity):
    same(connected_components(labels, connectivity), slow_components(labels, connectivity))


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("values", [2, 3, 12])
def test_components_equal_scikit_image(values, connectivity):
    labels = np.random.default_rng(values).integers(0, values, (123, 210))
    expected = measure.label(labels, connectivity=connectivity // 4)
    same(connected_components(labels, connectivity), expected)
    rotated = connected_components(np.rot90(labels), connectivity)
    assert len(np.unique(rotated)) == len(np.unique(expected))


def test_components_of_thousands_of_superpixels():
    y, x = np.indices((400, 600))
    squares = y // 8 * 75 + x // 8 + 1
    same(connected_components(squares), squares)


@pytest.mark.parametrize(
    ("labels", "connectivity", "message"),
    [
        (
            np.zeros((2, 3)),
            4,
            r"got labels of shape \(2, 3\) and dtype float64, expected bool or int.* \(H, W\)",
        ),
        (np.zeros(3, int), 4, r"got labels of shape \(3,\)"),
        (np.zeros((2, 3), int), 6, "connectivity=6 is unknown. Choose from 4, 8"),
    ],
)
def test_invalid_labels_are_refused(labels, connectivity, message):
    with pytest.raises(ValueError, match=f"connected_components: {message}"):
        connected_components(labels, connectivity)


def test_boxes_by_hand():
    labels = np.array([[0, 1, 0, 0], [4, 1, 1, 0], [0, 0, 4, 2]])
    assert boxes(labels) == [np.s_[0:2, 1:3], np.s_[2:3, 3:4], np.s_[0:0, 0:0], np.s_[1:3, 0:3]]
    assert boxes(np.zeros((3, 4), int)) == boxes(np.zeros((0, 4), int)) == []


@given(arrays("uint8", SHAPES, elements=st.integers(0, 4)))
@settings(deadline=None, max_examples=50)
def test_boxes_are_tight(labels):
    for number, box in enumerate(boxes(labels), 1):
        inside = labels[box] == number
        assert inside.sum() == (labels == number).sum()
        assert not inside.size or (
            inside[[0, -1]].any(axis=1).all() and inside[:, [0, -1]].any(axis=0).all()
        )
