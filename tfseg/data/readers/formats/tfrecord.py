"""Samples of any reader in sharded TFRecord files, written once and read in any order.

A record is a `tf.train.Example` with the feature "name" and the sample's fields: "boxes" and
"areas" as floats, "classes" and "crowd" as integers; images, masks and instances as bytes, a PNG if
"<field>/format" says so, else raw values, row by row. "<field>/dtype" and "<field>/shape" describe
the array. Samples are restored exactly, to the last bit.
"""

import hashlib
import json
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.data.readers.base import Reader
from tfseg.data.readers.formats.example import decode, encode
from tfseg.data.readers.problems import first_few, format_problems
from tfseg.files import atomic_write, remove_leftovers

INDEX = "index.json"
UNFINISHED = "unfinished.json"
# Bytes of a record before its content (length and checksum) and after it (checksum).
HEADER, FOOTER = 12, 4
VERSION = 1
OBJECTS_VERSION = 2  # of records with objects; those of version 1 counted the background as a class
REMEDY = "Copy it again, or call `write_tfrecords` again, which rewrites damaged shards."


def write_tfrecords(
    reader: Reader,
    folder: str | Path,
    shard_size: int = 256,
    track=lambda shards, total: shards,
) -> "TFRecords":
    """Write every sample of a reader into TFRecord files.

    A shard appears whole or not at all. After an interruption, call the function again: it
    verifies what exists and writes only what is missing or damaged.

    Args:
        reader: any `Reader`.
        folder: folder to create; contains the shards and, once all exist, index.json.
        shard_size: samples per shard; they are in memory while the shard is written.
        track: wraps the iteration to show progress; called with the shards and their number.

    Returns:
        The reader of the folder.

    Raises:
        ValueError: the folder contains the records of another reader or of another `shard_size`,
            or a sample is invalid.
        OSError: a sample cannot be read, or a file cannot be written.

    Example:
        >>> import numpy as np, tfseg
        >>> images, masks = np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 8, 8), np.uint8)
        >>> reader = tfseg.data.Arrays(images, masks, ["cell"])
        >>> tfseg.data.write_tfrecords(reader, "records")
        <TFRecords: 3 samples of image, mask; 1 channels of uint8; 1 classes: cell>
    """
    checks.positive_int("write_tfrecords", "shard_size", shard_size)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    about = _describe(reader, shard_size)
    finished = _finished_shards(folder, about)
    starts = range(0, len(reader), shard_size)
    shards = []
    for number, start in enumerate(track(starts, len(starts))):
        path = folder / f"{number:05d}-of-{len(starts):05d}.tfrecord"
        entry = _entry_file(path)
        shard = finished.get(path.name) or _read_json(entry)
        if shard is None or not _is_intact(folder, shard):
            indices = range(start, min(start + shard_size, len(reader)))
            shard = _write_shard(reader, indices, path)
            _write_json(entry, shard)
        shards.append(shard)
    _write_json(folder / INDEX, {"about": about, "shards": shards})
    (folder / UNFINISHED).unlink(missing_ok=True)
    for shard in shards:
        _entry_file(folder / shard["file"]).unlink(missing_ok=True)
    return TFRecords(folder)


