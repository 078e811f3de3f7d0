"""Samples as tensors for tf.data."""

import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg.data.augment.crop import CropSampler
from tfseg.data.augment.params import STREAMS
from tfseg.data.exit_gate import until_exit
from tfseg.data.object_limit import keep_largest
from tfseg.data.readers import Reader
from tfseg.data.readers.objects import BOX_FIELDS
from tfseg.data.resize import Resize
from tfseg.data.sample_checks import ImageChecks, LabelChecks

FIELDS = ("image", "mask", "instances", *BOX_FIELDS)
DTYPES = {
    "instances": tf.int32,
    "boxes": tf.float32,
    "classes": tf.int32,
    "crowd": tf.bool,
    "areas": tf.float32,
}
PADDING = {
    "instances": 0,
    "boxes": 0,
    "classes": -1,
    "crowd": False,
    "areas": 0,
    "mask_fits": False,
}
LEAST_CHECKED, MOST_CHECKED = 8, 64  # samples that Python checks before TensorFlow reads them
# Dtype and shape of what a crop's sample also has: its seed and number, and see
# `CropSampler.extract`.
PIECE_FIELDS = {
    "key": (tf.int64, [2]),
    "random": (tf.float32, [len(STREAMS)]),
    "extent": (tf.float32, [2]),
    "corner": (tf.float32, [2]),
    "class_pixel": (tf.float32, [2]),
}
MASK_FITS = {"mask_fits": (tf.bool, [None])}  # of the objects, see `CropSampler.extract`
MAX_REPORTED = 8  # samples that a warning names


