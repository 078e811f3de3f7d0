"""Decode mask files with TensorFlow as `read_mask` and `to_class_ids` do."""

import itertools

import numpy as np
import tensorflow as tf

from tfseg.data.native.stored_bytes import bytes_reader
from tfseg.data.readers.file_scan import scan
from tfseg.data.readers.png_chunks import read_layout

VALUE_TYPES = (0, 3)  # color types of PNGs: gray levels, and indices into a palette
UNKNOWN = -1
MOST_CHANGED = 8  # values that are compared one by one, which is faster than a lookup per pixel


def mask_decoder(files: list, table: dict[int, int], shrink: int):
    """Return a function that reads a mask, if TensorFlow can read all of them.

    These are PNGs of gray levels or palette indices, of up to 8 or all of 16 bit.

    Args:
        files: list of paths.
        table: {value on disk: class id}.
        shrink: see `extract.shrink_labels`.

    Returns:
        Function of the position of a file, which returns (H, W) integer class ids, and whether all
        values are in the table; or None.
    """
    layouts = scan(read_layout, files)
    if any(layout is None or not _has_values(layout) for layout in layouts):
        return None
    is_deep = {layout.bits == 16 for layout in layouts}
    if len(is_deep) > 1:
        return None
    dtype = tf.uint16 if is_deep.pop() else tf.uint8
    heads = [layout.head_of_values() for layout in layouts]
    read = bytes_reader(files, heads, [layout.start for layout in layouts])
    # libpng scales gray levels of less than 8 bit to 0..255: 3 of 2 bit is 255.
    factors = tf.constant([max(1, 255 // (2**layout.bits - 1)) for layout in layouts], dtype)
    has_factors = any(layout.bits < 8 for layout in layouts)
    translate = translation(table, dtype)

    def decode(index):
        values = tf.io.decode_png(read(index), 1, dtype)[..., 0]
        if has_factors:
            values = values // factors[index]
        ids, is_known = translate(values)
        return block_centers(ids, shrink), is_known

    return decode


def _has_values(layout):
    return layout.color_type in VALUE_TYPES and not layout.is_animated


def translation(table: dict[int, int], dtype):
    """Return a function that translates the values of a mask to class ids.

    Args:
        table: {value: class id}.
        dtype: of the values, uint8 or uint16.

    Returns:
        Function of (H, W) values, which returns integer class ids of the same shape, and whether
        all values are in the table.
    """
    table = {value: class_id for value, class_id in table.items() if 0 <= value <= dtype.max}
    kept = next(value for value in itertools.count() if table.get(value) != value)
    changed = {value: class_id for value, class_id in table.items() if value >= kept}
    if len(changed) > MOST_CHANGED or max(table.values(), default=0) > dtype.max:
        return _by_lookup(table, dtype)

    def translate(values):
        ids = values
        is_known = values <= kept - 1 if kept else tf.zeros_like(values, tf.bool)
        for value, class_id in changed.items():
            is_value = values == tf.constant(value, dtype)
            is_known |= is_value
            if class_id != value:
                ids = tf.where(is_value, tf.constant(class_id, dtype), ids)
        return ids, tf.reduce_all(is_known)

    return translate


def _by_lookup(table, dtype):
    lookup = np.full(dtype.max + 1, UNKNOWN, np.int32)
    lookup[list(table)] = list(table.values())
    lookup = tf.constant(lookup)

    def translate(values):
        ids = tf.gather(lookup, tf.cast(values, tf.int32))
        return ids, tf.reduce_min(ids) > UNKNOWN

    return translate


def block_centers(mask, shrink: int):
    """Take the value at the middle of each block of a mask (H, W), see `extract.block_centers`."""
    if shrink == 1:
        return mask
    size = tf.shape(mask)
    rows = tf.gather(mask, _block_middles(size[0], shrink))
    return tf.gather(rows, _block_middles(size[1], shrink), axis=1)


def _block_middles(length, shrink):
    """Return the positions of the blocks' middles along an axis: 5, 2 -> 1, 3, 4."""
    return tf.minimum(tf.range(shrink // 2, length + shrink // 2, shrink), length - 1)
