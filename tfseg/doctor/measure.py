"""Statistics of single samples, measured before their arrays are released."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfseg.data.readers.image_files import read_colors, read_header, read_image, read_mask
from tfseg.data.readers.objects import boxes_around, relabel
from tfseg.data.readers.pillow_files import open_image, stored_orientation
from tfseg.data.readers.png_chunks import is_png
from tfseg.data.value_range import value_range
from tfseg.doctor.duplicates import fingerprint
from tfseg.doctor.halves import label_halves, object_halves

MAX_COLORS = 256  # colors kept per mask; a mask with more is a photograph
MAX_VALUES = 2**16  # values kept per mask
TOLERANCE = 2  # pixels that an object may reach out of its box
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP")
ADJACENT = np.ones((3, 3), np.uint8)
# a mask enlarged twofold has strips two pixels wide along its edges
NEARBY = np.ones((5, 5), np.uint8)


@dataclass
class LabelStatistics:
    """The values of a mask: (N,) arrays.

    Attributes:
        values: the values on disk, ascending.
        pixels: number of pixels with each value.
        interior: how many of them have the same value in all eight neighbors.
        between: how many of them have both a smaller and a greater value within two pixels.
    """

    values: np.ndarray
    pixels: np.ndarray
    interior: np.ndarray
    between: np.ndarray


@dataclass(eq=False)  # compare by identity
class Sample:
    """Statistics of a sample; None for what it does not have or could not be read.

    Attributes:
        name: path of the image (of the mask if there is no image), or the reader's name.
        image, mask: paths; None in memory.
        val: whether it is a validation sample.
        faults: list of (kind, name, text).
        size, mask_size: (height, width) in pixels; that of the image after turning it upright.
        orientation: EXIF orientation that is applied when the image is read, 1..8; 1 is upright.
        unapplied_orientation: that of a PNG, which is read as stored.
        channels, dtype: of the image.
        digest, mask_digest: hashes of the bytes, to find identical files.
        hash: perceptual hash, see `fingerprint`.
        moments: (3, C): number, sum and sum of squares of the pixels.
        value_range: (lowest, highest) value of the image.
        labels: LabelStatistics.
        colors: {(red, green, blue): pixels} of a color mask; the first 256.
        palette: {value: (red, green, blue)} of the values that occur in a palette mask.
        boxes, categories, crowd: (N, 4), (N,) and (N,) of the objects, as the reader returns them.
        classes: ids in masks of the categories of the objects that are not crowds; -1 if they are
            out of range.
        misplaced: numbers of the objects with pixels outside their box.
        halves: (4, C) labels in the halves of the image, see `half_differences`; only of samples
            from a reader.
        source: (reader, index) of a sample from a reader.
        reader_orientation: EXIF orientation of the image file of a reader's sample.
    """

    name: str
    image: Path | None = None
    mask: Path | None = None
    val: bool = False
    faults: list = field(default_factory=list)
    size: tuple | None = None
    mask_size: tuple | None = None
    orientation: int = 1
    unapplied_orientation: int = 1
    channels: int | None = None
    dtype: np.dtype | None = None
    digest: bytes | None = None
    mask_digest: bytes | None = None
    hash: int | None = None
    moments: np.ndarray | None = None
    value_range: tuple | None = None
    labels: LabelStatistics | None = None
    colors: dict | None = None
    palette: dict | None = None
    boxes: np.ndarray | None = None
    categories: np.ndarray | None = None
    crowd: np.ndarray | None = None
    classes: np.ndarray | None = None
    misplaced: list = field(default_factory=list)
    halves: np.ndarray | None = None
    source: tuple | None = None
    reader_orientation: int = 1


def measure_all(measure, items, track: Callable = lambda samples, total: samples):
    """Return [measure(item) for item in items], computed in threads.

    One thread per core: decoding keeps a core busy, and each thread keeps one image in memory.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(measure, items), len(items)))


