"""Samples as tensors for tf.data."""

import re
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg.checks import IGNORE_INDEX

# What a sample's arrays are filled up with where the samples of a batch differ in size, or in their number of objects.
PADDING = {"image": 0, "mask": IGNORE_INDEX, "instances": 0, "boxes": 0, "classes": -1}
TYPES = {"mask": tf.uint8, "instances": tf.int32, "boxes": tf.float32, "classes": tf.int32}
SHAPES = {"boxes": [None, 4], "classes": [None]}
# Of a training sample: which it is, and where its piece lies in the image (see `CropSampler.cut`).
PLACE = {"key": tf.int64, "extent": tf.float32, "corner": tf.float32, "focus": tf.float32}


class Loader:
    """Reads a reader's samples for tf.data, and keeps account of those that cannot be read.

    Args:
        reader: a `Reader`.
        on_error: "raise" or "skip".
        resize: a `Resize`, or None.
        shrink: read samples at this fraction of their size, see `Reader.read`.

    Attributes:
        fields: the names in every sample, in the order of `PADDING`.
        sizes: (N, 2) heights and widths of the samples as they are read.
        sides: [height, width] of all samples, None where they differ.
    """

    def __init__(self, reader, on_error, resize=None, shrink=1):
        self.reader, self.on_error, self.resize, self.shrink = reader, on_error, resize, shrink
        self.fields = [name for name in PADDING if name in reader.fields]
        self.failed = {}
        self.sizes = -(-reader.sizes // shrink)
        if resize is not None:
            self.sizes = np.array([resize.fit(*size)[0] for size in reader.sizes]).reshape(-1, 2)
        first = self.sizes[0]
        self.sides = [
            int(side) if (self.sizes[:, axis] == side).all() else None
            for axis, side in enumerate(first)
        ]

    def shapes(self, sides):
        """Return {name: shape} of samples of [height, width]."""
        return {
            **SHAPES,
            "image": [*sides, self.reader.channels],
            "mask": sides,
            "instances": sides,
        }

    def sample(self, index):
        """Return sample `index`, or an error that tells of it."""
        size = self.reader.sizes[index]
        shrink = self.shrink if self.resize is None else self.resize.shrink(*size)
        sample = self.reader.read(index, shrink)
        self._require_size(sample, -(-size // shrink), index)
        return sample if self.resize is None else self.resize(sample, size)

    def sample_or_next(self, index):
        """Return the sample, or the first readable one after it."""
        for offset in range(len(self.reader)):
            try:
                return self.sample((index + offset) % len(self.reader))
            except (OSError, ValueError) as error:
                if self.on_error == "raise":
                    raise
                self.failed[(index + offset) % len(self.reader)] = str(error)
        raise ValueError(self._none_readable(self.failed))

    def sample_or_blank(self, index):
        """Return the sample, or one of its size without a labeled pixel or object."""
        try:
            return self.sample(index)
        except (OSError, ValueError) as error:
            if self.on_error == "raise":
                raise
            self.failed[index] = str(error)
        height, width = self.sizes[index]
        shapes = {"image": (height, width, self.reader.channels), "boxes": (0, 4), "classes": (0,)}
        return {
            name: np.full(
                shapes.get(name, (height, width)), PADDING[name], self._type(name).as_numpy_dtype
            )
            for name in self.fields
        }

    def stage(self, function, sides, extra=()):
        """Stage: apply `function` (arguments -> sample dict of [height, width]) to numbers."""
        names, shapes = [*self.fields, *extra], self.shapes(sides)
        types = [PLACE[name] if name in PLACE else self._type(name) for name in names]

        def load(*numbers):
            sample = function(*map(int, numbers))
            return [
                np.asarray(sample[name], kind.as_numpy_dtype)
                for name, kind in zip(names, types, strict=True)
            ]

        def apply(*numbers):
            arrays = tf.numpy_function(load, numbers, types, stateful=False)
            for name, array in zip(names, arrays, strict=True):
                array.set_shape(shapes.get(name, [2]))
            return dict(zip(names, arrays, strict=True))

        return apply

    def report(self):
        """Warn of the samples that were skipped since the last report; raise a ValueError if these are all."""
        failed, self.failed = self.failed, {}
        if len(failed) == len(self.reader):
            raise ValueError(self._none_readable(failed))
        if failed:
            named = "\n  ".join(
                f"{self.reader.name(index)}: {why}" for index, why in sorted(failed.items())[:8]
            )
            more = f"\n  ... and {len(failed) - 8} more" if len(failed) > 8 else ""
            count = f"{len(failed)} sample{'s were' if len(failed) > 1 else ' was'}"
            warnings.warn(f"pipeline: {count} skipped:\n  {named}{more}", stacklevel=2)

    def _type(self, name):
        return tf.as_dtype(self.reader.dtype) if name == "image" else TYPES[name]

    def _none_readable(self, failed):
        return f"pipeline: none of the {len(self.reader)} samples can be read. One of them: {list(failed.values())[-1]}"

    def _require_size(self, sample, size, index):
        """Raise a ValueError of a sample that is not of the (height, width) that the reader told."""
        for name in {"image", "mask", "instances"} & sample.keys():
            if sample[name].shape[:2] != tuple(size):
                (height, width), told = sample[name].shape[:2], tuple(map(int, size))
                raise ValueError(
                    f"{self.reader.name(index)}: its {name} is {height} x {width}, but the reader tells of "
                    f"{told[0]} x {told[1]}. If the file has changed since, make the reader anew."
                )


def reading_error(error):
    """Return what a reader said when it failed inside of tf.data, an OSError; None if `error` tells of something else.

    TensorFlow hands Python's errors on as its own, the words among several traceback's lines.
    """
    said = re.findall(
        r"^(?:OS|Value|FileNotFound|Permission|IsADirectory)Error: (.+)$", str(error), re.MULTILINE
    )
    return OSError(said[-1]) if said and Path(__file__).name in str(error) else None
