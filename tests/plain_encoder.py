"""An encoder that builds in milliseconds: five strided 3 x 3 convolutions."""

import keras
from keras import layers

from tfseg.models.encoders.encoder import Encoder

WIDTHS = (2, 4, 6, 8, 10)
# 3 x 3 convolutions without bias: 9 a b parameters for a > b channels; batch normalization: four
# per channel
PARAMETERS = 9 * (3 * 2 + 2 * 4 + 4 * 6 + 6 * 8 + 8 * 10) + 4 * (2 + 4 + 6 + 8 + 10)
FEATURE_LAYERS = tuple(f"relu{stage}" for stage in range(1, 6))


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


# Entries for the registry of encoders. The second has no features at stride 2, like a MiT. The
# third lacks strides that most decoders need.
PLAIN = {
    "plain": Encoder(build, FEATURE_LAYERS),
    "plain_from_4": Encoder(build, (None, *FEATURE_LAYERS[1:])),
    "plain_at_16": Encoder(build, (None, None, None, *FEATURE_LAYERS[3:]), dilates=False),
}
