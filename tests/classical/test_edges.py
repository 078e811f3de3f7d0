"""Edges, ridges, lines and closed regions, compared with OpenCV, SciPy and scikit-image."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage
from skimage import filters

from tfseg.classical.edges import (
    canny,
    closed_regions,
    hough_lines,
    laplacian_of_gaussian,
    marr_hildreth,
    ridges,
    scharr,
    sobel,
)
from tfseg.classical.thresholds import otsu

MAPS = (sobel, scharr, laplacian_of_gaussian, ridges)
METHODS = (*MAPS, canny, marr_hildreth, hough_lines)


def draw(rows):
    """Return an edge map; # is an edge."""
    return np.array([[letter == "#" for letter in row] for row in rows.split()])


def regions(rows):
    return np.array(
        [[int(letter) if letter.isdigit() else 0 for letter in row] for row in rows.split()]
    )


def disc(height=50, width=61, dtype="uint8"):
    """A bright disc of radius 15 at (24, 28) on a dark background, with noise."""
    y, x = np.mgrid[:height, :width]
    image = (
        50
        + 120 * (np.hypot(y - 24, x - 28) < 15)
        + np.random.default_rng(0).normal(0, 4, (height, width))
    )
    return image.clip(0, 255).astype(dtype)


def dice(mask, ground_truth):
    return 2 * np.sum(mask & ground_truth) / (mask.sum() + ground_truth.sum())


@pytest.fixture
def section(shared_data):
    """A section of neural tissue and the mask of its membranes."""
    folder = shared_data / "isbi2012_em"
    image = np.array(Image.open(folder / "image/20.png"))
    return image, np.array(Image.open(folder / "label/20.png")) == 0


@pytest.fixture
def street(shared_data):
    """An RGB image of CamVid."""
    return np.array(Image.open(min((shared_data / "camvid" / "val").glob("*.jpg"))))


@pytest.mark.parametrize("gradient", [sobel, scharr])
def test_gradient_of_a_ramp_is_its_slope(gradient):
    y, x = np.mgrid[:9, :12].astype("float32")
    # 3 levels per column and 4 per row are 5 per pixel. The border is repeated, so one half of the
    # difference is 0 there.
    assert gradient(3 * x + 4 * y + 20)[1:-1, 1:-1] == pytest.approx(5, abs=1e-5)
    assert gradient(3 * x + 20)[:, 0] == pytest.approx(1.5)
    # A step of 80 is a difference over two pixels, so 40 per pixel, on both its sides.
    assert (
        gradient(np.repeat([[10, 10, 90, 90]], 3, 0).astype("uint8")).tolist()
        == [[0, 40, 40, 0]] * 3
    )


def test_sobel_and_scharr_equal_scikit_image():
    image = disc()
    for ours, theirs in ((sobel, filters.sobel), (scharr, filters.scharr)):
        # skimage takes the root mean square of differences over two pixels: sqrt(2) times ours.
        expected = theirs(image.astype(float)) / np.sqrt(2)
        assert ours(image) == pytest.approx(expected, abs=1e-3)


def test_equally_bright_colors_have_an_edge_between_them():
    image = np.zeros((6, 8, 3), "float32")
    # Red and green of the same gray in BT.601.
    image[:, :4, 0], image[:, 4:, 1] = 0.587 * 200, 0.299 * 200
    for gradient in (sobel, scharr):
        assert gradient(image[..., 0])[3, 3] == pytest.approx(0.587 * 100)
        assert gradient(image)[3, 3:5] == pytest.approx(0.587 * 100)
    assert canny(image, 100, 200, sigma=0)[:, 3:5].any()
    assert ridges(image) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [(100, 200), (30, 90.5), (0, 400), (250, 250)])
