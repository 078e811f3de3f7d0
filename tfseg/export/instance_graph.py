"""From the outputs of instance models to numbered objects, as part of a graph.

`objects_in_graph` does what `tfseg.models.decode_instances` does on the host.
"""

import tensorflow as tf

from tfseg.models import instance_settings
from tfseg.models.instance_decoding import CENTERS_PER_PIXEL
from tfseg.ops import (
    describe_instances,
    draw_polygons,
    find_centers,
    pixel_targets,
    polygon_nms,
    thing_pixels,
)
from tfseg.ops.center_grouping import BLOCK, FLOAT32_MARGIN

PIXELS_PER_CENTER = round(1 / CENTERS_PER_PIXEL)


def objects_in_graph(model, outputs: dict, size, own_size=None) -> dict:
    """Return the objects that a model's outputs for one image stand for.

    Args:
        model: a model of `tfseg.models.instances`, whose thresholds are used.
        outputs: dict of tensors, the outputs of the model for one image, without batch axis.
        size: (2,) int32, height and width of the image that the model got.
        own_size: (2,) int32, size of the results; None for `size`.

    Returns:
        dict of "instances" (H, W) int32, "scores" (N,) float32, "classes" (N,) int32, "boxes"
        (N, 4) float32, around the visible pixels, "num_detections" () int32, and for "center"
        "mask" (H, W) int32; see `tfseg.models.decode_instances`.
    """
    settings = instance_settings(model)
    if settings.head == "star":
        found = _star_objects(outputs, size, settings)
    else:
        found = _center_objects(outputs, settings)
    if own_size is not None:
        for name in ("instances", "mask"):
            if name in found:
                resized = tf.image.resize(found[name][..., None], own_size, "nearest")
                found[name] = resized[..., 0]
    return _visible(found)


def _star_objects(outputs, size, settings):
    """Return the objects of a star head; some may have no pixels."""
    scores = tf.sigmoid(outputs["object_logits"][..., 0])
    samples = tf.where(scores > settings.object_threshold)
    classes = tf.zeros(tf.shape(samples)[:1], tf.int32)
    if "class_logits" in outputs:
        logits = tf.gather_nd(outputs["class_logits"], samples)
        classes = tf.argmax(logits, -1, tf.int32)
    centers = tf.cast(samples[:, ::-1] * settings.grid, tf.float32) + 0.5
    distances = tf.gather_nd(outputs["distances"], samples)
    scores = tf.gather_nd(scores, samples)
    indices, kept = polygon_nms(distances[None], centers[None], scores[None], settings.nms_overlap)
    order = tf.boolean_mask(indices[0], kept[0])
    distances, centers = tf.gather(distances, order), tf.gather(centers, order)
    everything = tf.ones((1, tf.shape(order)[0]), tf.bool)
    labels = draw_polygons(distances[None], centers[None], everything, size[0], size[1])[0]
    return {
        "instances": labels,
        "scores": tf.gather(scores, order),
        "classes": tf.gather(classes, order),
    }


