"""Near-duplicate images: a perceptual hash of 64 bits, and nearest-neighbor search over hashes."""

import numpy as np

from tfseg.data.readers.image_files import LUMA

# Hashes of near-duplicates differ in at most this many bits. Measured on COCO, BCCD and DSB 2018
# (49,000 pairs of images): all pairs but one (two photographs of one view) differ by 14 bits or
# more. At least 98 % of modified copies differ by 6 or fewer: saved as JPEG of quality 30, reduced
# to half size, brightened by a quarter, or cropped by 1 % on each side. Copies cropped by 5 %
# differ by 12 bits and are missed.
NEAR = 6
MAX_DISTANCE = 64
MIN_CONTRAST = 1 / 256  # std as a fraction of the range; below it a hash describes only noise
BLOCK = 256  # hashes compared with all others at once: 40 MB for 20,000 images


def fingerprint(image):
    """Return the perceptual hash (pHash) of an image.

    The image is reduced to 32 x 32 gray levels. Each of the 64 lowest frequencies of its discrete
    cosine transform gives a bit: whether it is above their median.

    Args:
        image: (H, W, C), any range.

    Returns:
        int of 64 bits; None for a flat image, which would match every other flat image.
    """
    import cv2  # lazy import: cv2 takes 0.5 s

    if image.dtype not in (np.uint8, np.uint16, np.float32):
        image = image.astype(np.float32)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    gray = _to_gray(small)
    span = 255 if image.dtype == np.uint8 else float(image.max()) - float(image.min())
    if not gray.std() > MIN_CONTRAST * span:
        return None
    low = cv2.dct(gray)[:8, :8].ravel()
    # the median leaves out low[0], the mean of the image
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes())


def _to_gray(image):
    if image.ndim == 2:  # OpenCV drops an axis of one channel
        return image
    return image @ LUMA if image.shape[-1] == 3 else image.mean(-1)


def nearest(hashes, others=None):
    """Find the nearest of `others` for every hash; without `others`, of the preceding hashes.

    Args:
        hashes: (N,) uint64.
        others: (M,) uint64, or None.

    Returns:
        indices: (N,) int; -1 where there is nothing to compare with.
        distances: (N,) int, number of differing bits; 65 where there is nothing to compare with.
    """
    hashes = np.asarray(hashes, np.uint64)
    indices = np.full(len(hashes), -1)
    distances = np.full(len(hashes), MAX_DISTANCE + 1)
    for start in range(0, len(hashes), BLOCK):
        block = hashes[start : start + BLOCK]
        rows = np.arange(len(block))
        candidates = hashes[: start + len(block)] if others is None else others
        candidates = np.asarray(candidates, np.uint64)
        if not len(candidates):
            break
        bits = np.bitwise_count(block[:, None] ^ candidates)
        if others is None:  # exclude the hash itself and those that follow it
            bits[np.arange(len(candidates)) >= start + rows[:, None]] = MAX_DISTANCE + 1
        best = bits.argmin(axis=1)
        distances[start : start + BLOCK] = bits[rows, best]
        indices[start : start + BLOCK] = best
    indices[distances > MAX_DISTANCE] = -1
    return indices, distances


def groups(links):
    """Return the groups of indices that are linked, directly or through others.

    Args:
        links: iterable of (index, earlier index); each index is linked to at most one earlier one.

    Returns:
        list of sorted lists with two or more indices. Example: [(4, 1), (2, 0), (6, 4)] gives
        [[0, 2], [1, 4, 6]].
    """
    root, members = {}, {}
    for index, earlier in sorted(links):
        first = root.get(earlier, earlier)
        root[index] = first
        members.setdefault(first, [first]).append(index)
    return [members[first] for first in sorted(members)]
