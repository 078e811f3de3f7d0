import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from skimage import feature, morphology, segmentation

from tfseg.classical.edges import scharr
from tfseg.classical.labels import connected_components, relabel
from tfseg.classical.regions import remove_small
from tfseg.classical.watershed import split_touching, watershed
from tfseg.metrics.instance_matching import average_precision, match_instances

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def discs(*circles, shape=(60, 90)):
    """Return a mask of discs (y, x, radius)."""
    y, x = np.indices(shape)
    return np.any(
        [np.hypot(y - center_y, x - center_x) < radius for center_y, center_x, radius in circles],
        axis=0,
    )


THREE = discs((20, 20, 11.3), (20, 38, 9.7), (42, 70, 8.4))


def micrograph(mask, seed=0):
    """Bright objects on a dark background, with noise."""
    image = 20 + 100 * cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 1)
    return (
        (image + np.random.default_rng(seed).normal(0, 6, mask.shape)).clip(0, 255).astype(np.uint8)
    )


def same_regions(one, other):
    pairs = set(zip(one.flat, other.flat, strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_touching_discs_are_split_at_the_neck():
    labels = split_touching(THREE)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, THREE)
    assert labels.max() == 3
    # Two circles meet on the line where (x - 20)^2 - 11.3^2 = (x - 38)^2 - 9.7^2, x = 29.9.
    assert (labels[20, [20, 28, 32, 38]] == (1, 1, 2, 2)).all()
    assert labels[42, 70] == 3
    np.testing.assert_array_equal(split_touching(THREE.astype("uint8") * 7), labels)


def test_min_distance_between_peaks():
    assert connected_components(THREE).max() == 2
    assert (
        split_touching(THREE, min_distance=30).max() == 2
    )  # the lower of two touching peaks does not count
    assert (
        split_touching(discs((30, 20, 8.2), (30, 40, 8.2)), 30).max() == 2
    )  # objects that do not touch stay separate


def test_peaks_equal_scikit_image():
    rough = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(80, 90)), (0, 0), 3) > 0
    for size in (2, 3, 5):
        distance = np.float32(
            cv2.distanceTransform(np.uint8(rough), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        )
        distance = cv2.GaussianBlur(
            distance, (0, 0), size / 4, borderType=cv2.BORDER_REPLICATE
        ).round(3)
        peaks = feature.peak_local_max(
            distance, min_distance=size, labels=rough.astype(int), exclude_border=False
        )
        markers = np.zeros(rough.shape, int)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        expected = segmentation.watershed(-distance, markers, mask=rough)
        labels = split_touching(rough, size)
        match = match_instances(expected, np.where(expected > 0, labels, 0))
        assert match.tp > 10
        assert match.tp >= 0.9 * expected.max()  # of equal peaks skimage takes the first, or both


def test_plateaus_are_one_marker():
    bar = np.zeros((9, 60), bool)
    bar[2:7, 3:57] = True
    for mask in (bar, bar.T, np.ones((20, 31), bool), np.ones((1, 1), bool)):
        np.testing.assert_array_equal(split_touching(mask), mask)


@given(arrays(bool, SHAPES), st.integers(1, 4))
@settings(deadline=None)
def test_mask_is_kept_and_objects_are_connected(mask, min_distance):
    labels = split_touching(mask, min_distance)
    np.testing.assert_array_equal(labels > 0, mask)
    np.testing.assert_array_equal(relabel(labels), labels)
    assert connected_components(labels).max(initial=0) == labels.max(initial=0)


def test_bright_and_dark_objects():
    image = micrograph(THREE)
    ground_truth = split_touching(THREE)
    for labels in (watershed(image), watershed(255 - image, dark=True), watershed(image / 255)):
        assert labels.dtype == np.int32
        match = match_instances(ground_truth, labels, 0.8)
        assert (match.tp, match.fp, match.fn) == (3, 0, 0)
    np.testing.assert_array_equal(watershed(image), watershed(255 - image, dark=True))
    np.testing.assert_array_equal(watershed(np.stack([image] * 3, -1)), watershed(image))
    assert watershed(image, min_distance=30).max() == 2
    np.testing.assert_array_equal(
        watershed(image, mask=THREE), ground_truth
    )  # a mask replaces the threshold


def test_bright_objects_do_not_hide_dim_ones():
    bright, dim = discs((20, 20, 9)), discs((40, 60, 9))
    image = np.uint8(np.where(bright, 200, np.where(dim, 60, 8)))
    assert watershed(image).max() == 2
    assert (
        cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)[0] >= 60
    )  # Otsu's threshold of the levels would


