"""Bytes of the tensors of a network, counted by hand in comments."""

import keras
import pytest
from keras import layers, ops

from tfseg.models import build
from tfseg.models.activation_memory import prediction_bytes, training_bytes
from tfseg.models.trace import trace


def chain():
    """Convolution, batch normalization, ReLU, pooling and convolution."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(image, layers.Conv2D(2, 1)(x))


def with_skip():
    """A ReLU whose output goes to a convolution and past it."""
    image = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.Conv2D(4, 1, use_bias=False)(image))
    y = layers.Conv2D(2, 1, use_bias=False)(x)
    return keras.Model(image, layers.Concatenate()([x, y]))


class TwoOperations(layers.Layer):
    """exp(sin(x))."""

    def call(self, x):
        return ops.exp(ops.sin(x))

    def compute_output_shape(self, shape):
        return shape


def traced(model, batch_size=1):
    return trace(model, [(batch_size, 8, 8, 3)])


def test_training_keeps_what_the_gradients_need():
    # 4 bytes each: image 768, the next three 8 x 8 x 4 = 1024, pooled 256, output 128.
    # Kept: image, input of the batch normalization, output of the ReLU, pooled: 3072.
    # Weights of the last convolution: (4 x 2 + 2) x 4 = 40.
    # The peak is at the ReLU, where the pooled features are freed: 3072 - 256, the gradients of its
    # output and its input, 2 x 1024, and of the weights, 40.
    assert training_bytes(traced(chain())) == 4904
    # at the loss: 3072, the gradient of the output 128, and what the loss needs
    assert training_bytes(traced(chain()), loss_bytes=10_000) == 13_200


def test_training_with_a_skip_connection():
    # Image 768, ReLU 1024, y 512, output 1536. Kept: image and the ReLU's output, 1792.
    # At the concatenation: 1792, the gradient of its output 1536, of its inputs 1536: 4864.
    # At the convolution behind: 1792, gradients 1024 + 512, of its input 1024, of its weights 32:
    # 4384. At the ReLU: 1792, two gradients 2048, of its input 1024, 32: 4896.
    assert training_bytes(traced(with_skip())) == 4896


def test_training_keeps_the_results_inside_of_layers():
    # The image and both results inside, 768 each, and the gradient of the output.
    image = keras.Input((8, 8, 3))
    assert training_bytes(traced(keras.Model(image, TwoOperations()(image)))) == 4 * 768


def test_prediction_frees_what_no_later_layer_takes():
    # at the first convolution, 768 + 1024; the next two layers replace their inputs
    assert prediction_bytes(traced(chain())) == 1792
    # at the loss: the output 128, and what the loss needs
    assert prediction_bytes(traced(chain()), loss_bytes=10_000) == 10_128
    # at the concatenation: 1024 + 512 + 1536; the image is freed
    assert prediction_bytes(traced(with_skip())) == 3072


@pytest.mark.parametrize("name", ["tiny_unet", "fpn", "segformer"])
def test_bytes_of_tensors_are_proportional_to_the_batch(name):
    model = build(name, 2)
    weights = sum(weight.numpy().nbytes for weight in model.trainable_weights)
    once, twice = (training_bytes(trace(model, [(count, 64, 64, 3)])) for count in (100, 200))
    assert twice == pytest.approx(2 * once, abs=weights)
    once, twice = (prediction_bytes(trace(model, [(count, 64, 64, 3)])) for count in (1, 2))
    assert twice == 2 * once