def measure_sample(reader, index: int, detailed: bool = True) -> Sample:
    """Measure a sample of a reader; errors of reading become faults.

    Without `detailed` it lacks what only the doctor needs: `hash`, the digests, and `interior` and
    `between` of the labels.
    """
    sample = Sample(reader.name(index))
    try:
        arrays = reader[index]
    except (OSError, ValueError) as error:
        kind = "unreadable" if isinstance(error, OSError) else "refused"
        sample.faults.append((kind, sample.name, str(error)))
        return sample
    _measure_image(sample, arrays["image"])
    if "mask" in arrays:
        sample.mask_size = arrays["mask"].shape
        sample.labels = label_statistics(arrays["mask"], detailed)
        sample.halves = label_halves(arrays["mask"], len(reader.label_names))
    sample.boxes, sample.categories = arrays.get("boxes"), arrays.get("classes")
    if "classes" in arrays:
        sample.crowd = np.asarray(arrays.get("crowd", np.zeros(len(arrays["classes"]), bool)))
        sample.classes = _label_ids(reader, np.asarray(arrays["classes"])[~sample.crowd])
    if "boxes" in arrays and "mask" not in arrays:
        sample.halves = object_halves(arrays["boxes"], sample.size)
    if "instances" in arrays and "boxes" in arrays:
        sample.misplaced = misplaced_objects(arrays["instances"], arrays["boxes"])
    if detailed:
        sample.hash = fingerprint(arrays["image"])
        sample.digest = _digest(arrays["image"])
        sample.mask_digest = _digest(arrays["mask"]) if "mask" in arrays else None
    return sample


def _label_ids(reader, classes):
    """Return the ids in masks of object categories; -1 for those out of range."""
    label_ids, found = reader.object_label_ids, np.full(len(classes), -1)
    known = (classes >= 0) & (classes < len(label_ids))
    found[known] = label_ids[classes[known]]
    return found


def has_fractional_boxes(sample) -> bool:
    """Return whether the boxes of a sample are fractions of the image's size, not pixels."""
    if sample.boxes is None or not len(sample.boxes) or sample.size is None:
        return False
    boxes = np.asarray(sample.boxes, float)
    in_unit = boxes.min() >= 0 and boxes.max() <= 1 and (boxes % 1).any()
    return bool(in_unit and min(sample.size) > 1)


def misplaced_objects(instances, boxes) -> list[int]:
    """Return the numbers of the objects that have pixels more than 2 pixels outside their box.

    Args:
        instances: (H, W) integers, k on the pixels of the k-th object.
        boxes: (N, 4) x_min, y_min, x_max, y_max. A number above N has no box.
    """
    numbered, ids = relabel(instances)
    wrong = []
    for number, pixels in zip(ids.tolist(), boxes_around(numbered), strict=True):
        if number > len(boxes):
            wrong.append(number)
            continue
        box = np.asarray(boxes[number - 1], float)
        beyond = max((box[:2] - pixels[:2]).max(), (pixels[2:] - box[2:]).max())
        if beyond > TOLERANCE:
            wrong.append(number)
    return wrong


def measure_files(image, mask, val: bool = False) -> Sample:
    """Measure an image file and a mask file, either of which may be None."""
    sample = Sample(str(image or mask), image, mask, val)
    if image is not None:
        _measure_file(sample, image, _measure_image_file)
    if mask is not None:
        _measure_file(sample, mask, _measure_mask_file)
    return sample


def _measure_file(sample, path, measure):
    try:
        height, width, *_ = read_header(path)
    except (OSError, ValueError) as error:
        sample.faults.append(("unreadable", str(path), str(error)))
        return
    try:
        measure(sample, path, (height, width))
    except (OSError, ValueError) as error:
        kind = "truncated" if isinstance(error, OSError) else "refused"
        sample.faults.append((kind, str(path), str(error)))


def _measure_image_file(sample, path, size):
    sample.size = size
    sample.digest = _digest(path.read_bytes())
    if is_png(path):
        sample.unapplied_orientation = stored_orientation(path)
    else:
        sample.orientation = stored_orientation(path)
    image = read_image(path)
    _measure_image(sample, image)
    sample.hash = fingerprint(image)


def _measure_image(sample, image):
    sample.size, sample.channels, sample.dtype = image.shape[:2], image.shape[-1], image.dtype
    moments = np.stack([_moments(channel) for channel in np.moveaxis(image, -1, 0)], axis=-1)
    if not np.isfinite(moments).all():
        text = (
            f"{sample.name} contains NaN or infinite values. Replace them, for example with "
            "np.nan_to_num."
        )
        sample.faults.append(("refused", sample.name, text))
        return
    sample.moments = moments
    sample.value_range = value_range(image)


