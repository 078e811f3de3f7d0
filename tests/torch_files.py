"""Write files as `torch.save` does, also damaged and malicious ones, without PyTorch."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

FACTS = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


class Named:
    """Pickles as a call of a function by name; the function does not have to exist."""

    def __init__(self, module, name, *args):
        self.module, self.name, self.args = module, name, args


class Storage(tuple):
    """Pickles as a persistent id."""


class Pickler(pickle._Pickler):  # the Python implementation, whose `save` can be overridden
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return tuple(value)
        return None

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, Named):
            return super().save(value, save_persistent_id)
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        if value.args:
            super().save(value.args)
            self.write(pickle.REDUCE)


class ZipPickler(Pickler):
    def persistent_id(self, value):
        # zip files have no sixth element
        return tuple(value)[:5] if isinstance(value, Storage) else None


def write_legacy(path, state, storages, magic=0x1950A86A20F9469CFC6C, facts=FACTS, tail=b""):
    """Write a legacy file; `storages` is {key: array}."""
    with path.open("wb") as file:
        for value in (magic, 1001, facts, state, list(storages)):
            Pickler(file, 2).dump(value)
        for array in storages.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
        file.write(tail)
    return path


def write_zip(path, state, storages, compression=zipfile.ZIP_STORED, more=None):
    """Write a zip file as PyTorch does; `more` is {name of an entry: bytes}."""
    file = io.BytesIO()
    ZipPickler(file, 2).dump(state)
    entries = {"data.pkl": file.getvalue(), "byteorder": b"little"}
    entries |= {f"data/{key}": array.tobytes() for key, array in storages.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (entries | (more or {})).items():
            archive.writestr(f"archive/{name}", data)
    return path


def tensor(key, count, offset, shape, strides, kind="FloatStorage"):
    storage = Storage(("storage", Named("torch", kind), key, "cpu", count, None))
    return Named(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict()
    )


def write_state_dict(path, arrays, write=write_zip):
    """Write {name: float32 or int64 array} as a state dict."""
    kinds = {"float32": "FloatStorage", "int64": "LongStorage"}
    state, storages = OrderedDict(), {}
    for index, (name, array) in enumerate(arrays.items()):
        storages[str(index)] = array = np.ascontiguousarray(array)
        strides = tuple(step // array.itemsize for step in array.strides)
        kind = kinds[array.dtype.name]
        state[name] = tensor(str(index), array.size, 0, array.shape, strides, kind)
    return write(path, state, storages)