def test_canny_with_thresholds_equals_opencv(low, high):
    rng = np.random.default_rng(1)
    for image in (
        disc(),
        rng.integers(0, 256, (40, 31), "uint8"),
        rng.integers(0, 256, (23, 30, 3), "uint8"),
    ):
        expected = cv2.Canny(image, low, high, L2gradient=True) > 0
        assert (canny(image, low, high, sigma=0) == expected).all()
        assert expected.any()
        # OpenCV rounds the blurred image, so a few gradients cross a threshold.
        blurred = cv2.GaussianBlur(image, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
        expected = cv2.Canny(blurred, low, high, L2gradient=True) > 0
        assert (canny(image, low, high, sigma=1.5) != expected).mean() < 0.05


def test_canny_default_thresholds():
    image = disc()
    steep = 8 * sobel(image)
    high = filters.threshold_otsu(steep)
    assert (canny(image, sigma=0) == canny(image, high / 2, high, sigma=0)).mean() > 0.999
    noise = np.random.default_rng(3).integers(0, 256, (40, 31), "uint8")
    assert (canny(noise, high=700, sigma=0) == canny(noise, 350, 700, sigma=0)).all()
    edges, (y, x) = canny(image), np.mgrid[:50, :61]
    assert edges.dtype == bool
    assert (np.abs(np.hypot(y - 24, x - 28) - 15)[edges] < 1.6).all()
    assert (
        len(np.unique(np.round(np.arctan2(y - 24, x - 28)[edges], 1))) > 60
    )  # all around the disc: 2 pi in steps of 0.1


def test_canny_of_low_contrast():
    faint = disc(dtype="float64") / 255 * 4095  # 12-bit values in uint16: 0..16 gray levels
    assert (canny(faint.round().astype("uint16")) != canny(disc(dtype="float64"))).mean() < 0.01


def test_laplacian_of_a_paraboloid_and_of_scipy():
    y, x = np.mgrid[-20:21, -20:21].astype("float32")
    paraboloid = 30 + 0.1 * x**2 + 0.2 * y**2 + x  # second derivatives 0.2 and 0.4
    inner = laplacian_of_gaussian(paraboloid, 1.5)[12:-12, 12:-12]
    assert inner == pytest.approx(0.6, rel=1e-3)
    image = disc()
    for sigma in (1.5, 2, 4):
        # SciPy samples the second derivative, ours is the first derivative applied twice: up to
        # 2 % of the maximum at sigma 1.5.
        expected = ndimage.gaussian_laplace(image.astype(float), sigma)
        assert laplacian_of_gaussian(image, sigma) == pytest.approx(
            expected, abs=0.02 * np.abs(expected).max()
        )
    assert (
        laplacian_of_gaussian(image, 10)[24, 28]
        < 0
        < laplacian_of_gaussian(255 - image, 10)[24, 28]
    )


def test_zero_crossings_are_on_the_bright_side():
    response, edges = laplacian_of_gaussian(disc()), marr_hildreth(disc(), contrast=0)
    assert edges.dtype == bool
    positive = np.pad(response >= 0, 1)
    adjacent = positive[:-2, 1:-1] | positive[2:, 1:-1] | positive[1:-1, :-2] | positive[1:-1, 2:]
    # Equal except where the response is 0 up to rounding.
    assert (edges == (adjacent & (response < 0))).mean() > 0.999
    # No 4-connected path leads from negative to positive values without crossing an edge.
    components, count = ndimage.label(~edges)
    for number in range(1, count + 1):
        assert len(np.unique(response[components == number] > 0)) == 1
    strong = marr_hildreth(disc())
    assert (strong <= edges).all()
    y, x = np.mgrid[:50, :61]
    assert (np.abs(np.hypot(y - 24, x - 28) - 15)[marr_hildreth(disc(), contrast=8)] < 1.5).all()


@pytest.mark.parametrize("sigmas", [(1, 2, 3), (2.5,), (4, 6)])
@pytest.mark.parametrize("dark", [True, False])
def test_ridges_equal_the_sato_filter_of_scikit_image(sigmas, dark):
    image = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(78, 81)), 2)
    image = (128 + 400 * image).clip(0, 255).astype("float32")
    expected = filters.sato(image, sigmas, black_ridges=dark)
    inner = (slice(5 * int(max(sigmas)) + 1, -5 * int(max(sigmas)) - 1),) * 2
    assert ridges(image, sigmas, dark)[inner] == pytest.approx(expected[inner], abs=1e-3)
    assert ridges(image, sigmas, dark).dtype == np.float32
    assert ridges(255 - image, sigmas, not dark) == pytest.approx(
        ridges(image, sigmas, dark), abs=1e-3
    )


