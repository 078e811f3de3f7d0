"""Edges, ridges, lines and closed regions: by hand, against OpenCV, SciPy and scikit-image, and on real images."""

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
    """An edge map, # its edges."""
    return np.array([[letter == "#" for letter in row] for row in rows.split()])


def regions(rows):
    return np.array(
        [[int(letter) if letter.isdigit() else 0 for letter in row] for row in rows.split()]
    )


def disc(height=50, width=61, dtype="uint8"):
    """A bright disc of radius 15 about (24, 28) on dark ground, under noise."""
    y, x = np.mgrid[:height, :width]
    picture = (
        50
        + 120 * (np.hypot(y - 24, x - 28) < 15)
        + np.random.default_rng(0).normal(0, 4, (height, width))
    )
    return picture.clip(0, 255).astype(dtype)


def dice(mask, truth):
    return 2 * np.sum(mask & truth) / (mask.sum() + truth.sum())


@pytest.fixture
def section(shared_data):
    """A section of nerve tissue and its membranes."""
    folder = shared_data / "isbi2012_em"
    return np.array(Image.open(folder / "image/20.png")), np.array(
        Image.open(folder / "label/20.png")
    ) == 0


@pytest.fixture
def street(shared_data):
    """An image of CamVid, RGB."""
    return np.array(Image.open(min((shared_data / "camvid" / "val").glob("*.jpg"))))


@pytest.mark.parametrize("gradient", [sobel, scharr])
def test_a_ramp_has_its_slope(gradient):
    y, x = np.mgrid[:9, :12].astype("float32")
    # 3 levels a column, 4 a row: 5 a pixel. At the margin a level is repeated, so one side of the difference is 0.
    assert gradient(3 * x + 4 * y + 20)[1:-1, 1:-1] == pytest.approx(5, abs=1e-5)
    assert gradient(3 * x + 20)[:, 0] == pytest.approx(1.5)
    # A step of 80 over two pixels' distance is 40 a pixel on both its sides.
    assert (
        gradient(np.repeat([[10, 10, 90, 90]], 3, 0).astype("uint8")).tolist()
        == [[0, 40, 40, 0]] * 3
    )


def test_sobel_and_scharr_as_scikit_image():
    image = disc()
    for ours, theirs in ((sobel, filters.sobel), (scharr, filters.scharr)):
        # Theirs is the root of a mean of two squares, of steps over two pixels: 2 / sqrt(2) for a slope of 1 along x.
        expected = theirs(image.astype(float)) / np.sqrt(2)
        assert ours(image) == pytest.approx(expected, abs=1e-3)


def test_equally_bright_colors_have_an_edge():
    image = np.zeros((6, 8, 3), "float32")
    image[:, :4, 0], image[:, 4:, 1] = (
        0.587 * 200,
        0.299 * 200,
    )  # BT.601: red and green of the same gray
    for gradient in (sobel, scharr):
        assert gradient(image[..., 0])[3, 3] == pytest.approx(0.587 * 100)
        assert gradient(image)[3, 3:5] == pytest.approx(0.587 * 100)
    assert canny(image, 100, 200, sigma=0)[:, 3:5].any()
    assert ridges(image) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [(100, 200), (30, 90.5), (0, 400), (250, 250)])
def test_canny_of_given_thresholds_as_opencv(low, high):
    rng = np.random.default_rng(1)
    for image in (
        disc(),
        rng.integers(0, 256, (40, 31), "uint8"),
        rng.integers(0, 256, (23, 30, 3), "uint8"),
    ):
        expected = cv2.Canny(image, low, high, L2gradient=True) > 0
        assert (canny(image, low, high, sigma=0) == expected).all()
        assert expected.any()
        # Blurred to whole levels, a few gradients fall on the other side of a threshold.
        blurred = cv2.GaussianBlur(image, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
        expected = cv2.Canny(blurred, low, high, L2gradient=True) > 0
        assert (canny(image, low, high, sigma=1.5) != expected).mean() < 0.05


def test_canny_of_its_own_thresholds():
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
    )  # all around: 2 pi in steps of 0.1


