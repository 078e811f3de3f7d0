"""RoIAlign (arXiv:1703.06870) as torchvision defines it, over one feature map or a pyramid.

The average of bilinear samples is separable: each output is a weighted sum over rows, then over
columns. So each box has a short list of rows and of columns with a matrix of weights for each.
"""

import math

import numpy as np
from keras import ops

from tfseg.ops.boxes import box_area

# Feature values that are read at a time: 128 MB in float32. Smaller chunks make the gradient slower
# in TensorFlow on a CPU, which copies the gradient of the whole pyramid once per chunk.
CHUNK_VALUES = 2**25


def roi_align(features, boxes, size: int, stride: float, sampling_ratio: int = 2, aligned=False):
    """Pool features inside boxes to squares of one size, with bilinear samples.

    Each box is divided into `size` x `size` bins. Each bin is the mean of `sampling_ratio` x
    `sampling_ratio` samples at regular points. Samples up to one pixel outside of the map take the
    value at its border, others are 0.

    Args:
        features: (B, h, w, C) floating.
        boxes: (B, R, 4) x_min, y_min, x_max, y_max in pixels of the image. They get no gradient.
        size: number of rows and columns of the output.
        stride: image pixels per feature pixel.
        sampling_ratio: samples per bin along each axis.
        aligned: False, as in torchvision's models: coordinates are scaled without the half-pixel
            shift, and sides are at least one feature pixel. True, as in Detectron2: feature pixel
            i has its center at (i + 0.5) * stride, and sides may be smaller.

    Returns:
        (B, R, size, size, C) in the dtype of the features.

    Example:
        >>> import numpy as np
        >>> features = np.arange(64, dtype="float32").reshape(1, 8, 8, 1)
        >>> pooled = roi_align(features, np.array([[[1.0, 1, 5, 5]]], "float32"), 2, stride=1)
        >>> np.array(pooled)[0, 0, :, :, 0].tolist()
        [[18.0, 20.0], [34.0, 36.0]]
    """
    return multiscale_roi_align([features], boxes, [stride], size, sampling_ratio, aligned)


def multiscale_roi_align(
    levels,
    boxes,
    strides,
    size: int,
    sampling_ratio: int = 2,
    aligned: bool = False,
    canonical_size: float = 224,
    canonical_level: int = 4,
    own_gradient: bool = True,
):
    """Apply `roi_align` to the pyramid level that fits each box (arXiv:1612.03144, equation 1).

    A box of `canonical_size` x `canonical_size` pixels is pooled from the level with stride
    2**canonical_level, a box of half that side from the level below, and so on.

    Args:
        levels: list of (B, h, w, C) floating maps, finest first.
        boxes: (B, R, 4) x_min, y_min, x_max, y_max in pixels of the image. They get no gradient.
        strides: image pixels per feature pixel of each level, each twice the one before.
        size, sampling_ratio, aligned: see `roi_align`.
        canonical_size: side in pixels.
        canonical_level: base-2 logarithm of a stride.
        own_gradient: whether to compute the gradient of the levels here, in less memory and time
            than the backend would need. False for inference: a SavedModel cannot contain it.

    Returns:
        (B, R, size, size, C) in the dtype of the levels.

    Raises:
        ValueError: a level lacks its stride, or strides do not double.
    """
    _check_strides(levels, strides)
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    level = _level_of(boxes, strides, canonical_size, canonical_level)
    start, row_length, *extents = _level_geometry(levels, level)
    scale = ops.take(np.array([1 / stride for stride in strides], "float32"), level)
    columns, column_weights = _taps(
        boxes[..., 0] * scale, boxes[..., 2] * scale, extents[1], size, sampling_ratio, aligned
    )
    rows, row_weights = _taps(
        boxes[..., 1] * scale, boxes[..., 3] * scale, extents[0], size, sampling_ratio, aligned
    )
    rows = start[..., None] + rows * row_length[..., None]
    positions = rows[..., :, None] + columns[..., None, :]
    table = _flat_pyramid(levels)
    flat = [_join_images(values) for values in (positions, row_weights, column_weights)]
    pooled = _weighted_sums(table, *flat, own_gradient)
    return ops.reshape(pooled, (*ops.shape(boxes)[:2], size, size, levels[0].shape[-1]))


