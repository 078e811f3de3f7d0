"""Models with normalization="image", split behind the normalization for sliding windows."""

from typing import NamedTuple

import keras

from tfseg.models.blocks import PadToStride, Standardize
from tfseg.models.layer_graph import all_layers, is_graph, run_graph


class SplitModel(NamedTuple):
    """A model with normalization="image" in two parts.

    Attributes:
        standardize: layer (B, H, W, C) image -> (B, H, W, C) float32, by the statistics of the
            whole image.
        rest: keras.Model (B, H, W, C) standardized image, or a window of it -> logits.
    """

    standardize: keras.Layer
    rest: keras.Model


class AfterStandardize(keras.Model):
    """The part of a model that follows its normalization. It shares the layers of the model."""

    def __init__(self, model):
        super().__init__(name=f"{model.name}_after_standardize")
        # not the model itself: what is kept for a model must not keep it alive
        self.graph = keras.Function(model.inputs, model.output)
        self.shared_layers = model.layers

    def call(self, standardized, training=None):
        """Return the logits of a standardized image (B, H, W, C)."""

        def call_layer(operation):
            # layers find `training` in Keras' call context
            return (lambda image: standardized) if isinstance(operation, Standardize) else operation

        return run_graph(self.graph, standardized, call_layer)


def split_standardize(model: keras.Model) -> SplitModel | None:
    """Split a model with normalization="image" behind its normalization.

    Windows of an image must be standardized by the statistics of the whole image. So compute
    `standardize` once, then `rest` for each window of its result.

    Args:
        model: a model of `tfseg.models`. Its layers are shared, not copied.

    Returns:
        SplitModel, or None if the model does not standardize images.

    Raises:
        ValueError: the model standardizes inside another model, where it cannot be split.

    Example:
        >>> import numpy as np, tfseg
        >>> model = tfseg.models.tiny_unet(2, normalization="image")
        >>> parts = tfseg.models.split_standardize(model)
        >>> image = np.arange(192.0).reshape(1, 8, 8, 3)
        >>> logits = parts.rest.predict_on_batch(parts.standardize(image))
        >>> bool(np.allclose(logits, model.predict_on_batch(image), atol=1e-5))
        True
    """
    found = [layer for layer in all_layers(model) if isinstance(layer, Standardize)]
    if not found:
        return None
    layer = own_standardize(model)
    if layer is None:
        raise ValueError(
            f"split_standardize: the model {model.name!r} contains a model with "
            "normalization='image', which would normalize each window by its own mean and std. "
            "Use the inner model, or remove `window`."
        )
    return SplitModel(layer, AfterStandardize(model))


def own_standardize(model: keras.Model) -> keras.Layer | None:
    """Return the layer that standardizes the image of a model; None if only models inside it do."""
    found = [layer for layer in all_layers(model) if isinstance(layer, Standardize)]
    if len(found) != 1 or not is_graph(model):
        return None
    takes_image = found[0] in model.layers and found[0].input is model.inputs[0]
    return found[0] if takes_image else None


def output_stride(model: keras.Model) -> int:
    """Return the stride of the coarsest features of a model, to whose multiple images are padded.

    Args:
        model: a model of `tfseg.models`, or one that contains it.

    Returns:
        int; 1 for models that do not pad.

    Example:
        >>> import tfseg
        >>> tfseg.models.output_stride(tfseg.models.unet(2, filters=(2, 4, 8)))
        4
    """
    strides = [layer.stride for layer in all_layers(model) if isinstance(layer, PadToStride)]
    return max(strides, default=1)
