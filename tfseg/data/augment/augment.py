"""`Augment`: random changes of images and their labels, in one compiled kernel."""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.data.augment import mixing
from tfseg.data.augment.color_ops import COLORS, change_colors, color_range
from tfseg.data.augment.crop import CropSampler
from tfseg.data.augment.geometry import extract_crops, move_objects
from tfseg.data.augment.params import (
    IDENTITY,
    KINDS,
    random_numbers,
    read_probabilities,
    read_range,
    to_params,
)
from tfseg.data.readers.objects import BOX_FIELDS
from tfseg.data.value_range import check_range, refuse_clipping

FLIPS = (None, "horizontal", "vertical", "both")
CROPS = ("random", "center", "classes")
INTERPOLATIONS = ("bilinear", "bicubic")
OBJECTS = (*BOX_FIELDS, "mask_fits", "keypoints")
MAX_PERSPECTIVE = 0.4


@dataclass(frozen=True)
class Augment:
    """Take a random crop of every image, change it at random, and change its labels alike.

    All geometric operations are one map, so that the image is resampled once. The linear color
    operations are one map as well. The result depends only on the seed and the sample's number, not
    on the batch, the device or the number of threads.

    By default every operation is off, and the result is an exact crop. A range is a pair (low,
    high), or a single number v that stands for the range given below. For factors that is
    [1/(1+v), 1+v], sampled log-uniformly.

    Scaling, flips, quarter turns and crops keep boxes exact. Other angles of `rotate`, `shear`,
    `perspective` and `elastic` turn a box into an oblique shape. If "instances" show the whole
    object, its new box is the smallest around its pixels. If they do not, because there are no
    masks or a later object covers a side of it, its new box is the smallest around the oblique
    shape. That is too large: by a factor of 2 in area for a disc at 45 degrees. Do not use these
    operations to train on boxes without masks, or use angles of a few degrees.

    Args:
        size: side of the crop in pixels, or (height, width).
        scale: zoom factor; 2 shows the image twice as large.
        rotate: angle in degrees, counter-clockwise; [-v, v].
        shear: angle in degrees, at most 60, by which vertical lines lean; [-v, v].
        translate: shift as a fraction of the crop's sides; [-v, v]. Meant for `crop="center"`,
            since random crops are shifted already.
        flip: None, "horizontal" (left-right), "vertical" or "both"; each with probability 0.5.
        perspective: how much farther away one border is than the center, as a fraction below 0.4;
            [-v, v].
        elastic: largest shift in pixels of a smooth random field on an 8 x 8 grid; [0, v].
        crop: position of the crop: "random", "center" or "classes". With "classes" it contains a
            random pixel of a class that is chosen uniformly from those in the image, so that rare
            classes are as frequent as common ones.
        brightness: shift as a fraction of `value_range`; [-v, v].
        contrast: factor of the distance to the middle of `value_range`.
        saturation: factor of the distance to gray. RGB images only.
        hue: rotation of the colors around the gray axis in degrees; [-v, v]. RGB images only.
        gamma: exponent of the values, a factor.
        blur: standard deviation of a Gaussian blur in pixels; [0, v].
        noise: standard deviation of Gaussian noise as a fraction of `value_range`; [0, v].
        jpeg: quality of a JPEG compression in [1, 100]; [v, 100]. None to turn it off.
        cutout: sides of a blank rectangle as fractions of the crop's sides; [0, v]. The mask is
            `ignore_index` there.
        cutmix: probability that a rectangle shows another crop of the batch.
        mosaic: probability that the crop is composed of four crops of the batch.
        probability: {operation: probability} for the arguments from `scale` to `cutout`, except
            `flip` and `crop`. The default is 1.
        interpolation: "bilinear" or "bicubic", for images. Images that are shown at 0.7 of their
            size or less are averaged first. Masks are read at the nearest pixel.
        fill: value outside the image, a number or one per channel. Masks are `ignore_index` there.
        value_range: lowest and highest value of the images. Color operations, from `brightness` to
            `jpeg`, clip to it; `pipeline` and `sample` refuse images that exceed it by more than a
            hundredth of its span. None is 0..255 for uint8 images; images of other dtypes need a
            range if there is any color operation. `pipeline` can provide it.
        normalization: (mean, std), numbers or one per channel, applied last. None for models that
            normalize by themselves, as those of `tfseg.models` do.
        ignore_index: mask value of pixels without a label. `pipeline` sets it to the reader's.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> augment = tfseg.data.Augment(32, scale=(0.7, 1.5), rotate=10, flip="horizontal")
        >>> crop = augment.sample(reader[0], seed=0, number=5)
        >>> crop["image"].shape, crop["mask"].shape
        ((32, 32, 3), (32, 32))
    """

    size: int | tuple
    scale: float | tuple = 0.0
    rotate: float | tuple = 0.0
    shear: float | tuple = 0.0
    translate: float | tuple = 0.0
    flip: str | None = None
    perspective: float | tuple = 0.0
    elastic: float | tuple = 0.0
    crop: str = "random"
    brightness: float | tuple = 0.0
    contrast: float | tuple = 0.0
    saturation: float | tuple = 0.0
    hue: float | tuple = 0.0
    gamma: float | tuple = 0.0
    blur: float | tuple = 0.0
    noise: float | tuple = 0.0
    jpeg: float | tuple | None = None
    cutout: float | tuple = 0.0
    cutmix: float = 0.0
    mosaic: float = 0.0
    probability: dict = field(default_factory=dict)
    interpolation: str = "bilinear"
    fill: float | tuple = 0.0
    value_range: tuple | None = None
    normalization: tuple | None = None
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self):
        # JSON has lists instead of tuples; convert them so that == works.
        for argument in fields(self):
            self._set(argument.name, _as_tuples(getattr(self, argument.name)))
        size = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(size) != 2:
            raise ValueError(f"Augment: size={self.size!r} must be a number or (height, width).")
        self._set("size", tuple(checks.positive_int("Augment", "size", side) for side in size))
        checks.one_of("Augment", "flip", self.flip, FLIPS)
        checks.one_of("Augment", "crop", self.crop, CROPS)
        checks.one_of("Augment", "interpolation", self.interpolation, INTERPOLATIONS)
        self._check_ranges()
        if self.value_range is not None:
            check_range("Augment", self.value_range)
        if checks.ignore_index("Augment", self.ignore_index) is None:
            raise ValueError("Augment: ignore_index=None must be an integer, such as 255.")
        _ = self.crop_sampler  # raises for impossible ranges

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    def _check_ranges(self):
        for name in ("cutmix", "mosaic"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"Augment: {name}={value!r} must be a probability in [0, 1].")
        if max(map(abs, self.ranges.get("perspective", (0,)))) >= MAX_PERSPECTIVE:
            raise ValueError(
                f"Augment: perspective={self.perspective!r} must be between -{MAX_PERSPECTIVE} and "
                f"{MAX_PERSPECTIVE}."
            )
        if self.normalization is not None and len(self.normalization) != 2:
            raise ValueError(
                f"Augment: normalization={self.normalization!r} must be (mean, std) or None."
            )

    @cached_property
    def changes_colors(self):
        """Whether any operation changes colors and clips to the value range."""
        return bool(COLORS & self.ranges.keys())

    @cached_property
    def ranges(self):
        """{operation: (low, high)} of the operations that change anything."""
        ranges = {}
        for name, kind in KINDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            low, high = read_range(name, value)
            is_identity = low == high == IDENTITY[kind]
            if not is_identity and self.probabilities[name] > 0:
                ranges[name] = low, high
        return ranges

    @cached_property
    def probabilities(self):
        """{operation: probability} of all operations."""
        return read_probabilities(self.probability)

    @cached_property
    def crop_sampler(self):
        """The `CropSampler` that places the crops."""
        return CropSampler(self.size, self.crop, self.ranges, self.probabilities, self.ignore_index)

    def scaled_by(self, factor: int) -> "Augment":
        """Return the same augmentation for images that were read at 1 / `factor` of their size."""
        if factor == 1:
            return self
        return replace(self, scale=tuple(factor * bound for bound in self.ranges["scale"]))

    def sample(self, sample: dict, seed: int = 0, number: int = 0) -> dict:
        """Augment one sample of a reader.

        Args:
            sample: dict of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes",
                "crowd", "areas", "keypoints" (K, 2).
            seed: random seed.
            number: number of the sample. The pipeline numbers the samples of its stream from 0.

        Returns:
            dict of NumPy arrays with the same names; the image is float32.

        Raises:
            ValueError: there are color operations, the image is not uint8, and `value_range` is
                None; or the image has values outside of it.
        """
        image = np.asarray(sample["image"])
        bounds = color_range(self, image.dtype)
        if bounds is not None:
            refuse_clipping("Augment: the image", image, bounds)
        key = np.array([seed, number])
        piece = self.crop_sampler.extract(sample, key)
        batch = {name: np.asarray(value)[None] for name, value in piece.items()}
        changed = self(batch, key[None])
        return {name: ops.convert_to_numpy(value)[0] for name, value in changed.items()}

    def __call__(self, batch, keys):
        """Augment a batch in one compiled kernel.

        Args:
            batch: dict of "image" (B, H, W, C), any dtype, and any of "mask" (B, H, W), "instances"
                (B, H, W), "boxes" (B, N, 4), "classes" (B, N), which is -1 for padding, "crowd"
                (B, N), "areas" (B, N), and "keypoints" (B, K, 2), x and y in pixels as in boxes. A
                batch of pieces from `CropSampler.extract` also has "random", "extent", "corner"
                and "class_pixel", and may have "mask_fits".
            keys: (B, 2) integers, the seed and the number of each sample.

        Returns:
            dict of the same labels. "image" is (B, height, width, C) float32. "mask" and
            "instances" are (B, height, width) and keep their dtypes. An object of which less than a
            tenth is visible gets class -1, an empty box and no pixels; an invisible keypoint is
            NaN. "areas" are scaled and reduced to the visible fraction of the box. `mosaic` and
            `cutmix` return 4 N objects or 4 K keypoints, those of all images that a crop may show.
        """
        objects = {name: batch[name] for name in OBJECTS if name in batch}
        inputs = {name: batch[name] for name in batch if name not in objects}
        keys = keys if ops.is_tensor(keys) else np.asarray(keys)
        if objects:  # drawn once for the kernel and for `move_objects`
            inputs["random"] = random_numbers(batch, keys)
        inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
        keys = ops.cast(ops.convert_to_tensor(keys), "int32")
        if "boxes" in objects:
            count = ops.shape(objects["boxes"])[1]
            inputs["num_objects"] = ops.convert_to_tensor(count, "int32")
        is_tensorflow = keras.backend.backend() == "tensorflow"
        changed = (self._compiled if is_tensorflow else self.kernel)(inputs, keys)
        if not objects:
            return changed
        # Not in the compiled kernel, which would be compiled again for every number of objects.
        params = to_params(inputs["random"], self.ranges, self.probabilities)
        return move_objects(self, changed, objects, inputs, params, keys)

    def kernel(self, batch, keys):
        """Augment everything except boxes and keypoints: the function that `__call__` compiles.

        Args:
            batch: dict of tensors, see `__call__`. "num_objects", a scalar, is the number N of
                objects per image for the instances of mixed crops; the default is the largest
                instance id.
            keys: (B, 2) int32 tensor.

        Returns:
            dict of tensors, see `__call__`.

        Raises:
            ValueError: the height or width of the images is unknown, or the range of their values.
        """
        value_range = color_range(self, batch["image"].dtype)
        shape = tuple(batch["image"].shape)
        if None in shape[1:3]:
            raise ValueError(
                f"Augment: got images of shape {shape}, but height and width must be known to "
                "compile the kernel. Batch images of one size (`pipeline` with `resize`), or set "
                "the shape."
            )
        random = random_numbers(batch, keys)
        params = to_params(random, self.ranges, self.probabilities)
        image, labels = extract_crops(self, batch, params, keys)
        image = change_colors(self, image, params, keys, value_range)
        if "cutout" in self.ranges:
            fill = np.asarray(self.fill, "float32")
            mask = labels.get("mask")
            image, mask = mixing.cutout(image, mask, params, fill, self.ignore_index)
            if mask is not None:
                labels["mask"] = mask
        if self.mosaic or self.cutmix:
            image, labels = self._mix(image, labels, params, batch.get("num_objects"))
        if self.normalization is not None:
            mean, std = self.normalization
            image = (image - np.asarray(mean, "float32")) / np.asarray(std, "float32")
        return {"image": image, **labels}

    def _mix(self, image, labels, params, num_objects):
        regions = mixing.mixing_regions(params, self.size, self.cutmix, self.mosaic)
        mixed = {}
        for name, values in labels.items():
            count = None
            if name == "instances":
                count = ops.max(values) if num_objects is None else num_objects
            mixed[name] = mixing.mix(values, regions, count)
        return mixing.mix(image, regions), mixed

    @cached_property
    def _compiled(self):
        import tensorflow as tf

        return tf.function(self.kernel, jit_compile=True, autograph=False)


def _as_tuples(value):
    """Convert lists and arrays to tuples of numbers."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value
