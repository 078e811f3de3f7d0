"""Load a file of weights into a bare network: every tensor or none."""

import difflib
import tempfile
from pathlib import Path

import h5py

from tfseg.models.encoders.coverage import require_full_coverage


def load_file(network, path, owner):
    """Load a `.weights.h5` of Keras 3, or an `.h5` as keras.applications are distributed, into `network`.

    Raises:
        ValueError: it is neither, or holds any tensor more, less or of other shape than the network; the message is a
            table of them, and the network is as before.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        hint = (
            " Did you mean 'imagenet'?"
            if difflib.get_close_matches(str(path).lower(), ["imagenet"])
            else ""
        )
        raise FileNotFoundError(
            f"{owner}: weights='{path}': there is no such file. Take None, 'imagenet' or a path.{hint}"
        )
    try:
        with h5py.File(path) as file:
            legacy = "layer_names" in file.attrs or "layer_names0" in file.attrs
            found = _legacy_shapes(file) if legacy else _shapes(file)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{owner}: '{path}' is no HDF5 file of weights, or damaged ({error})."
        ) from error
    require_full_coverage(
        owner, path, _wanted_in_order(network) if legacy else _wanted(network), found
    )
    network.load_weights(path)


def _shapes(file):
    found = {}
    file.visititems(
        lambda name, item: (
            found.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None
        )
    )
    return found


def _wanted(network):
    """What Keras would write for this network: written, and looked at."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.weights.h5"
        network.save_weights(path)
        with h5py.File(path) as file:
            return _shapes(file)


def _legacy_shapes(file):
    """{"layer 3, weight 0": shape}: Keras goes by the order of layers in these files, as their names varied."""
    layers = [
        _names(file[layer], "weight_names", file[layer])
        for layer in _attribute(file, "layer_names")
    ]
    return _numbered([[dataset.shape for dataset in layer] for layer in layers])


def _names(group, attribute, file):
    return [file[name] for name in _attribute(group, attribute)]


def _attribute(group, name):
    """A list of strings; Keras splits long ones into name0, name1, ..."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs and name not in group.attrs:
        parts.append(f"{name}{len(parts)}")
    strings = [string for part in parts for string in group.attrs[part]]
    return [string.decode() if isinstance(string, bytes) else string for string in strings]


def _wanted_in_order(network):
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
