"""Mix Transformers MiT-B0, B1 and B2, the encoders of SegFormer (arXiv:2105.15203)."""

from pathlib import Path

import keras
from keras import layers, ops

from tfseg.models.encoders.encoder import IMAGENET, Encoder, no_imagenet_weights
from tfseg.models.encoders.weight_files import load_file

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)  # so keys and values have stride 32 in every stage
EXPANSION = 4
DROP_PATH = 0.1  # rate of the last block; grows linearly from 0 at the first
# channels and number of blocks of the four stages
SIZES = {
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
}


@keras.saving.register_keras_serializable(package="tfseg")
class ReducedAttention(layers.Layer):
    """Self-attention over (B, H, W, C) with keys and values at 1 / `reduction` of H and W.

    Args:
        heads: number of attention heads; C must be a multiple of it.
        reduction: H and W must be multiples of it.
    """

    def __init__(self, heads: int, reduction: int, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.reduction = heads, reduction

    def build(self, shape):
        """Create the projections."""
        width, policy = shape[-1], self.dtype_policy
        self.query = layers.Dense(width, name="query", dtype=policy)
        self.key_value = layers.Dense(2 * width, name="key_value", dtype=policy)
        self.project = layers.Dense(width, name="project", dtype=policy)
        parts = [self.query, self.key_value, self.project]
        if self.reduction > 1:
            self.reduce = layers.Conv2D(
                width, self.reduction, self.reduction, name="reduce", dtype=policy
            )
            self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm", dtype=policy)
            parts += [self.reduce, self.norm]
        for part in parts:
            part.build(shape)

    def call(self, x):
        """Return (B, H, W, C)."""
        width = x.shape[-1]
        source = self.norm(self.reduce(x)) if self.reduction > 1 else x
        key, value = ops.split(self.key_value(source), 2, axis=-1)
        attended = ops.dot_product_attention(
            ops.reshape(self.query(x), self._heads_shape(x)),
            ops.reshape(key, self._heads_shape(source)),
            ops.reshape(value, self._heads_shape(source)),
        )
        return self.project(ops.reshape(attended, (-1, *ops.shape(x)[1:3], width)))

    def _heads_shape(self, x):
        """Return (-1, H W, heads, C / heads)."""
        height, width = ops.shape(x)[1:3]
        return (-1, height * width, self.heads, x.shape[-1] // self.heads)

    def compute_output_shape(self, shape):
        """Return the shape of the input."""
        return shape

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "heads": self.heads, "reduction": self.reduction}


def mit(name: str, weights: str | Path | None = None) -> keras.Model:
    """Build a Mix Transformer: normalized RGB (B, H, W, 3) -> (B, H / 32, W / 32, C).

    H and W must be multiples of 32.

    Args:
        name: "mit_b0", "mit_b1" or "mit_b2".
        weights: None for random weights, or the path of a `.weights.h5` file of this network.

    Raises:
        ValueError: `weights` is "imagenet", for which no package exists, or the weights in the file
            do not fit.
    """
    if weights == "imagenet":
        raise no_imagenet_weights(name)
    widths, depths = SIZES[name]
    image = x = keras.Input((None, None, 3), name="image")
    block = 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        prefix = f"stage{stage}"
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        x = _embed(x, width, kernel, stride, f"{prefix}_embed")
        for index in range(depth):
            drop = DROP_PATH * block / (sum(depths) - 1)
            x = _block(x, HEADS[stage], REDUCTIONS[stage], drop, f"{prefix}_block{index}")
            block += 1
        x = layers.LayerNormalization(epsilon=1e-6, name=f"{prefix}_norm")(x)
    network = keras.Model(image, x, name=name)
    if weights is not None:
        load_file(network, weights, name)
    return network


def _embed(x, width, kernel, stride, name):
    """Overlapping patch embedding: a convolution with a kernel wider than its stride."""
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(width, kernel, stride, name=f"{name}_conv")(x)
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


def _block(x, heads, reduction, drop, name):
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    y = ReducedAttention(heads, reduction, name=f"{name}_attention")(y)
    x = _add(x, y, drop, f"{name}_attended")
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    # Mix-FFN: the zero-padded depthwise convolution replaces a positional encoding
    y = layers.Dense(EXPANSION * x.shape[-1], name=f"{name}_dense1")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(y)
    y = layers.Activation("gelu", name=f"{name}_gelu")(y)
    y = layers.Dense(x.shape[-1], name=f"{name}_dense2")(y)
    return _add(x, y, drop, f"{name}_mixed")


def _add(x, branch, drop, name):
    if drop:  # stochastic depth: drop the branch of a whole image (arXiv:1603.09382)
        branch = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(branch)
    return layers.Add(name=name)([x, branch])


def _encoder(name):
    feature_layers = (None, *(f"stage{stage}_norm" for stage in range(4)))

    def build(weights, owner):
        return mit(name, weights)

    return Encoder(build, feature_layers, IMAGENET, dilates=False, has_imagenet=False)


ENCODERS = {name: _encoder(name) for name in SIZES}
