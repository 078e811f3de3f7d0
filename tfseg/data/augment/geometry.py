"""The geometry of an augmentation: images, masks, instances and boxes go through one map."""

import math

import numpy as np
from keras import ops

from tfseg.checks import IGNORE_INDEX
from tfseg.data.augment import mixing, params
from tfseg.data.augment.crop import mask_of
from tfseg.data.readers.extract import SMALLEST_SHARE
from tfseg.ops import (
    box_area,
    move_boxes,
    move_points,
    resample,
    smooth_field,
    source_points,
    uniform,
    window_matrices,
)


def windows(augment, batch, drawn, keys):
    """Cut the windows of images and masks out of a batch, all geometry at once.

    Args:
        augment: the `Augment`.
        batch: see `Augment.__call__`.
        drawn: what `draw` gives.
        keys: (B, 2) integers.

    Returns:
        (B, height, width, C) float32 images, and a dict of the "mask" and "instances" that came.
    """
    extents, focus = _whole(augment, batch, drawn)
    center = augment.crop_sampler.center(drawn, extents, focus, ops)
    # Points count from near the middle: they are the same to the bit in a piece and in the whole image.
    block = 2.0**augment.crop_sampler.levels
    origin = block * ops.floor(center / block)
    displacement = _displacement(augment, drawn, keys)
    x, y = source_points(_matrices(augment, drawn, center - origin), augment.size, displacement)
    corner = ops.cast(batch.get("corner", 0), "float32")
    inside = ops.minimum(extents - corner, np.array(batch["image"].shape[1:3], "float32"))
    origin = origin - corner
    image = resample(
        batch["image"],
        x,
        y,
        augment.interpolation,
        augment.fill,
        inside,
        _levels(augment, drawn),
        origin,
    )
    labels = {
        name: resample(batch[name][..., None], x, y, "nearest", fill, inside, origin=origin)[..., 0]
        for name, fill in (("mask", IGNORE_INDEX), ("instances", 0))
        if name in batch
    }
    return image, labels


def move_objects(augment, changed, objects, batch, keys):
    """Move boxes and keypoints as `windows` moves pixels.

    Args:
        augment: the `Augment`.
        changed: dict of what the kernel made of the batch.
        objects: dict of "boxes" (B, N, 4) and "classes" (B, N), or "keypoints" (B, K, 2), or all.
        batch, keys: what the kernel got.

    Returns:
        `changed` with what came, moved; objects that are gone are taken out of its "instances".
    """
    drawn = params.draw(keys, augment.ranges, augment.probabilities)
    extents, focus = _whole(augment, batch, drawn)
    matrices = _matrices(augment, drawn, augment.crop_sampler.center(drawn, extents, focus, ops))
    if matrices.shape[1] == 2:
        matrices = ops.pad(matrices, [[0, 0], [0, 1], [0, 0]]) + np.diag([0, 0, 1]).astype(
            "float32"
        )
    field_of = _displacement(augment, drawn, keys)
    into_windows = (
        ops.inv(matrices),
        None if field_of is None else lambda x, y: _undisplaced(field_of, x, y),
    )
    shown = mixing.regions(drawn, augment.size, augment.cutmix, augment.mosaic)
    shown = shown if augment.mosaic or augment.cutmix else shown[:, :1]
    changed = dict(changed)
    if "boxes" in objects:
        _move_boxes(changed, objects, into_windows, shown)
    if "keypoints" in objects:
        changed["keypoints"] = mixing.mix_points(
            move_points(objects["keypoints"], *into_windows), shown
        )
    return changed


def _move_boxes(changed, objects, into_windows, shown):
    moved = move_boxes(objects["boxes"], *into_windows)
    kinds = ops.cast(objects["classes"], "int32")
    boxes, classes, visible = mixing.mix_boxes(moved, kinds, box_area(moved), shown)
    gone = (classes < 0) | (visible < SMALLEST_SHARE)
    changed |= {
        "boxes": ops.where(gone[..., None], 0.0, boxes),
        "classes": ops.where(gone, -1, classes),
    }
    if "instances" in changed:
        kept = ops.pad(ops.cast(~gone, "int32"), [[0, 0], [1, 0]])
        flat = ops.reshape(changed["instances"], (ops.shape(kept)[0], -1))
        seen = ops.take_along_axis(kept, ops.cast(flat, "int32"), axis=1)
        changed["instances"] = ops.reshape(
            flat * ops.cast(seen, flat.dtype), ops.shape(changed["instances"])
        )


def _whole(augment, batch, drawn):
    """(B, 2) sizes of the whole images, and the points that windows are to hold."""
    images, *size = ops.shape(batch["image"])[:3]
    extents = batch.get("extent")
    if extents is None:
        extents = ops.broadcast_to(ops.cast(ops.stack(size), "float32"), (images, 2))
    extents = ops.cast(extents, "float32")
    if augment.crop != "classes":
        return extents, None
    focus = (
        batch["focus"]
        if "focus" in batch
        else augment.crop_sampler.class_focus(mask_of(batch), drawn)
    )
    return extents, ops.cast(focus, "float32")


def _matrices(augment, drawn, center):
    radians = lambda name: drawn[name] * (math.pi / 180)  # noqa: E731
    flip = lambda axis, ways: ops.where((drawn[axis] < 0.5) & (augment.flip in ways), -1.0, 1.0)  # noqa: E731
    far = (
        ops.stack([drawn["perspective"], drawn["perspective_y"]], -1)
        if "perspective" in augment.ranges
        else None
    )
    flips = flip("flip_x", ("horizontal", "both")), flip("flip_y", ("vertical", "both"))
    return window_matrices(
        augment.size,
        center,
        drawn["scale"],
        radians("rotate"),
        radians("shear"),
        *flips,
        perspective=far,
    )


def _displacement(augment, drawn, keys):
    if "elastic" not in augment.ranges:
        return None
    count = params.LATTICE**2 * 2
    # streams beyond those of `draw`
    points = uniform(keys, len(params.STREAMS) + count)[:, len(params.STREAMS) :]
    lattice = ops.reshape(2 * points - 1, (-1, params.LATTICE, params.LATTICE, 2))
    return smooth_field(lattice * drawn["elastic"][:, None, None, None], augment.size)


def _levels(augment, drawn):
    largest = augment.crop_sampler.levels
    if not largest:
        return None
    level = ops.floor(0.5 - ops.log(drawn["scale"]) / math.log(2))
    return ops.cast(ops.clip(level, 0, largest), "int32"), largest


def _undisplaced(displacement, x, y, steps=4):
    """Points that the displacement takes to (x, y), by fixed-point iteration."""
    height, width = displacement.shape[1:3]
    found_x, found_y = x, y
    for _ in range(steps):
        at_x, at_y = ops.clip(found_x, 0, width - 1), ops.clip(found_y, 0, height - 1)
        shift = resample(displacement, at_x[:, None], at_y[:, None])[:, 0]
        found_x, found_y = x - shift[..., 0], y - shift[..., 1]
    return found_x, found_y
