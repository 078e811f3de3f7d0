"""Which images calibrate an int8 file, and which others it is compared with the model on."""

import numpy as np
import tensorflow as tf

MAX_CALIBRATION = 100
MAX_COMPARED = 10
COMPARED_FRACTION = 5  # one image out of so many is compared


def split_samples(samples) -> tuple[list, list]:
    """Return up to 100 images for calibration and up to 10 others, both spread evenly.

    A file would look too good on the images that its ranges were measured on. Of a single image
    both lists consist of it.

    Args:
        samples: iterable of images (H, W, C); of a sequence only the chosen ones are read.

    Example:
        >>> calibration, compared = split_samples(list("abcdef"))
        >>> calibration, compared
        (['a', 'b', 'c', 'e', 'f'], ['d'])
    """
    if not (hasattr(samples, "__len__") and hasattr(samples, "__getitem__")):
        samples = list(samples)
    chosen = spread(len(samples), MAX_CALIBRATION + MAX_COMPARED)
    if len(chosen) < 2:
        alone = [samples[index] for index in chosen]
        return alone, alone
    count = min(MAX_COMPARED, max(1, len(chosen) // COMPARED_FRACTION))
    # the middles of `count` equal parts
    compared = [chosen[(2 * i + 1) * len(chosen) // (2 * count)] for i in range(count)]
    calibration = [index for index in chosen if index not in compared]
    return [samples[index] for index in calibration], [samples[index] for index in compared]


def spread(length: int, count: int) -> list[int]:
    """Return up to `count` evenly spaced indices of a sequence, including the first and the last.

    Example:
        >>> spread(9, 3), spread(2, 3)
        ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int)).tolist()


def resize_image(image, size: tuple[int, int]):
    """Return an image (H, W, C) at another (height, width), float32; unchanged if it has it."""
    image = np.asarray(image, np.float32)
    if image.shape[:2] == tuple(size):
        return image
    return tf.image.resize(image, size, antialias=True).numpy()
