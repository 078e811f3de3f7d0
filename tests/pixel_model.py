"""A stand-in for a network, without the seconds that Keras takes to compile one."""

import numpy as np
import tensorflow as tf


class PixelModel:
    """Logits that are a fixed linear map of each pixel; remembers the shapes of its batches."""

    def __init__(self, num_classes=3, channels=3):
        self.input_shape = (None, None, None, channels)
        self.batch_shapes = []
        rng = np.random.default_rng(0)
        self._weights = rng.normal(size=(channels, num_classes)).astype(np.float32)

    def __call__(self, images, training=False):
        return tf.tensordot((tf.cast(images, tf.float32) - 100) / 50, self._weights, 1)

    def predict_on_batch(self, images):
        self.batch_shapes.append(images.shape)
        return self(images).numpy()
