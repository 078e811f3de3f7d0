import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import graph, segmentation
from skimage.measure import label

from tfseg.classical.clusters import mean_shift, to_lab
from tfseg.classical.labels import relabel
from tfseg.classical.superpixels import compact_watershed, felzenszwalb, merge, seeds, slic

needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, "ximgproc"), reason="needs OpenCV's contrib build, cv2.ximgproc"
)
GRIDS = [slic, compact_watershed, pytest.param(seeds, marks=needs_contrib)]
ALL = [*GRIDS, felzenszwalb]
FROM_SCIKIT_IMAGE = [slic, compact_watershed, felzenszwalb]


def draw(text):
    return np.array(
        [[int(pixel.replace(".", "0")) for pixel in row] for row in text.split()], np.int32
    )


def noisy(shape=(61, 83, 3), seed=0):
    """A uint8 image of blurred spots with noise."""
    image = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, shape), (0, 0), 4)
    image = (
        image / np.abs(image).max() * 120
        + 128
        + np.random.default_rng(seed + 1).normal(0, 3, image.shape)
    )
    return image.clip(0, 255).astype(np.uint8)


def quarters(half=40):
    """Four squares of different colors: labels 1 to 4, and the image."""
    labels = draw("12 34").repeat(half, axis=0).repeat(half, axis=1)
    colors = [(0, 0, 0), (220, 40, 30), (30, 180, 60), (50, 60, 200), (210, 210, 210)]
    return labels, np.array(colors, np.uint8)[labels]


def same(one, other):
    """Whether two label maps have the same regions, whatever their numbers."""
    pairs = len(np.unique(one.astype(np.int64) * 10**6 + other))
    return pairs == len(np.unique(one)) == len(np.unique(other))


def edges(labels):
    """Pixels adjacent to one with another label."""
    result = np.zeros(labels.shape, bool)
    for part, values in ((result, labels), (result.T, labels.T)):
        differ = values[1:] != values[:-1]
        part[1:] |= differ
        part[:-1] |= differ
    return result


def scores(regions, ground_truth, ignore=11):
    """Return boundary recall within 2 pixels, and mean IoU and accuracy of the majority classes."""
    known = ground_truth != ignore
    votes = np.bincount(
        regions[known] * 12 + ground_truth[known], minlength=12 * (regions.max() + 1)
    ).reshape(-1, 12)
    best = votes.argmax(axis=1)[regions]
    classes = [(best == c, ground_truth == c) for c in np.unique(ground_truth[known])]
    iou = [(p & t).sum() / ((p | t) & known).sum() for p, t in classes]
    near = cv2.dilate(edges(regions).astype(np.uint8), np.ones((5, 5))) > 0
    return (
        near[edges(ground_truth) & known].mean(),
        np.mean(iou),
        (best == ground_truth)[known].mean(),
    )


@pytest.fixture(scope="module")
def street(shared_data):
    image, ground_truth = (
        shared_data / "camvid" / name
        for name in ("val/0016E5_07959.jpg", "valannot/0016E5_07959.png")
    )
    return np.asarray(Image.open(image).convert("RGB")), np.asarray(
        Image.open(ground_truth)
    ).astype(np.int64)


@pytest.mark.parametrize("method", ALL)
def test_superpixels_do_not_cross_strong_edges(method):
    labels, image = quarters()
    result = method(image)
    assert result.dtype == np.int32
    votes = np.bincount(
        result.ravel() * 5 + labels.ravel(), minlength=5 * (result.max() + 1)
    ).reshape(-1, 5)
    crossed = votes.argmax(axis=1)[result] != labels
    assert not crossed[~edges(labels)].any()  # blur and Sobel filter are symmetric at an edge
    if method is slic:
        assert not crossed.any()
    if method is felzenszwalb:
        np.testing.assert_array_equal(method(image, sigma=0.0), labels)