def _measure_mask_file(sample, path, size):
    sample.mask_size = size
    sample.mask_digest = _digest(path.read_bytes())
    file_format, mode, palette = _describe_mask(path)
    if file_format in LOSSY_FORMATS:
        sample.faults.append(("lossy_mask", str(path), file_format))
        return
    if mode in ("RGB", "RGBA"):
        sample.colors = _count_colors(read_colors(path))
        if any(len(set(color)) > 1 for color in sample.colors):
            return
    sample.labels = label_statistics(read_mask(path))
    if palette is not None:
        present = [value for value in sample.labels.values.tolist() if value < len(palette)]
        sample.palette = {value: tuple(palette[value].tolist()) for value in present}


def _describe_mask(path):
    """Return a mask file's format, Pillow's mode, and its (N, 3) palette or None."""
    try:
        image = open_image(path)
    except ValueError:  # a TIFF that only `read_mask` can decode
        return "TIFF", None, None
    with image:
        palette = None
        if image.mode == "P" and image.format != "GIF":  # `read_mask` reads gray levels of GIFs
            palette = np.reshape(image.getpalette("RGB"), (-1, 3))
        return image.format, image.mode, palette


def label_statistics(mask, detailed: bool = True) -> LabelStatistics:
    """Measure (H, W) integers; without `detailed`, `interior` and `between` are 0."""
    if mask.dtype == np.uint8:
        values, ranks = np.arange(256), mask
    else:  # OpenCV takes 16 bits; comparing ranks is the same as comparing values
        values, ranks = np.unique(mask, return_inverse=True)
        values = values[:MAX_VALUES]
        ranks = np.minimum(ranks.reshape(mask.shape), MAX_VALUES - 1).astype(np.uint16)
    pixels = np.bincount(ranks.ravel(), minlength=len(values))
    interior = between = np.zeros(len(values), int)
    if detailed:
        interior, between = _neighborhood_counts(ranks, len(values))
    present = pixels > 0
    return LabelStatistics(values[present], pixels[present], interior[present], between[present])


def _neighborhood_counts(ranks, count):
    """Return `interior` and `between` of `LabelStatistics`, for each of `count` ranks.

    The erosion is the smallest rank of a neighborhood, the dilation the largest: a pixel is
    interior where both are equal, and between where its own rank is neither of them.
    """
    import cv2  # lazy import: cv2 takes 0.5 s

    interior = cv2.erode(ranks, ADJACENT) == cv2.dilate(ranks, ADJACENT)
    between = (cv2.erode(ranks, NEARBY) < ranks) & (ranks < cv2.dilate(ranks, NEARBY))
    return (
        np.bincount(ranks[interior], minlength=count),
        np.bincount(ranks[between], minlength=count),
    )


def _count_colors(array):
    """Return {(red, green, blue): pixels} of (H, W, 3), the most frequent first."""
    # One integer per color is faster to sort than rows: (1, 2, 3) becomes 0x010203.
    packed = array.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_COLORS]
    return {
        (value >> 16, value >> 8 & 255, value & 255): count
        for value, count in zip(values[order].tolist(), counts[order].tolist(), strict=True)
    }


def _digest(data):
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    return hashlib.blake2b(data, digest_size=16).digest()


def _moments(channel):
    """Return number, sum and sum of squares of an array's values."""
    if channel.dtype == np.uint8:  # from a histogram, to avoid a float64 copy of a large image
        counts = np.bincount(channel.ravel(), minlength=256)
        values = np.arange(256)
        return [counts.sum(), counts @ values, counts @ values**2]
    return [channel.size, channel.sum(dtype=np.float64), np.square(channel, dtype=np.float64).sum()]


def common_range(samples):
    """Return [lowest, highest] value of all images, or None without images."""
    ranges = [sample.value_range for sample in samples if sample.value_range is not None]
    if not ranges:
        return None
    lows, highs = zip(*ranges, strict=True)
    return [min(lows), max(highs)]


def channel_statistics(samples):
    """Return the lists (mean, std) with one number per channel, over all pixels of the samples.

    Gray images among color images count in all channels.
    """
    moments = [sample.moments for sample in samples if sample.moments is not None]
    if not moments:
        return [], []
    sums = np.zeros((3, max(array.shape[1] for array in moments)))
    for array in moments:
        sums += array
    mean = sums[1] / sums[0]
    variance = np.maximum(sums[2] / sums[0] - mean**2, 1e-6)  # a std of 0 cannot be divided by
    return mean.tolist(), np.sqrt(variance).tolist()
