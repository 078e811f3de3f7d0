"""Random scaling, rotation, flips and crops of a batch, as one compiled resampling."""

import math

import tensorflow as tf

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.ops import affine_matrices, affine_warp

FLIPS = (None, "horizontal", "vertical", "both")


class Augment:
    """Cut one random (height, width) window out of every image and its mask, scaled, rotated and mirrored alike.

    All geometry is one affine map and the image is resampled once: bilinear for images, nearest for masks.
    Where the window leaves the image, images are 0 and masks `ignore_index`. The call runs as one XLA kernel,
    in `Dataset.map` or by hand. The default does nothing but crop.

    Args:
        size: side of the window in pixels, or (height, width).
        scale: (smallest, largest) magnification, drawn log-uniformly.
        rotate: largest angle in degrees, to either side.
        flip: None, "horizontal" (left-right), "vertical" or "both"; each with probability one half.
    """

    def __init__(self, size, scale=(1.0, 1.0), rotate=0.0, flip=None):
        size = (size, size) if isinstance(size, int) else tuple(size)
        self.size = tuple(checks.positive_int("Augment", "size", side) for side in size)
        low, high = scale
        if not 0 < low <= high:
            raise ValueError(f"Augment: scale={scale} must be (smallest, largest), both above zero.")
        self.scale = (float(low), float(high))
        self.rotate = float(rotate)
        self.flip = checks.one_of("Augment", "flip", flip, FLIPS)
        self._warp = tf.function(self._warp_batch, jit_compile=True)

    @property
    def canvas(self):
        """(height, width) in source pixels that the largest possible window reaches over."""
        height, width = (side / self.scale[0] for side in self.size)
        return _reach(height, width, self.rotate), _reach(width, height, self.rotate)

    def __call__(self, images, masks, seed, extents=None):
        """Augment a batch; the same seed gives the same batch.

        Args:
            images: (B, H, W, C), any dtype.
            masks: (B, H, W) integers.
            seed: two integers, for `tf.random.stateless_uniform`.
            extents: (B, 2) the height and width of each image where it is smaller than (H, W), lying at the
                top left; None for all of it.

        Returns:
            (B, height, width, C) float32 and (B, height, width) of the masks' dtype.
        """
        images, masks = tf.convert_to_tensor(images), tf.convert_to_tensor(masks)
        if extents is None:
            extents = tf.tile(tf.shape(images)[None, 1:3], [tf.shape(images)[0], 1])
        # Drawn outside the compiled kernel: XLA's random numbers are others than TensorFlow's.
        draws = tf.random.stateless_uniform((tf.shape(images)[0], 6), tf.cast(seed, tf.int64))
        return self._warp(images, masks, draws, tf.cast(extents, tf.float32))

    def _warp_batch(self, images, masks, draws, extents):
        matrices = self._matrices(draws, extents)
        images = affine_warp(images, matrices, self.size)
        masks = affine_warp(masks[..., None], matrices, self.size, "nearest", fill=IGNORE_INDEX)
        return images, masks[..., 0]

    def _matrices(self, draws, extents):
        low, high = (math.log(bound) for bound in self.scale)
        scale = tf.exp(low + (high - low) * draws[:, 0])
        angle = math.radians(self.rotate) * (2 * draws[:, 1] - 1)
        flip_x = tf.where((draws[:, 2] < 0.5) & (self.flip in ("horizontal", "both")), -1.0, 1.0)
        flip_y = tf.where((draws[:, 3] < 0.5) & (self.flip in ("vertical", "both")), -1.0, 1.0)
        # The window lies inside the image where it can, and is centred on it where it cannot.
        window = tf.constant(self.size, tf.float32) / scale[:, None]
        room = tf.maximum(extents - window, 0.0)
        spare = tf.minimum(extents - window, 0.0)
        if self.scale == (1.0, 1.0) and not self.rotate:  # whole pixels: a crop changes no byte
            corner = tf.floor(draws[:, 4:6] * (room + 1)) + tf.floor(spare / 2)
        else:
            corner = draws[:, 4:6] * room + spare / 2
        centre = corner + (window - 1) / 2
        return affine_matrices(self.size, centre, scale, angle, flip_x, flip_y)


def _reach(along, across, rotate):
    """Pixels that a rectangle turned by up to `rotate` degrees covers along its first side's direction."""
    turn = min(math.radians(abs(rotate)), math.atan2(across, along))  # there the diagonal lies along
    return math.ceil(along * math.cos(turn) + across * math.sin(turn)) + 2