def _center_objects(outputs, settings):
    """Return the objects of a center head, and the mask; some may have no pixels."""
    heat = tf.sigmoid(outputs["center_logits"][..., 0])
    logits = outputs["class_logits"][None]
    most = -(-tf.size(heat) // PIXELS_PER_CENTER) + 1
    centers, scores = find_centers(heat[None], settings.object_threshold, max_centers=most)
    count = tf.math.count_nonzero(scores, dtype=tf.int32)
    centers, scores = centers[0, :count], scores[:, :count]
    nearest = nearest_in_graph(pixel_targets(outputs["offsets"][None])[0], centers)
    ids = tf.where(thing_pixels(logits, settings.thing_ids)[0], nearest, 0)
    classes, scores, mask = describe_instances(ids[None], logits, scores, settings.thing_ids)
    order = tf.argsort(-scores[0], stable=True)
    numbers = tf.concat([[0], tf.argsort(order) + 1], 0)
    return {
        "instances": tf.gather(numbers, ids),
        "scores": tf.gather(scores[0], order),
        "classes": tf.gather(classes[0], order),
        "mask": mask[0],
    }


def nearest_in_graph(targets, centers):
    """Do what `tfseg.ops.nearest_centers` does, as part of a graph.

    Args:
        targets: (H, W, 2) float32 row and column; those that are not finite count as 0.
        centers: (K, 2) float32 row and column.

    Returns:
        (H, W) int32: k + 1 for center k, 0 without centers.
    """
    height, width = tf.unstack(tf.shape(targets)[:2])
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    targets = tf.where(tf.math.is_finite(targets), targets, 0.0)
    # the last ones repeated, so that all blocks are whole
    padded = tf.gather(targets, tf.minimum(tf.range(rows * BLOCK), height - 1))
    padded = tf.gather(padded, tf.minimum(tf.range(columns * BLOCK), width - 1), axis=1)
    blocks = tf.transpose(tf.reshape(padded, (rows, BLOCK, columns, BLOCK, 2)), (0, 2, 1, 3, 4))
    blocks = tf.reshape(blocks, (rows * columns, BLOCK * BLOCK, 2))

    def grouped():
        spec = tf.TensorSpec((BLOCK * BLOCK,), tf.int32)
        found = tf.map_fn(lambda block: _nearest(block, centers), blocks, fn_output_signature=spec)
        found = tf.transpose(tf.reshape(found, (rows, columns, BLOCK, BLOCK)), (0, 2, 1, 3))
        return tf.reshape(found, (rows * BLOCK, columns * BLOCK))[:height, :width]

    return tf.cond(tf.shape(centers)[0] > 0, grouped, lambda: tf.zeros((height, width), tf.int32))


def _nearest(targets, centers):
    """Return (P,) int32, k + 1 for the center nearest to each target (P, 2)."""
    low, high = tf.reduce_min(targets, 0), tf.reduce_max(targets, 0)
    outside = tf.maximum(tf.maximum(low - centers, centers - high), 0.0)
    farthest = tf.maximum(tf.abs(centers - low), tf.abs(centers - high))
    limit = tf.reduce_min(tf.reduce_sum(farthest**2, 1)) * FLOAT32_MARGIN
    near = tf.where(tf.reduce_sum(outside**2, 1) <= limit)[:, 0]
    chosen = tf.gather(centers, near)
    y, x = targets[:, :1] - chosen[:, 0], targets[:, 1:] - chosen[:, 1]
    return tf.cast(tf.gather(near, tf.argmin(y * y + x * x, 1)), tf.int32) + 1


def _visible(found):
    """Number the objects anew without those that have no pixels, and add boxes and the number."""
    labels = found["instances"]
    sizes = tf.math.bincount(tf.reshape(labels, [-1]), minlength=tf.size(found["scores"]) + 1)
    is_visible = sizes[1:] > 0
    numbers = tf.where(is_visible, tf.cumsum(tf.cast(is_visible, tf.int32)), 0)
    labels = tf.gather(tf.concat([[0], numbers], 0), labels)
    count = tf.math.count_nonzero(is_visible, dtype=tf.int32)
    return {
        **found,
        "instances": labels,
        "scores": tf.boolean_mask(found["scores"], is_visible),
        "classes": tf.boolean_mask(found["classes"], is_visible),
        "boxes": _boxes_around(labels, count),
        "num_detections": count,
    }


def _boxes_around(labels, count):
    """Return (count, 4) float32 x_min, y_min, x_max, y_max around the pixels of each object."""
    pixels = tf.where(labels > 0)
    numbers = tf.gather_nd(labels, pixels) - 1
    pixels = tf.cast(pixels, tf.int32)[:, ::-1]
    low = tf.math.unsorted_segment_min(pixels, numbers, count)
    high = tf.math.unsorted_segment_max(pixels, numbers, count) + 1
    return tf.cast(tf.concat([low, high], 1), tf.float32)
