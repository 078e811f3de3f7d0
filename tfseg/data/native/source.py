"""How TensorFlow reads samples."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import tensorflow as tf

from tfseg.data.readers.image_listing import printable
from tfseg.data.readers.problems import VALUE_REMEDY, first_few
from tfseg.data.value_range import clipped_text

# What can be wrong with a sample.
SOUND, UNREADABLE, UNKNOWN_VALUES, OUT_OF_RANGE = range(4)
UNREADABLE_TEXT = (
    ": a file is missing or damaged, or its size has changed; the reason is in the log above. Copy "
    "it again, or create the reader again."
)


class Source(NamedTuple):
    """Samples that TensorFlow can read.

    Attributes:
        read: takes the position of a sample, a scalar tensor, and returns its image (H, W, C), its
            mask (H, W), and an int32 that says what is wrong with it. Raises if it is unreadable.
        names: (N,) string tensor from `name_tensor`, names of the samples and their files.
        table: {value of a mask: class id}; None if the values need no check.
        clipped: (low, high) that color operations clip the images to; None if they do not.
    """

    read: Callable
    names: tf.Tensor
    table: dict | None = None
    clipped: tuple | None = None

    def sample(self, index):
        """Return a whole sample as a dict of "image" and "mask", and what is wrong with it."""
        image, mask, problem = self.read(index)
        return {"image": image, "mask": mask}, problem

    def describe(self, index, problem) -> tf.Tensor:
        """Return a string tensor that says what is wrong with a sample."""
        texts = {SOUND: "", UNREADABLE: UNREADABLE_TEXT, UNKNOWN_VALUES: "", OUT_OF_RANGE: ""}
        if self.table is not None:
            known = first_few(sorted(self.table))
            texts[UNKNOWN_VALUES] = (
                f": the mask contains values that map to no class (known: {known}). {VALUE_REMEDY}"
            )
        if self.clipped is not None:
            texts[OUT_OF_RANGE] = f": {clipped_text(self.clipped)}"
        text = tf.constant(list(texts.values()))[problem]
        return tf.strings.join(["pipeline: ", self.names[index], text])


def name_tensor(names: Iterable[str]) -> tf.Tensor:
    """Return names that may contain bytes that are not UTF-8, as those of files, as a tensor."""
    return tf.constant([printable(name) for name in names])