@pytest.mark.parametrize("shape", [(61, 83, 3), (61, 83), (40, 128, 1), (90, 45, 3)])
@pytest.mark.parametrize("method", ALL)
def test_superpixels_are_connected_and_in_scan_order(method, shape):
    image = noisy(shape)
    result = method(
        image,
        **({"min_pixels": 5, "scale": 10.0} if method is felzenszwalb else {"num_segments": 70}),
    )
    assert result.shape == shape[:2]
    assert result.max() > 20
    assert np.bincount(result.ravel())[0] == 0
    np.testing.assert_array_equal(
        label(result, connectivity=2 if method is felzenszwalb else 1), result
    )


@pytest.mark.parametrize("method", GRIDS)
@pytest.mark.parametrize("num_segments", [30, 150, 400])
def test_number_of_superpixels_is_roughly_met(method, num_segments):
    image = noisy((120, 200, 3))
    result = method(image, num_segments=num_segments)
    minimum = 0.85 if method is compact_watershed else 0.5
    assert minimum * num_segments <= result.max() <= 1.2 * num_segments


@pytest.mark.parametrize("method", ALL)
def test_dtypes_of_the_same_image_agree(method):
    image = noisy()
    options = {} if method is felzenszwalb else {"num_segments": 60}
    expected = method(image, **options)
    np.testing.assert_array_equal(method(image.astype(np.float32), **options), expected)
    np.testing.assert_array_equal(method(image.astype(np.uint16) * 257, **options), expected)
    np.testing.assert_array_equal(
        method(image[..., :1], **options), method(image[..., 0], **options)
    )


def test_equal_to_scikit_image():
    image = noisy()
    np.testing.assert_array_equal(slic(image, 80, 7.0), relabel(segmentation.slic(image, 80, 7.0)))
    expected = segmentation.felzenszwalb(image, 60, 0.5, 20)
    np.testing.assert_array_equal(felzenszwalb(image, 60, 0.5, 20), relabel(expected, None) + 1)
    gray = image[..., 0]
    expected = segmentation.felzenszwalb(gray, 60, 0.5, 20, channel_axis=None)
    np.testing.assert_array_equal(felzenszwalb(gray, 60, 0.5, 20), relabel(expected, None) + 1)
    values = (
        gray.astype(np.float32) / 255 * 100
    )  # Sobel filter, written out: (1 2 1) / 4 times (-1 0 1) / 2
    padded = np.pad(values, 1, mode="reflect")
    x, y = padded[:, 2:] - padded[:, :-2], padded[2:] - padded[:-2]
    steps = (x[:-2] + 2 * x[1:-1] + x[2:]) / 8, (y[:, :-2] + 2 * y[:, 1:-1] + y[:, 2:]) / 8
    expected = relabel(segmentation.watershed(np.hypot(*steps), 80, compactness=0.3))
    assert (compact_watershed(gray, 80, 0.3) == expected).mean() > 0.99  # equal up to rounding


def test_slic_converts_gray_to_rgb_and_stretches_contrast():
    # skimage's SLIC compares gray in 0..1 with a compactness meant for CIELAB, and gives squares.
    gray = noisy()[..., 0]
    result = slic(gray, 60)
    np.testing.assert_array_equal(result, slic(np.repeat(gray[..., None], 3, axis=-1), 60))
    squares = segmentation.slic(gray, 60, 10.0, channel_axis=None)
    spread = [
        sum(gray[r == k].var() * (r == k).sum() for k in np.unique(r)) for r in (result, squares)
    ]
    assert spread[0] < 0.8 * spread[1]
    assert (slic(gray // 2, 60) == slic(gray // 2 * 2, 60)).mean() > 0.99


def test_compactness_makes_squares():
    image = noisy()
    for method, loose, tight in ((slic, 1.0, 1000.0), (compact_watershed, 0.0, 100.0)):
        areas = [np.bincount(method(image, 60, c).ravel())[1:] for c in (loose, tight)]
        assert areas[1].std() < 0.3 * areas[0].std()


def test_felzenszwalb_scale_and_min_pixels():
    image = noisy()
    counts = [felzenszwalb(image, scale, min_pixels=4).max() for scale in (5.0, 50.0, 500.0)]
    assert counts[0] > 2 * counts[1] > 4 * counts[2]
    assert np.bincount(felzenszwalb(image, 5.0, min_pixels=40).ravel())[1:].min() >= 40


@pytest.mark.parametrize("method", FROM_SCIKIT_IMAGE)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 7), (7, 1, 3), (5, 3)])
def test_constant_images_of_odd_sizes(method, shape):
    options = {} if method is felzenszwalb else {"num_segments": 1}
    flat = np.full(shape, 9, np.uint8)
    np.testing.assert_array_equal(method(flat, **options), np.ones(shape[:2], int))
    assert 1 <= method(flat).max() <= flat.size  # more superpixels requested than pixels


