import subprocess
import sys

import numpy as np
import pytest

import tfseg
from tfseg.classical import METHODS, segment

rng = np.random.default_rng(0)
Y, X = np.mgrid[:48, :60]
DISCS = (np.hypot(Y - 14, X - 16) < 9) | (np.hypot(Y - 30, X - 40) < 11)
IMAGE = np.clip(np.where(DISCS, 190, 60)[..., None] + rng.normal(0, 6, (48, 60, 3)), 0, 255).astype(
    np.uint8
)
IMAGE.setflags(write=False)  # as `read_image` gives them
SCRIBBLES = np.full((48, 60), 255, np.uint8)
SCRIBBLES[10:18, 14:18] = 1
SCRIBBLES[26:33, 38:42] = 1
SCRIBBLES[2:4, 2:50] = 0
NEEDED = {
    "sauvola": {"size": 45, "k": 0},
    "flood_fill": {"seed": (16, 14), "tolerance": 40},
    "region_growing": {"seeds": [(16, 14), (40, 30)], "tolerance": 40},
    "grabcut": {"scribbles": SCRIBBLES},
    "random_walker": {"scribbles": SCRIBBLES},
    "pixel_classifier": {"scribbles": SCRIBBLES},
    "geodesic_active_contour": {"box": (3, 2, 57, 45)},
}
PIECES = ("slic", "seeds", "felzenszwalb", "compact_watershed", "mean_shift", "split_and_merge")


def found(name, image=IMAGE):
    if name == "seeds" and not hasattr(__import__("cv2"), "ximgproc"):
        pytest.skip("needs the contrib build of OpenCV")
    return segment(image, name, **NEEDED.get(name, {}))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_label_map_of_the_discs(name):
    labels = found(name)
    assert labels.dtype == np.int32
    assert labels.shape == DISCS.shape
    assert labels.min() >= (1 if name in PIECES else 0)
    # each label takes the side of most of its pixels: the discs are there, but for their rims
    inside, pixels = (
        np.bincount(labels[DISCS], minlength=labels.max() + 1),
        np.bincount(labels.ravel()),
    )
    # the ground alone is 0.784; flood_fill takes one disc of two, and two rules compare with what is around
    floor = {"flood_fill": 0.85, "sauvola": 0.9, "adaptive": 0.9}.get(name, 0.95)
    assert labels.max() < 400  # one label a pixel would be right everywhere
    assert np.maximum(inside, pixels - inside).sum() / DISCS.size > floor


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_gray_and_floats_and_gives_the_same_again(name):
    gray = IMAGE[..., 0]
    labels = found(name, gray)
    assert np.array_equal(found(name, gray), labels)
    assert np.array_equal(found(name, gray[..., None]), labels)
    if (
        name != "triangle"
    ):  # its rule hangs on the bins of the histogram, which floats have between their own ends
        assert np.mean(found(name, gray.astype(np.float32)) == labels) > 0.95


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5), np.uint8), "has no pixel"),
        (np.full((48, 60), np.nan), "finite"),
        (np.full((48, 60), 300.0), "300"),
        (np.zeros((48, 60, 4), np.uint8), r"\(48, 60, 4\)"),
    ],
)
def test_every_method_refuses_what_is_no_image(name, image, message):
    with pytest.raises(ValueError, match=message):
        found(name, image)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_one_color_or_says_why_not(name):
    image = np.full((48, 60, 3), 7, np.uint8)
    if name in ("kmeans", "gaussian_mixture"):
        with pytest.raises(
            ValueError,
            match=f"{name}: num_clusters=4, but the pixels of the image take only 1 different",
        ):
            found(name, image)
        return
    labels = found(name, image)
    assert labels.shape == (48, 60)
    assert labels.dtype == np.int32


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match="method='watersheds' is unknown.* Did you mean 'watershed'"
    ):
        segment(IMAGE, "watersheds")
    with pytest.raises(
        ValueError,
        match="'slic' has no option 'counts'. It takes count, compactness.* mean 'count'",
    ):
        segment(IMAGE, "slic", counts=3)


def test_neither_tensorflow_nor_keras_is_loaded():
    heavy = {"tensorflow", "keras", "skimage", "sklearn", "scipy", "matplotlib"}
    code = f"import sys, tfseg.classical; print({heavy} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"
    assert tfseg.classical.segment is segment
