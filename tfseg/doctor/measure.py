"""What the doctor and the check before training measure of every sample, before its arrays are let go."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tfseg.data.readers.image_files import (
    orientation,
    read_colors,
    read_header,
    read_image,
    read_mask,
)
from tfseg.doctor.duplicates import fingerprint

MOST_COLOURS = 256  # a mask with more is an image
AROUND = np.ones((3, 3), np.uint8)
NEARBY = np.ones(
    (5, 5), np.uint8
)  # a mask enlarged twofold has strips two pixels wide along its edges


@dataclass
class Labels:
    """The values of a mask: (N,) arrays.

    Attributes:
        values: on disk, ascending.
        pixels: how many pixels have each.
        inner: those of them whose eight neighbors have it too.
        between: those of them with a smaller and a greater value at most two pixels away.
    """

    values: np.ndarray
    pixels: np.ndarray
    inner: np.ndarray
    between: np.ndarray


@dataclass(eq=False)  # one of many, not its figures
class Sample:
    """What is known of a sample; None where it has no such thing or could not be read.

    Attributes:
        name: of the image, or of the mask if there is no image: its path, or the reader's name.
        image, mask: paths; None in memory.
        val: is for validation.
        faults: list of (kind, name, what is wrong).
        size, mask_size: (height, width) in pixels, of the image as tfseg turns it.
        orientation: EXIF, 1..8; 1 is upright.
        channels, dtype: of the image.
        digest, mask_digest: of the bytes, equal for equal ones.
        hash: see `fingerprint`.
        moments: (3, C): number, sum and sum of squares of the pixels.
        labels: Labels.
        colors: {(red, green, blue): pixels} of a color mask; the first 256.
        palette: {value: (red, green, blue)} of the values in a palette mask.
        boxes, classes: (N, 4) and (N,) of the objects.
        source: (reader, index) of a sample that is in no folder.
    """

    name: str
    image: Path | None = None
    mask: Path | None = None
    val: bool = False
    faults: list = field(default_factory=list)
    size: tuple | None = None
    mask_size: tuple | None = None
    orientation: int = 1
    channels: int | None = None
    dtype: np.dtype | None = None
    digest: bytes | None = None
    mask_digest: bytes | None = None
    hash: int | None = None
    moments: np.ndarray | None = None
    labels: Labels | None = None
    colors: dict | None = None
    palette: dict | None = None
    boxes: np.ndarray | None = None
    classes: np.ndarray | None = None
    source: tuple | None = None


def measure_all(measure, items, track=lambda samples, total: samples):
    """Return the list of `measure(item)`, made in threads: decoding keeps a core busy, and a large image's memory."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(measure, items), len(items)))


def measure_sample(reader, index, closely=True):
    """Return the Sample of a reader; what cannot be read is among its faults.

    Without `closely` it lacks what only the doctor asks for: hash, digests, `inner` and `between`.
    """
    sample = Sample(reader.name(index))
    try:
        read = reader[index]
    except (OSError, ValueError) as error:
        kind = "unreadable" if isinstance(error, OSError) else "refused"
        sample.faults.append((kind, sample.name, str(error)))
        return sample
    _look_at_image(sample, read["image"])
    if "mask" in read:
        sample.mask_size, sample.labels = (
            read["mask"].shape,
            label_statistics(read["mask"], closely),
        )
    sample.boxes, sample.classes = read.get("boxes"), read.get("classes")
    if closely:
        sample.hash, sample.digest = fingerprint(read["image"]), _digest(read["image"])
        sample.mask_digest = _digest(read["mask"]) if "mask" in read else None
    return sample


def measure_files(image, mask, val=False):
    """Return the Sample of an image's file and a mask's, either of which may be None."""
    sample = Sample(str(image or mask), image, mask, val)
    for path, look in ((image, _look_at_image_file), (mask, _look_at_mask_file)):
        if path is None:
            continue
        try:
            height, width, *_ = read_header(path)
        except (OSError, ValueError) as error:
            sample.faults.append(("unreadable", str(path), str(error)))
            continue
        try:
            look(sample, path, (height, width))
        except (OSError, ValueError) as error:
            kind = "truncated" if isinstance(error, OSError) else "refused"
            sample.faults.append((kind, str(path), str(error)))
    return sample


