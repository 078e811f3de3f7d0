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
        # Exports are not trained on; a gradient that reads other tensors, as that of RoIAlign,
        # could not be saved.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(tf.Module(), str(folder), signatures, options)
    finally:
        logger.setLevel(level)
