"""Samples of any reader in sharded TFRecord files, written once and read in any order.

A record is a `tf.train.Example`. Its features are "name" and the sample's fields: "boxes" as floats and "classes" as
integers; images, masks and instances as bytes, a PNG if "<field>/format" says so, else raw values, row after row;
"<field>/dtype" and "<field>/shape" tell what they were. What comes back equals what went in, to the last bit.
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
from tfseg.data.readers.base import Reader, format_problems
from tfseg.data.readers.formats.example import decode, encode

INDEX = "index.json"
UNFINISHED = "unfinished.json"
HEADER, FOOTER = (
    12,
    4,
)  # of a record: its length with a checksum before, the checksum of its bytes after it
VERSION = 1


def write_tfrecords(reader, folder, shard_size=256, track=lambda shards, total: shards):
    """Write every sample of a reader into TFRecord files.

    A shard appears whole or not at all. A second call verifies what is there and writes only what is missing or
    damaged, so that a writing that was broken off, by whatever, is gone on with.

    Args:
        reader: any `Reader`.
        folder: is made; holds the shards and, once all are there, index.json.
        shard_size: samples in a shard, which are held in memory while it is written.
        track: wraps the iteration to show progress; called with the shards and their number.

    Returns:
        TFRecords: the reader of the folder.

    Raises:
        ValueError: the folder holds the records of another reader, or of another `shard_size`; or a sample is bad.
        OSError: a sample cannot be read, or the disk be written.
    """
    checks.positive_int("write_tfrecords", "shard_size", shard_size)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = _about(reader, shard_size)
    starts = range(0, len(reader), shard_size)
    done = _finished(folder, about)
    shards = []
    for number, start in enumerate(track(starts, len(starts))):
        file = f"{number:05d}-of-{len(starts):05d}.tfrecord"
        shard = done.get(file) or _read_json(folder / f"{file}.json")
        if shard is None or not _is_whole(folder, shard):
            shard = _write_shard(
                reader, range(start, min(start + shard_size, len(reader))), folder / file
            )
            _write_json(folder / f"{file}.json", shard)
        shards.append(shard)
    _write_json(folder / INDEX, {"about": about, "shards": shards})
    for file in [UNFINISHED, *(f"{shard['file']}.json" for shard in shards)]:
        (folder / file).unlink(missing_ok=True)
    return TFRecords(folder)


class TFRecords(Reader):
    """Samples in the files that `write_tfrecords` wrote, in the order of the reader they came from.

    Each is found by its offset, and its checksum is verified. The files are plain TFRecords, for
    `tf.data.TFRecordDataset` and others to read as well.

    Args:
        folder: holds index.json and the shards.

    Raises:
        FileNotFoundError: there is no index.json, for the writing did not end; or a shard is missing.
        ValueError: index.json is of another version. On reading: a record is damaged.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        index = _read_index(self._folder)
        about, self._shards = index["about"], index["shards"]
        missing = [s["file"] for s in self._shards if not (self._folder / s["file"]).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{self._folder} lacks {len(missing)} of {len(self._shards)} shards: {', '.join(missing[:8])}. Copy "
                "them again, or call `write_tfrecords` again."
            )
        super().__init__(about["class_names"], about["sizes"], about["channels"], about["dtype"])
        self.fields = tuple(about["fields"])
        self.palette = None if about["palette"] is None else np.array(about["palette"], np.uint8)
        self._names = about["names"]
        self._places = [
            (s, *place)
            for s in self._shards
            for place in zip(s["offsets"], s["crc32"], strict=True)
        ]

    def __getitem__(self, index):
        shard, offset, crc = self._places[index]
        path = self._folder / shard["file"]
        with open(path, "rb", buffering=0) as file:
            head = os.pread(file.fileno(), HEADER, offset)
            length = struct.unpack("<Q", head[:8])[0] if len(head) == HEADER else 0
            record = os.pread(file.fileno(), min(length, shard["bytes"]), offset + HEADER)
        if zlib.crc32(record) != crc:
            raise ValueError(
                f"{path} is damaged in the record of '{self.name(index)}' (byte {offset}). {_REMEDY}"
            )
        return decode(record, self.fields)

    def name(self, index):
        """Return the name that the sample had in the reader it came from."""
        return self._names[index]

    def verify(self):
        """Read all files whole and compare them with what was written.

        Raises:
            ValueError: shards are damaged; every one is named.
        """
        bad = [
            self._folder / shard["file"]
            for shard in self._shards
            if not _is_whole(self._folder, shard)
        ]
        if bad:
            raise ValueError(
                format_problems([f"{path} is damaged or missing. {_REMEDY}" for path in bad])
            )


_REMEDY = "Copy it again, or call `write_tfrecords` again, which writes the damaged shards anew."


def _about(reader, shard_size):
    """Return what is known of a reader before any sample is read, fit for JSON."""
    return {
        "version": VERSION,
        "fields": list(reader.fields),
        "class_names": reader.class_names,
        "palette": None if reader.palette is None else np.asarray(reader.palette).tolist(),
        "channels": int(reader.channels),
        "dtype": reader.dtype.name,
        "sizes": reader.sizes.tolist(),
        "names": [reader.name(i) for i in range(len(reader))],
        "shard_size": shard_size,
    }


def _finished(folder, about):
    """Return {file: shard} of a writing that ended, or of none; mark the folder as this reader's.

    Raises:
        ValueError: the folder is another reader's.
    """
    finished = _read_json(folder / INDEX) or {}
    there = finished.get("about") or _read_json(folder / UNFINISHED)
    if there is None:
        _write_json(folder / UNFINISHED, about)
    elif there != about:
        differ = ", ".join(key for key in about if there.get(key) != about[key])
        raise ValueError(
            f"{folder} holds records of other {differ}. Give another folder, or remove this one."
        )
    return {shard["file"]: shard for shard in finished.get("shards", [])}


def _read_json(path):
    """Return a file's content, None if there is no file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON file ({error}). Remove it, and call `write_tfrecords` again."
        ) from error


def _is_whole(folder, shard):
    path = folder / shard["file"]
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard["sha256"]


def _write_shard(reader, indices, path):
    """Write one file and return its entry in the index."""
    beside = path.with_suffix(".part")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        records = list(
            pool.map(
                lambda index: encode(reader[index], reader.fields, reader.name(index)), indices
            )
        )
    with tf.io.TFRecordWriter(str(beside)) as writer:
        for record in records:
            writer.write(record)
    with open(beside, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    os.replace(beside, path)
    ends = np.cumsum([HEADER + len(record) + FOOTER for record in records]).tolist()
    return {
        "file": path.name,
        "count": len(records),
        "bytes": ends[-1],
        "sha256": digest,
        "offsets": [0, *ends[:-1]],
        "crc32": [zlib.crc32(record) for record in records],
    }


def _write_json(path, content):
    beside = path.with_suffix(".part")
    with open(beside, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _read_index(folder):
    path = folder / INDEX
    content = _read_json(path)
    if content is None:
        raise FileNotFoundError(
            f"There is no '{path}'. If the writing did not end, call `write_tfrecords` again."
        )
    version = content.get("about", {}).get("version")
    if version != VERSION:
        raise ValueError(
            f"{path} is of version {version}, this tfseg reads {VERSION}. Write the records again."
        )
    return content
