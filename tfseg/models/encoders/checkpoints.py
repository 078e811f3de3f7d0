"""Read legacy PyTorch `.pth` files without PyTorch and without executing code from the file.

The format (before the zip files of PyTorch 1.6) is: three pickles (a magic number, the protocol
1001, facts about the machine); a pickled dict of tensors that refer to storages by key; a pickled
list of the keys; then for each key the number of elements (int64) and the raw elements,
little-endian. A pickle can call any function by name. This reader only resolves the four names that
such a file needs.
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
    """A view into a storage, whose elements come later in the file.

    Attributes:
        key: key of the storage.
        offset: index of the first element.
        shape: shape of the tensor.
        strides: strides in elements.
    """

    key: str
    offset: int
    shape: tuple
    strides: tuple

    def read(self, elements: np.ndarray) -> np.ndarray:
        """Return the tensor as a new array.

        Raises:
            ValueError: the view leaves the storage, or has more elements than the storage.
        """
        last = self.offset + sum(
            (size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)
        )
        needed = max(last + 1, math.prod(self.shape))
        too_large = 0 not in self.shape and needed > len(elements)
        if too_large or min((self.offset, *self.shape, *self.strides)) < 0:
            raise ValueError(f"tensor {self.shape} reaches beyond its {len(elements)} elements")
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


class _ForbiddenNameError(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    """Resolves only the names in `ALLOWED`, and records the storages."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}  # key: (element type, number of elements)

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise _ForbiddenNameError(f"{module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, reference):
        kind, dtype, key, _device, count, view = reference
        if kind != "storage" or view is not None:
            raise ValueError(f"unknown reference {kind!r}")
        self.storages[key] = (dtype, count)
        return key


def read_checkpoint(path) -> dict:
    """Return the tensors {name: array} of a legacy `.pth` file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a legacy checkpoint, is damaged, or calls a function that
            tensors do not need.
    """
    with Path(path).open("rb") as file:
        try:
            return _read(file)
        except _ForbiddenNameError as error:
            raise ValueError(
                f"'{path}' tries to call '{error}' when unpickled; the call was blocked. "
                "The file may be malicious: do not load it with other tools."
            ) from None
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise ValueError(
                f"'{path}' is not a legacy PyTorch checkpoint, or is damaged ({error}). "
                "Download it again."
            ) from error


def _read(file):
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise ValueError("the magic number is missing")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("the elements are big-endian")
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    elements = {}
    for key in _Unpickler(file).load():
        dtype, count = unpickler.storages[key]
        elements[key] = _read_storage(file, np.dtype(dtype), count)
    if file.read(1):
        raise ValueError("there are bytes after the last tensor")
    return {name: tensor.read(elements[tensor.key]) for name, tensor in tensors.items()}


def _read_storage(file, dtype, count):
    stored = int.from_bytes(file.read(8), "little", signed=True)
    if stored != count:
        raise ValueError(f"storage has {stored} elements, expected {count}")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise ValueError("the file is truncated")
    return np.frombuffer(data, dtype)
