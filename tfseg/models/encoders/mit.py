"""Mix Transformers MiT-B0, B1 and B2, the encoders of SegFormer (arXiv:2105.15203)."""

import keras
from keras import layers, ops

from tfseg.models.encoders.encoder import IMAGENET, Encoder
from tfseg.models.encoders.weight_files import load_file

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)  # keys and values are read at stride 32 in every stage
EXPANSION = 4
DROP_PATH = 0.1  # of the last block; 0 at the first, linear between
# widths and blocks of the four stages
SIZES = {
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
}


@keras.saving.register_keras_serializable(package="tfseg")
class ReducedAttention(layers.Layer):
    """Self-attention of (B, H, W, C) whose keys and values are read at 1 / `reduction` of its height and width.

    Args:
        heads: number of attention heads; C must be a multiple.
        reduction: H and W must be multiples of it.
    """

    def __init__(self, heads, reduction, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.reduction = heads, reduction

    def build(self, shape):
        """Create the projections."""
        width = shape[-1]
        self.query = self._part(layers.Dense(width, name="query", dtype=self.dtype_policy), shape)
        self.key_value = self._part(
            layers.Dense(2 * width, name="key_value", dtype=self.dtype_policy), shape
        )
        self.project = self._part(
            layers.Dense(width, name="project", dtype=self.dtype_policy), shape
        )
        if self.reduction > 1:
            reduce = layers.Conv2D(
                width, self.reduction, self.reduction, name="reduce", dtype=self.dtype_policy
            )
            self.reduce = self._part(reduce, shape)
            norm = layers.LayerNormalization(epsilon=1e-5, name="norm", dtype=self.dtype_policy)
            self.norm = self._part(norm, shape)

    @staticmethod
    def _part(layer, shape):
        layer.build(shape)
        return layer

    def call(self, x):
        """Return (B, H, W, C)."""
        width = x.shape[-1]
        read = self.norm(self.reduce(x)) if self.reduction > 1 else x
        query = ops.reshape(self.query(x), self._split(x))
        key, value = (
            ops.reshape(part, self._split(read))
            for part in ops.split(self.key_value(read), 2, axis=-1)
        )
        mixed = ops.dot_product_attention(query, key, value)
        return self.project(ops.reshape(mixed, (-1, *ops.shape(x)[1:3], width)))

    def _split(self, x):
        height, width = ops.shape(x)[1:3]
        return (-1, height * width, self.heads, x.shape[-1] // self.heads)

    def compute_output_shape(self, shape):
        """Return the shape as it came."""
        return shape

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "heads": self.heads, "reduction": self.reduction}


def mit(name, weights=None):
    """Build a Mix Transformer: normalized RGB (B, H, W, 3), multiples of 32 -> (B, H / 32, W / 32, C).

    Args:
        name: "mit_b0", "mit_b1" or "mit_b2".
        weights: None for random ones, or the path of a `.weights.h5` of this same network.

    Raises:
        ValueError: no ImageNet weights of these networks are distributed; or the file's do not fit.
    """
    if weights == "imagenet":
        raise ValueError(
            f"{name}: weights='imagenet': there is no package with weights of Mix Transformers. Take None, a path, "
            "or an encoder that has some, e.g. 'efficientnet_lite0'."
        )
    widths, depths = SIZES[name]
    image = x = keras.Input((None, None, 3), name="image")
    done = 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        prefix = f"stage{stage}"
        x = _embed(x, width, 7 if stage == 0 else 3, 4 if stage == 0 else 2, f"{prefix}_embed")
        for index in range(depth):
            drop = DROP_PATH * done / (sum(depths) - 1)
            x = _block(x, HEADS[stage], REDUCTIONS[stage], drop, f"{prefix}_block{index}")
            done += 1
        x = layers.LayerNormalization(epsilon=1e-6, name=f"{prefix}_norm")(x)
    network = keras.Model(image, x, name=name)
    if weights is not None:
        load_file(network, weights, name)
    return network


def _embed(x, width, kernel, stride, name):
    """Overlapping patches: a convolution whose kernel is wider than its stride."""
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(width, kernel, stride, name=f"{name}_conv")(x)
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


def _block(x, heads, reduction, drop, name):
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    y = ReducedAttention(heads, reduction, name=f"{name}_attention")(y)
    x = _add(x, y, drop, f"{name}_attended")
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    # Mix-FFN: the padded depthwise convolution tells positions apart in place of an encoding, at any size
    y = layers.Dense(EXPANSION * x.shape[-1], name=f"{name}_dense1")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(y)
    y = layers.Activation("gelu", name=f"{name}_gelu")(y)
    y = layers.Dense(x.shape[-1], name=f"{name}_dense2")(y)
    return _add(x, y, drop, f"{name}_mixed")


def _add(x, branch, drop, name):
    if drop:  # an image's branch is dropped as a whole (arXiv:1603.09382)
        branch = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(branch)
    return layers.Add(name=name)([x, branch])


def _encoder(name):
    taps = (None, *(f"stage{stage}_norm" for stage in range(4)))
    return Encoder(lambda weights, owner: mit(name, weights), taps, IMAGENET, dilates=False)


ENCODERS = {name: _encoder(name) for name in SIZES}
