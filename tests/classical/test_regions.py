import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage import measure

from tfseg.classical.labels import connected_components
from tfseg.classical.regions import fill_holes, filter_objects, remove_small, smooth

CLEANERS = (lambda labels: remove_small(labels, 2), filter_objects, fill_holes, smooth)
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)
LABELS = arrays("uint8", SHAPES, elements=st.integers(0, 3))


def draw(text):
    """Return a label map from rows of digits; '.' is background."""
    return np.array([[int(pixel.replace(".", "0")) for pixel in row] for row in text.split()])


def same(result, expected):
    assert result.dtype == (bool if np.asarray(expected).dtype == bool else np.int32)
    np.testing.assert_array_equal(result, expected)


def blobs(seed=0, shape=(120, 150)):
    """Return a label map of blobs of many shapes."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3.5)
    return connected_components(rough > 0.02)


def test_remove_small_by_hand():
    labels = draw("3.33..1 .......  77..199")
    same(remove_small(labels, 3), draw("1.11... ....... ......."))
    same(remove_small(labels, 2), draw("1.11..2 ....... 33..244"))
    mask = labels > 0  # its components have 1, 2, 1, 2 and 3 pixels
    same(remove_small(mask, 2), draw("..11... ....... 11..111") > 0)
    same(remove_small(mask, 3), draw("....... ....... ....111") > 0)
    same(remove_small(labels, 0), remove_small(labels, 1))


@given(LABELS, st.integers(0, 12))
@settings(deadline=None, max_examples=50)
def test_remove_small_equals_a_slow_reference(labels, min_pixels):
    kept = [value for value in (1, 2, 3) if (labels == value).sum() >= min_pixels]
    result = remove_small(labels, min_pixels)
    np.testing.assert_array_equal(result > 0, np.isin(labels, kept))
    assert result.max(initial=0) == len(set(kept) & set(labels.flat))
    same(filter_objects(labels, min_pixels), result)
    components = connected_components(labels > 0)
    same(remove_small(labels > 0, min_pixels), remove_small(components, min_pixels) > 0)


def test_filter_objects_by_hand():
    labels = draw("""
        1........
        ...222...
        .3.2..44.
        .3.222.4.
        .........
    """)
    # Areas 1, 7, 2, 3; hull areas 1, 9, 2, 3.5 (the hull of three pixels around a corner adds half
    # a pixel).
    same(
        filter_objects(labels, max_pixels=3),
        draw("1........ ......... .2....33. .2.....3. ........."),
    )
    same(filter_objects(labels, min_pixels=2, max_pixels=3) > 0, (labels == 3) | (labels == 4))
    same(filter_objects(labels, touching_border=False) > 0, labels > 1)
    same(filter_objects(labels, min_solidity=7 / 9 - 1e-9) > 0, labels > 0)
    same(filter_objects(labels, min_solidity=7 / 9 + 1e-9) > 0, (labels > 0) & (labels != 2))
    same(filter_objects(labels, min_solidity=3 / 3.5 + 1e-9) > 0, (labels == 1) | (labels == 3))
    same(filter_objects(labels, min_solidity=1) > 0, (labels == 1) | (labels == 3))
    same(filter_objects(labels > 0, min_solidity=1), (labels == 1) | (labels == 3))
    same(filter_objects(labels, min_solidity=1.1), np.zeros_like(labels, np.int32))


def test_circularity_of_discs_squares_and_lines():
    y, x = np.indices((64, 64))
    disc = np.hypot(y - 30, x - 31) < 20.5
    square, line = (y > 9) & (y < 40) & (x > 9) & (x < 40), (y == 30) & (x > 9) & (x < 50)
    for shape, circularity in ((disc, 1), (square, 0.87), (line, 0.09)):
        same(filter_objects(shape, min_circularity=circularity - 0.04), shape)
        assert not filter_objects(shape, min_circularity=circularity + 0.04).any()


@given(LABELS, st.floats(0, 2))
@settings(deadline=None, max_examples=50)
def test_circularity_equals_scikit_image(labels, minimum):
    def circularity(value):
        perimeter = measure.perimeter_crofton(np.pad(labels == value, 1), directions=4)
        return 4 * np.pi * (labels == value).sum() / perimeter**2

    above = [value for value in set(labels.flat) - {0} if circularity(value) >= minimum + 1e-9]
    below = [value for value in set(labels.flat) - {0} if circularity(value) <= minimum - 1e-9]
    kept = filter_objects(labels, min_circularity=minimum) > 0
    assert kept[np.isin(labels, above)].all()
    assert not kept[np.isin(labels, below)].any()


def test_solidity_is_close_to_scikit_image():
    labels = blobs()
    table = measure.regionprops_table(labels, properties=("label", "area", "solidity"))
    for bound in (0.8, 0.9):
        # skimage's hull goes through the middles of the pixels' sides, so it is slightly smaller.
        sure = table["label"][table["solidity"] < bound - 0.03]
        kept = filter_objects(labels, min_solidity=bound)
        assert 0 < kept.max() < labels.max()
        assert not kept[np.isin(labels, sure)].any()
        solid = table["label"][table["solidity"] > bound + 0.06]
        assert kept[np.isin(labels, solid)].all()


def test_fill_holes_by_hand():
    labels = draw("""
        1111....2222.
        1..1.33.2.44.
        1.11.3.32.222
        1111.33.22...
        ......55....5
        .....5.66...5
        .....555.5555
    """)
    filled = draw("""
        1111....2222.
        1111.33.2.44.
        1111.3332.222
        1111.33.22...
        ......55....5
        .....5.66...5
        .....555.5555
    """)
    same(
        fill_holes(labels), filled
    )  # not filled: the bay of 2 and 4, the hole between 5 and 6, the image border
    same(fill_holes(labels, max_pixels=3), filled)
    same(
        fill_holes(labels, max_pixels=2),
        np.where(labels == 1, 1, np.where(filled == 1, 0, filled)) | (labels == 1),
    )
    same(fill_holes(labels > 0), ndimage.binary_fill_holes(labels > 0))
    same(fill_holes(draw("111 1.1 1.1")), draw("111 1.1 1.1"))
    same(
        fill_holes(draw(".1. 1.1 .1.") * 300), draw(".1. 111 .1.") * 300
    )  # closed although only corners touch


@given(LABELS)
@settings(deadline=None, max_examples=80)
def test_fill_holes_equals_a_slow_reference(labels):
    same(fill_holes(labels > 0), ndimage.binary_fill_holes(labels > 0))
    expected = labels.copy()
    cross = ndimage.generate_binary_structure(2, 1)
    holes, count = ndimage.label(labels == 0)
    for number in range(1, count + 1):
        hole = holes == number
        adjacent = set(labels[ndimage.binary_dilation(hole, cross) & ~hole].tolist())
        if len(adjacent) == 1 and not (hole[[0, -1]].any() or hole[:, [0, -1]].any()):
            expected[hole] = adjacent.pop()
    same(fill_holes(labels), expected.astype(int))


def test_smooth_by_hand():
    labels = draw("""
        .........
        ..77..99.
        .7777999.
        ..77..99.
        ..7......
        ..7......
    """)
    # The spike of 7 and the corners of 9 are not covered by a cross inside the object. 9 contains
    # only the cross around its center.
    opened = cv2.morphologyEx(
        (labels == 7).astype(np.uint8), cv2.MORPH_OPEN, np.uint8([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    )
    result = smooth(labels)
    same(result, draw("......... ..77..9.. .7777999. ..77..9.. ......... ........."))
    assert ((result == 7) == opened).all()
    same(smooth(labels, 3), np.zeros_like(labels))


def test_gaps_claimed_by_two_objects_stay_background():
    # Found by random search: the opening removes corners of 1 and of 2 in the third column, and
    # both closings claim them.
    labels = draw("11222222. 11122222. 2112222.. 2211222.. 2211122.. 2211112.. 22.111...")
    result = smooth(labels)
    cross = np.uint8([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    opened, closed = [], []
    for number in (1, 2):
        opened.append(cv2.morphologyEx(np.uint8(labels == number), cv2.MORPH_OPEN, cross))
        closed.append(cv2.morphologyEx(opened[-1], cv2.MORPH_CLOSE, cross))
    contested = (closed[0] & closed[1] & ~(opened[0] | opened[1])) > 0
    assert contested.sum() == 2
    assert not result[contested].any()
    assert (result[opened[0] > 0] == 1).all()
    assert (result[opened[1] > 0] == 2).all()


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_smooth_equals_opening_and_closing_of_opencv(radius):
    labels = blobs(1)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = np.uint8(np.hypot(y, x) <= radius)

    def cleaned(mask):
        opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc)
        return cv2.morphologyEx(opened, cv2.MORPH_CLOSE, disc) > 0

    same(smooth(labels > 0, radius), cleaned(labels > 0))
    result = smooth(labels, radius)
    each = np.stack([cleaned(labels == number) for number in range(1, labels.max() + 1)])
    plain = each.sum(axis=0) <= 1
    assert plain.mean() > 0.99
    np.testing.assert_array_equal(
        result[plain], (each.argmax(axis=0) + 1)[plain] * each.any(axis=0)[plain]
    )
    same(
        smooth(np.ones((9, 11), bool), radius), np.ones((9, 11), bool)
    )  # the border does not erode objects


@pytest.mark.parametrize("clean", CLEANERS)
@given(labels=LABELS, numbers=st.permutations((5, 70, 600)))
@settings(deadline=None, max_examples=40)
def test_rotation_numbering_and_dtype_do_not_matter(clean, labels, numbers):
    result = clean(labels)
    assert result.shape == labels.shape
    other = clean(np.array([0, *numbers])[np.rot90(labels)])
    pairs = set(zip(result.flat, np.rot90(other, -1).flat, strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})
    same(np.rot90(clean(np.rot90(labels > 0)), -1), clean(labels > 0))
    before = labels.copy()
    same(clean(labels.astype("int64")), result)
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("clean", CLEANERS)
def test_empty_maps(clean):
    for shape in ((0, 0), (0, 4), (4, 0), (1, 1), (1, 5), (3, 4)):
        for dtype in (bool, int, "uint8"):
            same(
                clean(np.zeros(shape, dtype)), np.zeros(shape, bool if dtype is bool else np.int32)
            )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: remove_small(np.zeros((2, 3)), 4),
            r"remove_small: got labels of shape \(2, 3\) and dtype float64",
        ),
        (lambda: remove_small(np.zeros(3, int), 4), r"remove_small: got labels of shape \(3,\)"),
        (
            lambda: remove_small(np.zeros((2, 3), int), -1),
            "remove_small: min_pixels=-1 must be a finite number of at le",
        ),
        (lambda: filter_objects(np.zeros((2, 3, 1), int)), "filter_objects: got labels of shape"),
        (
            lambda: filter_objects(np.zeros((2, 3), int), max_pixels=-1),
            "filter_objects: max_pixels=-1 must be",
        ),
        (
            lambda: filter_objects(np.zeros((2, 3), int), min_solidity=np.nan),
            "filter_objects: min_solidity=nan",
        ),
        (
            lambda: filter_objects(np.zeros((2, 3), int), min_circularity=-1),
            "filter_objects: min_circularity=-1",
        ),
        (lambda: fill_holes(np.zeros((2, 3))), "fill_holes: got labels of shape"),
        (lambda: fill_holes(np.zeros((2, 3), int), -2), "fill_holes: max_pixels=-2 must be"),
        (lambda: smooth(np.zeros((2, 3))), "smooth: got labels of shape"),
        (
            lambda: smooth(np.zeros((2, 3), int), 0),
            "smooth: radius=0 must be a whole number of at least 1",
        ),
        (lambda: smooth(np.zeros((2, 3), int), 1.5), "smooth: radius=1.5 must be a whole number"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_above_32_bit_are_refused():
    for function in (smooth, fill_holes):
        with pytest.raises(ValueError, match=r"got labels up to 1099511627776, expected 32-bit"):
            function(np.array([[0, 2**40]]))
