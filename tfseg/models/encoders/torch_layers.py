"""How PyTorch names and stores the variables of a Keras layer."""

import math
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from tfseg.models.encoders.coverage import require_full_coverage

# Names in PyTorch of a layer's variables, in Keras' order
PARAMETERS = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# PyTorch's kernels are (out, in, h, w), depthwise (channel, 1, h, w), transposed (in, out, h, w)
# and dense (out, in). These axes turn them into Keras' (h, w, in, out), (h, w, channel, 1),
# (h, w, out, in) and (in, out).
AXES = {
    layers.Conv2D: (2, 3, 1, 0),
    layers.DepthwiseConv2D: (2, 3, 0, 1),
    layers.Conv2DTranspose: (2, 3, 1, 0),
    layers.Dense: (1, 0),
}
COUNTER = ".num_batches_tracked"  # of batch normalization, without meaning for the network


@dataclass(frozen=True)
class TorchTensor:
    """A tensor of a state dict that belongs in a Keras variable.

    Attributes:
        variable: the Keras variable.
        axes: order of PyTorch's axes in Keras; None for equal axes.
        grid: (H, W) if the variable is the kernel of a dense layer behind flattened features:
            PyTorch flattens (C, H, W) and Keras (H, W, C). None for others.
    """

    variable: keras.Variable
    axes: tuple | None = None
    grid: tuple | None = None

    @property
    def shape(self) -> tuple:
        """Shape in PyTorch."""
        shape = tuple(self.variable.shape)
        if self.axes is None:
            return shape
        return tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))

    def convert(self, tensor: np.ndarray) -> np.ndarray:
        """Return a tensor of `shape` in Keras' layout."""
        if self.axes is None:
            return tensor
        if self.grid is None:
            return tensor.transpose(self.axes)
        out, flat = tensor.shape
        channels = flat // math.prod(self.grid)
        return tensor.reshape(out, channels, *self.grid).transpose(2, 3, 1, 0).reshape(flat, out)


def torch_tensors(layer: keras.Layer, name: str, grid: tuple | None = None) -> dict:
    """Return {name in the state dict: TorchTensor} of a layer's variables.

    Args:
        layer: a built convolution, dense layer or batch normalization.
        name: name of the layer in PyTorch.
        grid: see `TorchTensor`.
    """
    if hasattr(layer, "moving_variance"):
        kinds, axes = BATCH_NORM, None
    else:
        kinds, axes = PARAMETERS[: len(layer.weights)], AXES[type(layer)]
    tensors = {}
    for kind, variable in zip(kinds, layer.weights, strict=True):
        is_kernel = len(variable.shape) > 1
        tensors[f"{name}.{kind}"] = (
            TorchTensor(variable, axes, grid) if is_kernel else TorchTensor(variable)
        )
    return tensors


def assign_state_dict(owner: str, path, targets: dict, tensors: dict, advice: str) -> None:
    """Assign the tensors of a state dict to variables: all or none.

    Args:
        owner: name of the caller, for the error message.
        path: path of the file, for the error message.
        targets: {name: TorchTensor} of the network.
        tensors: {name: array} of the file, without counters.
        advice: what to do if they differ, for the error message.

    Raises:
        ValueError: the names or shapes are not exactly those of the network.
    """
    expected = {name: target.shape for name, target in targets.items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    require_full_coverage(owner, path, expected, found, advice)
    for name, target in targets.items():
        target.variable.assign(target.convert(tensors[name]))
