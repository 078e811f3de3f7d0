"""Decoded samples, kept in memory or on disk."""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np

from tfseg.data.readers import Reader
from tfseg.data.readers.subset import Subset
from tfseg.files import atomic_write

# Bytes before the arrays in a file of the cache; several times as many only for many arrays.
HEADER = 1024


def cached(reader: Reader, cache: str | Path | None) -> Reader:
    """Return a reader that decodes every sample once.

    Args:
        reader: a `Reader`.
        cache: "memory"; the path of a folder, which is created and takes as much disk space as the
            decoded samples; or None to return `reader` itself. The first sample is read now, to
            recognize a folder that contains another dataset.

    Raises:
        ValueError: the folder contains the samples of another reader.
    """
    if cache is None:
        return reader
    return _MemoryCache(reader) if cache == "memory" else DiskCache(reader, Path(cache))


class _Cache(Subset):
    def __init__(self, reader):
        super().__init__(reader, range(len(reader)))

    def __getitem__(self, index):
        return self.read(index)


class _MemoryCache(_Cache):
    def __init__(self, reader):
        super().__init__(reader)
        self._samples = {}

    def read(self, index, shrink=1):
        """Return a sample at 1 / `shrink` of its size; every size is decoded once."""
        key = int(index), shrink
        if key not in self._samples:  # two threads may both decode it, which does no harm
            self._samples[key] = super().read(index, shrink)
        return dict(self._samples[key])


class DiskCache(_Cache):
    """One file of raw arrays per sample, written whole or not at all."""

    def __init__(self, reader, folder):
        super().__init__(reader)
        self._folder = folder
        file = folder / "reader.json"
        identity = {"samples": _fingerprint(reader), "first": _first_checksum(reader)}
        if not file.exists():
            with atomic_write(file) as part:
                part.write_text(json.dumps(identity), encoding="utf-8")
        found = json.loads(file.read_text("utf-8"))
        checksums = {found["first"], identity["first"]} - {None}
        if found["samples"] != identity["samples"] or len(checksums) > 1:
            raise ValueError(
                f"The cache '{folder}' contains the samples of another dataset, or of this one "
                "before it was changed. Delete the folder, or use another one."
            )

    def file(self, index: int, shrink: int) -> Path:
        """Return the file of a sample at 1 / `shrink` of its size, which may not exist yet."""
        return self._folder / (f"{index}.raw" if shrink == 1 else f"{index}_{shrink}.raw")

    def read(self, index, shrink=1):
        """Return a sample at 1 / `shrink` of its size; every size is decoded once."""
        path = self.file(index, shrink)
        try:
            arrays = _read_arrays(path)
            return {name: arrays[name] for name in self.fields}
        except (OSError, ValueError, KeyError, TypeError):
            pass  # missing or damaged
        sample = super().read(index, shrink)
        with atomic_write(path) as part:
            _write_arrays(part, {name: np.asarray(sample[name]) for name in self.fields})
        return sample


# Not NumPy's own format: it parses its header with the module ast, which fails at random in threads
# of Python 3.11 ("AST constructor recursion depth mismatch").
def _write_arrays(path, arrays):
    """Write {name: array} as a line of JSON, padded to multiples of `HEADER`, then their bytes."""
    data = b"".join(array.tobytes() for array in arrays.values())
    header = {
        "checksum": zlib.crc32(data),
        "arrays": {name: [array.dtype.str, array.shape] for name, array in arrays.items()},
    }
    with path.open("wb") as file:
        line = json.dumps(header).encode() + b"\n"
        file.write(line.rjust(-(-len(line) // HEADER) * HEADER))
        file.write(data)


def stored_arrays(path: Path) -> dict:
    """Return {name: [dtype, shape]} of the arrays in a file of a disk cache."""
    with path.open("rb") as file:
        return json.loads(file.readline())["arrays"]


def _read_arrays(path):
    """Return what `_write_arrays` wrote; raise a ValueError if it is damaged."""
    with path.open("rb") as file:
        line, data = file.readline(), file.read()
    header = json.loads(line)
    if len(line) % HEADER:
        raise ValueError(f"{path} was written by an older version.")
    if zlib.crc32(data) != header["checksum"]:
        raise ValueError(f"{path} is damaged.")
    arrays, start = {}, 0
    for name, (dtype, shape) in header["arrays"].items():
        arrays[name] = np.ndarray(shape, dtype, data, start).copy()  # aligned and writable
        start += arrays[name].nbytes
    return arrays


def _fingerprint(reader):
    """Return a checksum of what identifies a dataset: samples, their versions, classes."""
    identity = [
        [(reader.name(i), reader.version_key(i)) for i in range(len(reader))],
        reader.sizes.tolist(),
        reader.class_names,
        reader.fields,
        reader.channels,
        str(reader.dtype),
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _first_checksum(reader):
    """Return a checksum of the first sample, or None if it cannot be read.

    Names do not identify the samples of readers that number them.
    """
    try:
        sample = reader[0]
    except (OSError, ValueError):
        return None
    data = b"".join(np.ascontiguousarray(sample[name]) for name in reader.fields)
    return hashlib.sha256(data).hexdigest()
