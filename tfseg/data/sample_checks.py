"""Checks of samples where they are read: class ids, and the range of image values."""

import warnings

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers import Reader
from tfseg.data.readers.mask_values import distinct_values, single_class_warning
from tfseg.data.readers.objects import BOX_FIELDS
from tfseg.data.readers.problems import first_few
from tfseg.data.value_range import (
    DEFAULT_RANGE,
    range_warning,
    refuse_clipping,
    value_range,
)

MIN_SAMPLES = 4  # read before images are said to be dark: a single one may well be


class LabelChecks:
    """Checks the labels of samples; raises if they are not class ids.

    Args:
        reader: a `Reader`.

    Attributes:
        is_decided: whether two classes occurred, or all samples were read.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._count, self._ignore_index = len(reader.label_names), reader.ignore_index
        self._num_objects = len(reader.object_names)
        self._values, self._indices = set(), set()
        self.is_decided = "mask" not in reader.fields

    def check(self, sample: dict, index: int) -> dict:
        """Return the sample, with its mask as class ids (H, W) of the reader's dtype.

        Raises:
            ValueError: the mask or the objects have ids outside [0, num_classes), or the mask is
                not an array of whole numbers.

        Warns:
            UserWarning: after all samples, if their masks have a single class and ignored pixels.
        """
        if "classes" in self._reader.fields:
            self._check_objects(sample, index)
        if "mask" not in sample:
            return sample
        mask = self._whole_numbers(np.asarray(sample["mask"]), index)
        # The first test is enough for most masks, and much faster.
        if mask.size and (mask.min() < 0 or self._largest_id(mask) >= self._count):
            self._check_ids(mask, index)
        mask = mask.astype(self._reader.mask_dtype, copy=False)
        if not self.is_decided:
            self._watch_classes(mask, index)
        return {**sample, "mask": mask}

    def _largest_id(self, mask):
        """Return the largest id in a mask; of uint8 masks without ignored pixels, -1 for none."""
        if mask.dtype == np.uint8 and self._ignore_index == IGNORE_INDEX:
            return int((mask + np.uint8(1)).max()) - 1  # 255, which is ignored, becomes 0
        return mask.max()

    def _whole_numbers(self, mask, index):
        """Return the mask as (H, W), or raise a ValueError."""
        if mask.ndim == 3 and mask.shape[-1] == 1:
            mask = mask[..., 0]
        if mask.ndim != 2 or mask.dtype.kind not in "biuf":
            raise ValueError(
                f"{self._mask_of(index)} is an array {mask.shape} of {mask.dtype}, expected (H, W) "
                "class ids. Convert colors and one-hot masks to one id per pixel in the reader."
            )
        if mask.dtype.kind == "f" and not (mask == np.rint(mask)).all():
            raise ValueError(
                f"{self._mask_of(index)} contains fractions or NaN, expected class ids. Resize "
                "masks without interpolation."
            )
        return mask

    def _check_ids(self, mask, index):
        is_unknown = ((mask < 0) | (mask >= self._count)) & (mask != self._ignore_index)
        if is_unknown.any():
            raise ValueError(
                f"{self._mask_of(index)} contains values that map to no class: "
                f"{first_few(np.unique(mask[is_unknown]).tolist())} (classes: 0 to "
                f"{self._count - 1}; ignored: {self._ignore_index}). Map the values to class ids "
                "in the reader, as with mask_values={value: class id}, or name more classes."
            )

    def _check_objects(self, sample, index):
        classes, count = np.asarray(sample["classes"]), self._num_objects
        if classes.size and not (classes.min() >= -1 and classes.max() < count):
            raise ValueError(
                f"pipeline: the objects of {self._reader.name(index)!r} have the class ids "
                f"{first_few(np.unique(classes).tolist())}, expected 0 to {count - 1}. "
                "Correct them in the reader, or name more classes."
            )
        lengths = {name: len(sample[name]) for name in BOX_FIELDS if name in self._reader.fields}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{number} {name}" for name, number in lengths.items())
            raise ValueError(
                f"pipeline: {self._reader.name(index)!r} has {found}. Return one entry per object "
                "in each of them."
            )

    def _mask_of(self, index):
        return f"pipeline: the mask of {self._reader.name(index)!r}"

    def _watch_classes(self, mask, index):
        """Warn when every sample was read if there is a single class beside ignored pixels."""
        self._values |= distinct_values(mask)
        self._indices.add(index)
        if len(self._values - {self._ignore_index}) > 1:
            self.is_decided = True
        elif len(self._indices) == len(self._reader):
            self.is_decided = True
            values = np.array(sorted(self._values), self._reader.mask_dtype)
            warning = single_class_warning("pipeline", [values], self._reader.label_names)
            if warning is not None:
                warnings.warn(warning, stacklevel=2)


class ImageChecks:
    """Warns, once of each, about images out of range or with NaN; refuses those that are clipped.

    Args:
        reader: a `Reader`.
        expected: (low, high) of the image values that the model was trained on. None if unknown:
            then only floating point images that do not reach 1.5, or look normalized, are reported.
        clipped: (low, high) that color operations clip the images to, or None.
        normalized: whether the pipeline normalizes the images.

    Attributes:
        clipped: as above.
    """

    def __init__(self, reader: Reader, expected=None, clipped=None, normalized: bool = False):
        self._reader = reader
        self._expected, self.clipped = expected or clipped, clipped
        self._is_float = reader.dtype.kind == "f"
        # The dtype says enough of images without a range to compare with.
        has_range = self._expected is not None
        self._checks_range = has_range or (self._is_float and not normalized)
        self._checks_finite = self._is_float
        self._indices = set()
        self._low, self._high, self._name = np.inf, -np.inf, None

    def check(self, image, index: int) -> None:
        """Warn about an image.

        Args:
            image: (H, W, C).
            index: position of the sample.

        Raises:
            ValueError: color operations would clip its values.
        """
        if not self._checks_range and not self._checks_finite and self.clipped is None:
            return
        if image.dtype == np.uint8:
            found = DEFAULT_RANGE  # whatever occurs
        else:
            found = value_range(image)
            self._check_finite(image, index)
        if self.clipped is not None:
            refuse_clipping(f"pipeline: {self._reader.name(index)}", image, self.clipped)
        if self._checks_range and found is not None:
            is_news = self._extend(*found, index)
            warning = self._range_problem() if is_news else None
            if warning is not None:
                self._checks_range = False
                warnings.warn(warning, stacklevel=2)

    @property
    def is_decided(self) -> bool:
        """Whether images like those seen need no check anymore."""
        return not self._checks_range or self._is_enough()

    def _check_finite(self, image, index):
        # min and max are NaN if any pixel is, and faster than isfinite
        if not self._checks_finite or np.isfinite([image.min(), image.max()]).all():
            return
        self._checks_finite = False
        warnings.warn(
            f"pipeline: the image of {self._reader.name(index)!r} has NaN or infinite pixels, "
            "which make the loss NaN. Replace them in the reader, as with np.nan_to_num.",
            stacklevel=2,
        )

    def _extend(self, low, high, index):
        """Extend the range of the values seen; return whether that can be a problem."""
        was_enough = self._is_enough()
        self._indices.add(index)
        is_wider = low < self._low or high > self._high
        if is_wider:
            self._name = self._reader.name(index)
        self._low, self._high = min(low, self._low), max(high, self._high)
        return is_wider or not was_enough

    def _is_enough(self):
        """Whether enough images were seen to say that they are dark."""
        return len(self._indices) >= min(MIN_SAMPLES, len(self._reader))

    def _range_problem(self):
        """Return a warning about the values seen, or None."""
        owner = f"pipeline: {self._name}"
        if not self._is_enough():
            return None
        if self._expected is not None:
            return range_warning(self._low, self._high, self._expected, owner)
        if self._high > DEFAULT_RANGE[1] / 20:  # neither 0..1 nor normalized
            return None
        warning = range_warning(self._low, self._high, None, owner)
        remedy = "If the model is built for these values, pass their range as `value_range`."
        return None if warning is None else f"{warning} {remedy}"
