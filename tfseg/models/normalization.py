"""The normalization inside a model, which tells what images the model takes."""

import keras
import numpy as np

from tfseg.models.blocks import Standardize
from tfseg.models.layer_graph import all_layers, first_operation


def normalization_of(model: keras.Model) -> tuple[np.ndarray, np.ndarray] | str | None:
    """Return how a model normalizes its images.

    Args:
        model: a model of `tfseg.models`, or one that contains it.

    Returns:
        (means, stds), (C,) float64 each, of fixed statistics; "image" for a model with
        normalization="image"; None for a model without a normalization of `tfseg.models`, or with
        one behind other layers, whose statistics are not those of the image. For an ensemble, that
        of its first model.

    Example:
        >>> import tfseg
        >>> means, stds = tfseg.models.normalization_of(tfseg.models.tiny_unet(2))
        >>> means.tolist(), stds.tolist()
        ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])
    """
    if any(isinstance(layer, Standardize) for layer in all_layers(model)):
        return "image"
    layer = first_operation(model)
    if not isinstance(layer, keras.layers.Rescaling) or layer.name != "normalize":
        return None
    scale, offset = np.broadcast_arrays(
        np.asarray(layer.scale, float), np.asarray(layer.offset, float)
    )
    # Rescaling computes x * scale + offset, and normalization (x - mean) / std
    return np.ravel(-offset / scale), np.ravel(1 / scale)