def test_canny_of_faint_images():
    faint = disc(dtype="float64") / 255 * 4095  # 12 bits in 16, so 0..16 gray levels
    assert (canny(faint.round().astype("uint16")) != canny(disc(dtype="float64"))).mean() < 0.01


def test_laplacian_of_a_bowl_and_as_scipy():
    y, x = np.mgrid[-20:21, -20:21].astype("float32")
    bowl = 0.1 * x**2 + 0.2 * y**2 + x  # second derivatives 0.2 and 0.4
    assert laplacian_of_gaussian(bowl + 30, 1.5)[12:-12, 12:-12] == pytest.approx(0.6, rel=1e-3)
    image = disc()
    for sigma in (1.5, 2, 4):
        # SciPy samples the second derivative, this is the first one twice: 2 percent of the largest at sigma 1.5.
        expected = ndimage.gaussian_laplace(image.astype(float), sigma)
        assert laplacian_of_gaussian(image, sigma) == pytest.approx(
            expected, abs=0.02 * np.abs(expected).max()
        )
    assert (
        laplacian_of_gaussian(image, 10)[24, 28]
        < 0
        < laplacian_of_gaussian(255 - image, 10)[24, 28]
    )


def test_zero_crossings_enclose_what_is_bright():
    response, edges = laplacian_of_gaussian(disc()), marr_hildreth(disc(), contrast=0)
    assert edges.dtype == bool
    positive = np.pad(response >= 0, 1)
    beside = positive[:-2, 1:-1] | positive[2:, 1:-1] | positive[1:-1, :-2] | positive[1:-1, 2:]
    assert (edges == (beside & (response < 0))).mean() > 0.999  # but for what is even to rounding
    # No way of 4 neighbors leads from below 0 to above without one.
    pieces, count = ndimage.label(~edges)
    for number in range(1, count + 1):
        assert len(np.unique(response[pieces == number] > 0)) == 1
    strong = marr_hildreth(disc())
    assert (strong <= edges).all()
    y, x = np.mgrid[:50, :61]
    assert (np.abs(np.hypot(y - 24, x - 28) - 15)[marr_hildreth(disc(), contrast=8)] < 1.5).all()


@pytest.mark.parametrize("sigmas", [(1, 2, 3), (2.5,), (4, 6)])
@pytest.mark.parametrize("dark", [True, False])
def test_ridges_as_sato_of_scikit_image(sigmas, dark):
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
    assert (strength.argmax(axis=0) == 15).all()  # up to the margins
    assert strength[5].max() < 0.05 * strength[15].min()
    assert ridges(image, dark=False)[15] == pytest.approx(0, abs=1e-3)
    alone = [ridges(image, (sigma,))[15, 20] for sigma in (1, 2.5, 6)]
    assert max(alone) == alone[1]  # half of its width


def test_lines_of_a_frame():
    image = np.full((100, 140), 40, np.uint8)
    image[20:71, 30:111] = 180
    lines = hough_lines(image)
    assert (lines.dtype, lines.shape[1]) == (np.float32, 4)
    lengths = np.hypot(*(lines[:, 2:] - lines[:, :2]).T)
    assert (np.diff(lengths) <= 0).all()
    upright = np.ptp(lines[:, ::2], axis=1) <= 1
    assert (upright | (np.ptp(lines[:, 1::2], axis=1) <= 1)).all()
    for places, sides in ((lines[upright, 0], (30, 110)), (lines[~upright, 1], (20, 70))):
        assert np.abs(places[:, None] - sides).min(axis=0).max() <= 1  # each side has a line
        assert np.abs(places[:, None] - sides).min(axis=1).max() <= 1  # and each line a side
    assert (hough_lines(image) == lines).all()
    assert hough_lines(image, min_length=90).shape == (0, 4)
    assert hough_lines(image, votes=500).shape == (0, 4)