def _check_strides(levels, strides):
    doubled = [strides[0] * 2**index for index in range(len(strides))]
    if len(levels) != len(strides) or list(strides) != doubled:
        raise ValueError(
            f"multiscale_roi_align: got {len(levels)} levels and strides={list(strides)}; expected "
            f"one stride per level, each twice the one before, such as {doubled}."
        )


def _level_of(boxes, strides, canonical_size, canonical_level):
    """Return (B, R) int32 indices of the levels that fit the boxes."""
    scale = ops.log2(ops.sqrt(box_area(boxes)) / canonical_size)  # -inf without area
    # 1e-6, as in torchvision, keeps a box of exactly the canonical size on its level
    level = ops.floor(canonical_level + scale + 1e-6) - round(math.log2(strides[0]))
    return ops.cast(ops.clip(level, 0, len(strides) - 1), "int32")


def _level_geometry(levels, level):
    """Return (B, R) int32: first row in the flat pyramid, row length, height and width of maps."""
    batch = ops.shape(levels[0])[0]
    heights = ops.stack([ops.shape(values)[1] for values in levels])
    widths = ops.stack([ops.shape(values)[2] for values in levels])
    heights, widths = ops.cast(heights, "int32"), ops.cast(widths, "int32")
    ends = ops.cumsum(heights * widths)
    image = ops.arange(batch, dtype="int32")[:, None]
    height, width = ops.take(heights, level), ops.take(widths, level)
    start = image * ends[-1] + ops.take(ends, level) - height * width
    return start, width, height, width


def _flat_pyramid(levels):
    """Return (B * pixels, C): the pixels of each image, level by level."""
    channels = levels[0].shape[-1]
    batch = ops.shape(levels[0])[0]
    flat = [ops.reshape(values, (batch, -1, channels)) for values in levels]
    return ops.reshape(ops.concatenate(flat, axis=1), (-1, channels))


def _join_images(values):
    """Return (B * R, ...) of (B, R, ...)."""
    batch, count, *rest = ops.shape(values)
    return ops.reshape(values, (batch * count, *rest))