def _look_at_image_file(sample, path, size):
    sample.size, sample.digest = size, _digest(path.read_bytes())
    with Image.open(path) as picture:
        sample.orientation = orientation(picture)
    image = read_image(path)
    _look_at_image(sample, image)
    sample.hash = fingerprint(image)


def _look_at_image(sample, image):
    sample.size, sample.channels, sample.dtype = image.shape[:2], image.shape[-1], image.dtype
    moments = np.stack([_moments(channel) for channel in np.moveaxis(image, -1, 0)], axis=-1)
    if not np.isfinite(moments).all():
        text = f"{sample.name} holds values that are NaN or infinite. Replace them, as by np.nan_to_num."
        sample.faults.append(("refused", sample.name, text))
        return
    sample.moments = moments


def _look_at_mask_file(sample, path, size):
    sample.mask_size, sample.mask_digest = size, _digest(path.read_bytes())
    with Image.open(path) as picture:
        if picture.format in ("JPEG", "MPO", "WEBP"):
            sample.faults.append(("lossy_mask", str(path), picture.format))
            return
        if picture.mode in ("RGB", "RGBA"):
            sample.colors = _colors(read_colors(path))
            if any(len(set(color)) > 1 for color in sample.colors):
                return
        table = np.reshape(picture.getpalette("RGB"), (-1, 3)) if picture.mode == "P" else None
    sample.labels = label_statistics(read_mask(path))
    if table is not None:
        present = [value for value in sample.labels.values.tolist() if value < len(table)]
        sample.palette = {value: tuple(table[value].tolist()) for value in present}


def label_statistics(mask, closely=True):
    """Return the Labels of (H, W) integers; without `closely`, `inner` and `between` are 0."""
    if mask.dtype == np.uint8:
        values, ranks = np.arange(256), mask
    else:  # ranks keep the order, which is all that is asked for
        values, ranks = np.unique(mask, return_inverse=True)
        values, ranks = (
            values[: 2**16],
            np.minimum(ranks.reshape(mask.shape), 2**16 - 1).astype(np.uint16),
        )
    pixels = np.bincount(ranks.ravel(), minlength=len(values))
    inner, between = (
        _neighborhoods(ranks, len(values)) if closely else np.zeros((2, len(values)), int)
    )
    there = pixels > 0
    return Labels(values[there], pixels[there], inner[there], between[there])


def _neighborhoods(ranks, count):
    """Count the pixels of each rank among their like, and those between others, see `Labels`."""
    import cv2  # as late as in `fingerprint`

    inside = cv2.erode(ranks, AROUND) == cv2.dilate(ranks, AROUND)
    between = (cv2.erode(ranks, NEARBY) < ranks) & (ranks < cv2.dilate(ranks, NEARBY))
    return [np.bincount(ranks[chosen], minlength=count) for chosen in (inside, between)]


def _colors(array):
    """Return {(red, green, blue): pixels} of (H, W, 3), the most frequent first."""
    packed = array.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_COLOURS]
    return {
        (v >> 16, v >> 8 & 255, v & 255): c
        for v, c in zip(values[order].tolist(), counts[order].tolist(), strict=True)
    }


def _digest(data):
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    return hashlib.blake2b(data, digest_size=16).digest()


def _moments(channel):
    """Return number, sum and sum of squares of an array's values."""
    if channel.dtype == np.uint8:  # by a histogram: a large image is never held in float64
        counts = np.bincount(channel.ravel(), minlength=256)
        values = np.arange(256)
        return [counts.sum(), counts @ values, counts @ values**2]
    return [channel.size, channel.sum(dtype=np.float64), np.square(channel, dtype=np.float64).sum()]
