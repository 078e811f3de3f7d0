"""The geometry of an augmentation: images, masks, instances, boxes and keypoints share one map."""

import math

import numpy as np
from keras import ops

from tfseg.data.augment import mixing
from tfseg.data.augment.crop import class_pixel, mask_of
from tfseg.data.augment.params import ELASTIC_GRID, STREAMS
from tfseg.data.augment.tight_boxes import is_tilted, masks_fit, replace_hulls
from tfseg.data.readers.extract import MIN_VISIBLE
from tfseg.ops import (
    box_area,
    crop_matrices,
    move_boxes,
    move_points,
    pixel_boxes,
    resample,
    smooth_field,
    source_points,
    uniform,
)


def extract_crops(augment, batch, params, keys):
    """Resample the crops of images, masks and instances, all geometry at once.

    Args:
        augment: the `Augment`.
        batch: see `Augment.__call__`.
        params: parameters from `to_params`.
        keys: (B, 2) integers, the seed and the number of each sample.

    Returns:
        (B, height, width, C) float32 images, and a dict of the "mask" and "instances" in the batch.
    """
    extents, pixel = _placement(augment, batch, params)
    center = augment.crop_sampler.crop_center(params, extents, pixel, ops)
    # Points are counted from a whole number near the center, so that float32 is equally precise
    # everywhere in an image and in a piece of it: center 1000.3 is 0.3 from origin 1000.
    block = 2.0**augment.crop_sampler.levels
    origin = block * ops.floor(center / block)
    displacement = _displacement(augment, params, keys)
    x, y = source_points(_matrices(augment, params, center - origin), augment.size, displacement)
    corner = ops.cast(batch.get("corner", 0), "float32")
    inside = ops.minimum(extents - corner, np.array(batch["image"].shape[1:3], "float32"))
    origin = origin - corner
    levels = _levels(augment, params)
    image = resample(
        batch["image"], x, y, augment.interpolation, augment.fill, inside, levels, origin
    )
    labels = {}
    for name, fill in (("mask", augment.ignore_index), ("instances", 0)):
        if name in batch:
            values = batch[name][..., None]
            labels[name] = resample(values, x, y, "nearest", fill, inside, origin=origin)[..., 0]
    return image, labels


def move_objects(augment, changed, objects, batch, params, keys):
    """Move boxes and keypoints as `extract_crops` moves pixels.

    Args:
        augment: the `Augment`.
        changed: dict of the augmented images and masks.
        objects: dict of "boxes" (B, N, 4) and "classes" (B, N), with or without "crowd" (B, N),
            "areas" (B, N) and "mask_fits" (B, N); or "keypoints" (B, K, 2), or all.
        batch: the batch before augmentation.
        params: parameters from `to_params`.
        keys: (B, 2) integers, the seed and the number of each sample.

    Returns:
        `changed` with the moved objects; objects outside the crop are removed from its "instances".
    """
    extents, pixel = _placement(augment, batch, params)
    center = augment.crop_sampler.crop_center(params, extents, pixel, ops)
    to_crop = ops.inv(_square(_matrices(augment, params, center)))
    displacement = _displacement(augment, params, keys)
    undisplace = None
    if displacement is not None:

        def undisplace(x, y):
            return _undisplaced(displacement, x, y)

    regions = mixing.mixing_regions(params, augment.size, augment.cutmix, augment.mosaic)
    if not (augment.mosaic or augment.cutmix):
        regions = regions[:, :1]
    changed = dict(changed)
    if "boxes" in objects:
        moved = {"boxes": move_boxes(objects["boxes"], to_crop, undisplace)}
        moved["classes"] = ops.cast(objects["classes"], "int32")
        if "crowd" in objects:
            moved["crowd"] = ops.cast(objects["crowd"], "bool")
        if "areas" in objects:
            moved["areas"] = ops.cast(objects["areas"], "float32") * params["scale"][:, None] ** 2
        if augment.crop_sampler.tilts and "instances" in batch:
            fits = _masks_fit(objects, batch["instances"], extents)
            moved["tight"] = fits & is_tilted(params)[:, None]
        _replace_objects(changed, moved, regions)
    if "keypoints" in objects:
        points = move_points(objects["keypoints"], to_crop, undisplace)
        changed["keypoints"] = mixing.mix_points(points, regions)
    return changed


def _masks_fit(objects, instances, extents):
    """Return (B, N) bool, see `masks_fit`. Pieces of images bring it along."""
    if "mask_fits" in objects:
        return ops.cast(objects["mask_fits"], "bool")
    boxes = ops.cast(objects["boxes"], "float32")
    return masks_fit(pixel_boxes(instances, ops.shape(boxes)[1]), boxes, extents, ops)


