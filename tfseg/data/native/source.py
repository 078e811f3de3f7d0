"""How TensorFlow reads samples."""

from collections.abc import Callable
from typing import NamedTuple


class Source(NamedTuple):
    """Samples that TensorFlow can read.

    Attributes:
        ready: takes the (B,) positions of a batch, a NumPy array, and returns whether TensorFlow
            can read it now.
        read: takes the position of a sample, a tensor, and returns its image (H, W, C), its mask
            (H, W), and whether they are as Python would read them.
    """

    ready: Callable
    read: Callable

    def sample(self, index, *_):
        """Return a whole sample as a dict of "image" and "mask", and whether it is sound."""
        image, mask, is_sound = self.read(index)
        return {"image": image, "mask": mask}, is_sound