def test_seeds_without_contrib_build_names_the_fix(monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    expected = "pip uninstall opencv-python-headless; pip install opencv-contrib-python-headless"
    with pytest.raises(ImportError, match=expected):
        seeds(noisy())


@needs_contrib
@pytest.mark.parametrize(
    ("shape", "num_segments"),
    [((1, 1), 10), ((1, 90), 20), ((90, 5), 20), ((20, 20), 250), ((17, 33, 3), 250)],
)
def test_seeds_refuses_what_would_crash_opencv(shape, num_segments):
    with pytest.raises(
        ValueError, match=f"seeds: num_segments={num_segments} .* at least 2 x 2 cells"
    ):
        seeds(np.zeros(shape, np.uint8), num_segments)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5)),
        np.full((4, 4), np.nan),
        np.full((4, 4), 300.0),
        np.zeros(4),
        np.zeros((2, 2, 4)),
    ],
    ids=["empty", "NaN", "out of range", "1-D", "4 channels"],
)
def test_invalid_images_are_refused(method, image):
    with pytest.raises(ValueError, match=rf"^{method.__name__}: "):
        method(image)


@pytest.mark.parametrize(
    ("method", "argument", "value"),
    [
        (slic, "num_segments", 0),
        (slic, "compactness", 0),
        (compact_watershed, "num_segments", 2.5),
        (compact_watershed, "compactness", -1),
        (felzenszwalb, "scale", -1),
        (felzenszwalb, "sigma", math.inf),
        (felzenszwalb, "min_pixels", 0),
        pytest.param(seeds, "num_segments", 0, marks=needs_contrib),
    ],
)
def test_invalid_numbers_are_refused(method, argument, value):
    with pytest.raises(ValueError, match=f"{method.__name__}: {argument}={value}"):
        method(noisy(), **{argument: value})


# Boundary recall, mean IoU and accuracy of the majority classes, and the number of regions. The
# comments are measured with scikit-image 0.26 and OpenCV 5.0; the bounds are slightly looser.
# 14 x 18 squares: 0.400, 0.561, 0.918 of 252.
@pytest.mark.parametrize(
    ("method", "recall", "iou", "accuracy", "max_count"),
    [
        (slic, 0.59, 0.55, 0.91, 220),  # 0.611, 0.574, 0.920 of 196
        (compact_watershed, 0.61, 0.54, 0.91, 260),  # 0.637, 0.559, 0.921 of 252
        (felzenszwalb, 0.85, 0.68, 0.945, 380),  # 0.879, 0.702, 0.954 of 343
        (mean_shift, 0.88, 0.75, 0.955, 580),  # 0.901, 0.780, 0.964 of 531
        pytest.param(
            seeds, 0.64, 0.53, 0.92, 200, marks=needs_contrib
        ),  # 0.671, 0.557, 0.930 of 180
    ],
)
def test_street(street, method, recall, iou, accuracy, max_count):
    image, ground_truth = street
    result = method(image)
    found = scores(result, ground_truth)
    assert all(
        value >= bound for value, bound in zip(found, (recall, iou, accuracy), strict=True)
    ), found
    assert result.max() <= max_count


def test_merged_superpixels_are_better_than_fewer_superpixels(street):
    image, ground_truth = street
    merged = merge(image, slic(image, 3000))
    few = slic(image, 640)
    assert merged.max() < few.max()  # 485 and 486 with scikit-image 0.26
    gain = np.subtract(scores(merged, ground_truth), scores(few, ground_truth))
    assert gain[0] > 0.1
    np.testing.assert_array_equal(label(merged, connectivity=1), merged)


