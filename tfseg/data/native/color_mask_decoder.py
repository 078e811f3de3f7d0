"""Decode masks in which colors stand for classes with TensorFlow, as `ColorTable` does."""

import numpy as np
import tensorflow as tf

from tfseg.data.native.mask_decoder import UNKNOWN, block_centers
from tfseg.data.native.stored_bytes import bytes_reader
from tfseg.data.readers.file_scan import scan
from tfseg.data.readers.png_chunks import read_layout

ALPHA_TYPES = (4, 6)  # color types of PNGs with alpha
COLORS = 2**24


def color_mask_decoder(files: list, table: dict[tuple, int], shrink: int):
    """Return a function that reads a mask of colors, if TensorFlow can read all of them.

    These are PNGs of up to 8 bit.

    Args:
        files: list of paths.
        table: {(red, green, blue): class id}.
        shrink: see `extract.shrink_labels`.

    Returns:
        Function of the position of a file, which returns (H, W) integer class ids, and whether all
        colors are in the table and none is hidden in the alpha channel; or None.
    """
    layouts = scan(read_layout, files)
    if any(layout is None or not _has_colors(layout) for layout in layouts):
        return None
    heads = [layout.head() for layout in layouts]
    read = bytes_reader(files, heads, [layout.start for layout in layouts])
    has_alpha = any(layout.color_type in ALPHA_TYPES for layout in layouts)
    lookup = _lookup_table(table)

    def decode(index):
        # Four bytes as one integer, the lowest of which is red, and the highest alpha.
        pixels = tf.bitcast(tf.io.decode_png(read(index), 4), tf.int32)
        colors = tf.bitwise.bitwise_and(pixels, COLORS - 1)
        ids = tf.gather(lookup, colors)
        is_sound = tf.reduce_min(ids) > UNKNOWN
        if has_alpha:
            is_sound &= ~_has_shape_in_alpha(colors, pixels)
        return block_centers(ids, shrink), is_sound

    return decode


def _has_colors(layout):
    lacks_palette = layout.color_type == 3 and not layout.palette
    return layout.bits <= 8 and not layout.is_animated and not lacks_palette


def _lookup_table(table):
    """Return the class ids of all colors."""
    dtype = np.int16 if max(table.values()) < 2**15 else np.int32
    lookup = np.full(COLORS, UNKNOWN, dtype)
    for (red, green, blue), class_id in table.items():
        lookup[red | green << 8 | blue << 16] = class_id
    return tf.constant(lookup)


def _has_shape_in_alpha(colors, pixels):
    """Return whether all colors are the same, but alpha is not, see `image_files.read_colors`."""
    is_one_color = tf.reduce_all(colors == colors[0, 0])
    return is_one_color & tf.reduce_any(pixels != pixels[0, 0])
