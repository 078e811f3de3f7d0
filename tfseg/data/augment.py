"""Random changes of pictures and their labels: one resampling and one colour map a picture, in one compiled kernel."""

import math
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.data import draws, mixing
from tfseg.data.placing import Placing, mask_of
from tfseg.ops import (
    apply_color,
    blur,
    box_area,
    color_matrices,
    jpeg,
    move_boxes,
    noise,
    resample,
    smooth_field,
    source_points,
    uniform,
    window_matrices,
)

FLIPS = (None, "horizontal", "vertical", "both")
CROPS = ("random", "center", "classes")
INTERPOLATIONS = ("bilinear", "bicubic")
LABELS = ("mask", "instances", "boxes", "classes")
SMALLEST_SHARE = 0.1


@dataclass(frozen=True)
class Augment:
    """Cut one window out of every image, changed at random, and take its labels along.

    All geometry is one map, and the image is resampled once. All linear colour changes are one map as well. What
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
            from those in the picture, so that rare ones come as often as common ones.
        brightness: shift as a share of `value_range`; [-v, v].
        contrast: a factor of the distance to the middle of `value_range`.
        saturation: a factor of the distance to grey. RGB only.
        hue: turn of the colours about the grey axis in degrees; [-v, v]. RGB only.
        gamma: exponent of the values, a factor.
        blur: standard deviation of a Gaussian blur in pixels; [0, v].
        noise: standard deviation of Gaussian noise as a share of `value_range`; [0, v].
        jpeg: quality of a compression, 1 to 100; [v, 100]. None for none.
        cutout: sides of a blank rectangle as shares of the window's; [0, v]. Its pixels are ignored.
        cutmix: probability that a part shows another window of the batch.
        mosaic: probability that the window shows parts of four windows of the batch.
        probability: {name: probability} of the arguments from `scale` to `cutout`, but `flip` and `crop`; 1 for those
            that are not named.
        interpolation: "bilinear" or "bicubic", of images. Where a window shows the picture at 0.7 of its size or
            less, it reads one averaged down by 2, 4 ... Masks are read at the nearest pixel.
        fill: what images show outside the picture, a number or one a channel. Masks hold 255 there.
        value_range: the smallest and largest value of images. Colour changes are clipped to it.
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
        for argument in fields(self):  # as JSON gives lists for tuples, and equality asks for one kind
            object.__setattr__(self, argument.name, _as_tuples(getattr(self, argument.name)))
        size = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(size) != 2:
            raise ValueError(f"Augment: size={self.size!r} must be a number or (height, width).")
        object.__setattr__(self, "size", tuple(checks.positive_int("Augment", "size", side) for side in size))
        checks.one_of("Augment", "flip", self.flip, FLIPS)
        checks.one_of("Augment", "crop", self.crop, CROPS)
        checks.one_of("Augment", "interpolation", self.interpolation, INTERPOLATIONS)
        for name in ("cutmix", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Augment: {name}={getattr(self, name)!r} is a probability and must be from 0 to 1.")
        if max(map(abs, self.ranges.get("perspective", (0,)))) >= 0.4:
            raise ValueError(f"Augment: perspective={self.perspective!r} must lie within -0.4 and 0.4.")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"Augment: value_range={self.value_range!r} must be (smallest, largest).")
        if self.normalize is not None and len(self.normalize) != 2:
            raise ValueError(f"Augment: normalize={self.normalize!r} must be (mean, deviation), or None.")
        _ = self.placing  # what makes no sense is to be told of now

    @cached_property
    def ranges(self):
        """{operation: (low, high)} of the operations that change anything."""
        given = {name: getattr(self, name) for name in draws.KINDS if getattr(self, name) is not None}
        found = {name: draws.read_range(name, value) for name, value in given.items()}
        return {
            name: bounds
            for name, bounds in found.items()
            if set(bounds) != {draws.IDENTITY[draws.KINDS[name]]} and self.chances[name] > 0
        }

    @cached_property
    def chances(self):
        """{operation: probability} of all operations."""
        return draws.read_probability(self.probability)

    @cached_property
    def placing(self):
        """Where windows lie."""
        return Placing(self.size, self.crop, self.ranges, self.chances)

    def magnified(self, factor):
        """Return the same augmentation for pictures that were read at 1 / `factor` of their size."""
        if factor == 1:
            return self
        return replace(self, scale=tuple(factor * bound for bound in self.ranges["scale"]))

    def sample(self, sample, seed=0, number=0):
        """Augment one sample of a reader.

        Args:
            sample: dict of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes".
            seed, number: integers; the pipeline gives the n-th sample of its stream the number n.

        Returns:
            dict of NumPy arrays of the same names; the image float32.
        """
        key = np.array([seed, number])
        cut = {name: np.asarray(value)[None] for name, value in self.placing.cut(sample, key).items()}
        changed = self(cut, key[None])
        return {name: ops.convert_to_numpy(value)[0] for name, value in changed.items()}

    def __call__(self, batch, keys):
        """Augment a batch, in one compiled kernel.

        Args:
            batch: dict of "image" (B, H, W, C), any dtype, and any of "mask" and "instances" (B, H, W), "boxes"
                (B, N, 4) and "classes" (B, N), -1 where there is no object. If the images are pieces of pictures
                that `Placing.cut` cut out, also "extent", "corner" and "focus", (B, 2) each.
            keys: (B, 2) integers, a seed and a sample's number each.

        Returns:
            dict of the same labels. "image" (B, height, width, C) float32, "mask" and "instances" (B, height, width)
            in their own dtype. Objects of which less than a tenth is seen have the class -1, an empty box and no
            pixel. With `mosaic` or `cutmix` there are 4 N of them: those of all images that show.
        """
        kernel = self.kernel
        if keras.backend.backend() == "tensorflow":
            kernel = self._compiled
        boxes = {name: batch[name] for name in ("boxes", "classes") if name in batch}
        rest = {name: ops.convert_to_tensor(value) for name, value in batch.items() if name not in boxes}
        keys = ops.cast(ops.convert_to_tensor(keys), "int32")
        if boxes:
            rest["objects"] = ops.convert_to_tensor(ops.shape(boxes["boxes"])[1], "int32")
        changed = kernel(rest, keys)
        # Outside of the compiled kernel: every number of objects would be compiled anew.
        return self._move_objects(changed, boxes, rest, keys) if boxes else changed

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
        drawn = draws.draw(keys, self.ranges, self.chances)
        extents, focus = self._whole(batch, drawn)
        centre = self.placing.centre(drawn, extents, focus, ops)
        # Points count from near the middle: they are the same to the bit in a piece and in the whole picture.
        block = 2.0**self.placing.levels
        origin = block * ops.floor(centre / block)
        displacement = self._displacement(drawn, keys)
        x, y = source_points(self._matrices(drawn, centre - origin), self.size, displacement)
        corner = ops.cast(batch.get("corner", 0), "float32")
        inside = ops.minimum(extents - corner, np.array(size, "float32"))
        origin = origin - corner
        image = resample(batch["image"], x, y, self.interpolation, self.fill, inside, self._levels(drawn), origin)
        labels = {
            name: resample(batch[name][..., None], x, y, "nearest", fill, inside, origin=origin)[..., 0]
            for name, fill in (("mask", IGNORE_INDEX), ("instances", 0))
            if name in batch
        }
        image = self._colored(image, drawn, keys)
        if "cutout" in self.ranges:
            image, mask = mixing.cut_out(image, labels.get("mask"), drawn, np.asarray(self.fill, "float32"))
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

    def _whole(self, batch, drawn):
        """(B, 2) sizes of the whole pictures, and the points that windows are to hold."""
        images, *size = ops.shape(batch["image"])[:3]
        extents = batch.get("extent")
        if extents is None:
            extents = ops.broadcast_to(ops.cast(ops.stack(size), "float32"), (images, 2))
        extents = ops.cast(extents, "float32")
        if self.crop != "classes":
            return extents, None
        focus = batch["focus"] if "focus" in batch else self.placing.class_focus(mask_of(batch), drawn)
        return extents, ops.cast(focus, "float32")

    def _matrices(self, drawn, centre):
        radians = lambda name: drawn[name] * (math.pi / 180)  # noqa: E731
        flip = lambda axis, ways: ops.where((drawn[axis] < 0.5) & (self.flip in ways), -1.0, 1.0)  # noqa: E731
        far = ops.stack([drawn["perspective"], drawn["perspective_y"]], -1) if "perspective" in self.ranges else None
        flips = flip("flip_x", ("horizontal", "both")), flip("flip_y", ("vertical", "both"))
        return window_matrices(
            self.size, centre, drawn["scale"], radians("rotate"), radians("shear"), *flips, perspective=far
        )

    def _displacement(self, drawn, keys):
        if "elastic" not in self.ranges:
            return None
        count = draws.LATTICE**2 * 2
        # streams beyond those of `draw`
        points = uniform(keys, len(draws.STREAMS) + count)[:, len(draws.STREAMS) :]
        lattice = ops.reshape(2 * points - 1, (-1, draws.LATTICE, draws.LATTICE, 2))
        return smooth_field(lattice * drawn["elastic"][:, None, None, None], self.size)

    def _levels(self, drawn):
        largest = self.placing.levels
        if not largest:
            return None
        level = ops.floor(0.5 - ops.log(drawn["scale"]) / math.log(2))
        return ops.cast(ops.clip(level, 0, largest), "int32"), largest

    def _colored(self, image, drawn, keys):
        low, high = self.value_range
        span = high - low
        before, shown = image, self.ranges.keys()
        if shown & {"brightness", "contrast", "saturation", "hue"}:
            image = self._mapped(image, drawn)
        if "gamma" in shown:
            share = ops.clip((image - low) / span, 1e-6, 1.0)
            changed = low + span * ops.exp(ops.log(share) * drawn["gamma"][:, None, None, None])
            image = ops.where((drawn["gamma"] != 1)[:, None, None, None], changed, image)
        if "blur" in shown:
            # where nothing was drawn, a matrix product may still be rounded (TF32 on GPUs)
            image = ops.where((drawn["blur"] > 0)[:, None, None, None], blur(image, drawn["blur"]), image)
        if "noise" in shown:
            image = noise(image, drawn["noise"] * span, keys)
        if "jpeg" in shown:
            self._require_channels(image, "jpeg", (1, 3))
            packed = low + span / 255 * jpeg((image - low) * (255 / span), drawn["jpeg"])
            image = ops.where((drawn["jpeg"] <= 100)[:, None, None, None], packed, image)
        return image if image is before else ops.clip(image, low, high)

    def _mapped(self, image, drawn):
        low, high = self.value_range
        middle, shift = (low + high) / 2, drawn["brightness"] * (high - low)
        if image.shape[-1] == 3:
            hue = drawn["hue"] * (math.pi / 180)
            return apply_color(image, *color_matrices(shift, drawn["contrast"], drawn["saturation"], hue, middle))
        if self.ranges.keys() & {"saturation", "hue"}:
            self._require_channels(image, "saturation and hue", (3,))
        contrast = drawn["contrast"]
        offset = middle * (1 - contrast) + shift
        return image * contrast[:, None, None, None] + offset[:, None, None, None]

    def _require_channels(self, image, names, allowed):
        if image.shape[-1] not in allowed:
            raise ValueError(
                f"Augment: {names} want images of {' or '.join(map(str, allowed))} channels; {image.shape[-1]} came. "
                "Leave them out."
            )

    def _move_objects(self, changed, objects, batch, keys):
        """Add moved "boxes" and "classes" to `changed`, and take objects that are gone out of its "instances"."""
        drawn = draws.draw(keys, self.ranges, self.chances)
        extents, focus = self._whole(batch, drawn)
        matrices = self._matrices(drawn, self.placing.centre(drawn, extents, focus, ops))
        if matrices.shape[1] == 2:
            matrices = ops.pad(matrices, [[0, 0], [0, 1], [0, 0]]) + np.diag([0, 0, 1]).astype("float32")
        field_of = self._displacement(drawn, keys)
        back = None if field_of is None else lambda x, y: _undisplaced(field_of, x, y)
        moved = move_boxes(objects["boxes"], ops.inv(matrices), back)
        shown = mixing.regions(drawn, self.size, self.cutmix, self.mosaic)
        partners = mixing.PARTNERS if self.mosaic or self.cutmix else 1
        boxes, classes, visible = mixing.mix_boxes(
            moved, ops.cast(objects["classes"], "int32"), box_area(moved), shown, partners
        )
        gone = (classes < 0) | (visible < SMALLEST_SHARE)
        changed = {**changed, "boxes": ops.where(gone[..., None], 0.0, boxes), "classes": ops.where(gone, -1, classes)}
        if "instances" in changed:
            kept = ops.pad(ops.cast(~gone, "int32"), [[0, 0], [1, 0]])
            flat = ops.reshape(changed["instances"], (ops.shape(kept)[0], -1))
            seen = ops.take_along_axis(kept, ops.cast(flat, "int32"), axis=1)
            changed["instances"] = ops.reshape(flat * ops.cast(seen, flat.dtype), ops.shape(changed["instances"]))
        return changed


def _as_tuples(value):
    """Lists and arrays as tuples of numbers."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def _undisplaced(displacement, x, y, steps=4):
    """Points that the displacement takes to (x, y), by fixed-point iteration."""
    height, width = displacement.shape[1:3]
    found_x, found_y = x, y
    for _ in range(steps):
        at_x, at_y = ops.clip(found_x, 0, width - 1), ops.clip(found_y, 0, height - 1)
        shift = resample(displacement, at_x[:, None], at_y[:, None])[:, 0]
        found_x, found_y = x - shift[..., 0], y - shift[..., 1]
    return found_x, found_y
