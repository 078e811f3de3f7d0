"""A trainable classifier of pixels, as in ilastik: filters of several scales, a random forest, and a few scribbles."""

import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import levels
from tfseg.classical.interactive import checked_scribbles, classes_drawn

SIGMAS = (0.7, 1.6, 3.5, 10.0)
_PIXELS_AT_ONCE = 2**18  # of which the features are held in memory
_PIXELS_A_TREE = 50_000  # to learn from, drawn anew for each tree


def pixel_classification(image, scribbles=None, sigmas=SIGMAS, trees=100, seed=0):
    """Learn the classes of an image from scribbles drawn on it, and give each pixel its class.

    See `PixelClassifier`, which learns from several images and classifies others.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        scribbles: (H, W) integers: class ids in 0..254, 255 where nothing was drawn. Two classes at least.
        sigmas, trees, seed: see `PixelClassifier`.

    Returns:
        (H, W) int32 class ids, those of the scribbles. Scribbles are learned from, not copied.

    Raises:
        ValueError: see `PixelClassifier.fit`.
        ImportError: scikit-learn is not installed.
    """
    if scribbles is None:
        checked_scribbles("pixel_classification", scribbles, ())
    return PixelClassifier(sigmas, trees, seed).fit(image, scribbles).predict(image)


class PixelClassifier:
    """Classes of pixels learned from a few scribbles, by a random forest over `pixel_features` (Berg et al. 2019).

    Every class weighs the same, however much of it is drawn. There is no `save`: a forest is a pickle, which may run
    code when it is read, and `fit` takes about a second: keep the images and scribbles.

    Args:
        sigmas: the scales of the features in pixels, each above 0. They should span the objects' details and widths.
        trees: of the forest; time and memory grow with them.
        seed: of the forest's random numbers.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, sigmas=SIGMAS, trees=100, seed=0):
        self.sigmas = _checked_sigmas("PixelClassifier", sigmas)
        self.trees = checks.positive_int("PixelClassifier", "trees", trees)
        self.seed = seed
        self._forest = None
        self._channels = None

    def fit(self, images, scribbles):
        """Learn from the pixels that were drawn on; what was learned before is forgotten.

        Args:
            images: one image, (H, W), (H, W, 1) or (H, W, 3), see `levels`; or a list of them, of any sizes, all
                gray or all colors.
            scribbles: one mask (H, W), or a list of as many: class ids in 0..254, 255 where nothing was drawn. Two
                classes at least in all of them together.

        Returns:
            This classifier.

        Raises:
            ValueError: scribbles missing, of one class only or unlike the images; gray images among colors.
            ImportError: scikit-learn is not installed.
        """
        forests = checks.require_package("sklearn.ensemble", "classical")
        pictures, scribbles = _pairs("PixelClassifier.fit", images, scribbles)
        classes_drawn("PixelClassifier.fit", *scribbles)
        features, classes = [], []
        for picture, mask in zip(pictures, scribbles, strict=True):
            for rows, strip in _strips(picture, self.sigmas, mask != checks.IGNORE_INDEX):
                drawn = mask[rows] != checks.IGNORE_INDEX
                features.append(strip[drawn])
                classes.append(mask[rows][drawn])
        features, classes = np.concatenate(features), np.concatenate(classes)
        self._channels = pictures[0].ndim
        self._forest = forests.RandomForestClassifier(
            self.trees,
            min_samples_leaf=2,
            max_samples=_PIXELS_A_TREE if len(classes) > _PIXELS_A_TREE else None,
            class_weight="balanced",
            n_jobs=-1,
            random_state=self.seed,
        ).fit(features, classes)
        return self

    def predict_proba(self, image):
        """Return the classes' probabilities, (H, W, K) float32, for an image like those learned from.

        K is the highest class id that was drawn, plus one; a class below it that was not drawn has probability 0.

        Raises:
            ValueError: nothing was learned yet, or a gray image came after colors or the reverse.
        """
        if self._forest is None:
            raise ValueError(
                "PixelClassifier.predict: nothing was learned yet. Call `fit(images, scribbles)` first."
            )
        picture = levels("PixelClassifier.predict", image)
        if picture.ndim != self._channels:
            raise ValueError(
                f"PixelClassifier.predict: an image of shape {picture.shape} came, but the images learned from were "
                f"{'gray' if self._channels == 2 else 'in colors'}. Convert it."
            )
        classes = self._forest.classes_
        result = np.zeros((*picture.shape[:2], classes[-1] + 1), np.float32)
        for rows, strip in _strips(picture, self.sigmas):
            shares = self._forest.predict_proba(strip.reshape(-1, strip.shape[-1]))
            result[rows, :, classes] = shares.reshape(*strip.shape[:2], -1)
        return result

    def predict(self, image):
        """Return the class ids (H, W) int32 of an image like those learned from: the most probable of those drawn.

        Raises:
            ValueError: see `predict_proba`.
        """
        return self.predict_proba(image).argmax(axis=-1).astype(np.int32)


def pixel_features(image, sigmas=SIGMAS):
    """Filter an image at several scales: ilastik's features, without regard to direction.

    A scale gives eight: Gaussian; gradient magnitude; Laplacian of Gaussian; the larger and the smaller eigenvalue of
    the Hessian, then of the structure tensor, which is smoothed at twice the scale; and the difference to the
    Gaussian at 1.6 times the scale. Outside of the image its border is mirrored.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        sigmas: the scales in pixels, each above 0.

    Returns:
        (H, W, F) float32, F being 8 a channel and scale: first the scales of the first channel.

    Raises:
        ValueError: no image, or no such scales.
    """
    return _features(levels("pixel_features", image), _checked_sigmas("pixel_features", sigmas))


def _features(picture, sigmas):
    channels = cv2.split(picture.astype(np.float32))
    return np.stack(
        [each for channel in channels for sigma in sigmas for each in _filtered(channel, sigma)],
        axis=-1,
    )


def _filtered(channel, sigma):
    smooth = _blurred(channel, sigma)
    x, y = _derivative(smooth, 1, 0), _derivative(smooth, 0, 1)
    xx, xy, yy = _derivative(smooth, 2, 0), _derivative(smooth, 1, 1), _derivative(smooth, 0, 2)
    tensor = (_blurred(product, 2 * sigma) for product in (x * x, x * y, y * y))
    edges = smooth - _blurred(channel, 1.6 * sigma)
    return smooth, np.hypot(x, y), xx + yy, *_eigenvalues(xx, xy, yy), *_eigenvalues(*tensor), edges


def _blurred(values, sigma):
    size = 2 * _reach(sigma) + 1
    return cv2.GaussianBlur(values, (size, size), sigma, borderType=cv2.BORDER_REFLECT)


def _reach(sigma):
    return math.ceil(3 * sigma)


def _derivative(values, x, y):
    kernels = np.array([(0, 1, 0), (-0.5, 0, 0.5), (1, -2, 1)], np.float32)
    return cv2.sepFilter2D(values, -1, kernels[x], kernels[y], borderType=cv2.BORDER_REFLECT)


def _eigenvalues(xx, xy, yy):
    """The larger and the smaller eigenvalue of symmetric 2 x 2 matrices."""
    middle, distance = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return middle + distance, middle - distance


def _strips(picture, sigmas, needed=None):
    """Yield the rows (a slice) of one strip of an image after the other, and their features.

    A strip is filtered with as many rows around it as its features reach, so that the cuts do not show. Those
    without a pixel that is `needed` (H, W) are left out.
    """
    height, width = picture.shape[:2]
    step = max(1, _PIXELS_AT_ONCE // width)
    around = max(_reach(sigma) + 1 + _reach(2 * sigma) for sigma in sigmas)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        if needed is None or needed[rows].any():
            first = max(0, top - around)
            strip = _features(picture[first : rows.stop + around], sigmas)
            yield rows, strip[top - first : rows.stop - first]


def _pairs(owner, images, scribbles):
    """Images and scribbles as two lists that fit each other."""
    images, scribbles = (
        [each] if not isinstance(each, (list, tuple)) else list(each)
        for each in (images, scribbles)
    )
    if not images or len(images) != len(scribbles):
        raise ValueError(
            f"{owner}: {len(images)} images and {len(scribbles)} scribbles, expected one mask for each image."
        )
    pictures = [levels(owner, image) for image in images]
    if len({picture.ndim for picture in pictures}) > 1:
        raise ValueError(
            f"{owner}: images with one channel and with three came. Convert them to the same."
        )
    masks = [
        checked_scribbles(owner, mask, picture.shape[:2])
        for mask, picture in zip(scribbles, pictures, strict=True)
    ]
    return pictures, masks


def _checked_sigmas(owner, sigmas):
    sigmas = tuple(
        checks.above_zero(owner, "sigmas", sigma)
        for sigma in checks.numbers(owner, "sigmas", sigmas)
    )
    if not sigmas:
        raise ValueError(
            f"{owner}: sigmas=() names no scale, expected one at least, such as {SIGMAS}."
        )
    return sigmas
