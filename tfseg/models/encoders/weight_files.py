"""Load a weights file into a bare network: all tensors or none."""

import difflib
import tempfile
from pathlib import Path

import h5py
import keras

from tfseg.models.encoders.coverage import require_full_coverage


def load_file(network: keras.Model, path, owner: str) -> None:
    """Load a Keras 3 `.weights.h5` file, or an `.h5` file of keras.applications, into `network`.

    Args:
        network: the bare network; changed in place.
        path: path of the file.
        owner: name of the caller, for error messages.

    Raises:
        ValueError: the file is neither, or its tensors are not exactly those of the network; the
            message lists the differences, and the network is unchanged.
        FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(str(path).lower(), ["imagenet"])
        hint = " Did you mean 'imagenet'?" if near else ""
        raise FileNotFoundError(
            f"{owner}: weights='{path}' is not a file. "
            f"Pass None, 'imagenet' or the path of a file.{hint}"
        )
    try:
        with h5py.File(path) as file:
            legacy = "layer_names" in file.attrs or "layer_names0" in file.attrs
            found = _legacy_shapes(file) if legacy else _shapes(file)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{owner}: '{path}' is not an HDF5 weights file, or is damaged ({error})."
        ) from error
    expected = _expected_legacy_shapes(network) if legacy else _expected_shapes(network)
    require_full_coverage(owner, path, expected, found)
    network.load_weights(path)


def read_datasets(file: h5py.File) -> dict:
    """Return {path inside the file: h5py.Dataset}."""
    datasets = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            datasets[name] = item

    file.visititems(collect)
    return datasets


def _shapes(file):
    return {name: dataset.shape for name, dataset in read_datasets(file).items()}


def _expected_shapes(network):
    """Return the shapes that Keras writes for this network, by writing and reading a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.weights.h5"
        network.save_weights(path)
        with h5py.File(path) as file:
            return _shapes(file)


def _legacy_shapes(file):
    """Return {"layer 3, weight 0": shape}.

    Keras loads these files by the order of layers, since the names of layers varied.
    """
    layers = []
    for layer in _string_attribute(file, "layer_names"):
        names = _string_attribute(file[layer], "weight_names")
        layers.append([file[layer][name].shape for name in names])
    return _numbered(layers)


def _string_attribute(group, name):
    """Return a list of strings; Keras splits long ones into name0, name1, ..."""
    parts = [name]
    if name not in group.attrs:
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(f"{name}{len(parts)}")
    strings = [string for part in parts for string in group.attrs[part]]
    return [string.decode() if isinstance(string, bytes) else string for string in strings]


def _expected_legacy_shapes(network):
    return _numbered(
        [[tuple(variable.shape) for variable in layer.weights] for layer in network.layers]
    )


def _numbered(layers):
    with_weights = [shapes for shapes in layers if shapes]
    return {
        f"layer {number}, weight {index}": shape
        for number, shapes in enumerate(with_weights)
        for index, shape in enumerate(shapes)
    }
