"""Read the state dicts in PyTorch's `.pth` files, without PyTorch and without executing their code.

Files are zip archives since PyTorch 1.6: `<name>/data.pkl` is a pickled dict of tensors that refer
to storages by key, and `<name>/data/<key>` contains the raw elements of a storage.

The legacy format before that is: three pickles (a magic number, the protocol 1001, facts about the
machine); the pickled dict of tensors; a pickled list of the keys; then for each key the number of
elements (int64) and the raw elements.

Elements are little-endian. A pickle can call any function by name. This reader only resolves the
four names that such a file needs.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ZIP = b"PK\x03\x04"  # the first bytes of a zip archive
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


@dataclass(frozen=True)
class Tensor:
    """A view into a storage, whose elements are elsewhere in the file.

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
        # the sixth element, of the legacy format only, describes a view
        kind, dtype, key, _device, count, *view = reference
        if kind != "storage" or view not in ([], [None]):
            raise ValueError(f"unknown reference {kind!r}")
        self.storages[key] = (dtype, count)
        return key


def read_checkpoint(path) -> dict:
    """Return the tensors {name: array} of a `.pth` file with a state dict.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a checkpoint, is damaged, or calls a function that tensors do
            not need.
    """
    with Path(path).open("rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP
        file.seek(0)
        try:
            return _read_zip(file) if is_zip else _read_legacy(file)
        except _ForbiddenNameError as error:
            raise ValueError(
                f"'{path}' tries to call '{error}' when unpickled; the call was blocked. "
                "The file may be malicious: do not load it with other tools."
            ) from None
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise ValueError(
                f"'{path}' is not a PyTorch checkpoint, or is damaged ({error}). Download it "
                "again, or save it with `torch.save(model.state_dict(), path)`."
            ) from error


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it contains {len(pickles)} data.pkl, expected 1")
        folder = pickles[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"  # missing in files of the first versions
        if order in archive.namelist() and _read_entry(archive, order, 6) != b"little":
            raise ValueError("the elements are big-endian")
        unpickler = _Unpickler(io.BytesIO(_read_entry(archive, pickles[0])))
        tensors = unpickler.load()
        elements = {}
        for key, (dtype, count) in unpickler.storages.items():
            size = count * np.dtype(dtype).itemsize
            data = _read_entry(archive, f"{folder}data/{key}", size)
            elements[key] = np.frombuffer(data, dtype)
    return _read_tensors(tensors, elements)


def _read_entry(archive, name, size=None):
    """Return the bytes of an entry; a size other than the expected one is an error."""
    entry = archive.getinfo(name)
    # PyTorch does not compress: a compressed entry could fill the memory
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    if size is not None and entry.file_size != size:
        raise ValueError(f"{name} has {entry.file_size} bytes, expected {size}")
    return archive.read(entry)


def _read_legacy(file):
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
    return _read_tensors(tensors, elements)


def _read_tensors(tensors, elements):
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"it is not a state dict: {name!r} is of type {type(tensor).__name__}, not a tensor"
            )
    return {name: tensor.read(elements[tensor.key]) for name, tensor in tensors.items()}


def _read_storage(file, dtype, count):
    stored = int.from_bytes(file.read(8), "little", signed=True)
    if stored != count:
        raise ValueError(f"storage has {stored} elements, expected {count}")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise ValueError("the file is truncated")
    return np.frombuffer(data, dtype)
