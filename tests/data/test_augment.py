import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import Augment


def checkerboard(height=90, width=110, tile=12):
    y, x = np.mgrid[:height, :width]
    return ((y // tile + x // tile) % 2).astype(np.uint8)


def test_the_default_is_a_crop_that_changes_no_byte():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 30, 40, 3), np.uint8)
    masks = rng.integers(0, 9, (4, 30, 40), np.uint8)
    cropped, labels = (part.numpy() for part in Augment((20, 16))(images, masks, (1, 2)))
    assert cropped.dtype == np.float32
    assert labels.dtype == np.uint8
    corners = []
    for i in range(4):
        places = [
            (y, x)
            for y in range(11)
            for x in range(25)
            if np.array_equal(cropped[i], images[i, y : y + 20, x : x + 16].astype(np.float32))
        ]
        assert len(places) == 1
        y, x = places[0]
        assert np.array_equal(labels[i], masks[i, y : y + 20, x : x + 16])
        corners.append((y, x))
    assert len(set(corners)) > 1


def test_crops_reach_every_place():
    column = np.tile(np.arange(12, dtype=np.uint8), (64, 12, 1)).transpose(0, 2, 1)
    masks = Augment(8)(column[..., None], column, (0, 0))[1].numpy()
    assert set(masks[:, 0, 0]) == {0, 1, 2, 3, 4}


def test_image_and_mask_stay_aligned():
    board = np.stack([checkerboard()] * 8)
    augment = Augment(64, scale=(0.7, 1.8), rotate=40, flip="both")
    for seed in range(4):
        image, mask = (part.numpy() for part in augment(board[..., None] * 200, board, (seed, 5)))
        inside = mask != 255
        # nearest and bilinear may differ only where the image is between its two values
        certain = inside & ((image[..., 0] < 60) | (image[..., 0] > 140))
        assert certain.mean() > 0.5
        assert np.array_equal(image[..., 0][certain] > 100, mask[certain] == 1)


def test_the_centre_of_mass_moves_alike():
    y, x = np.mgrid[:101, :101]
    disc = (np.hypot(y - 52, x - 47) < 28).astype(np.uint8)
    masks = np.stack([disc] * 40)
    augment = Augment(101, scale=(1.2, 1.2), rotate=30)
    images, moved = (part.numpy() for part in augment(masks[..., None] * np.uint8(255), masks, (0, 1)))
    weights = images[..., 0], (moved == 1).astype(float)
    centres = [np.stack([(w * y).sum((1, 2)), (w * x).sum((1, 2))]) / w.sum((1, 2)) for w in weights]
    difference = centres[0] - centres[1]
    assert np.abs(difference).max() < 0.15  # rounding to whole pixels
    assert np.abs(difference.mean(1)).max() < 0.02  # no shift


def test_outside_is_black_and_ignored():
    image, mask = np.full((1, 20, 20, 1), 255, np.uint8), np.ones((1, 20, 20), np.uint8)
    image, mask = (part.numpy()[0] for part in Augment(40)(image, mask, (0, 0)))
    assert set(np.unique(mask)) == {1, 255}
    assert np.array_equal(image[..., 0] == 0, mask == 255)
    assert (mask == 1).sum() == 400


def test_extents_keep_the_window_off_the_padding():
    image, mask = np.zeros((16, 60, 60, 1), np.uint8), np.full((16, 60, 60), 255, np.uint8)
    mask[:, :40, :50] = 1
    _, labels = Augment(32)(image, mask, (0, 0), extents=np.tile([40, 50], (16, 1)))
    assert np.unique(labels.numpy()).tolist() == [1]


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical", "both"])
def test_flips_mirror_half_of_the_images(flip):
    ramp = np.arange(16, dtype=np.uint8).reshape(1, 4, 4).repeat(200, 0)
    masks = Augment(4, flip=flip)(ramp[..., None], ramp, (3, 1))[1].numpy()
    kinds = {"as it was": ramp[0], "left-right": ramp[0][:, ::-1], "top-bottom": ramp[0][::-1]}
    kinds["both"] = ramp[0][::-1, ::-1]
    counts = {name: sum(np.array_equal(mask, kind) for mask in masks) for name, kind in kinds.items()}
    assert sum(counts.values()) == 200
    expected = {
        None: {"as it was"},
        "horizontal": {"as it was", "left-right"},
        "vertical": {"as it was", "top-bottom"},
        "both": set(kinds),
    }[flip]
    assert {name for name, count in counts.items() if count} == expected
    assert min(counts[name] for name in expected) > 140 / len(expected)


def test_scale_and_angle_stay_in_their_ranges():
    augment = Augment(10, scale=(0.5, 2.0), rotate=20)
    draws = tf.random.stateless_uniform((500, 6), (1, 1))
    matrices = augment._matrices(draws, tf.fill((500, 2), 100.0)).numpy()
    scale = 1 / np.sqrt(np.linalg.det(matrices[:, :, :2]))
    angle = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 0.5 <= scale.min() < 0.55 < 1.9 < scale.max() <= 2.0
    assert np.median(scale) == pytest.approx(1.0, abs=0.1)  # log-uniform: as often smaller as larger
    assert -20 <= angle.min() < -18
    assert 18 < angle.max() <= 20


@pytest.mark.parametrize("rotate", [0, 25, 60, 90, 180])
def test_the_canvas_holds_every_window(rotate):
    augment = Augment((30, 50), scale=(0.6, 1.0), rotate=rotate)
    draws = tf.random.stateless_uniform((2000, 6), (2, 1))
    matrices = augment._matrices(draws, tf.fill((2000, 2), 1.0)).numpy()  # no room: about (0, 0)
    corners = np.array([[0, 0, 1], [49, 0, 1], [0, 29, 1], [49, 29, 1]]).T
    x, y = (matrices @ corners).transpose(1, 0, 2)
    height, width = augment.canvas
    assert 0.9 * height < np.ptp(y, axis=1).max() + 1 <= height
    assert 0.9 * width < np.ptp(x, axis=1).max() + 1 <= width


def test_by_hand_and_inside_map_give_the_same():
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 256, (2, 40, 40, 3), np.uint8), rng.integers(0, 9, (2, 40, 40), np.uint8)
    augment = Augment(24, scale=(0.8, 1.5), rotate=15, flip="both")
    mapped = tf.data.Dataset.from_tensors((images, masks)).map(lambda i, m: augment(i, m, (7, 8)))
    for by_hand, in_map in zip(augment(images, masks, (7, 8)), next(iter(mapped)), strict=True):
        assert np.array_equal(by_hand, in_map)
    assert not np.array_equal(augment(images, masks, (7, 8))[0], augment(images, masks, (7, 9))[0])


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="scale="):
        Augment(8, scale=(0, 1))
    with pytest.raises(ValueError, match="size="):
        Augment(0)
    with pytest.raises(ValueError, match=r"flip='horizontl'.*Did you mean 'horizontal'"):
        Augment(8, flip="horizontl")