def test_ridges_of_a_line():
    image = np.full((31, 40), 200, np.uint8)
    image[13:18] = 100  # dark, 5 pixels wide
    strength = ridges(image)
    assert (strength.argmax(axis=0) == 15).all()  # up to the border
    assert strength[5].max() < 0.05 * strength[15].min()
    assert ridges(image, dark=False)[15] == pytest.approx(0, abs=1e-3)
    alone = [ridges(image, (sigma,))[15, 20] for sigma in (1, 2.5, 6)]
    assert max(alone) == alone[1]  # half the width of the line


def test_lines_of_a_rectangle():
    image = np.full((100, 140), 40, np.uint8)
    image[20:71, 30:111] = 180
    lines = hough_lines(image)
    assert (lines.dtype, lines.shape[1]) == (np.float32, 4)
    lengths = np.hypot(*(lines[:, 2:] - lines[:, :2]).T)
    assert (np.diff(lengths) <= 0).all()
    upright = np.ptp(lines[:, ::2], axis=1) <= 1
    assert (upright | (np.ptp(lines[:, 1::2], axis=1) <= 1)).all()
    for places, sides in ((lines[upright, 0], (30, 110)), (lines[~upright, 1], (20, 70))):
        assert np.abs(places[:, None] - sides).min(axis=0).max() <= 1  # every side has a line
        assert np.abs(places[:, None] - sides).min(axis=1).max() <= 1  # every line is on a side
    assert (hough_lines(image) == lines).all()
    assert hough_lines(image, min_length=90).shape == (0, 4)
    assert hough_lines(image, min_votes=500).shape == (0, 4)


def test_a_line_with_a_gap():
    image = np.full((60, 200), 40, np.uint8)
    image[30:, 10:90] = image[30:, 100:190] = 200
    assert len(hough_lines(image, min_length=120)) == 0
    (line,) = hough_lines(
        image, min_length=120, max_gap=25
    )  # Canny edges bend at corners: the gap is 20
    assert line == pytest.approx([12, 29, 187, 29], abs=4)


RING = draw("......... ..####... .#....#.. .#....#.. ..#####.. .........")
INSIDE = regions("......... ......... ..1111... ..1111... ......... .........")


def test_regions_by_hand():
    # Edges that touch at corners are closed.
    assert closed_regions(RING, 0, 1).tolist() == INSIDE.tolist()
    framed = closed_regions(RING, 0, 1, border_as_edge=True)
    assert framed.dtype == np.int32
    assert framed.tolist() == np.where(RING, 0, 1 + INSIDE).tolist()
    assert not closed_regions(RING, 0, 9).any()
    assert closed_regions(RING, 0, 8).any()
    assert not closed_regions(RING).any()  # fewer than 20 pixels
    assert (closed_regions(RING.astype("uint8") * 255, 0, 1) == INSIDE).all()
    two = draw("####### #..#..# #..#..# ####### ...#... ...#...")
    assert (
        closed_regions(two, 0, 1).tolist()
        == regions("....... .11.22. .11.22. ....... ....... .......").tolist()
    )
    expected = regions("....... .11.22. .11.22. ....... 333.444 333.444").tolist()
    assert closed_regions(two, 0, 1, border_as_edge=True).tolist() == expected