def _replace_objects(changed, moved, regions):
    """Add moved objects to `changed`; hardly visible ones get class -1 and no pixels."""
    areas = box_area(moved["boxes"])
    boxes, classes, visible = mixing.mix_boxes(moved["boxes"], moved["classes"], areas, regions)
    removed = (classes < 0) | (visible < MIN_VISIBLE)
    if "tight" in moved:
        boxes, removed = replace_hulls(
            boxes, removed, changed["instances"], moved["tight"], regions
        )
    changed["boxes"] = ops.where(removed[..., None], 0.0, boxes)
    changed["classes"] = ops.where(removed, -1, classes)
    if "crowd" in moved:
        changed["crowd"] = mixing.mix_rows(moved["crowd"], regions) & ~removed
    if "areas" in moved:
        changed["areas"] = ops.where(
            removed, 0.0, mixing.mix_rows(moved["areas"], regions) * visible
        )
    if "instances" not in changed:
        return
    instances = changed["instances"]
    # A table per image that takes object k to 1 (kept) or 0 (removed). Of three objects, the second
    # removed: 0 1 0 1, where entry 0 is "no object".
    table = ops.pad(ops.cast(~removed, "int32"), [[0, 0], [1, 0]])
    flat = ops.reshape(instances, (ops.shape(table)[0], -1))
    kept = ops.take_along_axis(table, ops.cast(flat, "int32"), axis=1)
    changed["instances"] = ops.reshape(flat * ops.cast(kept, flat.dtype), ops.shape(instances))


def _placement(augment, batch, params):
    """Return the (B, 2) sizes of the whole images, and the pixels that crops must contain."""
    extents = batch.get("extent")
    if extents is None:
        count, height, width = ops.shape(batch["image"])[:3]
        size = ops.cast(ops.stack([height, width]), "float32")
        extents = ops.broadcast_to(size, (count, 2))
    extents = ops.cast(extents, "float32")
    if augment.crop != "classes":
        return extents, None
    if "class_pixel" in batch:
        return extents, ops.cast(batch["class_pixel"], "float32")
    return extents, class_pixel(mask_of(batch), params, ops, augment.ignore_index)


def _matrices(augment, params, center):
    """Return the matrices that take crop pixels to image pixels, see `crop_matrices`."""
    perspective = None
    if "perspective" in augment.ranges:
        perspective = ops.stack([params["perspective"], params["perspective_y"]], -1)
    return crop_matrices(
        augment.size,
        center,
        params["scale"],
        params["rotate"] * (math.pi / 180),
        params["shear"] * (math.pi / 180),
        _flip_sign(params["flip_x"], augment.flip in ("horizontal", "both")),
        _flip_sign(params["flip_y"], augment.flip in ("vertical", "both")),
        perspective=perspective,
    )


def _flip_sign(number, allowed):
    """Return -1 for half of the samples if flips are allowed, else 1."""
    return ops.where((number < 0.5) & allowed, -1.0, 1.0)


def _square(matrices):
    """Return (B, 3, 3) matrices; (B, 2, 3) ones get the last row 0 0 1."""
    if matrices.shape[1] == 3:
        return matrices
    last_row = np.diag([0, 0, 1]).astype("float32")
    return ops.pad(matrices, [[0, 0], [0, 1], [0, 0]]) + last_row


def _displacement(augment, params, keys):
    """Return the (B, height, width, 2) elastic shift of the crop's pixels, or None."""
    if "elastic" not in augment.ranges:
        return None
    count = ELASTIC_GRID**2 * 2
    # The streams after those of `draw`.
    numbers = uniform(keys, len(STREAMS) + count)[:, len(STREAMS) :]
    grid = ops.reshape(2 * numbers - 1, (-1, ELASTIC_GRID, ELASTIC_GRID, 2))
    return smooth_field(grid * params["elastic"][:, None, None, None], augment.size)


def _levels(augment, params):
    """Return how many times each image is halved before it is resampled, and the largest number.

    It is floor(0.5 + 1) = 1 at scale 0.5, and floor(0.5 + 1.74) = 2 at scale 0.3, which is read at
    a quarter.
    """
    largest = augment.crop_sampler.levels
    if not largest:
        return None
    level = ops.floor(0.5 - ops.log(params["scale"]) / math.log(2))
    return ops.cast(ops.clip(level, 0, largest), "int32"), largest


def _undisplaced(displacement, x, y, steps=4):
    """Return the points that the displacement takes to (x, y), by fixed-point iteration.

    With a shift of 0.1 x and the target 11: x = 11, 11 - 1.1 = 9.9, 11 - 0.99 = 10.01, ... -> 10.
    """
    height, width = displacement.shape[1:3]
    found_x, found_y = x, y
    for _ in range(steps):
        inside_x = ops.clip(found_x, 0, width - 1)
        inside_y = ops.clip(found_y, 0, height - 1)
        shift = resample(displacement, inside_x[:, None], inside_y[:, None])[:, 0]
        found_x, found_y = x - shift[..., 0], y - shift[..., 1]
    return found_x, found_y
