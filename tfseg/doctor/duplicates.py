"""Images that are alike: a perceptual hash of 64 bits, and the search for the nearest."""

import numpy as np

from tfseg.data.readers.image_files import LUMA

# Bits by which the hashes of near-duplicates differ at most. Measured on COCO, BCCD and DSB 2018 (49,000 pairs of
# images): all but one pair, two takes of one view, differ by 14 bits or more; at least 98 % of copies by 6 or fewer,
# saved as JPEG of quality 30, made half as large, brighter by a quarter, or cropped by 1 % on each side. Cropped by
# 5 % they differ by 12 and are missed.
NEAR = 6
FLAT = 1 / 256  # contrast, as a share of the range, below which a hash would be of noise only
ROWS = 256  # hashes compared with all others at once: 40 MB for 20,000 images


def fingerprint(image):
    """Return the perceptual hash of an image: which of its 64 lowest frequencies are above their median.

    pHash: the discrete cosine transform of the image as 32 x 32 gray levels.

    Args:
        image: (H, W, C), of any range.

    Returns:
        An int of 64 bits; None if the image is flat, which makes it like any other flat one.
    """
    import cv2  # its half second is spent here, not by all who read images

    if image.dtype not in (np.uint8, np.uint16, np.float32):
        image = image.astype(np.float32)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    gray = small if small.ndim == 2 else small @ LUMA if small.shape[-1] == 3 else small.mean(-1)
    span = 255 if image.dtype == np.uint8 else float(image.max()) - float(image.min())
    if not gray.std() > FLAT * span:
        return None
    low = cv2.dct(gray)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes())


def nearest(hashes, others=None):
    """Find the most alike of `others` for every hash; without `others`, of the hashes before it.

    Args:
        hashes: (N,) uint64.
        others: (M,) uint64, or None.

    Returns:
        indices: (N,) int, -1 where there is nothing to compare with.
        distances: (N,) int, bits that differ; 65 where there is nothing to compare with.
    """
    hashes = np.asarray(hashes, np.uint64)
    indices, distances = np.full(len(hashes), -1), np.full(len(hashes), 65)
    for start in range(0, len(hashes), ROWS):
        block = hashes[start : start + ROWS]
        against = hashes[: start + len(block)] if others is None else np.asarray(others, np.uint64)
        if not len(against):
            break
        bits = np.bitwise_count(block[:, None] ^ against)
        if others is None:  # itself, and those after it
            bits[np.arange(len(against)) >= start + np.arange(len(block))[:, None]] = 65
        best = bits.argmin(axis=1)
        distances[start : start + ROWS] = bits[np.arange(len(block)), best]
        indices[start : start + ROWS] = best
    indices[distances > 64] = -1
    return indices, distances


def groups(links):
    """Return the sets of indices that are linked, directly or through others, each sorted, those of two or more.

    Args:
        links: iterable of (index, earlier index).
    """
    root, members = {}, {}
    for index, earlier in sorted(links):
        top = root.get(earlier, earlier)
        root[index] = top
        members.setdefault(top, [top]).append(index)
    return [members[top] for top in sorted(members)]
