"""An encoder small enough to build a hundred times: one strided 3 x 3 convolution a stride."""

import keras
from keras import layers

from tfseg.models.encoders.encoder import Encoder

WIDTHS = (2, 4, 6, 8, 10)


def build(weights, owner):
    image = keras.Input((None, None, 3))
    x = image
    for stage, width in enumerate(WIDTHS, 1):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{stage}")(
            x
        )
        x = layers.BatchNormalization(momentum=0.9, name=f"bn{stage}")(x)
        x = layers.ReLU(name=f"relu{stage}")(x)
    return keras.Model(image, x)


FEATURE_LAYERS = tuple(f"relu{stage}" for stage in range(1, 6))
# entries for the registry of encoders; the second is like a MiT, the third lacks what most decoders want
PLAIN = {
    "plain": Encoder(build, TAPS),
    "plain_from_4": Encoder(build, (None, *TAPS[1:])),
    "plain_at_16": Encoder(build, (None, None, None, TAPS[3], TAPS[4]), dilates=False),
}