def test_specks_are_ignored():
    image = np.uint8(np.where(THREE, 120, 10))
    image[5, 60:62] = image[50, 10] = 200
    np.testing.assert_array_equal(
        watershed(image) > 0, watershed(np.uint8(np.where(THREE, 120, 10))) > 0
    )


def four_areas():
    """An image of four uniform areas."""
    image = np.full((40, 60, 3), 90, np.uint8)
    image[:, 30:] = 140
    image[20:, :30] = (60, 120, 90)
    image[8:15, 40:52] = 180
    return image


def test_minima_divide_the_image_into_its_areas():
    image = four_areas()
    labels = watershed(image, "minima")
    ground_truth = relabel(image.astype(int) @ (1, 300, 90000), background=None) + 1
    assert labels.max() == 4
    assert (labels == ground_truth).mean() > 0.97  # edge pixels can belong to either side
    assert watershed(image, "minima", min_depth=200).max() == 1
    mask = np.zeros((40, 60), bool)
    mask[2:9, 2:9] = mask[30:35, 40:50] = mask[38, 58] = True
    parts = watershed(image, "minima", mask=mask)  # with or without a valley in each part
    np.testing.assert_array_equal(parts > 0, mask)


def test_minima_equal_scikit_image():
    image = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 256, (60, 70), np.uint8), (0, 0), 2
    )
    gradient = cv2.GaussianBlur(scharr(image), (0, 0), 1)
    markers = connected_components(morphology.h_minima(gradient, 0.5) > 0, 8)
    labels = watershed(image, "minima", min_depth=0.5)
    np.testing.assert_array_equal(labels, relabel(segmentation.watershed(gradient, markers)))
    assert labels.min() == 1
    assert labels.max() == markers.max() > watershed(image, "minima", min_depth=1).max() > 1


def test_given_markers_keep_their_numbers():
    image = four_areas()
    markers = np.zeros((40, 60), np.uint16)
    markers[2, 2], markers[35, 5], markers[30, 50], markers[11, 45] = 700, 3, 3, 9
    labels = watershed(image, markers)
    assert labels.dtype == np.int32
    assert set(labels.flat) == {3, 9, 700}
    assert (labels[[10, 30, 30, 12], [10, 20, 40, 50]] == (700, 3, 3, 9)).all()
    mask = np.zeros((40, 60), bool)
    mask[:10, :10] = mask[:10, 20:25] = True
    inside = watershed(image, markers, mask=mask)
    assert (inside[:10, :10] == 700).all()
    assert inside.sum() == 100 * 700  # no marker reaches the other part of the mask
    compact = watershed(
        np.zeros((11, 21)), np.eye(11, 21, dtype=int) * (np.arange(21) % 10 + 1), compactness=1
    )
    assert compact.shape == (11, 21)


def test_compact_regions_belong_to_the_nearest_marker():
    markers = np.zeros((20, 31), int)
    markers[10, 4], markers[10, 26] = 1, 2
    image = np.zeros((20, 31), np.uint8)
    image[:, 20:] = 200
    plain, compact = watershed(image, markers), watershed(image, markers, compactness=1e6)
    assert (plain[:, 17] == 1).all()
    assert (compact[:, :15] == 1).all()
    assert (compact[:, 16:] == 2).all()
    touching = watershed(micrograph(THREE), compactness=1)
    assert touching.max() >= 3


@pytest.mark.parametrize("options", [{}, {"markers": "minima", "min_depth": 2}])
def test_rotated_images_have_the_same_regions(options):
    image = micrograph(THREE, seed=3)
    labels = watershed(image, **options)
    for turns in (1, 2, 3):
        rotated = np.rot90(watershed(np.rot90(image, turns), **options), -turns)
        assert rotated.max() == labels.max()
        match = match_instances(labels, rotated, 0.9)
        assert match.tp == labels.max()  # ties between regions can go either way