def test_gaps_are_closed_and_divided_between_both_sides():
    edges = np.zeros((40, 40), bool)
    edges[5, 5:35] = edges[34, 5:35] = edges[5:35, 5] = edges[5:35, 34] = edges[5:35, 20] = True
    whole = closed_regions(edges, 0)
    assert np.bincount(whole.ravel())[1:].tolist() == [28 * 14, 28 * 13]
    edges[18:21, 20] = edges[34, 10:13] = (
        False  # gaps of three pixels, between the regions and to the background
    )
    assert not (closed_regions(edges, 0)[10:30, 10:30] > 0).any()
    assert not (closed_regions(edges, 2)[10:30, 10:15] > 0).any()
    closed = closed_regions(edges, 3)
    assert closed.max() == 2
    adjacent = ~edges & (whole > 0)
    assert (closed[adjacent] == whole[adjacent]).all()
    assert (closed[18:21, 20] > 0).all()
    assert not closed[36:].any()


@given(
    st.integers(1, 8),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 1)]),
)
@settings(deadline=None, max_examples=40)
def test_gaps_in_any_direction_are_closed(gap, right, down, slope):
    if not 1 <= np.hypot(right, down) <= gap + 1:
        return
    edges = np.zeros((61, 61), np.uint8)
    (along, up), start, end = slope, (30, 30), (30 + right, 30 + down)
    cv2.line(edges, start, (30 - 90 * along, 30 - 90 * up), 1)
    cv2.line(edges, end, (end[0] + 90 * along, end[1] + 90 * up), 1)
    found = closed_regions(edges, gap, 100, border_as_edge=True)
    assert 0 < found[0, -1] != found[-1, 0] > 0


@given(arrays("uint8", (9, 8), elements=st.integers(0, 1)), st.booleans())
@settings(deadline=None, max_examples=50)
def test_without_gaps_regions_are_the_components_off_the_edges(edges, border_as_edge):
    components, count = ndimage.label(edges == 0)
    inner = np.zeros(edges.shape, bool)
    inner[1:-1, 1:-1] = True
    border = [] if border_as_edge else np.unique(components[~inner])
    kept = [number for number in range(1, count + 1) if number not in border]
    expected = sum(np.where(components == number, index, 0) for index, number in enumerate(kept, 1))
    assert (closed_regions(edges, 0, 1, border_as_edge) == expected).all()


@given(
    arrays("uint8", (12, 14), elements=st.sampled_from([0, 0, 0, 1])),
    st.integers(0, 4),
    st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_regions_are_connected_and_off_the_edges(edges, gap, border_as_edge):
    found = closed_regions(edges, gap, 3, border_as_edge)
    assert not found[edges > 0].any()
    areas = np.bincount(found.ravel())[1:]
    assert (areas >= 3).all()
    firsts = [np.flatnonzero(found == number)[0] for number in range(1, found.max() + 1)]
    assert firsts == sorted(firsts)
    assert all(ndimage.label(found == number)[1] == 1 for number in range(1, found.max() + 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 7)])
@pytest.mark.parametrize("gap", [0, 3])
def test_no_edges_and_only_edges(shape, gap):
    nothing = np.zeros(shape, bool)
    assert not closed_regions(nothing, gap, 0).any()
    assert not closed_regions(~nothing, gap, 0).any()
    assert not closed_regions(~nothing, gap, 0, border_as_edge=True).any()
    assert (closed_regions(nothing, 0, 0, border_as_edge=True) == 1).all()


@pytest.mark.parametrize("method", [*MAPS, canny, marr_hildreth])
def test_rotated_flipped_and_brighter_images(method):
    image = disc()
    result = method(image).astype(float)
    assert result.shape == image.shape
    for change in (np.rot90, np.fliplr, np.flipud):
        if method is marr_hildreth or method is canny:
            # Rounding breaks ties: two equal maxima, or responses near 0.
            assert (method(change(image)) != change(method(image))).mean() < 0.005
        else:
            assert method(change(image)) == pytest.approx(change(result), abs=1e-3)
    assert method(image + np.uint8(60)).astype(float) == pytest.approx(result, abs=1e-3)
    assert (image == disc()).all()


