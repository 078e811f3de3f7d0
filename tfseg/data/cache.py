"""Decoded samples, kept in memory or on disk."""

import hashlib
import json
import os
import uuid
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tfseg.data.readers.base import Subset


def cached(reader, where):
    """Return a reader that decodes every sample once.

    Args:
        reader: a `Reader`.
        where: "memory"; the path of a folder, which is made, for as much disk as the decoded samples take; or None
            to return the reader as it is. To tell a folder of another dataset, the first sample is read as well.

    Raises:
        ValueError: the folder holds the samples of another reader.
    """
    if where is None:
        return reader
    return _InMemory(reader) if where == "memory" else _OnDisk(reader, Path(where))


class _InMemory(Subset):
    def __init__(self, reader):
        super().__init__(reader, range(len(reader)))
        self._kept = {}

    def __getitem__(self, index):
        return self.read(index)

    def read(self, index, shrink=1):
        """Return a sample, smaller where asked, each size from memory the second time."""
        key = int(index), shrink
        if key not in self._kept:  # two threads at once do the work twice, and harm nothing
            self._kept[key] = super().read(index, shrink)
        return dict(self._kept[key])


class _OnDisk(Subset):
    """A file of raw arrays a sample, written beside and renamed, so that a kill leaves whole ones only."""

    def __init__(self, reader, folder):
        super().__init__(reader, range(len(reader)))
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        label, own = (
            folder / "reader.json",
            {"samples": _fingerprint(reader), "first": _first(reader)},
        )
        if not label.exists():
            _write(label, lambda file: file.write(json.dumps(own).encode()))
        told = json.loads(label.read_text())
        first = {told["first"], own["first"]} - {None}
        if told["samples"] != own["samples"] or len(first) > 1:
            raise ValueError(
                f"The cache '{folder}' holds the samples of another dataset, or of this one before it was changed. "
                "Delete it or name another."
            )

    def __getitem__(self, index):
        return self.read(index)

    def read(self, index, shrink=1):
        """Return a sample, smaller where asked, each size from disk the second time."""
        path = self._folder / (f"{index}.npz" if shrink == 1 else f"{index}_{shrink}.npz")
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                return {name: arrays[name] for name in self.fields}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            pass  # it is not there yet, or damaged
        sample = super().read(index, shrink)
        _write(path, lambda file: np.savez(file, **sample))
        return sample


def _write(path, write):
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with beside.open("wb") as file:
            write(file)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _fingerprint(reader):
    """What tells one dataset from another: names, sizes, classes, how samples are read, and when they were written."""
    samples = [(reader.name(i), reader.version_key(i)) for i in range(len(reader))]
    told = [
        samples,
        reader.sizes.tolist(),
        reader.class_names,
        reader.fields,
        reader.channels,
        str(reader.dtype),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _first(reader):
    """A checksum of the first sample, for names may be mere numbers; None if it cannot be read."""
    try:
        sample = reader[0]
    except (OSError, ValueError):
        return None
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(sample[name]) for name in reader.fields)
    ).hexdigest()
