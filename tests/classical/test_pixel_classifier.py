import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tfseg.classical import pixel_classifier
from tfseg.classical.pixel_classifier import PixelClassifier, pixel_classification, pixel_features

RNG = np.random.default_rng(0)
# Stripes and noise of the same brightness: only features at several scales separate them.
STRIPES = np.indices((60, 50)).sum(0) % 8 // 4 * 100 + 60
GROUND_TRUTH = (np.hypot(*np.indices((60, 50)) - np.reshape([28, 26], (2, 1, 1))) < 17).astype(int)
IMAGE = np.where(GROUND_TRUTH == 1, STRIPES, RNG.choice([60, 160], (60, 50))).astype(np.uint8)
SCRIBBLES = np.full(GROUND_TRUTH.shape, 255)
SCRIBBLES[3:6] = 0
SCRIBBLES[:, 47:] = 0
SCRIBBLES[26:30, 15:38] = 1


def slow_features(channel, sigma):
    """Compute the eight features with SciPy in float64, which mirrors borders the same way."""

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
    tensor = [blur(product, 2 * sigma) for product in (x * x, x * y, y * y)]
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
    def test_equal_a_slow_reference(self, shape):
        image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        sigmas = (0.7, 2.0)
        channels = image.reshape(*shape[:2], -1)
        expected = [
            slow_features(channels[..., c], s) for c in range(channels.shape[-1]) for s in sigmas
        ]
        result = pixel_features(image, sigmas)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, np.concatenate(expected, -1), atol=2e-2, rtol=1e-4)

    def test_rotation_of_the_image_rotates_the_features(self):
        np.testing.assert_allclose(
            pixel_features(np.rot90(IMAGE)), np.rot90(pixel_features(IMAGE)), atol=2e-2, rtol=1e-4
        )

    def test_dtypes_of_the_same_image_agree(self):
        expected = pixel_features(IMAGE, [1])
        for same in (IMAGE[..., None], IMAGE.astype(float), IMAGE.astype("uint16") * 257):
            np.testing.assert_allclose(pixel_features(same, [1]), expected, atol=1e-2)

    @pytest.mark.parametrize("sigmas", [(), (0,), (1, -1), (np.nan,), 3])
    def test_invalid_scales_are_refused(self, sigmas):
        with pytest.raises(ValueError, match="^pixel_features: sigmas="):
            pixel_features(IMAGE, sigmas)
        with pytest.raises(ValueError, match="^PixelClassifier: sigmas="):
            PixelClassifier(sigmas)