def slow_merge(values, labels, tolerance):
    """Merge the nearest pair of adjacent regions again and again, with means over all pixels."""
    labels = labels.copy()
    while True:
        pairs = set()
        for y, x in np.ndindex(labels.shape):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < labels.shape[0] and other[1] < labels.shape[1]:
                    pairs.add(tuple(sorted((labels[y, x], labels[other]))))
        distances = {
            (a, b): np.linalg.norm(
                values[labels == a].mean(axis=0) - values[labels == b].mean(axis=0)
            )
            for a, b in pairs
            if 0 < a < b
        }
        if not distances or min(distances.values()) >= tolerance:
            return relabel(labels)
        a, b = min(distances, key=distances.get)
        labels[labels == b] = a


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.floats(0, 90)
)
def test_merge_equals_a_slow_reference(seed, height, width, regions, tolerance):
    rng = np.random.default_rng(seed)
    # from 3 on, so that a single pixel is not taken for one of 0..1
    image = rng.uniform(3, 255, (height, width, 3) if seed % 2 else (height, width))
    labels = rng.integers(0, regions + 1, (height, width))
    expected = slow_merge(to_lab("", image).astype(np.float64), labels, tolerance)
    result = merge(image, labels, tolerance)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("tolerance", [6.0, 15.0])
def test_merge_equals_scikit_image(tolerance):
    def mean(rag, source, target):
        one, other = rag.nodes[source], rag.nodes[target]
        other["total color"] += one["total color"]
        other["pixel count"] += one["pixel count"]
        other["mean color"] = other["total color"] / other["pixel count"]

    def weight(rag, _source, target, other):
        return {
            "weight": np.linalg.norm(
                rag.nodes[target]["mean color"] - rag.nodes[other]["mean color"]
            )
        }

    image = noisy()
    labels = slic(image, 300)
    rag = graph.rag_mean_color(to_lab("", image).astype(np.float64), labels, connectivity=1)
    expected = graph.merge_hierarchical(labels, rag, tolerance, False, True, mean, weight)
    result = merge(image, labels, tolerance)
    assert result.max() < labels.max()
    np.testing.assert_array_equal(result, relabel(expected, background=None) + 1)


def test_merge_by_hand():
    # Levels 0, 10 and 24 of 100 on one, one and two pixels. The nearest are 0 and 10; their mean 5
    # differs from 24 by 19.
    image = np.array([[0, 25.5, 61.2, 61.2]])
    labels = draw("7322")
    assert merge(image, labels, 10.0).tolist() == [[1, 2, 3, 3]]  # not closer than 10
    assert merge(image, labels, 18.9).tolist() == [[1, 1, 2, 2]]
    assert merge(image, labels, 19.1).tolist() == [[1, 1, 1, 1]]
    assert merge(image, draw("7022"), 101.0).tolist() == [
        [1, 0, 2, 2]
    ]  # 0 is background and separates
    assert merge(image, draw("...."), 101.0).tolist() == [[0, 0, 0, 0]]
    assert merge(image, draw("7777"), 101.0).tolist() == [[1, 1, 1, 1]]


def test_merge_of_rotated_renumbered_and_brighter_images():
    image = np.random.default_rng(5).uniform(0, 150, (30, 40))
    labels = np.random.default_rng(6).integers(1, 40, (6, 8)).repeat(5, axis=0).repeat(5, axis=1)
    result = merge(image, labels)
    assert 1 < result.max() < len(np.unique(labels))
    assert same(np.rot90(result), merge(np.rot90(image), np.rot90(labels)))
    np.testing.assert_array_equal(merge(image, 1000 - labels), result)
    np.testing.assert_array_equal(merge(image + 90, labels), result)
    assert same(merge(image, labels, 0.0), labels)


@pytest.mark.parametrize("labels", [np.ones((3, 5), int), np.ones((4, 5, 1), int), np.ones((4, 5))])
def test_merge_refuses_invalid_arguments(labels):
    with pytest.raises(
        ValueError,
        match=r"merge: got labels of shape .* expected bool or integers of shape \(4, 5\)",
    ):
        merge(np.zeros((4, 5)), labels)
    with pytest.raises(ValueError, match="merge: tolerance=-1"):
        merge(np.zeros((4, 5)), np.ones((4, 5), int), -1)
