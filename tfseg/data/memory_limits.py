"""How many pixels a network processes at once without running out of memory."""

import numpy as np

# A U-Net keeps some hundred values per pixel: an image of 12 megapixels takes 5 GB, one of 2
# megapixels less than 1 GB.
MAX_IMAGE_PIXELS = 2**21  # larger images are processed in windows
WINDOW_SIZE = 1024  # side of these windows
MAX_BATCH_PIXELS = 2**22  # of a batch of whole images


def window_for(sizes) -> int | None:
    """Return the side of the sliding windows for images too large to process whole.

    Args:
        sizes: (N, 2) heights and widths.

    Returns:
        Side in pixels; None if all images can be processed whole.

    Example:
        >>> window_for([(360, 480)]) is None
        True
        >>> window_for([(360, 480), (3000, 4000)])
        1024
    """
    return WINDOW_SIZE if _largest(sizes) > MAX_IMAGE_PIXELS else None


def batch_for(sizes, batch_size: int) -> int:
    """Return how many images to process at once: `batch_size`, or fewer if they are large.

    Args:
        sizes: (N, 2) heights and widths.
        batch_size: upper limit.

    Example:
        >>> batch_for([(360, 480)], 8), batch_for([(1024, 1024)], 8)
        (8, 4)
    """
    return int(min(batch_size, max(1, MAX_BATCH_PIXELS // _largest(sizes))))


def _largest(sizes):
    """Return the number of pixels of the largest image, at least 1."""
    return np.prod(np.asarray(sizes, np.int64).reshape(-1, 2), axis=1).max(initial=1)
