"""A trainable pixel classifier, as in ilastik: multi-scale filters, a random forest, scribbles."""

import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255
from tfseg.classical.interactive import check_scribbles, drawn_classes

SIGMAS = (0.7, 1.6, 3.5, 10.0)
# Compute features for this many pixels at a time, to save memory.
_PIXELS_AT_ONCE = 2**18
# Each tree is trained on at most this many pixels, drawn anew for each tree.
_PIXELS_PER_TREE = 50_000


def pixel_classification(image, scribbles=None, sigmas=SIGMAS, num_trees: int = 100, seed: int = 0):
    """Train a pixel classifier on the scribbles of one image and classify all its pixels.

    Use `PixelClassifier` to train on several images or to classify others.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        scribbles: (H, W) integers: class ids in 0..254, 255 where nothing is drawn. At least two
            classes.
        sigmas, num_trees, seed: see `PixelClassifier`.

    Returns:
        (H, W) int32 class ids. The scribbles are training data: pixels under them are classified
        too, not copied.

    Raises:
        ValueError: see `PixelClassifier.fit`.
        ImportError: scikit-learn is not installed.
    """
    if scribbles is None:
        check_scribbles("pixel_classification", scribbles, ())
    return PixelClassifier(sigmas, num_trees, seed).fit(image, scribbles).predict(image)


class PixelClassifier:
    """Classify pixels with a random forest on `pixel_features`, trained on a few scribbles.

    After ilastik (Berg et al. 2019). All classes have equal weight, however much of each is drawn.
    There is no `save`: forests are pickles, which can execute code when loaded, and `fit` takes
    about a second. Keep the images and scribbles instead.

    Args:
        sigmas: scales of the features in pixels, above 0. They should range from the finest detail
            to the width of the objects.
        num_trees: number of trees in the forest; time and memory grow with it.
        seed: random seed of the forest.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[30] * 10 + [180] * 10]), 8, axis=0)
        >>> scribbles = np.full((8, 20), 255)
        >>> scribbles[:, 2:4], scribbles[:, 15:17] = 0, 1
        >>> model = tfseg.classical.PixelClassifier(sigmas=(1,), num_trees=5)
        >>> model.fit(image, scribbles).predict(image)[4, [0, 6, 13, 19]].tolist()
        [0, 0, 1, 1]
    """

    def __init__(self, sigmas=SIGMAS, num_trees: int = 100, seed: int = 0):
        self.sigmas = _check_sigmas("PixelClassifier", sigmas)
        self.num_trees = checks.positive_int("PixelClassifier", "num_trees", num_trees)
        self.seed = seed
        self._forest = None
        self._ndim = None  # of the training images: 2 for gray, 3 for RGB

    def fit(self, images, scribbles):
        """Train on the scribbled pixels, from scratch.

        Args:
            images: one image, (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`; or a list of images
                of any sizes, all gray or all RGB.
            scribbles: one mask (H, W), or a list with one mask per image: class ids in 0..254, 255
                where nothing is drawn. At least two classes over all images.

        Returns:
            This classifier.

        Raises:
            ValueError: the scribbles are missing, do not fit the images or draw fewer than two
                classes; or gray and RGB images are mixed.
            ImportError: scikit-learn is not installed.
        """
        owner = "PixelClassifier.fit"
        ensemble = checks.require_package("sklearn.ensemble", "classical")
        images, scribbles = _check_pairs(owner, images, scribbles)
        drawn_classes(owner, *scribbles)
        features, classes = self._training_pixels(images, scribbles)
        self._ndim = images[0].ndim
        max_samples = _PIXELS_PER_TREE if len(classes) > _PIXELS_PER_TREE else None
        forest = ensemble.RandomForestClassifier(
            self.num_trees,
            min_samples_leaf=2,
            max_samples=max_samples,
            class_weight="balanced",
            n_jobs=-1,
            random_state=self.seed,
        )
        self._forest = forest.fit(features, classes)
        return self

    def _training_pixels(self, images, scribbles):
        features, classes = [], []
        for image, mask in zip(images, scribbles, strict=True):
            drawn = mask != checks.IGNORE_INDEX
            for rows, strip in _feature_strips(image, self.sigmas, drawn):
                features.append(strip[drawn[rows]])
                classes.append(mask[rows][drawn[rows]])
        return np.concatenate(features), np.concatenate(classes)

    def predict_proba(self, image):
        """Predict the class probabilities of each pixel.

        Args:
            image: see `fit`; gray if the training images were gray, else RGB.

        Returns:
            (H, W, K) float32, K is the highest class id drawn plus one. The probability of lower
            class ids that were not drawn is 0.

        Raises:
            ValueError: the classifier is not trained, or the image is gray and the training images
                were RGB, or the other way around.
        """
        owner = "PixelClassifier.predict"
        if self._forest is None:
            raise ValueError(
                f"{owner}: the classifier is not trained. Call `fit(images, scribbles)` first."
            )
        image = to_0_255(owner, image)
        if image.ndim != self._ndim:
            expected = "gray (H, W)" if self._ndim == 2 else "RGB (H, W, 3)"
            raise ValueError(
                f"{owner}: got an image of shape {image.shape}, but the training images were "
                f"{expected}. Convert the image."
            )
        classes = self._forest.classes_
        result = np.zeros((*image.shape[:2], classes[-1] + 1), np.float32)
        for rows, strip in _feature_strips(image, self.sigmas):
            probabilities = self._forest.predict_proba(strip.reshape(-1, strip.shape[-1]))
            result[rows, :, classes] = probabilities.reshape(*strip.shape[:2], -1)
        return result

    def predict(self, image):
        """Predict the class of each pixel.

        Args:
            image: see `predict_proba`.

        Returns:
            (H, W) int32, the most probable of the classes drawn.

        Raises:
            ValueError: see `predict_proba`.
        """
        return self.predict_proba(image).argmax(axis=-1).astype(np.int32)