@pytest.mark.parametrize("method", METHODS)
def test_dtypes_and_shapes_of_the_same_image_agree(method):
    image = disc()
    result = method(image)
    changed = (
        image[..., None],
        np.repeat(image[..., None], 3, -1),
        image.astype("float64"),
        np.asfortranarray(image),
    )
    for other in changed:
        assert method(other).astype(float) == pytest.approx(result.astype(float), abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (2, 3), (9, 9), (9, 9, 3)])
@pytest.mark.parametrize(
    "value", [np.uint8(0), np.uint8(255), np.float32(100.3), np.uint16(900), True]
)
def test_constant_images_have_no_edges(method, shape, value):
    result = method(np.full(shape, value))
    assert not result.any()
    assert result.shape == ((0, 4) if method is hough_lines else shape[:2])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 4)), np.full((3, 3), np.nan), np.full((3, 3), 300.0), np.zeros((3, 3, 4))],
)
def test_invalid_images_are_refused(method, image):
    owner = "canny" if method is hough_lines else method.__name__
    with pytest.raises(ValueError, match=f"^{owner}: "):
        method(image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image: canny(image, 90, 80), "canny: low=90 is greater than high=80. Pass both"),
        (lambda image: canny(image, 5000), "canny: low=5000 is greater than high="),
        (lambda image: canny(image, -1, 80), "canny: low=-1 must be a finite number of at least 0"),
        (lambda image: canny(image, high=np.nan), "canny: high=nan must be a finite number"),
        (lambda image: canny(image, sigma=-1), "canny: sigma=-1 must be"),
        (
            lambda image: laplacian_of_gaussian(image, 0.5),
            "laplacian_of_gaussian: sigma=0.5 must be a finite number of at l",
        ),
        (lambda image: marr_hildreth(image, 0), "marr_hildreth: sigma=0 must"),
        (lambda image: marr_hildreth(image, contrast=-2), "marr_hildreth: contrast=-2 must"),
        (lambda image: ridges(image, ()), "ridges: sigmas is empty. Pass at least one"),
        (lambda image: ridges(image, 3), "ridges: sigmas=3 must be a list of numbers"),
        (lambda image: ridges(image, (2, 0.3)), "ridges: sigmas=0.3 must be"),
        (
            lambda image: hough_lines(image, min_votes=0),
            "hough_lines: min_votes=0 must be",
        ),
        (
            lambda image: hough_lines(image, min_length=0),
            "hough_lines: min_length=0 must be a finite number above 0",
        ),
        (lambda image: hough_lines(image, max_gap=-1), "hough_lines: max_gap=-1 must"),
        (
            lambda image: closed_regions(image / 255),
            r"closed_regions: got edges of shape \(50, 61\) and dtype float64",
        ),
        (lambda image: closed_regions(image[0]), r"closed_regions: got edges of shape \(61,\)"),
        (lambda image: closed_regions(image, -1), "closed_regions: max_gap=-1 must"),
        (
            lambda image: closed_regions(image, min_pixels=np.inf),
            "closed_regions: min_pixels=inf must",
        ),
    ],
)
def test_invalid_options_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(disc())


def test_a_street_has_edges_and_lines(street):
    # Measured on nine images: 9 to 11 % of the pixels, 31 to 49 lines.
    assert 0.08 < canny(street).mean() < 0.13
    assert 25 < len(hough_lines(street)) < 60
    assert 0.06 < marr_hildreth(street).mean() < 0.1


def test_ridges_and_regions_of_nerve_tissue(section):
    image, membranes = section
    assert 0.1 < canny(image, sigma=2).mean() < 0.2  # measured on six sections: 0.14 to 0.16
    assert 0.2 < canny(image).mean() < 0.3
    # Dice measured on six sections: 0.63 to 0.72 at the scale of the membranes, 0.49 to 0.61 at the
    # default scales of thinner lines.
    found = otsu(ridges(image, (5,))) == 1
    assert dice(found, membranes) > 0.62
    assert dice(found, membranes) > dice(otsu(image) == 0, membranes)
    assert dice(otsu(ridges(image)) == 1, membranes) > 0.47
    cells = closed_regions(membranes, border_as_edge=True)
    assert 80 < cells.max() < 200
