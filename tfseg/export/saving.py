"""Writing of a TensorFlow SavedModel without its log messages."""

import tensorflow as tf


def save_quietly(folder, signatures) -> None:
    """Write a SavedModel that contains only signatures, whose weights are constants.

    TensorFlow would log the path, which is temporary here.
    """
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        tf.saved_model.save(tf.Module(), str(folder), signatures)
    finally:
        logger.setLevel(level)
