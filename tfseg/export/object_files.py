"""Masks of detected objects as run lengths and as a PNG of numbered objects, inside a graph."""

import tensorflow as tf

from tfseg.export.postprocess import run_lengths_json

THRESHOLD = 0.5  # of mask probabilities
LAST_UINT16 = 65535


def object_files(masks, boxes, count, size) -> dict:
    """Paste the masks of one image's detections into the image, and encode them.

    The masks are pasted as by `tfseg.ops.paste_masks` and cut at a probability of 0.5. Only the
    region of one object is in memory at a time.

    Args:
        masks: (M, S, S) float32, probabilities inside the boxes.
        boxes: (M, 4) float32, x_min, y_min, x_max, y_max in pixels.
        count: () int32, number of detections; later rows are padding.
        size: (2,) int32, height and width of the image.

    Returns:
        dict of
        "masks_rle_bytes" (M,) string: COCO's run lengths of each mask as JSON, see
            `tfseg.export.postprocess.run_lengths`; empty for padding.
        "masks_png_bytes" () string: a PNG of 16 bits at the size of the image; k for the k-th
            detection, 0 for none. Of overlapping objects the one with the highest score is seen.
    """
    height, width = tf.unstack(size)

    def add(index, run_lengths, instances):
        inside, top, left = _paste(masks[index], boxes[index], size)
        run_lengths = run_lengths.write(index, _run_lengths(inside, top, left, size))
        bottom, right = top + tf.shape(inside)[0], left + tf.shape(inside)[1]
        behind = instances[top:bottom, left:right]
        # updates the tensor in place: padding the region would walk over the whole image
        instances = tf.raw_ops.TensorStridedSliceUpdate(
            input=instances,
            begin=[top, left],
            end=[bottom, right],
            strides=[1, 1],
            # detections are in descending order of scores
            value=tf.where(inside & (behind == 0), index + 1, behind),
        )
        return index + 1, run_lengths, instances

    start = (
        0,
        tf.TensorArray(tf.string, count, element_shape=()),
        tf.zeros((height, width), tf.int32),
    )
    _, run_lengths, instances = tf.while_loop(
        lambda index, *_: index < count, add, start, parallel_iterations=1
    )
    padding = tf.fill([tf.shape(boxes)[0] - count], "")
    return {
        "masks_rle_bytes": tf.ensure_shape(
            tf.concat([run_lengths.stack(), padding], 0), boxes.shape[:1]
        ),
        "masks_png_bytes": tf.io.encode_png(tf.cast(instances, tf.uint16)[..., None]),
    }


def label_map_files(instances, boxes, count) -> dict:
    """Encode the objects of a label map.

    Args:
        instances: (H, W) int32, k + 1 on the pixels of object k.
        boxes: (N, 4) float32 around these pixels, x_min, y_min, x_max, y_max in pixels.
        count: () int32, the number of objects N.

    Returns:
        dict of "masks_rle_bytes" (N,) string and "masks_png_bytes" () string, see `object_files`.
        The PNG has no objects beyond 65,535.
    """

    def encode(index):
        left, top, right, bottom = tf.unstack(tf.cast(boxes[index], tf.int32))
        inside = instances[top:bottom, left:right] == index + 1
        return _run_lengths(inside, top, left, tf.shape(instances))

    numbers = tf.where(instances <= LAST_UINT16, instances, 0)
    return {
        "masks_rle_bytes": tf.map_fn(encode, tf.range(count), fn_output_signature=tf.string),
        "masks_png_bytes": tf.io.encode_png(tf.cast(numbers, tf.uint16)[..., None]),
    }


def _paste(mask, box, size):
    """Return the pixels of an object and where they are.

    This follows torchvision's `paste_masks_in_image`: the mask gets a border of one pixel of
    probability 0 and the box grows by the same factor; the corners of the box are truncated to
    pixels, which both belong to it.

    Args:
        mask: (S, S) float32.
        box: (4,) float32.
        size: (2,) int32, height and width of the image.

    Returns:
        ((h, w) bool, top, left) of the part of the box that is inside the image.
    """
    side = mask.shape[0]
    bordered = tf.pad(mask, [[1, 1], [1, 1]])[..., None]
    center = (box[:2] + box[2:]) * 0.5
    half = (box[2:] - box[:2]) * 0.5 * ((side + 2) / side)
    # rows before columns
    first = tf.cast(center - half, tf.int32)[::-1]
    last = tf.cast(center + half, tf.int32)[::-1]
    sides = tf.maximum(last - first + 1, 1)
    inside = tf.image.resize(bordered, sides)[..., 0] > THRESHOLD
    low = tf.clip_by_value(first, 0, size)
    high = tf.clip_by_value(first + sides, low, size)
    top, left = tf.unstack(low - first)
    bottom, right = tf.unstack(high - first)
    top_left = tf.unstack(low)
    return inside[top:bottom, left:right], *top_left


def _run_lengths(inside, top, left, size):
    """Return the run lengths of a mask that is False outside of a region, as JSON.

    Args:
        inside: (h, w) bool, the region.
        top, left: () int32, its corner in the image.
        size: (2,) int32, height and width of the image.
    """
    columns = tf.pad(tf.transpose(inside), [[0, 0], [1, 1]])
    changes = tf.where(columns[:, 1:] != columns[:, :-1])
    height, width = tf.unstack(tf.cast(size, tf.int64))
    top, left = tf.cast(top, tf.int64), tf.cast(left, tf.int64)
    positions = (left + changes[:, 0]) * height + top + changes[:, 1]
    # a run that goes on at the head of the next column does not end at the foot of this one
    goes_on = (positions == tf.roll(positions, 1, 0)) | (positions == tf.roll(positions, -1, 0))
    positions = tf.boolean_mask(positions, ~goes_on)
    return run_lengths_json(tf.concat([[0], positions, [height * width]], 0), size)