def _weighted_sums(table, positions, row_weights, column_weights, own_gradient):
    """Return weighted sums over squares of rows of a table, in float32 inside.

    Boxes are processed in chunks, since all values that they read would take much memory.

    Args:
        table: (P, C) floating.
        positions: (N, K, K) int32 rows of the table.
        row_weights, column_weights: (N, S, K) float32.
        own_gradient: see `multiscale_roi_align`.

    Returns:
        (N, S, S, C) in the dtype of the table.
    """
    count, size, taps = ops.shape(row_weights)
    channels = table.shape[1]
    chunk = max(1, CHUNK_VALUES // (taps * taps * channels))
    chunks = -(-count // chunk)
    if isinstance(count, int):  # chunks of nearly equal size need little padding
        chunks = max(1, chunks)
        chunk = -(-max(1, count) // chunks)
    # positions are computed before the loop: inside of it XLA repeats that for every channel
    boxes = [
        _in_chunks(values, chunks, chunk) for values in (positions, row_weights, column_weights)
    ]
    pool = _pool_with_gradient if own_gradient else _pool
    pooled = pool(table, boxes, chunks)
    return ops.reshape(pooled, (chunks * chunk, size, size, channels))[:count]


def _pool(table, boxes, chunks):
    """Return (chunks, chunk, S, S, C) weighted sums; `boxes` has positions, and both weights."""
    if isinstance(chunks, int) and chunks == 1:  # exported graphs are better off without loops
        return _read(table, [values[0] for values in boxes])[None]
    return ops.map(lambda box: _read(table, box), boxes)


def _pool_with_gradient(table, boxes, chunks):
    """Do what `_pool` does, with the gradient of the table."""

    @ops.custom_gradient
    def run(table):
        def add(index, total, upstream):
            box = [ops.take(values, index, axis=0) for values in boxes]
            values = _spread(ops.take(upstream, index, axis=0), box)
            rows = ops.reshape(box[0], (-1, 1))
            return index + 1, ops.scatter_update(total, rows, values, reduction="add")

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            _, total = ops.while_loop(
                lambda index, total: index < chunks,
                lambda index, total: add(index, total, upstream),
                (0, ops.zeros(ops.shape(table), "float32")),
            )
            return ops.cast(total, table.dtype)

        return _pool(table, boxes, chunks), gradient

    return run(table)


def _read(table, box):
    """Return (n, S, S, C) weighted sums of a chunk of boxes."""
    positions, row_weights, column_weights = box
    count, size, taps = ops.shape(row_weights)
    channels = table.shape[1]
    values = ops.cast(ops.take(table, ops.reshape(positions, (-1,)), axis=0), "float32")
    values = ops.matmul(row_weights, ops.reshape(values, (count, taps, taps * channels)))
    values = ops.reshape(values, (count, size, taps, channels))
    return ops.cast(ops.matmul(column_weights[:, None], values), table.dtype)


def _spread(upstream, box):
    """Return (n * K * K, C) float32 gradients of the rows that `_read` reads."""
    _, row_weights, column_weights = box
    count, size, taps = ops.shape(row_weights)
    channels = upstream.shape[-1]
    columns = ops.transpose(column_weights, (0, 2, 1))[:, None]
    values = ops.matmul(columns, ops.cast(upstream, "float32"))
    values = ops.reshape(values, (count, size, taps * channels))
    values = ops.matmul(ops.transpose(row_weights, (0, 2, 1)), values)
    return ops.reshape(values, (-1, channels))


def _in_chunks(values, chunks, chunk):
    """Return (chunks, chunk, ...) of (N, ...), padded with zeros."""
    count, *rest = ops.shape(values)
    padding = ops.zeros((chunks * chunk - count, *rest), values.dtype)
    return ops.reshape(ops.concatenate([values, padding]), (chunks, chunk, *rest))


def _taps(low, high, extent, size, ratio, aligned):
    """Return the feature pixels that each box reads along one axis, and their weights.

    Args:
        low, high: (B, R) sides in feature pixels.
        extent: (B, R) int32 length of the axis.

    Returns:
        (B, R, K) int32 pixels and (B, R, size, K) float32 weights, K = 2 * size * ratio.
    """
    points = _sample_points(low, high, size, ratio, aligned)
    taps, weights = bilinear_taps(points, ops.cast(extent, "float32")[..., None])
    weights = weights / ratio
    shape = (*ops.shape(low), 2 * size * ratio)
    taps = ops.reshape(taps, shape)
    # bin i reads only its own 2 * ratio taps
    own = np.repeat(np.eye(size, dtype="float32"), 2 * ratio, axis=1)
    return taps, ops.reshape(weights, shape)[..., None, :] * own


def bilinear_taps(points, extent):
    """Return the two pixels that linear interpolation reads at each point, and their weights.

    Args:
        points: (...) float32 coordinates; pixel i has its center at i.
        extent: float32 length of the axis, which broadcasts to the points.

    Returns:
        (..., 2) int32 pixels and (..., 2) float32 weights, which are 0 for points more than one
        pixel away from the centers of the first and the last pixel.
    """
    inside = ops.cast((points >= -1) & (points <= extent), "float32")
    points = ops.clip(points, 0, extent - 1)
    before = ops.floor(points)
    after = ops.minimum(before + 1, extent - 1)
    weight = points - before
    weights = ops.stack([inside * (1 - weight), inside * weight], axis=-1)
    return ops.cast(ops.stack([before, after], axis=-1), "int32"), weights


def _sample_points(low, high, size, ratio, aligned):
    """Return (B, R, size * ratio) coordinates of the samples along one axis."""
    if aligned:
        low, high = low - 0.5, high - 0.5
        length = high - low
    else:
        length = ops.maximum(high - low, 1)
    step = (length / size)[..., None]
    bins = np.repeat(np.arange(size, dtype="float32"), ratio)
    samples = np.tile(np.arange(ratio, dtype="float32") + 0.5, size)
    return low[..., None] + bins * step + samples * step / ratio
