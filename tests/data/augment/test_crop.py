import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.data import Augment
from tfseg.data.augment import params
from tfseg.ops import window_matrices

KEYS = np.stack([np.full(300, 7), np.arange(300)], 1)


def drawn_of(augment, keys=KEYS):
    return params.draw(keys, augment.ranges, augment.probabilities)


def centers(augment, extent, focus=None, keys=KEYS):
    extents = np.tile(np.array(extent, "float32"), (len(keys), 1))
    focus = None if focus is None else np.tile(np.array(focus, "float32"), (len(keys), 1))
    return augment.crop_sampler.center(drawn_of(augment, keys), extents, focus, np)


def picture(height, width, channels=3, seed=0):
    """Every value in 1..254, so that 0 and 255 tell what lies outside."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(1, 255, (height, width, channels), np.uint8),
        "mask": rng.integers(0, 9, (height, width), np.uint8),
        "instances": rng.integers(1, 99, (height, width), np.int32),
    }


def test_random_windows_lie_at_every_place_as_often():
    # 7 - 4 + 1 = 4 rows, 9 - 4 + 1 = 6 columns; the middle of a window of 4 lies 1.5 behind its corner
    found = centers(Augment(4), (7, 9)) - 1.5
    assert set(found[:, 0]) == {0, 1, 2, 3}
    assert set(found[:, 1]) == {0, 1, 2, 3, 4, 5}
    assert np.bincount(found[:, 0].astype(int)).min() > 300 / 4 - 4 * (300 * 3 / 16) ** 0.5


def test_where_a_window_moves_it_lies_between_pixels_but_inside():
    augment = Augment(8, scale=(0.5, 2), probability={"scale": 0.5})
    found, drawn = centers(augment, (40, 30)), drawn_of(augment)
    half = 4 / drawn["scale"][:, None]
    assert (found - half >= -0.5 - 1e-4).all()
    assert (found + half <= np.array([40, 30]) - 0.5 + 1e-4).all()
    still = drawn["scale"] == 1
    assert 100 < still.sum() < 200
    assert (
        found[still] % 1 == 0.5
    ).all()  # those that are not drawn lie on pixels: nothing is resampled
    assert (found[~still] % 1 != 0.5).all(1).mean() > 0.9


def test_central_windows():
    # of 9 rows and 4: 2.5 over, 2 before it; of 10 columns 3
    assert centers(Augment(4, crop="center"), (9, 10))[0].tolist() == [2 + 1.5, 3 + 1.5]
    assert centers(Augment(4, crop="center", scale=(2, 2)), (9, 10))[0].tolist() == [4, 4.5]
    assert centers(Augment(4, crop="center", rotate=5), (9, 10))[0].tolist() == [4, 4.5]


def test_windows_larger_than_the_image_are_centered_on_it():
    # 5 rows in a window of 8: 1.5 over, so that the window begins at -2; 6 columns: -1
    for crop in ("random", "center"):
        assert {tuple(c) for c in centers(Augment(8, crop=crop), (5, 6)).tolist()} == {(1.5, 2.5)}
        assert {tuple(c) for c in centers(Augment(8, crop=crop, rotate=5), (5, 6)).tolist()} == {
            (2, 2.5)
        }


def test_translation_is_a_share_of_what_the_window_shows():
    augment = Augment((10, 20), crop="center", scale=(0.5, 0.5), translate=(0.1, 0.1))
    # the window shows 20 x 40 pixels
    assert centers(augment, (101, 201))[0] == pytest.approx([50 + 2, 100 + 4], abs=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"scale": (0.7, 1.9)}, {"scale": (1.5, 4), "flip": "both"}]
)
def test_a_window_holds_its_focus(options):
    augment = Augment((8, 12), crop="classes", **options)
    extent, half = (40, 50), np.array([4, 6]) / drawn_of(augment)["scale"][:, None]
    for focus in ((0, 0), (20, 30), (39, 49), (3, 47)):
        found = centers(augment, extent, focus)
        low, high = found - half, found + half
        assert (low <= np.array(focus) + 1e-4).all()
        assert (np.array(focus) <= high + 1e-4).all()
        if options == {}:  # the pixel is one of the window's
            assert (np.abs(np.array(focus) - found) <= (3.5, 5.5)).all()
            assert (low >= -0.5).all()
            assert (high <= np.array(extent) - 0.5).all()
    # away from the border it lies anywhere in the window
    across = ((20, 30) - centers(augment, extent, (20, 30))) / half
    assert across.min(0) == pytest.approx([-1, -1], abs=0.15)
    assert across.max(0) == pytest.approx([1, 1], abs=0.15)


def patches():
    """Classes of 1000, 100, 10 and 1 pixels, and ignored ones."""
    mask = np.full((40, 50), 255, np.uint8)
    mask[:20] = 0
    mask[20:30, :10], mask[35, 30:40], mask[39, 49] = 3, 7, 254
    return mask


def test_rare_classes_come_as_often_as_common_ones():
    augment = Augment(8, crop="classes")
    mask = patches()
    focus = [
        augment.crop_sampler.extract({"image": mask[..., None], "mask": mask}, key)["focus"].astype(
            int
        )
        for key in KEYS
    ]
    counts = np.bincount(mask[tuple(np.transpose(focus))], minlength=256)
    assert counts.sum() == counts[[0, 3, 7, 254]].sum() == 300
    assert counts[[0, 3, 7, 254]].min() > 75 - 4 * (300 * 3 / 16) ** 0.5
    rare = [tuple(place) for place in focus if mask[tuple(place)] == 7]
    assert len(set(rare)) == 10  # all pixels of a class come


def test_the_device_chooses_the_same_pixels_as_numpy():
    augment = Augment(8, crop="classes")
    rng = np.random.default_rng(1)
    few = np.full((40, 50), 255, np.uint8)
    few[7, 3] = 5
    kinds = [
        patches(),
        few,
        np.full_like(few, 255),
        np.zeros_like(few),
        rng.integers(0, 256, few.shape, np.uint8),
    ]
    masks = np.stack(kinds * 60)
    drawn = {name: ops.convert_to_tensor(values) for name, values in drawn_of(augment).items()}
    found = ops.convert_to_numpy(
        augment.crop_sampler.class_focus(ops.convert_to_tensor(masks), drawn)
    )
    cuts = [
        augment.crop_sampler.extract({"image": m[..., None], "mask": m}, k)
        for m, k in zip(masks, KEYS, strict=True)
    ]
    assert np.array_equal(found, [cut["focus"] for cut in cuts])
    assert found[1::5].tolist() == [[7, 3]] * 60
    assert found[2::5].tolist() == [[19.5, 24.5]] * 60  # nothing labeled: the middle


def test_classes_want_a_mask():
    sample = picture(20, 20)
    del sample["mask"]
    with pytest.raises(
        ValueError, match=r'crop="classes" came without a mask. Give samples masks, or'
    ):
        Augment(8, crop="classes").crop_sampler.extract(sample, KEYS[0])


def test_a_piece_is_cut_out_where_it_says():
    augment = Augment(8)
    sample = picture(60, 70) | {
        "boxes": np.array([[1, 2, 3, 4]], "float32"),
        "classes": np.array([5]),
    }
    for key in KEYS[:20]:
        cut = augment.crop_sampler.extract(sample, key)
        height, width = augment.crop_sampler.canvas
        y, x = cut["corner"].astype(int)
        assert cut["extent"].tolist() == [60, 70]
        for name in ("image", "mask", "instances"):
            assert np.array_equal(cut[name], sample[name][y : y + height, x : x + width])
            assert cut[name].dtype == sample[name].dtype
        assert cut["boxes"] is sample["boxes"]
        assert cut["classes"] is sample["classes"]
        assert all(cut[name].dtype == "float32" for name in ("corner", "extent", "focus"))


def test_pieces_of_small_images_are_filled_up():
    augment = Augment(32)
    height, width = augment.crop_sampler.canvas
    cut = augment.crop_sampler.extract(picture(20, 90), KEYS[0])
    assert cut["image"].shape == (height, width, 3)
    assert not cut["image"][20:].any()
    assert (cut["mask"][20:] == 255).all()
    assert not cut["instances"][20:].any()
    assert cut["image"][:20].all()
    assert cut["corner"][0] == 0


def test_no_piece_is_larger_than_the_largest_image():
    augment = Augment(32)
    cut = augment.crop_sampler.extract(picture(20, 90), KEYS[0], largest=(30, 100))
    assert cut["image"].shape == (30, augment.crop_sampler.canvas[1], 3)
    assert augment.crop_sampler.extract(picture(30, 20), KEYS[0], largest=(30, 20))[
        "image"
    ].shape == (30, 20, 3)


@pytest.mark.parametrize("rotate", [0, 25, 60, 90, 180])
def test_the_canvas_is_no_larger_than_windows_are(rotate):
    augment = Augment((300, 500), scale=(0.8, 1.0), rotate=rotate)
    keys = np.stack([np.zeros(3000, int), np.arange(3000)], 1)
    drawn, zero, one = drawn_of(augment, keys), np.zeros(3000, "float32"), np.ones(3000, "float32")
    middle = np.zeros((3000, 2), "float32")
    radians = np.radians(drawn["rotate"])
    matrices = window_matrices((300, 500), middle, drawn["scale"], radians, zero, one, one)
    corners = np.array([[-0.5, -0.5, 1], [499.5, -0.5, 1], [-0.5, 299.5, 1], [499.5, 299.5, 1]]).T
    x, y = (ops.convert_to_numpy(matrices) @ corners).transpose(1, 0, 2)
    height, width = augment.crop_sampler.canvas
    assert 0.95 * height < np.ptp(y, axis=1).max() <= height
    assert 0.95 * width < np.ptp(x, axis=1).max() <= width


def test_how_often_images_are_averaged_and_read_smaller():
    assert Augment(8).crop_sampler.levels == 0
    assert Augment(8, scale=(0.72, 1)).crop_sampler.levels == 0
    assert Augment(8, scale=(0.7, 1)).crop_sampler.levels == 1
    assert Augment(8, scale=(0.3, 1)).crop_sampler.levels == 2
    assert Augment(8, scale=(0.3, 1)).crop_sampler.shrink == 1
    assert Augment(8, scale=(0.1, 0.5)).crop_sampler.shrink == 2
    assert Augment(8, scale=(0.1, 0.24)).crop_sampler.shrink == 4
    assert Augment(8, scale=(0.01, 0.01)).crop_sampler.shrink == 8
    # a window that is not drawn shows the image at its size
    assert Augment(8, scale=(0.1, 0.5), probability={"scale": 0.9}).crop_sampler.shrink == 1


def test_what_reaches_the_horizon_is_refused():
    # 1 - 0.3 (1 + 16 / 31) - 0.3 (1 + 16 / 31) = 0.09
    with pytest.raises(
        ValueError, match="perspective and elastic reach up to 0.3 and 8.0, for windows of 32 x 32"
    ):
        Augment(32, perspective=0.3, elastic=8)
    assert max(Augment(32, perspective=0.3, elastic=7).crop_sampler.canvas) < 2000


ALL = Augment(
    (24, 33),
    scale=(0.3, 2.5),
    rotate=180,
    shear=20,
    translate=0.3,
    flip="both",
    perspective=0.2,
    elastic=5,
    interpolation="bicubic",
    crop="classes",
    probability=dict.fromkeys(
        ("scale", "rotate", "shear", "translate", "perspective", "elastic"), 0.8
    ),
)
PARTS = [
    ALL,
    Augment((24, 33)),
    Augment(
        (24, 33), scale=(0.25, 0.25), interpolation="bicubic"
    ),  # every window as wide as the widest
    Augment((24, 33), elastic=5, perspective=0.2, shear=45, crop="center"),
]


def piece_and_whole(augment, sample, keys, height, width):
    """What becomes of the piece alone, and of the whole image in the upper left of (height, width)."""
    pieces = [augment.crop_sampler.extract(sample, key) for key in keys]
    piece = augment({name: np.stack([cut[name] for cut in pieces]) for name in pieces[0]}, keys)
    padding = [(0, height - sample["mask"].shape[0]), (0, width - sample["mask"].shape[1])]
    whole = {
        "image": np.pad(sample["image"], [*padding, (0, 0)]),
        "mask": np.pad(sample["mask"], padding, constant_values=255),
        "instances": np.pad(sample["instances"], padding),
        "extent": np.array(sample["mask"].shape, "float32"),
    }
    if augment.crop == "classes":
        whole["mask"][: sample["mask"].shape[0], : sample["mask"].shape[1]] = sample["mask"]
    return piece, augment(
        {name: np.stack([value] * len(keys)) for name, value in whole.items()}, keys
    )


@pytest.mark.parametrize("augment", PARTS)
@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 80), width=st.integers(1, 80), seed=st.integers(0, 10**6))
def test_a_piece_gives_the_very_same_as_the_whole_image(augment, height, width, seed):
    keys = np.stack([np.full(8, seed), np.arange(8)], 1)
    piece, whole = piece_and_whole(augment, picture(height, width, seed=seed), keys, 80, 80)
    for name, values in piece.items():
        assert np.array_equal(values, whole[name]), name


@pytest.mark.parametrize("augment", PARTS)
def test_a_piece_of_a_large_image_gives_the_very_same(augment):
    keys = KEYS[:24]
    sample = picture(500, 600, channels=1)
    piece, whole = piece_and_whole(augment, sample, keys, 500, 600)
    for name, values in piece.items():
        assert np.array_equal(values, whole[name]), name
    assert math.prod(augment.crop_sampler.canvas) < 500 * 600
