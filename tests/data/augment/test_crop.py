import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.data import Augment
from tfseg.data.augment.crop import class_pixel
from tfseg.data.augment.params import draw, to_params
from tfseg.ops import crop_matrices

KEYS = np.stack([np.full(300, 7), np.arange(300)], 1)


def params_of(augment, keys=KEYS):
    return to_params(draw(keys), augment.ranges, augment.probabilities)


def centers(augment, extent, pixel=None, keys=KEYS):
    extents = np.tile(np.array(extent, "float32"), (len(keys), 1))
    pixels = None if pixel is None else np.tile(np.array(pixel, "float32"), (len(keys), 1))
    return augment.crop_sampler.crop_center(params_of(augment, keys), extents, pixels, np)


def random_sample(height, width, channels=3, seed=0):
    """Image and mask values differ from 0 and 255, which mean that a pixel is outside the image."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(1, 255, (height, width, channels), np.uint8),
        "mask": rng.integers(0, 9, (height, width), np.uint8),
        "instances": rng.integers(1, 99, (height, width), np.int32),
    }


# ---- where crops are placed ----


def test_random_crops_are_equally_likely_at_every_position():
    # 7 - 4 + 1 = 4 rows, 9 - 4 + 1 = 6 columns; the center of 4 pixels is 1.5 after the first
    corners = centers(Augment(4), (7, 9)) - 1.5
    assert set(corners[:, 0]) == {0, 1, 2, 3}
    assert set(corners[:, 1]) == {0, 1, 2, 3, 4, 5}
    # four standard deviations of a count of 300 with probability 1/4
    assert np.bincount(corners[:, 0].astype(int)).min() > 300 / 4 - 4 * (300 * 3 / 16) ** 0.5


def test_moved_crops_start_between_pixels_but_inside_the_image():
    augment = Augment(8, scale=(0.5, 2), probability={"scale": 0.5})
    found, scale = centers(augment, (40, 30)), params_of(augment)["scale"]
    half = 4 / scale[:, None]
    assert (found - half >= -0.5 - 1e-4).all()
    assert (found + half <= np.array([40, 30]) - 0.5 + 1e-4).all()
    unmoved = scale == 1
    assert 100 < unmoved.sum() < 200
    assert (found[unmoved] % 1 == 0.5).all()  # whole pixels: nothing is interpolated
    assert (found[~unmoved] % 1 != 0.5).all(1).mean() > 0.9


def test_center_crops():
    # 5 of 9 rows are left, 2 of them before the crop; of 10 columns 3
    assert centers(Augment(4, crop="center"), (9, 10))[0].tolist() == [2 + 1.5, 3 + 1.5]
    assert centers(Augment(4, crop="center", scale=(2, 2)), (9, 10))[0].tolist() == [4, 4.5]
    assert centers(Augment(4, crop="center", rotate=5), (9, 10))[0].tolist() == [4, 4.5]


def test_crops_larger_than_the_image_are_centered_on_it():
    # 5 rows in a crop of 8: 1.5 before the image, so the crop begins at -2; 6 columns: at -1
    for crop in ("random", "center"):
        exact, moved = Augment(8, crop=crop), Augment(8, crop=crop, rotate=5)
        assert {tuple(c) for c in centers(exact, (5, 6)).tolist()} == {(1.5, 2.5)}
        assert {tuple(c) for c in centers(moved, (5, 6)).tolist()} == {(2, 2.5)}


def test_translate_is_a_fraction_of_the_visible_part():
    augment = Augment((10, 20), crop="center", scale=(0.5, 0.5), translate=(0.1, 0.1))
    # the crop shows 20 x 40 pixels
    assert centers(augment, (101, 201))[0] == pytest.approx([50 + 2, 100 + 4], abs=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"scale": (0.7, 1.9)}, {"scale": (1.5, 4), "flip": "both"}]
)
def test_crops_contain_their_class_pixel(options):
    augment = Augment((8, 12), crop="classes", **options)
    extent, half = (40, 50), np.array([4, 6]) / params_of(augment)["scale"][:, None]
    for pixel in ((0, 0), (20, 30), (39, 49), (3, 47)):
        found = centers(augment, extent, pixel)
        low, high = found - half, found + half
        assert (low <= np.array(pixel) + 1e-4).all()
        assert (np.array(pixel) <= high + 1e-4).all()
        if options == {}:  # it is a whole pixel of the crop
            assert (np.abs(np.array(pixel) - found) <= (3.5, 5.5)).all()
            assert (low >= -0.5).all()
            assert (high <= np.array(extent) - 0.5).all()
    # away from the border it is anywhere in the crop
    relative = ((20, 30) - centers(augment, extent, (20, 30))) / half
    assert relative.min(0) == pytest.approx([-1, -1], abs=0.15)
    assert relative.max(0) == pytest.approx([1, 1], abs=0.15)


# ---- crops of rare classes ----


def rare_classes():
    """Classes of 1000, 100, 10 and 1 pixels, and ignored ones."""
    mask = np.full((40, 50), 255, np.uint8)
    mask[:20] = 0
    mask[20:30, :10], mask[35, 30:40], mask[39, 49] = 3, 7, 254
    return mask


def test_rare_classes_are_as_likely_as_common_ones():
    mask, params = rare_classes(), params_of(Augment(8))
    pixels = class_pixel(np.stack([mask] * len(KEYS)), params, np)
    assert pixels.dtype == "float32"
    rows, columns = pixels.astype(int).T
    counts = np.bincount(mask[rows, columns], minlength=256)
    assert counts.sum() == counts[[0, 3, 7, 254]].sum() == 300
    assert counts[[0, 3, 7, 254]].min() > 75 - 4 * (300 * 3 / 16) ** 0.5
    is_rare = mask[rows, columns] == 7
    assert len(set(columns[is_rare].tolist())) == 10  # every pixel of a class is chosen


def test_tensors_choose_the_same_class_pixels_as_numpy():
    rng = np.random.default_rng(1)
    single = np.full((40, 50), 255, np.uint8)
    single[7, 3] = 5
    ignored, one_class = np.full_like(single, 255), np.zeros_like(single)
    noise = rng.integers(0, 256, single.shape, np.uint8)
    masks = np.stack([rare_classes(), single, ignored, one_class, noise] * 60)
    params = params_of(Augment(8))
    expected = class_pixel(masks, params, np)
    tensors = {name: ops.convert_to_tensor(values) for name, values in params.items()}
    found = class_pixel(ops.convert_to_tensor(masks), tensors, ops)
    assert np.array_equal(ops.convert_to_numpy(found), expected)
    assert expected[1::5].tolist() == [[7, 3]] * 60
    assert expected[2::5].tolist() == [[19.5, 24.5]] * 60  # every pixel is ignored: the center


def test_class_crops_need_a_mask():
    sample = random_sample(20, 20)
    del sample["mask"]
    with pytest.raises(
        ValueError, match=r'Augment: crop="classes" needs a mask, but the sample has none'
    ):
        Augment(8, crop="classes").crop_sampler.extract(sample, KEYS[0])


# ---- the pieces of the image that crops need ----


def test_pieces_are_cut_at_their_corner():
    augment = Augment(8, crop="classes")
    sample = random_sample(60, 70)
    sample |= {"boxes": np.array([[1, 2, 3, 4]], "float32"), "classes": np.array([5])}
    height, width = augment.crop_sampler.canvas
    for key in KEYS[:20]:
        piece = augment.crop_sampler.extract(sample, key)
        y, x = piece["corner"].astype(int)
        assert piece["extent"].tolist() == [60, 70]
        for name in ("image", "mask", "instances"):
            assert np.array_equal(piece[name], sample[name][y : y + height, x : x + width])
            assert piece[name].dtype == sample[name].dtype
        assert piece["boxes"] is sample["boxes"]
        assert piece["classes"] is sample["classes"]
        assert np.array_equal(piece["random"], draw(key[None])[0])
        params = params_of(augment, key[None])
        pixel = class_pixel(sample["mask"][None], params, np)[0]
        assert np.array_equal(piece["class_pixel"], pixel)
        for name in ("random", "corner", "extent", "class_pixel"):
            assert piece[name].dtype == "float32"


def test_pieces_of_small_images_are_padded():
    augment = Augment(32)
    height, width = augment.crop_sampler.canvas
    piece = augment.crop_sampler.extract(random_sample(20, 90), KEYS[0])
    assert piece["image"].shape == (height, width, 3)
    assert not piece["image"][20:].any()
    assert (piece["mask"][20:] == 255).all()
    assert not piece["instances"][20:].any()
    assert piece["image"][:20].all()
    assert piece["corner"][0] == 0
    assert piece["class_pixel"].tolist() == [0, 0]


def test_pieces_are_not_larger_than_the_largest_image():
    sampler = Augment(32).crop_sampler
    piece = sampler.extract(random_sample(20, 90), KEYS[0], largest=(30, 100))
    assert piece["image"].shape == (30, sampler.canvas[1], 3)
    piece = sampler.extract(random_sample(30, 20), KEYS[0], largest=(30, 20))
    assert piece["image"].shape == (30, 20, 3)


@pytest.mark.parametrize("rotate", [0, 25, 60, 90, 180])
def test_the_canvas_is_as_large_as_the_largest_crop(rotate):
    augment = Augment((300, 500), scale=(0.8, 1.0), rotate=rotate)
    count = 3000
    keys = np.stack([np.zeros(count, int), np.arange(count)], 1)
    params = params_of(augment, keys)
    zero, one, origin = np.zeros(count), np.ones(count), np.zeros((count, 2))
    zero, one, origin = zero.astype("float32"), one.astype("float32"), origin.astype("float32")
    angle = np.radians(params["rotate"])
    matrices = crop_matrices((300, 500), origin, params["scale"], angle, zero, one, one)
    corners = np.array([[-0.5, -0.5, 1], [499.5, -0.5, 1], [-0.5, 299.5, 1], [499.5, 299.5, 1]]).T
    x, y = (ops.convert_to_numpy(matrices) @ corners).transpose(1, 0, 2)
    height, width = augment.crop_sampler.canvas
    assert 0.95 * height < np.ptp(y, axis=1).max() <= height
    assert 0.95 * width < np.ptp(x, axis=1).max() <= width


def test_the_canvas_fits_crops_that_are_not_scaled():
    # Half of the crops show 64 x 64 pixels, the others 21 x 21 to 32 x 32.
    augment = Augment(64, scale=(2, 3), probability={"scale": 0.5})
    assert min(augment.crop_sampler.canvas) >= 64
    assert augment.crop_sampler.shrink == 1


def test_levels_and_shrink():
    assert Augment(8).crop_sampler.levels == 0
    assert Augment(8, scale=(0.72, 1)).crop_sampler.levels == 0
    assert Augment(8, scale=(0.7, 1)).crop_sampler.levels == 1
    assert Augment(8, scale=(0.3, 1)).crop_sampler.levels == 2
    assert Augment(8, scale=(0.3, 1)).crop_sampler.shrink == 1
    assert Augment(8, scale=(0.1, 0.5)).crop_sampler.shrink == 2
    assert Augment(8, scale=(0.1, 0.24)).crop_sampler.shrink == 4
    assert Augment(8, scale=(0.01, 0.01)).crop_sampler.shrink == 8
    # a crop that is not scaled shows the image at full size
    assert Augment(8, scale=(0.1, 0.5), probability={"scale": 0.9}).crop_sampler.shrink == 1


def test_crops_that_show_the_horizon_raise():
    # 1 - 0.3 (1 + 16 / 31) - 0.3 (1 + 16 / 31) = 0.09
    with pytest.raises(
        ValueError, match=r"perspective up to 0.3 with elastic up to 8.0 is .* crops of 32 x 32"
    ):
        Augment(32, perspective=0.3, elastic=8)
    assert max(Augment(32, perspective=0.3, elastic=7).crop_sampler.canvas) < 2000


EVERYTHING = Augment(
    (24, 33),
    scale=(0.35, 2.5),
    rotate=180,
    shear=20,
    translate=0.3,
    flip="both",
    perspective=0.1,
    elastic=3,
    crop="classes",
    probability=dict.fromkeys(
        ("scale", "rotate", "shear", "translate", "perspective", "elastic"), 0.8
    ),
)
AUGMENTS = {
    "everything": EVERYTHING,
    "crop": Augment((24, 33)),
    "always as wide as possible": Augment((24, 33), scale=(0.25, 0.25), interpolation="bicubic"),
    "perspective": Augment((24, 33), elastic=5, perspective=0.2, shear=45, crop="center"),
}
for name in ("crop", "always as wide as possible", "perspective"):
    # Without XLA, whose compilation takes longer than the batches. "everything" is compiled.
    AUGMENTS[name].__dict__["_compiled"] = AUGMENTS[name].kernel
WHOLE = (260, 280)  # of one size, so that one kernel is compiled for all of them


@pytest.mark.parametrize("name", AUGMENTS)
@settings(max_examples=3, deadline=None)
@given(height=st.integers(1, 80), width=st.integers(1, 80), seed=st.integers(0, 10**6))
def test_pieces_give_the_same_crops_as_whole_images(name, height, width, seed):
    check_pieces(AUGMENTS[name], random_sample(height, width, 1, seed), seed)


@pytest.mark.parametrize("name", AUGMENTS)
def test_pieces_of_large_images_give_the_same_crops(name):
    augment = AUGMENTS[name]
    for seed in range(3):
        check_pieces(augment, random_sample(*WHOLE, 1), seed)
    assert math.prod(augment.crop_sampler.canvas) < math.prod(WHOLE)


def check_pieces(augment, sample, seed):
    """Compare 8 crops of pieces with those of the whole image, at the upper left of `WHOLE`."""
    keys = np.stack([np.full(8, seed), np.arange(8)], 1)
    pieces = [augment.crop_sampler.extract(sample, key) for key in keys]
    from_pieces = augment({name: np.stack([p[name] for p in pieces]) for name in pieces[0]}, keys)
    height, width = sample["mask"].shape
    padding = [(0, WHOLE[0] - height), (0, WHOLE[1] - width)]
    whole = {
        "image": np.pad(sample["image"], [*padding, (0, 0)]),
        "mask": np.pad(sample["mask"], padding, constant_values=255),
        "instances": np.pad(sample["instances"], padding),
        "extent": np.array(sample["mask"].shape, "float32"),
    }
    batch = {name: np.stack([value] * len(keys)) for name, value in whole.items()}
    from_whole = augment(batch, keys)
    for name, values in from_pieces.items():
        assert np.array_equal(values, from_whole[name]), name
