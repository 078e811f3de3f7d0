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
IMAGE.setflags(write=False)  # like arrays from `read_image`
SCRIBBLES = np.full((48, 60), 255, np.uint8)
SCRIBBLES[10:18, 14:18] = 1
SCRIBBLES[26:33, 38:42] = 1
SCRIBBLES[2:4, 2:50] = 0
OPTIONS = {
    "sauvola": {"size": 45, "k": 0},
    "flood_fill": {"seed": (16, 14), "tolerance": 40},
    "region_growing": {"seeds": [(16, 14), (40, 30)], "tolerance": 40},
    "grabcut": {"scribbles": SCRIBBLES},
    "random_walker": {"scribbles": SCRIBBLES},
    "pixel_classifier": {"scribbles": SCRIBBLES, "num_trees": 20},
    "chan_vese": {"iterations": 100},
    "geodesic_active_contour": {"box": (3, 2, 57, 45)},
}
WITHOUT_BACKGROUND = (
    "slic",
    "seeds",
    "felzenszwalb",
    "compact_watershed",
    "mean_shift",
    "split_and_merge",
)


def run(name, image=IMAGE):
    if name == "seeds" and not hasattr(__import__("cv2"), "ximgproc"):
        pytest.skip("needs the contrib build of OpenCV")
    return segment(image, name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_discs(name):
    labels = run(name)
    assert labels.dtype == np.int32
    assert labels.shape == DISCS.shape
    assert labels.min() >= (1 if name in WITHOUT_BACKGROUND else 0)
    # assign each label to the disc or the background by majority; only rims may be wrong
    inside = np.bincount(labels[DISCS], minlength=labels.max() + 1)
    pixels = np.bincount(labels.ravel())
    # 0.784 is background; flood_fill finds one of two discs, local thresholds leave the insides
    minimum = {"flood_fill": 0.85, "sauvola": 0.9, "adaptive": 0.9}.get(name, 0.95)
    assert labels.max() < 400  # one label per pixel would always be right
    assert np.maximum(inside, pixels - inside).sum() / DISCS.size > minimum


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_gray_and_floats_and_is_deterministic(name):
    gray = IMAGE[..., 0]
    labels = run(name, gray)
    assert np.array_equal(run(name, gray), labels)
    assert np.array_equal(run(name, gray[..., None]), labels)
    if name != "triangle":  # depends on the histogram bins, which span the range for floats
        assert np.mean(run(name, gray.astype(np.float32)) == labels) > 0.95


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5), np.uint8), "has no pixels"),
        (np.full((48, 60), np.nan), "finite"),
        (np.full((48, 60), 300.0), "300"),
        (np.zeros((48, 60, 4), np.uint8), r"\(48, 60, 4\)"),
    ],
)
def test_every_method_refuses_invalid_images(name, image, message):
    with pytest.raises(ValueError, match=message):
        run(name, image)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_constant_images_or_says_why_not(name):
    image = np.full((48, 60, 3), 7, np.uint8)
    if name in ("kmeans", "gaussian_mixture"):
        with pytest.raises(
            ValueError,
            match=f"{name}: num_clusters=4, but the image has only 1 distinct",
        ):
            run(name, image)
        return
    labels = run(name, image)
    assert labels.shape == (48, 60)
    assert labels.dtype == np.int32


def test_unknown_names_get_a_suggestion():
    with pytest.raises(
        ValueError, match="method='watersheds' is unknown.* Did you mean 'watershed'"
    ):
        segment(IMAGE, "watersheds")
    with pytest.raises(
        ValueError,
        match="'slic' has no option 'segments'. Its options: num_seg.* mean 'num_segments'",
    ):
        segment(IMAGE, "slic", segments=3)


def test_heavy_packages_are_imported_lazily():
    heavy = {"tensorflow", "keras", "skimage", "sklearn", "scipy", "matplotlib"}
    code = f"import sys, tfseg.classical; print({heavy} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"
    assert tfseg.classical.segment is segment
