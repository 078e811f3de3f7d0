import json
import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfseg.data.readers.base import Arrays, Reader
from tfseg.data.readers.formats.tfrecord import TFRecords, write_tfrecords


class Objects(Reader):
    """Samples with every field, of different sizes; every third without objects."""

    fields = ("image", "mask", "instances", "boxes", "classes")

    def __init__(self, count=7, dtype=np.uint8, channels=3, most=3):
        super().__init__(
            ["background", "cat", "dog"],
            [(9 + i, 11 - i % 3) for i in range(count)],
            channels,
            dtype,
        )
        self.palette = np.array([[0, 0, 0], [200, 10, 30], [5, 6, 7]], np.uint8)
        self.most = most

    def name(self, index):
        return f"folder/ä{index}"

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        size, count = self.sizes[index], 0 if index % 3 == 0 else 2
        image = rng.uniform(0, 250, (*size, self.channels)).astype(self.dtype)
        return {
            "image": image,
            "mask": rng.choice([0, 1, 2, 255], size).astype(np.uint8),
            "instances": rng.integers(0, self.most, size).astype(np.int32),
            "boxes": rng.uniform(0, 9, (count, 4)).astype(np.float32),
            "classes": np.array([2, 1][:count], np.int32),
        }


def equal(sample, other):
    return list(sample) == list(other) and all(
        np.array_equal(sample[key], other[key]) and sample[key].dtype == other[key].dtype
        for key in sample
    )


KINDS = [
    (np.uint8, 3),
    (np.uint8, 1),
    (np.uint8, 4),
    (np.uint16, 3),
    (np.uint16, 1),
    (np.float32, 2),
    (np.int16, 1),
]


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_samples_come_back_to_the_last_bit(tmp_path, dtype, channels):
    reader = Objects(dtype=dtype, channels=channels)
    records = write_tfrecords(reader, tmp_path, shard_size=3)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        *(f"0000{i}-of-00003.tfrecord" for i in range(3)),
        "index.json",
    ]
    assert (records.fields, records.class_names, records.label_names) == (
        reader.fields,
        reader.class_names,
        reader.label_names,
    )
    assert (records.dtype, records.channels, records.name(4)) == (
        reader.dtype,
        channels,
        "folder/ä4",
    )
    assert np.array_equal(records.sizes, reader.sizes)
    assert np.array_equal(records.palette, reader.palette)
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(TFRecords(tmp_path).__getitem__, [5, 0, 6, 3, 1, 2, 4]))
    assert all(
        equal(sample, reader[i]) for sample, i in zip(samples, [5, 0, 6, 3, 1, 2, 4], strict=True)
    )
    records.verify()


def test_more_objects_than_a_png_can_number_come_back(tmp_path):
    reader = Objects(2, most=70000)
    assert equal(write_tfrecords(reader, tmp_path)[1], reader[1])


def test_a_reader_of_masks_and_one_without_a_palette(tmp_path):
    images = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(np.float32) / 7
    reader = Arrays(images, np.array([[[0, 1, 255, 0]] * 3, [[1] * 4] * 3]), ["cell"])
    records = write_tfrecords(reader, tmp_path)
    assert (records.fields, records.class_names, records.palette) == (
        ("image", "mask"),
        ["cell"],
        None,
    )
    assert all(equal(records[i], reader[i]) for i in range(2))


def test_tensorflow_reads_the_files(tmp_path):
    reader = Objects()
    write_tfrecords(reader, tmp_path, shard_size=3)
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "mask": tf.io.FixedLenFeature([], tf.string),
        "boxes": tf.io.VarLenFeature(tf.float32),
        "classes": tf.io.VarLenFeature(tf.int64),
        "name": tf.io.FixedLenFeature([], tf.string),
    }
    files = sorted(str(path) for path in tmp_path.glob("*.tfrecord"))
    count = 0
    for i, record in enumerate(
        tf.data.TFRecordDataset(files)
    ):  # verifies the checksums of the format
        example, sample = tf.io.parse_single_example(record, features), reader[i]
        assert np.array_equal(tf.io.decode_png(example["image"]), sample["image"])
        assert np.array_equal(tf.io.decode_png(example["mask"])[..., 0], sample["mask"])
        assert np.array_equal(tf.sparse.to_dense(example["boxes"]), sample["boxes"].ravel())
        assert np.array_equal(tf.sparse.to_dense(example["classes"]), sample["classes"])
        assert example["name"].numpy().decode() == reader.name(i)
        count += 1
    assert count == 7


def test_offsets_are_where_records_start(tmp_path):
    write_tfrecords(Objects(), tmp_path, shard_size=4)
    for shard in json.loads((tmp_path / "index.json").read_text())["shards"]:
        data = (tmp_path / shard["file"]).read_bytes()
        offset, offsets = 0, []
        while offset < len(data):  # length, its checksum, the bytes, their checksum
            offsets.append(offset)
            offset += 8 + 4 + struct.unpack("<Q", data[offset : offset + 8])[0] + 4
        assert shard["offsets"] == offsets
        assert (shard["count"], shard["bytes"]) == (len(offsets), len(data))


