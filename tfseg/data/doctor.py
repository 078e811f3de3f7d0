"""The check of a data set before training: every file is read once, and all that is wrong is said at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers import listed


@dataclass
class Summary:
    """What a data set holds.

    Attributes:
        count: number of samples.
        class_pixels: labelled pixels of each of the reader's `label_names`.
        ignored_pixels: pixels without a label.
        mean, deviation: a channel, over all pixels of all images.
    """

    count: int
    class_pixels: np.ndarray
    ignored_pixels: int
    mean: list
    deviation: list


def check(reader, track=lambda samples, total: samples, at_least=2):
    """Read every sample once.

    Args:
        reader: a `Reader`.
        track: wraps the iteration to show progress; called with the samples and their number.
        at_least: how many samples must have a labelled pixel; training takes two, evaluation one.

    Returns:
        Summary.

    Raises:
        ValueError: a sample cannot be read, a mask holds values that are no class, or fewer than
            `at_least` samples have a labelled pixel. Every file at fault is named.
    """
    sums = np.zeros((3, reader.channels))
    pixels = np.zeros(IGNORE_INDEX + 1, np.int64)
    usable, problems = 0, []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding keeps a core busy, and a large picture's memory
        measured = pool.map(lambda index: _measure(reader, index), range(len(reader)))
        for result in track(measured, len(reader)):
            if isinstance(result, str):
                problems.append(result)
                continue
            counts, moments = result
            pixels += counts
            sums += moments
            usable += bool(counts[:IGNORE_INDEX].any())
    if problems:
        raise ValueError(listed(problems))
    if usable < at_least:
        raise ValueError(
            f"Samples with a labelled pixel: {usable} of {len(reader)}; at least {at_least} are needed. "
            "Add labelled pictures, or check which value is ignored."
        )
    mean = sums[1] / sums[0]
    deviation = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 1e-6))
    return Summary(
        len(reader), pixels[: len(reader.label_names)], int(pixels[IGNORE_INDEX]), mean.tolist(), deviation.tolist()
    )


def _measure(reader, index):
    """Return (pixels of each id, (3, C) number, sum and sum of squares of the image), or what is wrong."""
    try:
        sample = reader[index]
    except (OSError, ValueError) as error:
        return str(error)
    moments = np.stack([_moments(channel) for channel in np.moveaxis(sample["image"], -1, 0)], axis=-1)
    return np.bincount(sample["mask"].ravel(), minlength=IGNORE_INDEX + 1), moments


def _moments(channel):
    """Return number, sum and sum of squares of an array's values."""
    if channel.dtype == np.uint8:  # by a histogram: a large picture is never held in float64
        counts = np.bincount(channel.ravel(), minlength=256)
        values = np.arange(256)
        return [counts.sum(), counts @ values, counts @ values**2]
    return [channel.size, channel.sum(dtype=np.float64), np.square(channel, dtype=np.float64).sum()]
