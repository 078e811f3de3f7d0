"""Read PyTorch's legacy `.pth` files without PyTorch, and without running what they say.

The format (before the zip files of PyTorch 1.6): three pickles (a magic number, the protocol 1001, facts of the
machine), a pickled dict of tensors that refer to storages by key, a pickled list of the keys, then for each key its
number of elements (int64) and its raw elements, little-endian. A pickle may call any function it names: here only the
four names such a file needs are looked up.
"""

import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


@dataclass(frozen=True)
class Tensor:
    """A view on a storage, whose numbers come later in the file."""

    key: str
    offset: int
    shape: tuple
    strides: tuple  # in elements

    def of(self, elements):
        """Return the view as an array of its own; a ValueError if it leaves the storage or repeats it."""
        last = self.offset + sum(
            (size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)
        )
        leaves = 0 not in self.shape and max(last + 1, math.prod(self.shape)) > len(elements)
        if leaves or min((self.offset, *self.shape, *self.strides)) < 0:
            raise ValueError(f"a tensor {self.shape} reaches beyond its {len(elements)} elements")
        strides = [step * elements.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(elements[self.offset :], self.shape, strides).copy()


def _rebuild(storage, offset, shape, strides, *_ignored):
    return Tensor(storage, offset, tuple(shape), tuple(strides))


ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _ForeignNameError(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    """Looks up nothing but `ALLOWED`; notes the storages."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}  # key: (element type, number of elements)

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise _ForeignNameError(f"{module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, reference):
        kind, dtype, key, _device, count, view = reference
        if kind != "storage" or view is not None:
            raise ValueError(f"an unknown reference {kind!r}")
        self.storages[key] = (dtype, count)
        return key


def read_checkpoint(path):
    """Return the tensors {name: array} of a legacy `.pth` file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file or damaged, or it asks for a function that tensors do not need.
    """
    with Path(path).open("rb") as file:
        try:
            return _read(file)
        except _ForeignNameError as error:
            raise ValueError(
                f"'{path}' asks for '{error}' to be run, which a file of weights has no need of; it was not. "
                "Do not load this file anywhere."
            ) from None
        except Exception as error:  # a broken pickle can raise nearly anything
            raise ValueError(
                f"'{path}' is no PyTorch checkpoint of the legacy format, or damaged ({error}). Fetch it again."
            ) from error


def _read(file):
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise ValueError("the magic number is missing")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("its numbers are big-endian")
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    elements = {}
    for key in _Unpickler(file).load():
        dtype, count = unpickler.storages[key]
        elements[key] = _read_storage(file, np.dtype(dtype), count)
    if file.read(1):
        raise ValueError("there are bytes after its last tensor")
    return {name: tensor.of(elements[tensor.key]) for name, tensor in tensors.items()}


def _read_storage(file, dtype, count):
    stored = int.from_bytes(file.read(8), "little", signed=True)
    if stored != count:
        raise ValueError(f"a storage of {stored} elements where {count} are due")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise ValueError("it ends early")
    return np.frombuffer(data, dtype)