@pytest.mark.parametrize("place", [3, 60, -1])  # in a length, in a record, in the last checksum
def test_one_flipped_byte_is_found_and_mended(tmp_path, place):
    reader = Objects()
    records = write_tfrecords(reader, tmp_path, shard_size=3)
    path = tmp_path / "00001-of-00003.tfrecord"
    whole = path.read_bytes()
    data = bytearray(whole)
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"00001-of-00003\.tfrecord is damaged or missing\. Copy it again, or call"
    ):
        records.verify()
    if place != -1:  # the format's own checksum guards nothing that we read
        with pytest.raises(
            ValueError, match=r"00001-of-00003\.tfrecord is damaged in the record of 'folder/ä3' "
        ):
            records[3]
    assert equal(records[2], reader[2])
    write_tfrecords(reader, tmp_path, shard_size=3).verify()
    assert path.read_bytes() == whole


def test_a_shard_cut_short_or_missing_is_named(tmp_path):
    records = write_tfrecords(Objects(), tmp_path, shard_size=4)
    path = tmp_path / "00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="damaged in the record of 'folder/ä6'"):
        records[6]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged in the record of 'folder/ä4'"):
        records[4]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 shards: 00001-of-00002\.tfrecord"):
        TFRecords(tmp_path)


def test_what_is_written_is_not_written_again(tmp_path, monkeypatch):
    write_tfrecords(Objects(), tmp_path, shard_size=3)
    before = contents(tmp_path)
    monkeypatch.setattr(Objects, "__getitem__", lambda self, index: pytest.fail("read again"))
    write_tfrecords(Objects(), tmp_path, shard_size=3)
    assert contents(tmp_path) == before


def test_another_readers_records_are_not_mixed_in(tmp_path):
    write_tfrecords(Objects(), tmp_path, shard_size=3)
    with pytest.raises(
        ValueError, match="holds records of other sizes, names.* Give another folder"
    ):
        write_tfrecords(Objects(6), tmp_path, shard_size=3)
    with pytest.raises(ValueError, match="holds records of other shard_size"):
        write_tfrecords(Objects(), tmp_path, shard_size=4)
    with pytest.raises(ValueError, match="shard_size=0 must be"):
        write_tfrecords(Objects(), tmp_path, shard_size=0)


def test_a_bad_sample_stops_the_writing_and_it_goes_on_later(tmp_path):
    class Broken(Objects):
        def __getitem__(self, index):
            if index == 5:
                raise OSError("five.png is damaged")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="five.png is damaged"):
        write_tfrecords(Broken(), tmp_path / "a", shard_size=2)
    with pytest.raises(
        FileNotFoundError, match=r"no '.*index\.json'.*did not end, call `write_tfrecords` again"
    ):
        TFRecords(tmp_path / "a")
    assert (tmp_path / "a" / "00001-of-00004.tfrecord").is_file()
    with pytest.raises(ValueError, match="holds records of other sizes"):
        write_tfrecords(Objects(6), tmp_path / "a", shard_size=2)
    write_tfrecords(Objects(), tmp_path / "a", shard_size=2)
    write_tfrecords(Objects(), tmp_path / "b", shard_size=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_progress_is_told_by_shards(tmp_path):
    told = []
    write_tfrecords(
        Objects(), tmp_path, 3, track=lambda shards, total: told.append(total) or shards
    )
    assert told == [3]


def test_an_index_of_another_kind_is_refused(tmp_path):
    (tmp_path / "index.json").write_text('{"about": {"version": 7}}')
    with pytest.raises(ValueError, match=r"index\.json is of version 7, this tfseg reads 1"):
        TFRecords(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json is no JSON file"):
        TFRecords(tmp_path)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
from test_tfrecord import Objects
from tfseg.data.readers.formats.tfrecord import write_tfrecords

class Slow(Objects):
    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)

write_tfrecords(Slow(60), sys.argv[1], shard_size=5)
"""


def test_a_writing_that_was_killed_goes_on(tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    writing = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(here=str(Path(__file__).parent)), str(killed)]
    )
    third = killed / "00002-of-00012.tfrecord"
    while not third.exists():
        assert writing.poll() is None
        time.sleep(0.01)
    time.sleep(0.03)
    os.kill(writing.pid, signal.SIGKILL)
    writing.wait()
    assert 3 <= len(list(killed.glob("*.tfrecord"))) < 12
    (killed / "00009-of-00012.part").write_bytes(b"half of a shard")
    kept = third.stat().st_mtime_ns
    write_tfrecords(Objects(60), killed, shard_size=5)
    write_tfrecords(Objects(60), undisturbed, shard_size=5)
    assert contents(killed) == contents(undisturbed)
    assert third.stat().st_mtime_ns == kept