def test_a_line_with_a_gap():
    image = np.full((60, 200), 40, np.uint8)
    image[30:, 10:90] = image[30:, 100:190] = 200
    assert len(hough_lines(image, min_length=120)) == 0
    (line,) = hough_lines(
        image, min_length=120, max_gap=25
    )  # the edges bend at corners: 20 are missing
    assert line == pytest.approx([12, 29, 187, 29], abs=4)


RING = draw("......... ..####... .#....#.. .#....#.. ..#####.. .........")
INSIDE = regions("......... ......... ..1111... ..1111... ......... .........")


def test_regions_by_hand():
    assert closed_regions(RING, 0, 1).tolist() == INSIDE.tolist()  # corners that touch are closed
    framed = closed_regions(RING, 0, 1, frame=True)
    assert framed.dtype == np.int32
    assert framed.tolist() == np.where(RING, 0, 1 + INSIDE).tolist()
    assert not closed_regions(RING, 0, 9).any()
    assert closed_regions(RING, 0, 8).any()
    assert not closed_regions(RING).any()  # less than 20 pixels
    assert (closed_regions(RING.astype("uint8") * 255, 0, 1) == INSIDE).all()
    two = draw("####### #..#..# #..#..# ####### ...#... ...#...")
    assert (
        closed_regions(two, 0, 1).tolist()
        == regions("....... .11.22. .11.22. ....... ....... .......").tolist()
    )
    expected = regions("....... .11.22. .11.22. ....... 333.444 333.444").tolist()
    assert closed_regions(two, 0, 1, frame=True).tolist() == expected


def test_a_gap_is_closed_and_shared_by_both_sides():
    edges = np.zeros((40, 40), bool)
    edges[5, 5:35] = edges[34, 5:35] = edges[5:35, 5] = edges[5:35, 34] = edges[5:35, 20] = True
    whole = closed_regions(edges, 0)
    assert np.bincount(whole.ravel())[1:].tolist() == [28 * 14, 28 * 13]
    edges[18:21, 20] = edges[34, 10:13] = (
        False  # three pixels each, between the regions and to the outside
    )
    assert not (closed_regions(edges, 0)[10:30, 10:30] > 0).any()
    assert not (closed_regions(edges, 2)[10:30, 10:15] > 0).any()
    closed = closed_regions(edges, 3)
    assert closed.max() == 2
    beside = ~edges & (whole > 0)
    assert (closed[beside] == whole[beside]).all()
    assert (closed[18:21, 20] > 0).all()
    assert not closed[36:].any()


@given(
    st.integers(1, 8),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 1)]),
)
@settings(deadline=None, max_examples=60)
def test_gaps_of_any_direction_are_closed(gap, right, down, slope):
    if not 1 <= np.hypot(right, down) <= gap + 1:
        return
    edges = np.zeros((61, 61), np.uint8)
    (along, up), start, end = slope, (30, 30), (30 + right, 30 + down)
    cv2.line(edges, start, (30 - 90 * along, 30 - 90 * up), 1)
    cv2.line(edges, end, (end[0] + 90 * along, end[1] + 90 * up), 1)
    found = closed_regions(edges, gap, 100, frame=True)
    assert 0 < found[0, -1] != found[-1, 0] > 0


@given(arrays("uint8", (9, 8), elements=st.integers(0, 1)), st.booleans())
@settings(deadline=None, max_examples=100)
def test_regions_without_gaps_are_the_pieces_beside_the_edges(edges, frame):
    pieces, count = ndimage.label(edges == 0)
    rim = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
    kept = [number for number in range(1, count + 1) if frame or number not in rim]
    expected = sum(np.where(pieces == number, place, 0) for place, number in enumerate(kept, 1))
    assert (closed_regions(edges, 0, 1, frame) == expected).all()


@given(
    arrays("uint8", (12, 14), elements=st.sampled_from([0, 0, 0, 1])),
    st.integers(0, 4),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_regions_never_lie_on_edges_and_hang_together(edges, gap, frame):
    found = closed_regions(edges, gap, 3, frame)
    assert not found[edges > 0].any()
    areas = np.bincount(found.ravel())[1:]
    assert (areas >= 3).all()
    firsts = [np.flatnonzero(found == number)[0] for number in range(1, found.max() + 1)]
    assert firsts == sorted(firsts)
    assert all(ndimage.label(found == number)[1] == 1 for number in range(1, found.max() + 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 7)])
