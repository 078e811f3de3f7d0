"""Read PNG files without their metadata, for `tf.io.decode_png`."""

import os

import tensorflow as tf

REST = 2**31 - 1  # length of a substring that goes to the end


def png_reader(files: list, layouts: list):
    """Return a function that reads the bytes of a PNG.

    Metadata are left out: libpng refuses some, and prints a warning about others for every image.
    So are palettes: their indices become gray levels.

    Args:
        files: list of paths.
        layouts: their `PngLayout`.

    Returns:
        Function of the position of a file, which returns a scalar string tensor.
    """
    paths = tf.constant(list(map(os.fsencode, files)))
    heads = tf.constant([layout.head() for layout in layouts])
    starts = tf.constant([layout.start for layout in layouts], tf.int32)

    def read(index):
        pixels = tf.strings.substr(tf.io.read_file(paths[index]), starts[index], REST)
        return tf.strings.join([heads[index], pixels])

    return read
