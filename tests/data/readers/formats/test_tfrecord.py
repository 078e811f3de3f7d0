import json
import os
import re
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import Arrays, Reader
from tfseg.data.readers.formats.tfrecord import TFRecords, write_tfrecords


class Objects(Reader):
    """Samples of different sizes with all fields; every third one without objects."""

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
    (np.uint8, 4),
    (np.uint16, 1),
    (np.float32, 2),
    (np.int16, 1),
]


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_samples_are_restored_exactly(tmp_path, dtype, channels):
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


def test_more_objects_than_a_png_can_number_are_restored(tmp_path):
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


def test_names_need_not_be_valid_utf8(tmp_path, monkeypatch):
    name = b"m\xfcller".decode("utf-8", "surrogateescape")  # as Python decodes names of files
    monkeypatch.setattr(Objects, "name", lambda self, index: f"{name}{index}")
    write_tfrecords(Objects(2), tmp_path)
    assert TFRecords(tmp_path).name(1) == f"{name}1"
    record = next(iter(tf.data.TFRecordDataset(str(tmp_path / "00000-of-00001.tfrecord"))))
    feature = tf.train.Example.FromString(record.numpy()).features.feature["name"]
    assert feature.bytes_list.value[0] == b"m\xfcller0"


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
    for i, record in enumerate(tf.data.TFRecordDataset(files)):  # verifies the format's checksums
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
def test_one_flipped_byte_is_found_and_repaired(tmp_path, place):
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
    if place != -1:  # the last checksum is not used when a sample is read
        with pytest.raises(
            ValueError, match=r"00001-of-00003\.tfrecord is damaged in the record of 'folder/ä3' "
        ):
            records[3]
    assert equal(records[2], reader[2])
    write_tfrecords(reader, tmp_path, shard_size=3).verify()
    assert path.read_bytes() == whole


def test_a_truncated_or_missing_shard_is_named(tmp_path):
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


def test_complete_shards_are_not_written_again(tmp_path, monkeypatch):
    write_tfrecords(Objects(), tmp_path, shard_size=3)
    before = contents(tmp_path)
    monkeypatch.setattr(Objects, "__getitem__", lambda self, index: pytest.fail("read again"))
    write_tfrecords(Objects(), tmp_path, shard_size=3)
    assert contents(tmp_path) == before


def test_records_of_another_reader_are_not_overwritten(tmp_path):
    write_tfrecords(Objects(), tmp_path, shard_size=3)
    with pytest.raises(
        ValueError, match="contains records with other sizes, names.* Pass another folder"
    ):
        write_tfrecords(Objects(6), tmp_path, shard_size=3)
    with pytest.raises(ValueError, match="contains records with other shard_size"):
        write_tfrecords(Objects(), tmp_path, shard_size=4)
    with pytest.raises(ValueError, match="shard_size=0 must be"):
        write_tfrecords(Objects(), tmp_path, shard_size=0)


def test_writing_continues_after_an_invalid_sample(tmp_path):
    class Broken(Objects):
        def __getitem__(self, index):
            if index == 5:
                raise OSError("five.png is damaged")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="five.png is damaged"):
        write_tfrecords(Broken(), tmp_path / "a", shard_size=2)
    with pytest.raises(
        FileNotFoundError,
        match=r"no '.*index\.json'.*interrupted, call `write_tfrecords` again",
    ):
        TFRecords(tmp_path / "a")
    assert (tmp_path / "a" / "00001-of-00004.tfrecord").is_file()
    with pytest.raises(ValueError, match="contains records with other sizes"):
        write_tfrecords(Objects(6), tmp_path / "a", shard_size=2)
    write_tfrecords(Objects(), tmp_path / "a", shard_size=2)
    write_tfrecords(Objects(), tmp_path / "b", shard_size=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_progress_is_tracked_by_shards(tmp_path):
    totals = []

    def track(shards, total):
        totals.append(total)
        return shards

    write_tfrecords(Objects(), tmp_path, 3, track=track)
    assert totals == [3]


def test_an_invalid_index_is_rejected(tmp_path):
    (tmp_path / "index.json").write_text('{"about": {"version": 7}}')
    with pytest.raises(ValueError, match=r"index\.json has version 7, but .* reads version 1"):
        TFRecords(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json is not a JSON file"):
        TFRecords(tmp_path)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def killed_states(tmp_path_factory):
    """Copies of a folder before each file of it appeared: what a kill at that moment leaves."""
    folder, states = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("states")
    copies = []

    def replace(source, target):
        copies.append(shutil.copytree(folder, states / str(len(copies))))
        os.rename(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfseg.files.os.replace", replace)
        write_tfrecords(Objects(), folder, shard_size=3)
    return folder, copies


def test_every_file_appears_as_a_whole(killed_states):
    _, copies = killed_states
    assert len(copies) == 8  # unfinished.json, three shards with an entry each, index.json
    for number, copy in enumerate(copies):
        shards = [path for path in copy.iterdir() if re.match(r"\d.*tfrecord$", path.name)]
        assert len(shards) == number // 2
        assert not (copy / "index.json").exists()


# While the first shard is written; before its entry; before the second entry; before the index.
@pytest.mark.parametrize("number", [1, 2, 4, 7])
def test_writing_continues_after_a_kill(killed_states, number, tmp_path):
    complete, copies = killed_states
    folder = shutil.copytree(copies[number], tmp_path / "folder")
    for part in folder.glob(".*"):  # it is killed while it writes, not only before it renames
        part.write_bytes(part.read_bytes()[:20])
    entries = list(folder.glob("0*.json"))
    kept = {entry: entry.with_suffix("").stat().st_mtime_ns for entry in entries}
    write_tfrecords(Objects(), folder, shard_size=3)
    assert contents(folder) == contents(complete)
    for entry, written in kept.items():
        assert entry.with_suffix("").stat().st_mtime_ns == written