def pixel_features(image, sigmas=SIGMAS):
    """Filter an image at several scales: the rotation-invariant features of ilastik.

    Eight features per scale: Gaussian; gradient magnitude; Laplacian of Gaussian; the larger and
    the smaller eigenvalue of the Hessian, then of the structure tensor (smoothed at twice the
    scale); and the difference from the Gaussian at 1.6 times the scale. The image is mirrored at
    its border.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        sigmas: scales in pixels, above 0.

    Returns:
        (H, W, F) float32, F is 8 * scales * channels: all scales of the first channel come first.

    Raises:
        ValueError: the image or a scale is not valid.
    """
    return _features(to_0_255("pixel_features", image), _check_sigmas("pixel_features", sigmas))


def _features(image, sigmas):
    features = []
    for channel in cv2.split(image.astype(np.float32)):
        for sigma in sigmas:
            features.extend(_filter(channel, sigma))
    return np.stack(features, axis=-1)


def _filter(channel, sigma):
    smooth = _blur(channel, sigma)
    x, y = _derivative(smooth, 1, 0), _derivative(smooth, 0, 1)
    xx, xy, yy = _derivative(smooth, 2, 0), _derivative(smooth, 1, 1), _derivative(smooth, 0, 2)
    tensor = [_blur(product, 2 * sigma) for product in (x * x, x * y, y * y)]
    difference = smooth - _blur(channel, 1.6 * sigma)
    return (
        smooth,
        np.hypot(x, y),
        xx + yy,
        *_eigenvalues(xx, xy, yy),
        *_eigenvalues(*tensor),
        difference,
    )


def _blur(values, sigma):
    size = 2 * _kernel_radius(sigma) + 1
    return cv2.GaussianBlur(values, (size, size), sigma, borderType=cv2.BORDER_REFLECT)


def _kernel_radius(sigma):
    return math.ceil(3 * sigma)


def _derivative(values, x, y):
    kernels = np.array([(0, 1, 0), (-0.5, 0, 0.5), (1, -2, 1)], np.float32)
    return cv2.sepFilter2D(values, -1, kernels[x], kernels[y], borderType=cv2.BORDER_REFLECT)


def _eigenvalues(xx, xy, yy):
    """Return the larger and the smaller eigenvalue of symmetric 2 x 2 matrices."""
    mean, distance = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return mean + distance, mean - distance


def _feature_strips(image, sigmas, needed=None):
    """Yield the features of one horizontal strip of the image after another.

    Each strip is filtered with enough rows around it that its features equal those of the whole
    image.

    Args:
        image: (H, W) or (H, W, 3) in 0..255.
        sigmas: scales in pixels.
        needed: (H, W) bool; strips without a needed pixel are skipped. None for all.

    Yields:
        (rows, features): a slice, and (rows, W, F) float32.
    """
    height, width = image.shape[:2]
    step = max(1, _PIXELS_AT_ONCE // width)
    # Blur, derivative (one pixel), then the blur of the structure tensor.
    margin = max(_kernel_radius(sigma) + 1 + _kernel_radius(2 * sigma) for sigma in sigmas)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        if needed is None or needed[rows].any():
            first = max(0, top - margin)
            strip = _features(image[first : rows.stop + margin], sigmas)
            yield rows, strip[top - first : rows.stop - first]


def _check_pairs(owner, images, scribbles):
    """Return images and scribbles as two lists of the same length."""
    images, scribbles = _as_list(images), _as_list(scribbles)
    if not images or len(images) != len(scribbles):
        raise ValueError(
            f"{owner}: got {len(images)} images and {len(scribbles)} scribbles, expected one mask "
            "per image."
        )
    images = [to_0_255(owner, image) for image in images]
    if len({image.ndim for image in images}) > 1:
        raise ValueError(
            f"{owner}: got both gray and RGB images. Convert all to the same number of channels."
        )
    masks = [
        check_scribbles(owner, mask, image.shape[:2])
        for mask, image in zip(scribbles, images, strict=True)
    ]
    return images, masks


def _as_list(values):
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _check_sigmas(owner, sigmas):
    sigmas = checks.numbers(owner, "sigmas", sigmas)
    sigmas = tuple(checks.above_zero(owner, "sigmas", sigma) for sigma in sigmas)
    if not sigmas:
        raise ValueError(
            f"{owner}: sigmas=() is empty, expected at least one scale, such as {SIGMAS}."
        )
    return sigmas