@pytest.mark.parametrize(
    "image", [np.zeros((9, 11)), np.full((5, 6, 3), 200, np.uint8), np.ones((1, 1)), np.eye(1, 7)]
)
def test_images_without_objects(image):
    shape = image.shape[:2]
    assert (watershed(image, "minima") == 1).all()
    if image.min() == image.max():
        np.testing.assert_array_equal(watershed(image), np.zeros(shape))
        np.testing.assert_array_equal(watershed(image, dark=True), np.zeros(shape))
    np.testing.assert_array_equal(watershed(image, mask=np.zeros(shape, bool)), np.zeros(shape))
    np.testing.assert_array_equal(split_touching(np.zeros(shape, bool)), np.zeros(shape))


def test_empty_mask():
    assert split_touching(np.zeros((0, 4), bool)).shape == (0, 4)


BLANK = np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: watershed(np.zeros((0, 4))), r"watershed: got an image of shape \(0, 4\)"),
        (lambda: watershed(np.full((3, 4), np.nan)), "watershed: the image has values from nan"),
        (lambda: watershed(BLANK - 1.0), "watershed: the image has values from -1"),
        (
            lambda: watershed(BLANK, "distances"),
            "watershed: markers='distances' is unknown. .* mean 'distance'",
        ),
        (
            lambda: watershed(BLANK, BLANK),
            r"watershed: got markers .* \(4, 5\) and dtype uint8, .* from 1 to 2",
        ),
        (
            lambda: watershed(BLANK, BLANK.T + 1),
            r"watershed: got markers of shape \(5, 4\) .* integers of shape \(4, 5\)",
        ),
        (lambda: watershed(BLANK, BLANK + 1.0), "watershed: got markers .* dtype float64"),
        (lambda: watershed(BLANK, BLANK.astype(int) - 1), "watershed: got markers"),
        (lambda: watershed(BLANK, np.full((4, 5), 2**31)), "watershed: got markers"),
        (lambda: watershed(BLANK, None), "watershed: got markers of shape"),
        (lambda: watershed(BLANK, mask=BLANK.T), r"watershed: got mask of shape \(5, 4\)"),
        (lambda: watershed(BLANK, compactness=-1), "watershed: compactness=-1 must be"),
        (
            lambda: watershed(BLANK, min_distance=0),
            "watershed: min_distance=0 must be a whole number",
        ),
        (lambda: watershed(BLANK, "minima", min_depth=-1), "watershed: min_depth=-1 must be"),
        (lambda: split_touching(BLANK * 1.0), "split_touching: got mask of shape"),
        (lambda: split_touching(BLANK[0]), "split_touching: got mask of shape"),
        (lambda: split_touching(BLANK, 1.5), "split_touching: min_distance=1.5"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_nuclei(shared_data):
    folder = shared_data / "dsb2018_fluo"
    names = (folder / "val.txt").read_text().split()
    images = [
        np.array(Image.open(folder / "images" / f"{name}.png").convert("RGB")) for name in names
    ]
    ground_truths = [np.array(Image.open(folder / "labels" / f"{name}.png")) for name in names]
    # AP@0.5 measured 0.753, and 0.762 without objects below 20 pixels; foreground IoU 0.804.
    found = [watershed(image) for image in images]
    assert average_precision(ground_truths, found)["ap"][0] > 0.74
    assert (
        average_precision(ground_truths, [remove_small(labels, 20) for labels in found])["ap"][0]
        > 0.75
    )
    pairs = [
        (ground_truth > 0, labels > 0)
        for ground_truth, labels in zip(ground_truths, found, strict=True)
    ]
    assert np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs]) > 0.79
    whole = average_precision(
        ground_truths, [connected_components(labels > 0) for labels in found]
    )["ap"][0]
    assert whole < 0.7  # splitting touching objects helps
    perfect = average_precision(
        ground_truths, [split_touching(ground_truth > 0) for ground_truth in ground_truths]
    )["ap"][0]
    assert perfect > 0.9