class Loader:
    """Reads samples for tf.data, and records those that cannot be read.

    Args:
        reader: a `Reader`.
        on_error: "raise" or "skip".
        resize: a `Resize`, or None.
        shrink: read samples at 1 / shrink of their size, see `Reader.read`.
        image_checks: the `ImageChecks` of the samples; None for those of images without a range.
        max_objects: number of objects that every sample is padded or cut to; None to keep all.

    Attributes:
        fields: names in every sample, in the order of `FIELDS`.
        padding: {name: value} that samples are padded with where those of a batch differ in size
            or in their number of objects.
        dtypes: {name: tf.DType} of the fields.
        failed: {index: error message} of the samples that could not be read.
        left_out: {index: number} of the objects beyond `max_objects`.
        sizes: (N, 2) heights and widths of the samples after reading and resizing.
        sides: [height, width] of all samples, None where they differ.
    """

    def __init__(
        self,
        reader: Reader,
        on_error: str,
        resize: Resize | None = None,
        shrink: int = 1,
        image_checks: ImageChecks | None = None,
        max_objects: int | None = None,
    ):
        self.reader, self.on_error = reader, on_error
        self.resize, self.shrink, self.max_objects = resize, shrink, max_objects
        self.fields = [name for name in FIELDS if name in reader.fields]
        self.padding = {"image": 0, "mask": reader.ignore_index} | PADDING
        self.dtypes = {"image": tf.as_dtype(reader.dtype), "mask": tf.as_dtype(reader.mask_dtype)}
        self.dtypes |= DTYPES
        self._labels = LabelChecks(reader)
        self._images = ImageChecks(reader) if image_checks is None else image_checks
        self.failed = {}
        self.left_out, self._reported = {}, set()
        self.sizes = -(-reader.sizes // shrink)
        if resize is not None:
            self.sizes = np.array([resize.fit(*size)[0] for size in reader.sizes]).reshape(-1, 2)
        self.sides = [_common(self.sizes[:, 0]), _common(self.sizes[:, 1])]

    def shapes(self, sides):
        """Return {name: shape} of samples with the given [height, width]."""
        rows = self.max_objects
        shapes = {name: [rows, 4] if name == "boxes" else [rows] for name in BOX_FIELDS}
        image = [*sides, self.reader.channels]
        return {**shapes, "image": image, "mask": sides, "instances": sides}

    def piece_sides(self, sampler: CropSampler) -> list[int]:
        """Return the [height, width] of the pieces that crops need."""
        return np.minimum(sampler.canvas, self.sizes.max(axis=0)).tolist()

    def specs(self, sides, extra=None):
        """Return {name: (dtype, shape)} of samples, see `stage`."""
        shapes = self.shapes(sides)
        return {name: (self.dtypes[name], shapes[name]) for name in self.fields} | (extra or {})

    def sample(self, index: int) -> dict:
        """Return sample `index`; raise an error that names it if it cannot be read."""
        size = self.reader.sizes[index]
        shrink = self.shrink if self.resize is None else self.resize.shrink(*size)
        sample = self._labels.check(self.reader.read(index, shrink), index)
        self._images.check(np.asarray(sample["image"]), index)
        self._check_size(sample, -(-size // shrink), index)
        if self.resize is not None:
            sample = self.resize(sample, size, self.reader.ignore_index)
        if self.max_objects is None or "boxes" not in sample:
            return sample
        batch = {name: np.asarray(value)[None] for name, value in sample.items()}
        batch, left_out = keep_largest(batch, self.max_objects)
        self.note_left_out([index], left_out)
        return {name: value[0] for name, value in batch.items()}

    def check_all(self) -> None:
        """Check all samples, with several threads.

        Raises:
            OSError, ValueError: a sample cannot be read, or is not as it should be.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda index: bool(self.sample(index)), range(len(self.reader))):
                pass  # raises what a thread raised

    def check_first_samples(self) -> bool:
        """Check samples from all over the reader until it is clear that they are as expected.

        Returns:
            Whether the others need no check of their classes and their range. Not if all masks seem
            to have a single class.

        Raises:
            OSError, ValueError: a sample cannot be read.
        """
        count = len(self.reader)
        chosen = np.random.default_rng(0).permutation(count)[:MOST_CHECKED].tolist()
        for number, index in enumerate(chosen, start=1):
            self.sample(index)
            is_decided = self._labels.is_decided and self._images.is_decided
            if is_decided and number >= min(count, LEAST_CHECKED):
                return True
        return False

    def note_left_out(self, indices, counts) -> None:
        """Remember for `report` how many objects of samples were left out."""
        for index, count in zip(map(int, indices), map(int, counts), strict=True):
            if count and index not in self._reported:
                self.left_out[index] = max(count, self.left_out.get(index, 0))

    def sample_or_next(self, index: int) -> tuple[int, dict]:
        """Return the position and the content of the sample, or of the next that can be read."""
        count = len(self.reader)
        for candidate in ((index + offset) % count for offset in range(count)):
            try:
                return candidate, self.sample(candidate)
            except (OSError, ValueError) as error:
                if self.on_error == "raise":
                    raise
                self.failed[candidate] = str(error)
        raise ValueError(self._none_readable(self.failed))

    def sample_or_blank(self, index: int) -> dict:
        """Return the sample, or one of its size with all pixels ignored and without objects."""
        try:
            return self.sample(index)
        except (OSError, ValueError) as error:
            if self.on_error == "raise":
                raise
            self.failed[index] = str(error)
        shapes = self.shapes(self.sizes[index].tolist())
        return {
            name: np.full(
                [0 if side is None else side for side in shapes[name]],  # None: without objects
                self.padding[name],
                self.dtypes[name].as_numpy_dtype,
            )
            for name in self.fields
        }

    def stage(self, function, sides, extra=None):
        """Return a tf.data stage that loads samples.

        Args:
            function: takes the integers of the dataset, returns a sample dict.
            sides: [height, width] of these samples, None where they differ.
            extra: {name: (dtype, shape)} of what else they contain; None for nothing.
        """
        specs = self.specs(sides, extra)
        dtypes = [dtype for dtype, _ in specs.values()]

        def blank():
            return [
                np.zeros([1 if side is None else side for side in shape], dtype.as_numpy_dtype)
                for dtype, shape in specs.values()
            ]

        def load(*numbers):
            sample = function(*map(int, numbers))
            return [
                np.asarray(sample[name], dtype.as_numpy_dtype) for name, (dtype, _) in specs.items()
            ]

        def apply(*numbers):
            function = until_exit(load, blank)
            arrays = tf.numpy_function(function, numbers, dtypes, stateful=False)
            for array, (_, shape) in zip(arrays, specs.values(), strict=True):
                array.set_shape(shape)
            return dict(zip(specs, arrays, strict=True))

        return apply

    def report(self):
        """Warn about samples skipped and objects left out since the last report.

        Raises:
            ValueError: no sample could be read.
        """
        self._report_left_out()
        failed, self.failed = self.failed, {}
        if len(failed) == len(self.reader):
            raise ValueError(self._none_readable(failed))
        if not failed:
            return
        samples = "1 sample was" if len(failed) == 1 else f"{len(failed)} samples were"
        lines = [f"pipeline: {samples} skipped:", *self._lines(failed)]
        warnings.warn("\n  ".join(lines), stacklevel=2)

    def _report_left_out(self):
        """Warn about the objects that were left out; every sample is named once."""
        left_out, self.left_out = self.left_out, {}
        self._reported |= left_out.keys()
        if not left_out:
            return
        samples = "1 sample has" if len(left_out) == 1 else f"{len(left_out)} samples have"
        head = (
            f"pipeline: {samples} more objects than max_objects allows. The largest are kept; pass "
            "a larger max_objects to keep all. Objects left out:"
        )
        warnings.warn("\n  ".join([head, *self._lines(left_out)]), stacklevel=2)

    def _lines(self, texts):
        """Return a line for each of the first {index: text}."""
        lines = [f"{self.reader.name(index)}: {text}" for index, text in sorted(texts.items())]
        if len(lines) > MAX_REPORTED:
            lines[MAX_REPORTED:] = [f"... and {len(lines) - MAX_REPORTED} more"]
        return lines

    def _none_readable(self, failed):
        return (
            f"pipeline: none of the {len(self.reader)} samples can be read. The last error: "
            f"{list(failed.values())[-1]}"
        )

    def _check_size(self, sample, expected, index):
        """Raise a ValueError if a sample is not of the (height, width) in `reader.sizes`."""
        for name in {"image", "mask", "instances"} & sample.keys():
            size = sample[name].shape[:2]
            if size != tuple(expected):
                raise ValueError(
                    f"{self.reader.name(index)}: its {name} is {size[0]} x {size[1]}, but the "
                    f"reader expects {expected[0]} x {expected[1]}. If the file has changed, "
                    "create the reader again."
                )


def _common(lengths):
    """Return the length if all are equal, else None."""
    return int(lengths[0]) if (lengths == lengths[0]).all() else None


def reading_error(error: Exception) -> OSError | None:
    """Return the reader's error behind a TensorFlow error, or None if it has another cause.

    TensorFlow raises errors from Python code as its own, with the message inside a traceback, and
    those from its own code as failed assertions.
    """
    asserted = re.search(r"assertion failed: \[(pipeline: .+)\]$", str(error), re.MULTILINE)
    if asserted is not None:
        return OSError(asserted.group(1))
    messages = re.findall(
        r"^(?:OS|Value|FileNotFound|Permission|IsADirectory)Error: (.+)$", str(error), re.MULTILINE
    )
    if not messages or Path(__file__).name not in str(error):
        return None
    return OSError(messages[-1])
