"""Read the bytes of files, PNGs without their metadata."""

import os

import tensorflow as tf

REST = 2**31 - 1  # length of a substring that goes to the end


def bytes_reader(files: list, heads: list, starts: list):
    """Return a function that reads the bytes of a file, the first of which are replaced.

    So metadata of PNGs are left out: libpng refuses some, and prints a warning about others for
    every image.

    Args:
        files: list of paths.
        heads: of each file, the bytes that replace those before `starts`.
        starts: see `heads`; 0 to read the file as it is.

    Returns:
        Function of the position of a file, which returns a scalar string tensor.
    """
    paths = tf.constant(list(map(os.fsencode, files)))
    if not any(starts):
        return lambda index: tf.io.read_file(paths[index])
    heads, starts = tf.constant(heads), tf.constant(starts, tf.int32)

    def read(index):
        rest = tf.strings.substr(tf.io.read_file(paths[index]), starts[index], REST)
        return tf.strings.join([heads[index], rest])

    return read
