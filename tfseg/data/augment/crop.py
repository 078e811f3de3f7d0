"""Where a random crop is placed in an image, and the piece of the image that it needs."""

import math

import numpy as np
from keras import ops

from tfseg.checks import IGNORE_INDEX
from tfseg.data.augment.params import IDENTITY, KINDS, draw, to_params
from tfseg.data.augment.tight_boxes import masks_fit
from tfseg.data.readers.objects import boxes_or_zero

GEOMETRY = ("scale", "rotate", "shear", "translate", "perspective", "elastic")
TILTING = ("rotate", "shear", "perspective", "elastic")


class CropSampler:
    """Places random crops in images, and cuts out the pieces of the images that they need.

    Args:
        size: (height, width) of the crops in pixels.
        crop: "random", "center" or "classes", see `Augment`.
        ranges: {operation: (low, high)}, see `to_params`.
        probabilities: {operation: probability}.
        ignore_index: mask value of pixels without a label.

    Attributes:
        canvas: (height, width) in image pixels. No crop reads beyond a piece of this size.
        levels: how many times an image is halved at most before it is resampled.
        shrink: power of 2, at most 8. No crop shows the image at more than 1 / shrink of its size,
            so images can be read at that size.
        tilts: whether crops may be rotated or warped, so that sides of boxes become oblique.
    """

    def __init__(self, size, crop, ranges, probabilities, ignore_index: int = IGNORE_INDEX):
        self.size, self.crop, self.ignore_index = size, crop, ignore_index
        self.ranges, self.probabilities = ranges, probabilities
        smallest, largest = ranges.get("scale", (1.0, 1.0))
        if probabilities["scale"] < 1:  # crops that are not scaled
            smallest, largest = min(smallest, 1.0), max(largest, 1.0)
        self.levels = max(0, math.floor(0.5 - math.log2(smallest)))
        self.shrink = 2 ** max(0, min(3, math.floor(-math.log2(largest))))
        self.canvas = self._canvas(smallest)
        self.tilts = any(name in ranges for name in TILTING)

    def _canvas(self, smallest_scale):
        strongest = {name: max(map(abs, bounds)) for name, bounds in self.ranges.items()}
        shift, perspective = strongest.get("elastic", 0), strongest.get("perspective", 0)
        height, width = (side + 2 * shift for side in self.size)
        # The depth of the crop's corner that perspective moves farthest away; the center has 1.
        depth = 1 - perspective * sum(1 + 2 * shift / max(side - 1, 2) for side in self.size)
        if depth < 0.1:
            raise ValueError(
                f"Augment: perspective up to {perspective} with elastic up to {shift} is too strong"
                f" for crops of {self.size[0]} x {self.size[1]}: they would show the horizon. "
                "Lower one of them."
            )
        width = width + height * math.tan(math.radians(strongest.get("shear", 0)))
        enlarged = 1 / smallest_scale / depth
        height, width, angle = enlarged * height, enlarged * width, strongest.get("rotate", 0)
        # The interpolation reads 2.5 pixels of the coarsest level on either side, and a piece is up
        # to two of them off its ideal position.
        margin = 7 * 2**self.levels
        return _extent(height, width, angle) + margin, _extent(width, height, angle) + margin

    def crop_center(self, params, extents, class_pixel, xp):
        """Return the image position of each crop's center; pixel centers are at whole numbers.

        Args:
            params: parameters from `to_params`.
            extents: (B, 2) float32 heights and widths of the images in pixels.
            class_pixel: (B, 2) float32 (y, x) of a pixel that the crop must contain, or None.
            xp: module of the arrays, `numpy` or `keras.ops`.

        Returns:
            (B, 2) float32 (y, x).
        """
        size = np.array(self.size, "float32")
        visible = size / params["scale"][..., None]  # sides of the crop in image pixels
        zero, half, one = np.array([0, 0.5, 1], "float32")
        # A crop that fits stays inside the image and has `free` pixels to move in. A larger one is
        # centered on the image: of 8 pixels on 5 it begins at `overhang` = (5 - 8) / 2 = -1.5.
        free = xp.maximum(extents - visible, zero)
        overhang = xp.minimum(extents - visible, zero) * half
        corner, whole_corner = self._corners(params, visible, free, class_pixel, xp)
        # Without any other geometry, crops start at whole pixels, so that no value is interpolated.
        unmoved = np.True_
        for name in GEOMETRY:
            if name in self.ranges:
                unmoved = unmoved & (params[name] == IDENTITY[KINDS[name]])[..., None]
        whole_corner = xp.floor(whole_corner) + xp.floor(overhang)
        corner = xp.where(unmoved, whole_corner, corner + overhang)
        if "translate" in self.ranges:
            translate = xp.stack([params["translate_y"], params["translate"]], -1)
            corner = corner + visible * translate
        return corner + (visible - one) * half

    def _corners(self, params, visible, free, class_pixel, xp):
        """Return the upper left corners of crops inside the image, and their whole-pixel variants.

        The caller rounds the second down. Along 10 pixels, for a crop of 4 (`free` = 6):

        - "center": both 3.
        - "random" at 0.9: 0.9 * 6 = 5.4; and 0.9 * 7 = 6.3, so that 0 ... 6 are equally likely.
        - class pixel 5 at 0.6: 0.6 * 4 = 2.4 crop pixels come before it, from edge to edge. The
          corner is 5 - (2.4 - 0.5) = 3.1, or with whole pixels 5 - 2 = 3.
        """
        zero, half, one = np.array([0, 0.5, 1], "float32")
        if self.crop == "center":
            return free * half, free * half
        position = xp.stack([params["crop_y"], params["crop_x"]], -1)
        if class_pixel is None:
            return position * free, position * (free + one)
        before = position * visible
        corner = xp.minimum(xp.maximum(class_pixel - (before - half), zero), free)
        whole = xp.minimum(xp.maximum(class_pixel - xp.floor(before), zero), free)
        return corner, whole

    def extract(self, sample, key, largest=None):
        """Draw a sample's random numbers and cut out the piece of it that the crop needs.

        Args:
            sample: dict of NumPy arrays from a reader.
            key: (2,) integers, the seed and the sample's number.
            largest: (height, width) of the dataset's largest image, if known: no piece is larger.

        Returns:
            The sample with pieces of one size, padded with 0 (masks with `ignore_index`), and as
            float32: "random", the numbers from `draw`; "extent" (2,), height and width of the
            image; "corner" (2,), (y, x) of the piece in the image; "class_pixel" (2,), (y, x) of
            the pixel that the crop contains with `crop="classes"`. Samples with "boxes" and
            "instances" of crops that tilt have "mask_fits" (N,) bool, see `masks_fit`.
        """
        random = draw(np.asarray(key)[None])
        params = to_params(random, self.ranges, self.probabilities)
        extent = np.array(sample["image"].shape[:2], "float32")
        pixel = None
        if self.crop == "classes":
            pixel = class_pixel(mask_of(sample)[None], params, np, self.ignore_index)
        canvas = np.array(self.canvas if largest is None else np.minimum(self.canvas, largest))
        corner = self.piece_corners(params, extent[None], pixel, canvas)[0]
        piece = dict(sample)
        fills = {"image": 0, "mask": self.ignore_index, "instances": 0}
        for name in fills.keys() & sample.keys():
            piece[name] = _cut(sample[name], corner, canvas, fills[name])
        if self.tilts and {"boxes", "instances"} <= sample.keys():
            around = boxes_or_zero(sample["instances"], len(sample["boxes"]))
            piece["mask_fits"] = masks_fit(around, sample["boxes"], extent, np)
        return {
            **piece,
            "random": random[0],
            "extent": extent,
            "corner": corner.astype("float32"),
            "class_pixel": np.zeros(2, "float32") if pixel is None else pixel[0],
        }

    def piece_corners(self, params, extents, class_pixel, canvas):
        """Return the (B, 2) int (y, x) corners of pieces around the centers of crops.

        They are multiples of 2**levels: then halving the piece averages the same pixels as halving
        the whole image. With levels 2, corner 5.3 becomes 4 * ceil(5.3 / 4) = 8.

        Args:
            params: parameters from `to_params`.
            extents: (B, 2) float32 heights and widths of the images.
            class_pixel: see `crop_center`.
            canvas: (height, width) array, the size of the pieces.
        """
        center = self.crop_center(params, extents, class_pixel, np)
        corner = np.clip(center + 0.5 - canvas / 2, 0, np.maximum(extents - canvas, 0))
        block = 2**self.levels
        return block * np.ceil(corner / block).astype(int)


