"""Random changes of images and their labels: one resampling and one color map an image, in one compiled kernel."""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.data.augment import mixing, params
from tfseg.data.augment.color_ops import colored
from tfseg.data.augment.crop import CropSampler
from tfseg.data.augment.geometry import move_objects, windows

FLIPS = (None, "horizontal", "vertical", "both")
CROPS = ("random", "center", "classes")
INTERPOLATIONS = ("bilinear", "bicubic")
LABELS = ("mask", "instances", "boxes", "classes")


@dataclass(frozen=True)
class Augment:
    """Cut one window out of every image, changed at random, and take its labels along.

    All geometry is one map, and the image is resampled once. All linear color changes are one map as well. What
    a sample becomes depends on the seed and its number alone, not on its batch, the device or the number of threads.

    Every argument but `size` leaves everything as it is by default, to the byte. A range may be given as (smallest,
    largest); a single number v stands for the range said below, [1/(1+v), 1+v] for factors, which are drawn
    log-uniformly.

    Args:
        size: side of the window in pixels, or (height, width).
        scale: magnification, a factor.
        rotate: degrees, counter-clockwise; [-v, v].
        shear: degrees by which vertical lines lean, at most 60; [-v, v].
        translate: shift of the window as a share of its sides; [-v, v]. For `crop="center"`: random windows are
            somewhere else anyhow.
        flip: None, "horizontal" (left-right), "vertical" or "both"; each with probability one half.
        perspective: how much farther than the middle one border lies, as a share; [-v, v], below 0.4.
        elastic: largest shift in the window's pixels of a smooth random field of 8 x 8 points; [0, v].
        crop: where the window lies: "random", "center", or "classes": around a random pixel of a class drawn evenly
            from those in the image, so that rare ones come as often as common ones.
        brightness: shift as a share of `value_range`; [-v, v].
        contrast: a factor of the distance to the middle of `value_range`.
        saturation: a factor of the distance to gray. RGB only.
        hue: turn of the colors about the gray axis in degrees; [-v, v]. RGB only.
        gamma: exponent of the values, a factor.
        blur: standard deviation of a Gaussian blur in pixels; [0, v].
        noise: standard deviation of Gaussian noise as a share of `value_range`; [0, v].
        jpeg: quality of a compression, 1 to 100; [v, 100]. None for none.
        cutout: sides of a blank rectangle as shares of the window's; [0, v]. Its pixels are ignored.
        cutmix: probability that a part shows another window of the batch.
        mosaic: probability that the window shows parts of four windows of the batch.
        probability: {name: probability} of the arguments from `scale` to `cutout`, but `flip` and `crop`; 1 for those
            that are not named.
        interpolation: "bilinear" or "bicubic", of images. Where a window shows the image at 0.7 of its size or
            less, it reads one averaged down by 2, 4 ... Masks are read at the nearest pixel.
        fill: what images show outside the image, a number or one a channel. Masks hold 255 there.
        value_range: the smallest and largest value of images. Color changes are clipped to it.
        normalize: (mean, deviation), numbers or one a channel, by which images are shifted and divided at last; None
            for models that do it themselves, as those of `tfseg.models` do.
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
    value_range: tuple = (0.0, 255.0)
    normalize: tuple | None = None

    def __post_init__(self):
        for argument in fields(
            self
        ):  # as JSON gives lists for tuples, and equality asks for one kind
            object.__setattr__(self, argument.name, _as_tuples(getattr(self, argument.name)))
        size = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(size) != 2:
            raise ValueError(f"Augment: size={self.size!r} must be a number or (height, width).")
        object.__setattr__(
            self, "size", tuple(checks.positive_int("Augment", "size", side) for side in size)
        )
        checks.one_of("Augment", "flip", self.flip, FLIPS)
        checks.one_of("Augment", "crop", self.crop, CROPS)
        checks.one_of("Augment", "interpolation", self.interpolation, INTERPOLATIONS)
        for name in ("cutmix", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"Augment: {name}={getattr(self, name)!r} is a probability and must be from 0 to 1."
                )
        if max(map(abs, self.ranges.get("perspective", (0,)))) >= 0.4:
            raise ValueError(
                f"Augment: perspective={self.perspective!r} must lie within -0.4 and 0.4."
            )
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(
                f"Augment: value_range={self.value_range!r} must be (smallest, largest)."
            )
        if self.normalize is not None and len(self.normalize) != 2:
            raise ValueError(
                f"Augment: normalize={self.normalize!r} must be (mean, deviation), or None."
            )
        _ = self.crop_sampler  # what makes no sense is to be told of now

    @cached_property
    def ranges(self):
        """{operation: (low, high)} of the operations that change anything."""
        given = {
            name: getattr(self, name) for name in params.KINDS if getattr(self, name) is not None
        }
        found = {name: params.read_range(name, value) for name, value in given.items()}
        return {
            name: bounds
            for name, bounds in found.items()
            if set(bounds) != {params.IDENTITY[params.KINDS[name]]} and self.probabilities[name] > 0
        }

    @cached_property
    def probabilities(self):
        """{operation: probability} of all operations."""
        return params.read_probability(self.probability)

    @cached_property
    def crop_sampler(self):
        """Where windows lie."""
        return CropSampler(self.size, self.crop, self.ranges, self.probabilities)

    def scaled_by(self, factor):
        """Return the same augmentation for images that were read at 1 / `factor` of their size."""
        if factor == 1:
            return self
        return replace(self, scale=tuple(factor * bound for bound in self.ranges["scale"]))

    def sample(self, sample, seed=0, number=0):
        """Augment one sample of a reader.

        Args:
            sample: dict of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes", "keypoints" (K, 2).
            seed, number: integers; the pipeline gives the n-th sample of its stream the number n.

        Returns:
            dict of NumPy arrays of the same names; the image float32.
        """
        key = np.array([seed, number])
        cut = {
            name: np.asarray(value)[None]
            for name, value in self.crop_sampler.extract(sample, key).items()
        }
        changed = self(cut, key[None])
        return {name: ops.convert_to_numpy(value)[0] for name, value in changed.items()}

    def __call__(self, batch, keys):
        """Augment a batch, in one compiled kernel.

        Args:
            batch: dict of "image" (B, H, W, C), any dtype, and any of "mask" and "instances" (B, H, W), "boxes"
                (B, N, 4) and "classes" (B, N), -1 where there is no object, "keypoints" (B, K, 2), x and y in pixels as
                those of boxes. If the images are pieces of images
                that `CropSampler.cut` cut out, also "extent", "corner" and "focus", (B, 2) each.
            keys: (B, 2) integers, a seed and a sample's number each.

        Returns:
            dict of the same labels. "image" (B, height, width, C) float32, "mask" and "instances" (B, height, width)
            in their own dtype. Objects of which less than a tenth is seen have the class -1, an empty box and no
            pixel; keypoints that are not seen are NaN. With `mosaic` or `cutmix` there are 4 N, or 4 K, of them: those
            of all images that show.
        """
        kernel = self.kernel
        if keras.backend.backend() == "tensorflow":
            kernel = self._compiled
        objects = {name: batch[name] for name in ("boxes", "classes", "keypoints") if name in batch}
        rest = {
            name: ops.convert_to_tensor(value)
            for name, value in batch.items()
            if name not in objects
        }
        keys = ops.cast(ops.convert_to_tensor(keys), "int32")
        if "boxes" in objects:
            rest["objects"] = ops.convert_to_tensor(ops.shape(objects["boxes"])[1], "int32")
        changed = kernel(rest, keys)
        # Outside of the compiled kernel: every number of objects would be compiled anew.
        return move_objects(self, changed, objects, rest, keys) if objects else changed

    def kernel(self, batch, keys):
        """Augment all but boxes and classes, in `keras.ops` alone: what `__call__` compiles.

        Inside a compiled train step call this, with tensors. Arguments as for `__call__`; `batch` may also hold
        "objects", the scalar number N of objects that instances of mixed images are numbered by; else it is the
        largest instance.
        """
        size = batch["image"].shape[1:3]
        if None in size:
            raise ValueError(
                f"Augment: images of shape {tuple(batch['image'].shape)} came; the compiled kernel must know height "
                "and width. Batch images of one size (`pipeline` with `resize`), or set the shape."
            )
        drawn = params.draw(keys, self.ranges, self.probabilities)
        image, labels = windows(self, batch, drawn, keys)
        image = colored(self, image, drawn, keys)
        if "cutout" in self.ranges:
            image, mask = mixing.cut_out(
                image, labels.get("mask"), drawn, np.asarray(self.fill, "float32")
            )
            labels |= {} if mask is None else {"mask": mask}
        if self.mosaic or self.cutmix:
            shown = mixing.regions(drawn, self.size, self.cutmix, self.mosaic)
            image = mixing.mix(image, shown)
            for name, values in labels.items():
                count = batch.get("objects", ops.max(values)) if name == "instances" else None
                labels[name] = mixing.mix(values, shown, count)
        if self.normalize is not None:
            mean, deviation = (np.asarray(value, "float32") for value in self.normalize)
            image = (image - mean) / deviation
        return {"image": image, **labels}

    @cached_property
    def _compiled(self):
        import tensorflow as tf

        return tf.function(self.kernel, jit_compile=True, autograph=False)


def _as_tuples(value):
    """Lists and arrays as tuples of numbers."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value
