import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tfseg.classical import pixel_classifier
from tfseg.classical.pixel_classifier import PixelClassifier, pixel_classification, pixel_features

RNG = np.random.default_rng(0)
# Stripes and noise of the same brightness: no gray level tells them apart, the features of two scales do.
STRIPES = np.indices((60, 50)).sum(0) % 8 // 4 * 100 + 60
TRUTH = (np.hypot(*np.indices((60, 50)) - np.reshape([28, 26], (2, 1, 1))) < 17).astype(int)
IMAGE = np.where(TRUTH == 1, STRIPES, RNG.choice([60, 160], (60, 50))).astype(np.uint8)
SCRIBBLES = np.full(TRUTH.shape, 255)
SCRIBBLES[3:6] = 0
SCRIBBLES[:, 47:] = 0
SCRIBBLES[26:30, 15:38] = 1


def slow_features(channel, sigma):
    """The eight, by SciPy in float64, where borders are mirrored alike."""

    def blur(values, sigma):
        return ndimage.gaussian_filter(values, sigma, mode="reflect", radius=math.ceil(3 * sigma))

    def slope(values, axis):
        return ndimage.correlate1d(values, [-0.5, 0, 0.5], axis, mode="reflect")

    def bend(values, axis):
        return ndimage.correlate1d(values, [1, -2, 1], axis, mode="reflect")

    def eigenvalues(xx, xy, yy):
        found = np.linalg.eigvalsh(np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -1))
        return found[..., 1], found[..., 0]

    smooth = blur(channel.astype(float), sigma)
    x, y = slope(smooth, 1), slope(smooth, 0)
    hessian = bend(smooth, 1), slope(slope(smooth, 1), 0), bend(smooth, 0)
    tensor = (blur(product, 2 * sigma) for product in (x * x, x * y, y * y))
    edges = smooth - blur(channel.astype(float), 1.6 * sigma)
    return np.stack(
        [
            smooth,
            np.hypot(x, y),
            hessian[0] + hessian[2],
            *eigenvalues(*hessian),
            *eigenvalues(*tensor),
            edges,
        ],
        -1,
    )


class TestFeatures:
    @pytest.mark.parametrize("shape", [(23, 31), (17, 12, 3), (1, 1), (1, 9), (6, 2, 3)])
    def test_like_the_slow_ones(self, shape):
        picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        sigmas = (0.7, 2.0)
        channels = picture.reshape(*shape[:2], -1)
        expected = [
            slow_features(channels[..., c], s) for c in range(channels.shape[-1]) for s in sigmas
        ]
        result = pixel_features(picture, sigmas)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, np.concatenate(expected, -1), atol=2e-2, rtol=1e-4)

    def test_turned_images_have_turned_features(self):
        np.testing.assert_allclose(
            pixel_features(np.rot90(IMAGE)), np.rot90(pixel_features(IMAGE)), atol=2e-2, rtol=1e-4
        )

    def test_dtypes_of_the_same_image(self):
        expected = pixel_features(IMAGE, [1])
        for same in (IMAGE[..., None], IMAGE.astype(float), IMAGE.astype("uint16") * 257):
            np.testing.assert_allclose(pixel_features(same, [1]), expected, atol=1e-2)

    @pytest.mark.parametrize("sigmas", [(), (0,), (1, -1), (np.nan,), 3])
    def test_scales_that_do_not_fit(self, sigmas):
        with pytest.raises(ValueError, match="^pixel_features: sigmas="):
            pixel_features(IMAGE, sigmas)
        with pytest.raises(ValueError, match="^PixelClassifier: sigmas="):
            PixelClassifier(sigmas)