class TFRecords(Reader):
    """Samples that `write_tfrecords` wrote, in the order of the original reader.

    Each record is found by its offset, and its checksum is verified. The files are plain
    TFRecords, so `tf.data.TFRecordDataset` can read them too. They do not contain polygons or RLE:
    `object_rle` gives the regions in "instances". Evaluate masks that overlap on the original.

    Args:
        folder: contains index.json and the shards.

    Raises:
        FileNotFoundError: index.json is missing, since writing was interrupted; or a shard is.
        ValueError: index.json has another version. When a sample is read: a record is damaged.

    Example:
        >>> import numpy as np, tfseg
        >>> images, masks = np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 8, 8), np.uint8)
        >>> reader = tfseg.data.Arrays(images, masks, ["cell"])
        >>> _ = tfseg.data.write_tfrecords(reader, "records")
        >>> tfseg.data.TFRecords("records")[2]["image"].shape
        (8, 8, 1)
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        index = _read_index(self._folder)
        about, self._shards = index["about"], index["shards"]
        names = [shard["file"] for shard in self._shards]
        missing = [name for name in names if not (self._folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{self._folder} lacks {len(missing)} of {len(names)} shards: "
                f"{first_few(missing)}. Copy them again, or call `write_tfrecords` again."
            )
        super().__init__(about["class_names"], about["sizes"], about["channels"], about["dtype"])
        self.fields = tuple(about["fields"])
        self._object_names = about.get("object_names", [])
        self.palette = None if about["palette"] is None else np.array(about["palette"], np.uint8)
        self._names = about["names"]
        self._records = [
            (shard, offset, checksum)
            for shard in self._shards
            for offset, checksum in zip(shard["offsets"], shard["crc32"], strict=True)
        ]

    @property
    def object_names(self) -> list[str]:
        """Names of the object categories of the original reader."""
        return list(self._object_names)

    def __getitem__(self, index: int) -> dict:
        shard, offset, checksum = self._records[index]
        path = self._folder / shard["file"]
        with open(path, "rb", buffering=0) as file:
            header = os.pread(file.fileno(), HEADER, offset)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == HEADER else 0
            # A damaged length must not allocate more than the shard's size.
            record = os.pread(file.fileno(), min(length, shard["bytes"]), offset + HEADER)
        if zlib.crc32(record) != checksum:
            raise ValueError(
                f"{path} is damaged in the record of '{self.name(index)}' (byte {offset}). {REMEDY}"
            )
        return decode(record, self.fields)

    def name(self, index: int) -> str:
        """Return the sample's name in the original reader."""
        return self._names[index]

    def places(self) -> list[tuple[Path, int]]:
        """Return the file of each record, and its offset in it."""
        return [(self._folder / shard["file"], offset) for shard, offset, _ in self._records]

    def verify(self) -> None:
        """Read all files and compare them with their checksums.

        Raises:
            ValueError: shards are damaged; every one is named.
        """
        damaged = [shard for shard in self._shards if not _is_intact(self._folder, shard)]
        if damaged:
            paths = [self._folder / shard["file"] for shard in damaged]
            raise ValueError(
                format_problems([f"{path} is damaged or missing. {REMEDY}" for path in paths])
            )


def _describe(reader, shard_size):
    """Return what is known of a reader without reading a sample, fit for JSON."""
    has_objects = "classes" in reader.fields
    objects = {"object_names": reader.object_names} if has_objects else {}
    return objects | {
        "version": OBJECTS_VERSION if has_objects else VERSION,
        "fields": list(reader.fields),
        "class_names": reader.class_names,
        "palette": None if reader.palette is None else np.asarray(reader.palette).tolist(),
        "channels": int(reader.channels),
        "dtype": reader.dtype.name,
        "sizes": reader.sizes.tolist(),
        "names": [reader.name(i) for i in range(len(reader))],
        "shard_size": shard_size,
    }


def _finished_shards(folder, about):
    """Return {file name: shard} of an earlier complete call; mark the folder as this reader's.

    Raises:
        ValueError: the folder belongs to another reader.
    """
    finished = _read_json(folder / INDEX) or {}
    existing = finished.get("about") or _read_json(folder / UNFINISHED)
    if existing is None:
        _write_json(folder / UNFINISHED, about)
    elif existing != about:
        differing = ", ".join(key for key in about if existing.get(key) != about[key])
        raise ValueError(
            f"{folder} contains records with other {differing}. Pass another folder, or remove "
            "this one."
        )
    return {shard["file"]: shard for shard in finished.get("shards", [])}


def _entry_file(path):
    """Return the file that keeps a shard's index entry until the index is written."""
    return path.with_name(f"{path.name}.json")


def _read_json(path):
    """Return a file's content; None if there is no file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is not a JSON file ({error}). Remove it, and call `write_tfrecords` again."
        ) from error


def _write_json(path, content):
    with atomic_write(path) as part, open(part, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())


def _is_intact(folder, shard):
    path = folder / shard["file"]
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard["sha256"]


def _write_shard(reader, indices, path):
    """Write one shard and return its entry in the index."""

    def encoded(index):
        return encode(reader[index], reader.fields, reader.name(index))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        records = list(pool.map(encoded, indices))
    with atomic_write(path) as part:
        with tf.io.TFRecordWriter(str(part)) as writer:
            for record in records:
                writer.write(record)
        with open(part, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    ends = np.cumsum([HEADER + len(record) + FOOTER for record in records]).tolist()
    return {
        "file": path.name,
        "count": len(records),
        "bytes": ends[-1],
        "sha256": digest,
        "offsets": [0, *ends[:-1]],
        "crc32": [zlib.crc32(record) for record in records],
    }


def _read_index(folder):
    path = folder / INDEX
    content = _read_json(path)
    if content is None:
        raise FileNotFoundError(
            f"There is no '{path}'. If writing was interrupted, call `write_tfrecords` again."
        )
    about = content.get("about", {})
    expected = OBJECTS_VERSION if "classes" in about.get("fields", []) else VERSION
    if about.get("version") != expected:
        raise ValueError(
            f"{path} has version {about.get('version')}, but this tfseg reads version {expected} "
            "of such records. Write the records again."
        )
    return content
