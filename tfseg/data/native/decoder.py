"""What TensorFlow needs to know of samples on disk."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Decoder(NamedTuple):
    """Samples on disk that TensorFlow decodes.

    Attributes:
        read: takes the position of a sample, a scalar tensor, and returns its image (H, W, C) and
            its mask (H, W), integers of any dtype, and whether all values of the mask are in the
            table. Raises if the files are missing, damaged or of another kind.
        files: the files of each sample, for errors.
        table: {value or color on disk: class id}.
    """

    read: Callable
    files: Sequence[str]
    table: dict
