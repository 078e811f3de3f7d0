"""Where a random window lies in an image, and the piece of the image that it needs."""

import math

import numpy as np
from keras import ops

from tfseg.checks import IGNORE_INDEX
from tfseg.data.augment.params import IDENTITY, KINDS, draw

MOVES = ("scale", "rotate", "shear", "translate", "perspective", "elastic")


class CropSampler:
    """The rule by which windows are placed.

    Args:
        size: (height, width) of the window.
        crop: "random", "center" or "classes", see `Augment`.
        ranges, probabilities: what is drawn, see `draw`.

    Attributes:
        canvas: (height, width) in the image's pixels that no window reaches beyond.
        levels: how often images are averaged down by 2 at most.
        shrink: the power of 2, at most 8, by which images may be read smaller, for no window shows more of them.
    """

    def __init__(self, size, crop, ranges, probabilities):
        self.size, self.crop, self.ranges, self.probabilities = size, crop, ranges, probabilities
        largest = {name: max(map(abs, bounds)) for name, bounds in ranges.items()}
        smallest_scale = ranges.get("scale", (1.0, 1.0))[0]
        self.levels = max(0, math.floor(0.5 - math.log2(smallest_scale)))
        largest_scale = (
            ranges["scale"][1] if "scale" in ranges and probabilities["scale"] == 1 else 1.0
        )
        self.shrink = 2 ** max(0, min(3, math.floor(-math.log2(largest_scale))))
        shift = largest.get("elastic", 0)
        height, width = (side + 2 * shift for side in size)
        # Of the window's corner that perspective shows the farthest away; the middle's is 1.
        depth = 1 - largest.get("perspective", 0) * sum(
            1 + 2 * shift / max(side - 1, 2) for side in size
        )
        if depth < 0.1:
            raise ValueError(
                f"Augment: perspective and elastic reach up to {largest['perspective']} and {shift}, for windows of "
                f"{size[0]} x {size[1]} the horizon. Lower one of them."
            )
        width = width + height * math.tan(math.radians(largest.get("shear", 0)))
        grown = 1 / smallest_scale / depth
        height, width, angle = grown * height, grown * width, largest.get("rotate", 0)
        # Neighbors that the interpolation reads, 2.5 pixels of the coarsest level on either side, and two more by
        # which a piece may lie off its place.
        margin = 7 * 2**self.levels
        self.canvas = _reach(height, width, angle) + margin, _reach(width, height, angle) + margin

    def center(self, drawn, extents, focus, array):
        """Return (B, 2) float: (y, x) of each window's middle in the image; a pixel's middle is a whole number.

        Args:
            drawn: what `draw` gives.
            extents: (B, 2) float, the images' heights and widths.
            focus: (B, 2) float, (y, x) of a pixel that the window is to hold; None for none.
            array: the module of the arrays, `numpy` or `keras.ops`.
        """
        size = np.array(self.size, "float32")
        window = size / drawn["scale"][..., None]
        place = array.stack([drawn["crop_y"], drawn["crop_x"]], -1)
        # The window lies inside the image where it can, and is centered on it where it cannot.
        zero, half, one = np.array([0, 0.5, 1], "float32")
        room = array.maximum(extents - window, zero)
        spare = array.minimum(extents - window, zero) * half
        if self.crop == "center":
            corner = whole = room * half
        elif focus is None:
            corner, whole = place * room, place * (room + one)
        else:
            corner, whole = (
                array.minimum(array.maximum(focus - before, zero), room)
                for before in (place * window - half, array.floor(place * window))
            )
        # Whole pixels where nothing else moves the window: then a crop changes no byte.
        still = np.True_
        for name in MOVES:
            if name in self.ranges:
                still = still & (drawn[name] == IDENTITY[KINDS[name]])[..., None]
        corner = array.where(still, array.floor(whole) + array.floor(spare), corner + spare)
        if "translate" in self.ranges:
            corner = corner + window * array.stack([drawn["translate_y"], drawn["translate"]], -1)
        return corner + (window - one) * half

    def extract(self, sample, key, largest=None):
        """Cut out of a sample the piece that its window needs, in arrays of one shape for all samples.

        Args:
            sample: dict of NumPy arrays, as readers give them.
            key: (2,) integers, a seed and the sample's number.
            largest: (height, width) of the largest image, if it is known: no array is larger.

        Returns:
            dict: the arrays, filled up with 0 (masks: 255), and (2,) float32 each "extent", the image's height and
            width; "corner", where the piece begins; "focus", a pixel that the window holds with `crop="classes"`.
        """
        drawn = draw(np.asarray(key)[None], self.ranges, self.probabilities)
        extent = np.array(sample["image"].shape[:2], "float32")
        focus = None
        if self.crop == "classes":
            focus = _class_focus(mask_of(sample), drawn["class"][0], drawn["pixel"][0])
        center = self.center(drawn, extent[None], None if focus is None else focus[None], np)[0]
        canvas = np.array(self.canvas if largest is None else np.minimum(self.canvas, largest))
        corner = np.clip(center + 0.5 - canvas / 2, 0, np.maximum(extent - canvas, 0))
        block = 2**self.levels  # images averaged down are the same only from whole blocks on
        corner = block * np.ceil(corner / block).astype(int)
        piece = {"image": 0, "mask": IGNORE_INDEX, "instances": 0}
        cut = {
            name: _framed(value, corner, canvas, piece[name]) if name in piece else value
            for name, value in sample.items()
        }
        where = {
            "extent": extent,
            "corner": corner,
            "focus": np.zeros(2) if focus is None else focus,
        }
        return {**cut, **{name: np.asarray(value, "float32") for name, value in where.items()}}

    def class_focus(self, masks, drawn):
        """Return (B, 2) float, (y, x) of a random pixel of a class drawn evenly from those in each mask, as `cut` does.

        The middle of the image where there is no labeled pixel.
        """
        batch, height, width = ops.shape(masks)
        flat = ops.cast(ops.reshape(masks, (batch, -1)), "int32")
        number = ops.arange(batch, dtype="int32")[:, None] * (IGNORE_INDEX + 1) + ops.clip(
            flat, 0, IGNORE_INDEX
        )
        ones = ops.ones_like(ops.reshape(flat, (-1,)))
        counts = ops.segment_sum(
            ones, ops.reshape(number, (-1,)), num_segments=batch * (IGNORE_INDEX + 1)
        )
        counts = ops.reshape(counts, (batch, -1))[:, :IGNORE_INDEX]
        chosen = _nth(counts > 0, drawn["class"])
        pixel = _nth(flat == chosen[:, None], drawn["pixel"])
        focus = ops.cast(ops.stack([pixel // width, pixel % width], -1), "float32")
        middle = np.array([(height - 1) / 2, (width - 1) / 2], "float32")
        return ops.where(ops.any(counts > 0, axis=1)[:, None], focus, middle)


def mask_of(sample):
    """Return the "mask" that windows about classes are placed by, or raise a ValueError."""
    if "mask" not in sample:
        raise ValueError(
            'Augment: crop="classes" came without a mask. Give samples masks, or choose crop="random".'
        )
    return sample["mask"]


def _nth(flags, share):
    """(B,) the index of one of the True flags (B, N), by a share (B,) in [0, 1) of their number."""
    rank = ops.cumsum(ops.cast(flags, "int32"), axis=1)
    count = rank[:, -1]
    wanted = (
        ops.minimum(ops.cast(ops.floor(share * ops.cast(count, "float32")), "int32"), count - 1) + 1
    )
    return ops.cast(ops.argmax(rank >= wanted[:, None], axis=1), "int32")


def _class_focus(mask, class_share, pixel_share):
    """The same for one mask, in NumPy."""
    pick = lambda count, share: min(int(np.float32(share) * np.float32(count)), count - 1)  # noqa: E731
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX])
    if not len(present):
        return (np.array(mask.shape, "float32") - 1) / 2
    pixels = np.flatnonzero(mask == present[pick(len(present), class_share)])
    return np.array(np.unravel_index(pixels[pick(len(pixels), pixel_share)], mask.shape), "float32")


def _framed(array, corner, canvas, fill):
    """The canvas-sized piece of an array at a corner."""
    piece = array[corner[0] : corner[0] + canvas[0], corner[1] : corner[1] + canvas[1]]
    if piece.shape[:2] == tuple(canvas):
        return piece
    framed = np.full((*canvas, *array.shape[2:]), fill, array.dtype)
    framed[: piece.shape[0], : piece.shape[1]] = piece
    return framed


def _reach(along, across, rotate):
    """Pixels that a rectangle turned by up to `rotate` degrees covers along its first side's direction."""
    turn = min(
        math.radians(abs(rotate)), math.atan2(across, along)
    )  # there the diagonal lies along
    return math.ceil(along * math.cos(turn) + across * math.sin(turn)) + 2