class TestClassifier:
    def test_textures_of_the_same_brightness(self):
        result = pixel_classification(IMAGE, SCRIBBLES, num_trees=40)
        assert result.dtype == np.int32
        assert (result == GROUND_TRUTH).mean() > 0.88  # measured 0.904
        again = PixelClassifier(num_trees=40).fit([IMAGE], [SCRIBBLES]).predict(IMAGE)
        assert np.array_equal(again, result)

    def test_brightness_hardly_matters_within_an_image(self):
        brighter = pixel_classification(IMAGE + 90, SCRIBBLES, num_trees=30)
        assert (brighter == pixel_classification(IMAGE, SCRIBBLES, num_trees=30)).mean() > 0.99

    def test_only_the_seed_is_random(self):
        def probabilities(seed):
            model = PixelClassifier((1.0,), num_trees=5, seed=seed).fit(IMAGE, SCRIBBLES)
            return model.predict_proba(IMAGE)

        first = probabilities(0)
        assert np.array_equal(probabilities(0), first)
        assert not np.array_equal(probabilities(1), first)

    def test_several_images_of_different_sizes_and_missing_class_ids(self):
        colors = [np.array(c, np.uint8) for c in ((200, 30, 30), (30, 200, 30), (30, 30, 200))]
        shapes = (9, 12, 3), (7, 5, 3), (8, 8, 3)
        images = [np.full(shape, color) for shape, color in zip(shapes, colors, strict=True)]
        scribbles = [np.full(image.shape[:2], 255, np.uint8) for image in images]
        for mask, class_id in zip(scribbles, (1, 4, 6), strict=True):
            mask[2:5, 1:4] = class_id
        model = PixelClassifier((1.0,), num_trees=20).fit(images, scribbles)
        canvas = np.concatenate([np.full((10, 20, 3), color) for color in colors])
        probabilities = model.predict_proba(canvas)
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (30, 20, 7)
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
        assert not probabilities[..., [0, 2, 3, 5]].any()
        classes = model.predict(canvas)
        assert (classes[:7] == 1).all()
        assert (classes[13:17] == 4).all()
        assert (classes[23:] == 6).all()

    def test_classes_have_equal_weight(self):
        """In noise the classes cannot be separated, so their probabilities are similar."""
        noise = np.random.default_rng(2).integers(0, 256, (80, 80), dtype=np.uint8)
        scribbles = np.full((80, 80), 255)
        drawn = np.random.default_rng(3).random((80, 80))
        scribbles[drawn < 0.3] = 0
        scribbles[drawn < 0.03] = 1
        untouched = scribbles == 255
        model = PixelClassifier((1.0,), num_trees=20).fit(noise, scribbles)
        mean = model.predict_proba(noise)[untouched, 1].mean()
        assert 0.2 < mean < 0.5  # it would be 0.1 without class weights

    def test_strips_equal_the_whole_image(self, monkeypatch):
        image = np.random.default_rng(4).integers(0, 256, (60, 20, 3), dtype=np.uint8)
        drawn = np.random.default_rng(5).random((60, 20)) < 0.05
        scribbles = np.where(drawn, image[..., 0] // 128, 255)
        sigmas = (0.7, 2.5)
        whole = PixelClassifier(sigmas, 10).fit(image, scribbles).predict_proba(image)
        features = pixel_features(image, sigmas)
        monkeypatch.setattr(pixel_classifier, "_PIXELS_AT_ONCE", 7 * 20)
        rows, strips = zip(*pixel_classifier._feature_strips(image, sigmas), strict=True)
        assert len(rows) == 9  # 60 / 7
        np.testing.assert_allclose(np.concatenate(strips), features, atol=1e-2)
        cut = PixelClassifier(sigmas, 10).fit(image, scribbles).predict_proba(image)
        assert (np.abs(cut - whole).max(-1) < 1e-6).mean() > 0.99

    def test_more_scribbled_pixels_than_a_tree_uses(self, monkeypatch):
        monkeypatch.setattr(pixel_classifier, "_PIXELS_PER_TREE", 200)
        assert (pixel_classification(IMAGE, SCRIBBLES, num_trees=20) == GROUND_TRUTH).mean() > 0.8

    def test_fit_starts_from_scratch(self):
        model = PixelClassifier((1.0,), 5).fit(np.zeros((4, 4, 3)), np.eye(4, dtype=int))
        model.fit(IMAGE, SCRIBBLES)
        assert model.predict(IMAGE).shape == IMAGE.shape

    @pytest.mark.parametrize(
        ("images", "scribbles", "message"),
        [
            (IMAGE, None, "got no scribbles. Pass scribbles "),
            ([], [], "got 0 images and 0 scribbles, expected one mask per image"),
            ([IMAGE, IMAGE], [SCRIBBLES], "2 images and 1 scribbles"),
            ([IMAGE, IMAGE], SCRIBBLES, "2 images and 1 scribbles"),
            (
                [IMAGE, np.zeros((3, 3, 3))],
                [SCRIBBLES, np.zeros((3, 3), int)],
                "got both gray and RGB images",
            ),
            (IMAGE, SCRIBBLES.T, r"scribbles of shape \(50, 60\)"),
            (IMAGE, SCRIBBLES.astype(float), "dtype float64"),
            (IMAGE, SCRIBBLES + 1, "scribbles contain 256"),
            (IMAGE, np.minimum(SCRIBBLES, 0) + 255, r"got scribbles of the classes \[\]"),
            (
                [IMAGE] * 2,
                [np.where(SCRIBBLES == 0, 0, 255)] * 2,
                r"got scribbles of the classes \[0\], expected at least two",
            ),
            (IMAGE * np.nan, SCRIBBLES, "values from nan"),
            (np.zeros((0, 5)), SCRIBBLES, "no pixels"),
        ],
    )
    def test_invalid_training_data_are_refused(self, images, scribbles, message):
        with pytest.raises(ValueError, match=f"^PixelClassifier.fit: .*{message}"):
            PixelClassifier().fit(images, scribbles)

    def test_other_invalid_use_is_refused(self):
        with pytest.raises(
            ValueError, match="^pixel_classification: got no scribbles. Pass scribbles "
        ):
            pixel_classification(IMAGE)
        with pytest.raises(ValueError, match="^PixelClassifier: num_trees=0 must be"):
            PixelClassifier(num_trees=0)
        model = PixelClassifier(num_trees=2)
        with pytest.raises(
            ValueError, match="^PixelClassifier.predict: the classifier is not trained. Call `fit"
        ):
            model.predict(IMAGE)
        model.fit(IMAGE, SCRIBBLES)
        with pytest.raises(
            ValueError, match=r"got an image of shape \(5, 5, 3\), but .* were gray"
        ):
            model.predict(np.zeros((5, 5, 3)))

    def test_membranes_from_few_scribbles(self, shared_data):
        """Train on 1 % of the pixels of two cropped sections."""

        def section(index):
            folder = shared_data / "isbi2012_em"
            image = np.array(Image.open(folder / "image" / f"{index}.png").convert("L"))
            label = np.array(Image.open(folder / "label" / f"{index}.png").convert("L"))
            return image[:256, :256], (label > 127).astype(int)[:256, :256]

        rng = np.random.default_rng(0)
        images, masks = zip(*[section(index) for index in (0, 8)], strict=True)
        scribbles = [np.where(rng.random(mask.shape) < 0.01, mask, 255) for mask in masks]
        model = PixelClassifier(num_trees=30).fit(list(images), scribbles)
        images, masks = zip(*[section(20)], strict=True)
        ground_truth = np.array(masks) == 0
        found = np.array([model.predict(image) for image in images]) == 0
        assert (ground_truth == found).mean() > 0.86  # measured 0.871
        assert (
            2 * np.count_nonzero(ground_truth & found) / (ground_truth.sum() + found.sum()) > 0.68
        )  # measured 0.691