@pytest.mark.parametrize("gap", [0, 3])
def test_no_edge_and_nothing_but_edges(shape, gap):
    nothing = np.zeros(shape, bool)
    assert not closed_regions(nothing, gap, 0).any()
    assert not closed_regions(~nothing, gap, 0).any()
    assert not closed_regions(~nothing, gap, 0, frame=True).any()
    assert (closed_regions(nothing, 0, 0, frame=True) == 1).all()


@pytest.mark.parametrize("method", [*MAPS, canny, marr_hildreth])
def test_turned_mirrored_and_brighter(method):
    image = disc()
    result = method(image).astype(float)
    assert result.shape == image.shape
    for change in (np.rot90, np.fliplr, np.flipud):
        if method is marr_hildreth or method is canny:
            # Ties of rounding: crests of two equal pixels, responses next to 0.
            assert (method(change(image)) != change(method(image))).mean() < 0.005
        else:
            assert method(change(image)) == pytest.approx(change(result), abs=1e-3)
    assert method(image + np.uint8(60)).astype(float) == pytest.approx(result, abs=1e-3)
    assert (image == disc()).all()


@pytest.mark.parametrize("method", METHODS)
def test_dtypes_and_shapes_that_mean_the_same(method):
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
def test_one_color_has_no_edge(method, shape, value):
    result = method(np.full(shape, value))
    assert not result.any()
    assert result.shape == ((0, 4) if method is hough_lines else shape[:2])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 4)), np.full((3, 3), np.nan), np.full((3, 3), 300.0), np.zeros((3, 3, 4))],
)
def test_no_such_image(method, image):
    owner = "canny" if method is hough_lines else method.__name__
    with pytest.raises(ValueError, match=f"^{owner}: "):
        method(image)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda image: canny(image, 90, 80), "canny: low=90 is above high=80. Pass both"),
        (lambda image: canny(image, 5000), "canny: low=5000 is above high="),
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
        (lambda image: hough_lines(image, votes=0), "hough_lines: votes=0 must be a whole number"),
        (
            lambda image: hough_lines(image, min_length=0),
            "hough_lines: min_length=0 must be a finite number above 0",
        ),
        (lambda image: hough_lines(image, max_gap=-1), "hough_lines: max_gap=-1 must"),
        (
            lambda image: closed_regions(image / 255),
            r"closed_regions: edges of shape \(50, 61\) and dtype float64 came",
        ),
        (lambda image: closed_regions(image[0]), r"closed_regions: edges of shape \(61,\)"),
        (lambda image: closed_regions(image, -1), "closed_regions: gap=-1 must"),
        (lambda image: closed_regions(image, min_pixels=np.inf), "closed_regions: min_pixels=inf must"),
    ],
)
def test_options_that_do_not_fit(call, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        call(disc())


def test_a_street_has_edges_and_lines(street):
    # Measured on nine images: 9 to 11 percent of the pixels, 31 to 49 lines.
    assert 0.08 < canny(street).mean() < 0.13
    assert 25 < len(hough_lines(street)) < 60
    assert 0.06 < marr_hildreth(street).mean() < 0.1


def test_ridges_and_regions_of_nerve_tissue(section):
    image, membranes = section
    assert 0.1 < canny(image, sigma=2).mean() < 0.2  # measured on six: 0.14 to 0.16
    assert 0.2 < canny(image).mean() < 0.3
    # Measured on six: 0.63 to 0.72 at their own scale, 0.49 to 0.61 at the scales of finer lines.
    found = otsu(ridges(image, (5,))) == 1
    assert dice(found, membranes) > 0.62
    assert dice(found, membranes) > dice(otsu(image) == 0, membranes)
    assert dice(otsu(ridges(image)) == 1, membranes) > 0.47
    cells = closed_regions(membranes, frame=True)
    assert 80 < cells.max() < 200