def mask_of(sample):
    """Return the "mask" that `crop="classes"` needs, or raise a ValueError."""
    if "mask" not in sample:
        raise ValueError(
            'Augment: crop="classes" needs a mask, but the sample has none. Provide masks, or use '
            'crop="random".'
        )
    return sample["mask"]


def class_pixel(masks, params, xp, ignore_index: int = IGNORE_INDEX):
    """Choose a random pixel of a random class in each mask, so that rare classes are as likely.

    Args:
        masks: (B, H, W) integer class ids.
        params: parameters from `to_params`; "class" and "pixel" are used.
        xp: module of the arrays, `numpy` or `keras.ops`. Both choose the same pixels.
        ignore_index: mask value of pixels without a label, above all class ids.

    Returns:
        (B, 2) float32 (y, x); the center of the image where every pixel is ignored.
    """
    batch, height, width = xp.shape(masks)
    ids = xp.reshape(masks, (batch, height * width))
    if xp is ops:
        ids = ops.cast(ids, "int32")
    present = _class_counts(ids, xp, ignore_index)[:, :ignore_index] > 0
    chosen = _nth_true(present, params["class"], xp)
    pixel = _nth_true(ids == chosen[:, None], params["pixel"], xp)
    position = _float32(xp.stack([pixel // width, pixel % width], -1), xp)
    center = np.array([(height - 1) / 2, (width - 1) / 2], "float32")
    return xp.where(xp.any(present, axis=1)[:, None], position, center)


def _class_counts(ids, xp, ignore_index):
    """Return the (B, ignore_index + 1) numbers of pixels per class id of (B, N) ids."""
    length = ignore_index + 1
    if xp is np:
        return np.stack([np.bincount(row, minlength=length)[:length] for row in ids])
    batch = ops.shape(ids)[0]
    # One histogram for the whole batch: image 1 counts its id 3 in bin 256 + 3.
    bins = ops.arange(batch, dtype="int32")[:, None] * length + ops.clip(ids, 0, ignore_index)
    bins = ops.reshape(bins, (-1,))
    counts = ops.segment_sum(ops.ones_like(bins), bins, num_segments=batch * length)
    return ops.reshape(counts, (batch, length))


def _nth_true(flags, fraction, xp):
    """Return the (B,) index of one True per row of (B, N) flags; 0 for rows without.

    Of the flags F T F T T (three are True) a fraction of 0.5 chooses number floor(0.5 * 3) = 1, the
    second, at index 3.
    """
    if xp is np:
        return np.array([_nth_true_of_row(*row) for row in zip(flags, fraction, strict=True)])
    rank = ops.cumsum(ops.cast(flags, "int32"), axis=1)
    count = rank[:, -1]
    number = ops.cast(ops.floor(fraction * ops.cast(count, "float32")), "int32")
    number = ops.minimum(number, count - 1)
    return ops.cast(ops.argmax(rank >= number[:, None] + 1, axis=1), "int32")


def _nth_true_of_row(flags, fraction):
    found = np.flatnonzero(flags)  # faster than the cumulative sum
    if not len(found):
        return 0
    return found[min(int(np.float32(fraction) * np.float32(len(found))), len(found) - 1)]


def _float32(values, xp):
    return values.astype("float32") if xp is np else ops.cast(values, "float32")


def _cut(array, corner, canvas, fill):
    """Return the piece of an array at a corner, padded to the size of the canvas."""
    piece = array[corner[0] : corner[0] + canvas[0], corner[1] : corner[1] + canvas[1]]
    if piece.shape[:2] == tuple(canvas):
        return piece
    padded = np.full((*canvas, *array.shape[2:]), fill, array.dtype)
    padded[: piece.shape[0], : piece.shape[1]] = piece
    return padded


def _extent(along, across, rotate):
    """Return the pixels that a rectangle turned by up to `rotate` degrees covers in a direction.

    A side of 4 turned by t covers 4 cos(t) + 3 sin(t) with the other side 3. That is largest where
    the diagonal points in this direction, at t = atan(3 / 4): 5 pixels.

    Args:
        along: length in pixels of the side in this direction before turning.
        across: length of the other side.
        rotate: largest angle in degrees.
    """
    turn = min(math.radians(abs(rotate)), math.atan2(across, along))
    return math.ceil(along * math.cos(turn) + across * math.sin(turn)) + 2
