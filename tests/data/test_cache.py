import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_sample
from PIL import Image

from tfseg.data import Arrays, Augment, Folder, Reader, Resize, pipeline
from tfseg.data.cache import cached

NAMES = ["ground", "disc", "band"]


class Spy(Reader):
    """Arrays that count how often each sample is read."""

    def __init__(self, count=4, seed=0, names=NAMES):
        self._arrays = Arrays(
            *zip(*(draw_sample(seed + i) for i in range(count)), strict=True), names
        )
        super().__init__(names, self._arrays.sizes, 3, np.uint8)
        self.seen = Counter()

    def __getitem__(self, index):
        self.seen[index] += 1
        return self._arrays[index]


def where(kind, tmp_path):
    return "memory" if kind == "memory" else tmp_path / "new" / "cache"


def same_sample(first, second):
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name])
        for name in first
    )


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_sample_is_decoded_once(tmp_path, kind):
    spy = Spy()
    reader = cached(spy, where(kind, tmp_path))
    spy.seen.clear()
    for _ in range(3):
        for i in range(4):
            assert same_sample(reader[i], spy._arrays[i])
            assert same_sample(reader.read(i), spy._arrays[i])
    assert spy.seen == {i: 1 for i in range(4)}


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_samples_read_smaller_are_kept_beside(tmp_path, kind):
    spy = Spy()
    reader = cached(spy, where(kind, tmp_path))
    spy.seen.clear()
    for _ in range(2):
        for shrink in (1, 2, 4):
            assert same_sample(reader.read(1, shrink), spy._arrays.read(1, shrink))
    assert spy.seen == {1: 3}


def streams(cache):
    """Pipelines of three kinds over a cached spy."""
    spy = Spy(5)
    yield spy, pipeline(spy, 2, cache=cache)
    spy = Spy(5)
    yield spy, pipeline(spy, 5, Augment(24, scale=(0.3, 0.5)), cache=cache)  # read at a half
    spy = Spy(5)
    yield spy, pipeline(spy, 2, resize=Resize(12), cache=cache)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_batches_are_those_of_no_cache(tmp_path, kind):
    plain, kept = streams(None), streams(where(kind, tmp_path))
    for (_, expected), (spy, dataset) in zip(plain, kept, strict=True):
        spy.seen.clear()
        for _ in range(3):
            for batch, kept_batch in zip(expected, dataset, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(batch, kept_batch, strict=True))
        assert set(spy.seen.values()) == {1}
        assert len(spy.seen) == 5


def test_a_folder_outlives_the_reader(tmp_path):
    cached(Spy(), tmp_path)[2]
    spy = Spy()
    reader = cached(spy, tmp_path)
    spy.seen.clear()
    assert same_sample(reader[2], spy._arrays[2])
    assert not spy.seen


@pytest.mark.parametrize(
    "other",
    [
        lambda: Spy(5),
        lambda: Spy(names=["a", "b", "c"]),
        lambda: Spy(seed=7),  # of the same names and sizes
        lambda: Spy().subset([1, 0, 2, 3]),
        lambda: Spy().tiles(48),
    ],
)
def test_the_folder_of_another_data_set_is_refused(tmp_path, other):
    cached(Spy(), tmp_path)
    with pytest.raises(
        ValueError,
        match=r"The cache '.*' holds the samples of another dataset, .* Delete it or name",
    ):
        cached(other(), tmp_path)


def test_a_first_sample_that_cannot_be_read_any_more_is_no_other_data_set(tmp_path, monkeypatch):
    first = cached(Spy(), tmp_path / "cache")[0]

    def damaged(reader, index):
        raise OSError("damaged")

    monkeypatch.setattr(Spy, "__getitem__", damaged)
    assert same_sample(cached(Spy(), tmp_path / "cache")[0], first)


def test_a_corrected_mask_or_another_meaning_of_its_values_is_no_longer_in_the_cache(
    folder, tmp_path
):
    def reader(ids):
        return Folder(folder / "images", folder / "masks", NAMES, mask_values=dict(enumerate(ids)))

    cached(reader([0, 1, 2]), tmp_path / "cache")[0]
    cached(reader([0, 1, 2]), tmp_path / "cache")
    with pytest.raises(ValueError, match="or of this one before it was changed. Delete it"):
        cached(reader([0, 2, 1]), tmp_path / "cache")
    file = folder / "masks" / "p3.png"
    Image.fromarray(np.asarray(Image.open(file)) * 0).save(file)
    with pytest.raises(ValueError, match="or of this one before it was changed. Delete it"):
        cached(reader([0, 1, 2]), tmp_path / "cache")