class TestClassifier:
    def test_textures_of_one_brightness(self):
        result = pixel_classification(IMAGE, SCRIBBLES)
        assert result.dtype == np.int32
        assert (result == TRUTH).mean() > 0.88  # 0.904 as measured
        again = PixelClassifier().fit([IMAGE], [SCRIBBLES]).predict(IMAGE)
        assert np.array_equal(again, result)

    def test_brightness_hardly_matters_to_scribbles_on_the_image_itself(self):
        brighter = pixel_classification(IMAGE + 90, SCRIBBLES, trees=30)
        assert (brighter == pixel_classification(IMAGE, SCRIBBLES, trees=30)).mean() > 0.99

    def test_the_seed_is_all_that_is_random(self):
        one, same, other = (
            PixelClassifier(trees=5, seed=seed).fit(IMAGE, SCRIBBLES) for seed in (0, 0, 1)
        )
        assert np.array_equal(one.predict_proba(IMAGE), same.predict_proba(IMAGE))
        assert not np.array_equal(one.predict_proba(IMAGE), other.predict_proba(IMAGE))

    def test_several_images_of_any_size_and_classes_with_gaps(self):
        colors = [np.array(c, np.uint8) for c in ((200, 30, 30), (30, 200, 30), (30, 30, 200))]
        pictures = [
            np.full((9, 12, 3), colors[0]),
            np.full((7, 5, 3), colors[1]),
            np.full((8, 8, 3), colors[2]),
        ]
        scribbles = [np.full(picture.shape[:2], 255, np.uint8) for picture in pictures]
        for mask, class_id in zip(scribbles, (1, 4, 6), strict=True):
            mask[2:5, 1:4] = class_id
        model = PixelClassifier((1.0,), trees=20).fit(pictures, scribbles)
        canvas = np.concatenate([np.full((10, 20, 3), color) for color in colors])
        shares = model.predict_proba(canvas)
        assert shares.dtype == np.float32
        assert shares.shape == (30, 20, 7)
        np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-6)
        assert not shares[..., [0, 2, 3, 5]].any()
        classes = model.predict(canvas)
        assert [
            np.unique(classes[rows]).tolist() for rows in (slice(7), slice(13, 17), slice(23, 30))
        ] == [
            [1],
            [4],
            [6],
        ]

    def test_every_class_weighs_the_same(self):
        """In noise nothing tells the classes apart: nine tenths of the scribbles are not nine tenths of the image."""
        noise = np.random.default_rng(2).integers(0, 256, (80, 80), dtype=np.uint8)
        scribbles = np.full((80, 80), 255)
        drawn = np.random.default_rng(3).random((80, 80))
        scribbles[drawn < 0.3] = 0
        scribbles[drawn < 0.03] = 1
        untouched = scribbles == 255
        share = (
            PixelClassifier((1.0,), trees=50)
            .fit(noise, scribbles)
            .predict_proba(noise)[untouched, 1]
            .mean()
        )
        assert 0.2 < share < 0.5  # 0.1 if they weighed as they are drawn

    def test_strips_do_not_show(self, monkeypatch):
        picture = np.random.default_rng(4).integers(0, 256, (150, 20, 3), dtype=np.uint8)
        scribbles = np.where(
            np.random.default_rng(5).random((150, 20)) < 0.05, picture[..., 0] // 128, 255
        )
        sigmas = (0.7, 2.5)
        whole = PixelClassifier(sigmas, 10).fit(picture, scribbles).predict_proba(picture)
        features = pixel_features(picture, sigmas)
        monkeypatch.setattr(pixel_classifier, "_PIXELS_AT_ONCE", 7 * 20)
        rows, strips = zip(*pixel_classifier._strips(picture, sigmas), strict=True)
        assert len(rows) == 22  # 150 / 7
        np.testing.assert_allclose(np.concatenate(strips), features, atol=1e-2)
        cut = PixelClassifier(sigmas, 10).fit(picture, scribbles).predict_proba(picture)
        assert (np.abs(cut - whole).max(-1) < 1e-6).mean() > 0.99

    def test_more_scribbles_than_a_tree_takes(self, monkeypatch):
        monkeypatch.setattr(pixel_classifier, "_PIXELS_A_TREE", 200)
        assert (pixel_classification(IMAGE, SCRIBBLES, trees=50) == TRUTH).mean() > 0.8

    def test_what_was_learned_before_is_forgotten(self):
        model = PixelClassifier((1.0,), 5).fit(np.zeros((4, 4, 3)), np.eye(4, dtype=int))
        model.fit(IMAGE, SCRIBBLES)
        assert model.predict(IMAGE).shape == IMAGE.shape

    @pytest.mark.parametrize(
        ("images", "scribbles", "words"),
        [
            (IMAGE, None, "no scribbles came. Pass scribbles="),
            ([], [], "0 images and 0 scribbles, expected one mask for each image"),
            ([IMAGE, IMAGE], [SCRIBBLES], "2 images and 1 scribbles"),
            ([IMAGE, IMAGE], SCRIBBLES, "2 images and 1 scribbles"),
            (
                [IMAGE, np.zeros((3, 3, 3))],
                [SCRIBBLES, np.zeros((3, 3), int)],
                "one channel and with three came",
            ),
            (IMAGE, SCRIBBLES.T, r"scribbles of shape \(50, 60\)"),
            (IMAGE, SCRIBBLES.astype(float), "dtype float64"),
            (IMAGE, SCRIBBLES + 1, "scribbles hold 256"),
            (IMAGE, np.minimum(SCRIBBLES, 0) + 255, r"scribbles of the classes \[\] came"),
            (
                [IMAGE] * 2,
                [np.where(SCRIBBLES == 0, 0, 255)] * 2,
                r"scribbles of the classes \[0\] came, expected two",
            ),
            (IMAGE * np.nan, SCRIBBLES, "values from nan"),
            (np.zeros((0, 5)), SCRIBBLES, "no pixel"),
        ],
    )
    def test_what_does_not_fit(self, images, scribbles, words):
        with pytest.raises(ValueError, match=f"^PixelClassifier.fit: .*{words}"):
            PixelClassifier().fit(images, scribbles)

    def test_other_misuse(self):
        with pytest.raises(
            ValueError, match="^pixel_classification: no scribbles came. Pass scribbles="
        ):
            pixel_classification(IMAGE)
        with pytest.raises(ValueError, match="^PixelClassifier: trees=0 must be"):
            PixelClassifier(trees=0)
        model = PixelClassifier(trees=2)
        with pytest.raises(
            ValueError, match="^PixelClassifier.predict: nothing was learned yet. Call `fit"
        ):
            model.predict(IMAGE)
        model.fit(IMAGE, SCRIBBLES)
        with pytest.raises(
            ValueError, match=r"an image of shape \(5, 5, 3\) came, but .* were gray"
        ):
            model.predict(np.zeros((5, 5, 3)))

    def test_membranes_from_few_scribbles(self, shared_data):
        """One pixel in 200 of three sections; the U-Net, which learned from all of twenty, has Dice 0.807."""

        def section(index):
            folder = shared_data / "isbi2012_em"
            image, label = (
                Image.open(folder / kind / f"{index}.png").convert("L")
                for kind in ("image", "label")
            )
            return np.array(image), (np.array(label) > 127).astype(int)

        rng = np.random.default_rng(0)
        images, masks = zip(*(section(index) for index in (0, 8, 16)), strict=True)
        scribbles = [np.where(rng.random(mask.shape) < 0.005, mask, 255) for mask in masks]
        model = PixelClassifier().fit(list(images), scribbles)
        images, masks = zip(*(section(index) for index in (20, 23)), strict=True)
        truth, found = (
            np.array(masks) == 0,
            np.array([model.predict(image) for image in images]) == 0,
        )
        assert (truth == found).mean() > 0.86  # 0.871 as measured
        assert (
            2 * np.count_nonzero(truth & found) / (truth.sum() + found.sum()) > 0.68
        )  # 0.691 as measured