def flipped(path):
    """One byte in the middle of an image is another."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: np.savez(path, image=np.zeros((2, 2, 3))),
    ],
)
def test_damaged_files_are_decoded_again(tmp_path, damage):
    spy = Spy()
    reader = cached(spy, tmp_path)
    expected = reader[1]
    spy.seen.clear()
    damage(tmp_path / "1.npz")
    for _ in range(2):
        assert same_sample(reader[1], expected)
    assert spy.seen == {1: 1}


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path, monkeypatch):
    reader = cached(Spy(), tmp_path)

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        reader[0]
    assert [path.name for path in tmp_path.iterdir()] == ["reader.json"]


KILLED = """
import os, sys, time
import numpy as np
sys.path[:0] = sys.argv[2:]
from test_cache import Spy
from tfseg.data.cache import cached
reader, save = cached(Spy(), sys.argv[1]), np.savez
for i in range(2):
    reader[i]

def half(file, **arrays):
    save(file, **arrays)
    file.truncate(file.tell() // 2)
    file.flush()
    print("half", flush=True)
    time.sleep(60)

np.savez = half
reader[2]
"""


def test_a_kill_in_the_middle_leaves_a_usable_folder(tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(here), str(here.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert sum(path.suffix == ".tmp" for path in tmp_path.iterdir()) == 1
    spy = Spy()
    reader = cached(spy, tmp_path)
    spy.seen.clear()
    for i in range(4):
        assert same_sample(reader[i], spy._arrays[i])
    assert spy.seen == {2: 1, 3: 1}


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_threads_share_a_cache(tmp_path, kind):
    spy = Spy()
    reader = cached(spy, where(kind, tmp_path))
    wrong = []

    def look():
        wrong.extend(
            i for _ in range(10) for i in range(4) if not same_sample(reader[i], spy._arrays[i])
        )

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_cannot_be_read_is_not_kept(folder, tmp_path):
    reader = cached(Folder(folder / "images", folder / "masks", NAMES), tmp_path / "cache")
    good = (folder / "images" / "p3.jpg").read_bytes()
    (folder / "images" / "p3.jpg").write_bytes(good[:400])
    with pytest.raises(OSError, match=r"p3\.jpg is damaged"):
        reader[3]
    (folder / "images" / "p3.jpg").write_bytes(good)
    assert reader[3]["image"].shape == (48, 56, 3)


def test_objects_and_none_of_them_are_kept(tmp_path):
    class Boxes(Spy):
        fields = ("image", "boxes", "classes")

        def __getitem__(self, index):
            boxes = np.array([[1, 2, 3, 4.5]] * index, np.float32).reshape(-1, 4)
            return {
                "image": super().__getitem__(index)["image"],
                "boxes": boxes,
                "classes": np.ones(index, np.int32),
            }

    for _ in range(2):
        reader = cached(Boxes(), tmp_path)
        assert (reader[0]["boxes"].shape, reader[0]["classes"].shape) == ((0, 4), (0,))
        assert reader[2]["boxes"].tolist() == [[1, 2, 3, 4.5]] * 2
        assert reader.fields == ("image", "boxes", "classes")


def test_a_cache_tells_what_its_reader_tells(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    mask = Image.fromarray(np.zeros((4, 5), np.uint8))
    mask.putpalette([9, 8, 7, 6, 5, 4])
    mask.save(tmp_path / "masks" / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "images" / "a.png")
    reader = Folder(tmp_path / "images", tmp_path / "masks", ["x", "y"])
    for kept in (cached(reader, "memory"), cached(reader, tmp_path / "cache")):
        assert (kept.name(0), kept.channels, kept.dtype, kept.mask_values) == (
            "a",
            1,
            np.uint8,
            {0: 0, 1: 1},
        )
        assert kept.sizes.tolist() == [[4, 5]]
        assert kept.palette.tolist() == [[9, 8, 7], [6, 5, 4]]
    assert cached(reader, None) is reader
    assert set(json.loads((tmp_path / "cache" / "reader.json").read_text())) == {"samples", "first"}
