import json
import shutil
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from conftest import draw_sample
from tfseg.data import Arrays, Augment, Folder, Reader, Resize, pipeline
from tfseg.data.cache import _write_arrays, cached

NAMES = ["ground", "disc", "band"]


class Spy(Reader):
    """Arrays that count how often each sample is read."""

    def __init__(self, count=4, seed=0, names=NAMES):
        samples = [draw_sample(seed + i) for i in range(count)]
        self._arrays = Arrays(*zip(*samples, strict=True), names)
        super().__init__(names, self._arrays.sizes, 3, np.uint8)
        self.seen = Counter()

    def __getitem__(self, index):
        self.seen[index] += 1
        return self._arrays[index]


@pytest.fixture(params=["memory", "folder"])
def cache(request, tmp_path):
    return "memory" if request.param == "memory" else tmp_path / "new" / "cache"


def same_sample(first, second):
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name])
        for name in first
    )


def test_samples_are_decoded_once(cache):
    spy = Spy()
    reader = cached(spy, cache)
    spy.seen.clear()
    for _ in range(3):
        for i in range(4):
            assert same_sample(reader[i], spy._arrays[i])
            assert same_sample(reader.read(i), spy._arrays[i])
    assert spy.seen == {i: 1 for i in range(4)}


def test_a_sample_that_is_changed_does_not_change_the_cache(cache):
    reader = cached(Spy(), cache)
    sample = reader[0]
    del sample["mask"]
    sample["image"] = None
    assert same_sample(reader[0], Spy()[0])


def test_every_size_is_cached(cache):
    spy = Spy()
    reader = cached(spy, cache)
    spy.seen.clear()
    for _ in range(2):
        for shrink in (1, 2, 4):
            assert same_sample(reader.read(1, shrink), spy._arrays.read(1, shrink))
    assert spy.seen == {1: 3}


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 2},
        {"batch_size": 5, "augment": Augment(24, scale=(0.3, 0.5))},  # images read at half size
        {"batch_size": 2, "resize": Resize(12)},
    ],
)
def test_batches_are_the_same_with_a_cache(cache, options, without_xla):
    spy = Spy(5)
    expected, dataset = pipeline(Spy(5), **options), pipeline(spy, **options, cache=cache)
    for _ in range(2):
        for batch, cached_batch in zip(expected, dataset, strict=True):
            for values, cached_values in zip(batch, cached_batch, strict=True):
                assert np.array_equal(values, cached_values)
    # A folder's first sample is read once more, to recognize the dataset.
    first = 1 if cache == "memory" else 2
    assert spy.seen == {0: first} | {i: 1 for i in range(1, 5)}


def test_a_new_reader_uses_the_files_of_an_earlier_one(tmp_path):
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
        lambda: Spy(seed=7),  # the same names and sizes
        lambda: Spy().subset([1, 0, 2, 3]),
        lambda: Spy().tiles(48),
    ],
)
def test_the_folder_of_another_dataset_raises(tmp_path, other):
    cached(Spy(), tmp_path)
    message = r"The cache '.*' contains the samples of another dataset, .* Delete the folder, or"
    with pytest.raises(ValueError, match=message):
        cached(other(), tmp_path)


def test_a_damaged_first_sample_does_not_make_it_another_dataset(tmp_path, monkeypatch):
    first = cached(Spy(), tmp_path / "cache")[0]

    def damaged(reader, index):
        raise OSError("damaged")

    monkeypatch.setattr(Spy, "__getitem__", damaged)
    assert same_sample(cached(Spy(), tmp_path / "cache")[0], first)


def test_changed_masks_and_mask_values_make_it_another_dataset(folder, tmp_path):
    def reader(ids):
        return Folder(folder / "images", folder / "masks", NAMES, mask_values=dict(enumerate(ids)))

    cached(reader([0, 1, 2]), tmp_path / "cache")[0]
    cached(reader([0, 1, 2]), tmp_path / "cache")
    with pytest.raises(ValueError, match="or of this one before it was changed"):
        cached(reader([0, 2, 1]), tmp_path / "cache")
    file = folder / "masks" / "p3.png"
    Image.fromarray(np.asarray(Image.open(file)) * 0).save(file)
    with pytest.raises(ValueError, match="or of this one before it was changed"):
        cached(reader([0, 1, 2]), tmp_path / "cache")


def flip_byte(path):
    """Change one byte in the middle of an image."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip_byte,
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: _write_arrays(path, {"image": np.zeros((2, 2, 3))}),
        lambda path: path.write_bytes(b"[]\n"),
    ],
)
def test_damaged_files_are_decoded_again(tmp_path, damage):
    spy = Spy()
    reader = cached(spy, tmp_path)
    expected = reader[1]
    spy.seen.clear()
    damage(tmp_path / "1.raw")
    for _ in range(2):
        assert same_sample(reader[1], expected)
    assert spy.seen == {1: 1}


class Wrong(Spy):
    """Arrays of which one mask has an id that is not a class."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {**sample, "mask": sample["mask"] + np.uint8(7)} if index == 2 else sample


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_invalid_masks_are_refused_whenever_a_cache_is_opened(on_error, cache):
    if on_error == "skip":  # which fills the cache
        with pytest.warns(UserWarning, match="1 sample was skipped"):
            list(pipeline(Wrong(), 2, cache=cache, on_error="skip"))
    for _ in range(2):
        with pytest.raises(ValueError, match="map to no class: 7"):
            pipeline(Wrong(), 2, cache=cache)


def test_files_of_an_older_version_are_written_again(tmp_path):
    expected = [image.numpy() for image, _ in pipeline(Spy(), 2, cache=tmp_path)]
    for path in tmp_path.glob("*.raw"):
        path.write_bytes(path.read_bytes().lstrip())  # the header was not padded
    spy = Spy()
    found = [image.numpy() for image, _ in pipeline(spy, 2, cache=tmp_path)]
    assert all(map(np.array_equal, found, expected))
    assert spy.seen == {0: 2, 1: 1, 2: 1, 3: 1}  # the first also to recognize the dataset


@pytest.mark.parametrize("dtype", [">u2", "int64"])
def test_masks_of_other_dtypes_are_cached(dtype, cache):
    class Other(Spy):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "mask": sample["mask"].astype(dtype)}

    for (_, mask), (_, expected) in zip(
        pipeline(Other(), 2, cache=cache), pipeline(Spy(), 2), strict=True
    ):
        assert np.array_equal(mask, expected)


def test_a_full_disk_leaves_no_partial_file(tmp_path, monkeypatch):
    reader = cached(Spy(), tmp_path)

    def full(path, arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfseg.data.cache._write_arrays", full)
    with pytest.raises(OSError, match="No space left"):
        reader[0]
    assert [path.name for path in tmp_path.iterdir()] == ["reader.json"]


def test_a_killed_process_leaves_a_usable_folder(tmp_path, monkeypatch):
    written, left = tmp_path / "written", tmp_path / "left"
    reader = cached(Spy(), written)
    for i in range(2):
        reader[i]

    def half(path, arrays):
        _write_arrays(path, arrays)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        shutil.copytree(written, left)  # what a process leaves that is killed now

    with monkeypatch.context() as patch:
        patch.setattr("tfseg.data.cache._write_arrays", half)
        reader[2]
    assert sorted(path.name for path in left.glob("[0-9]*")) == ["0.raw", "1.raw"]
    assert sum(path.name.endswith("-2.raw") for path in left.iterdir()) == 1
    spy = Spy()
    reader = cached(spy, left)
    spy.seen.clear()
    for i in range(4):
        assert same_sample(reader[i], spy._arrays[i])
    assert spy.seen == {2: 1, 3: 1}


def test_threads_can_share_a_cache(cache):
    spy = Spy()
    reader = cached(spy, cache)
    wrong, errors = [], []

    def read_all():
        try:
            for i in list(range(4)) * 10:
                if not same_sample(reader[i], spy._arrays[i]):
                    wrong.append(i)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not errors


def test_samples_that_cannot_be_read_are_not_cached(folder, tmp_path):
    reader = cached(Folder(folder / "images", folder / "masks", NAMES), tmp_path / "cache")
    good = (folder / "images" / "p3.jpg").read_bytes()
    (folder / "images" / "p3.jpg").write_bytes(good[:400])
    with pytest.raises(OSError, match=r"p3\.jpg is damaged"):
        reader[3]
    (folder / "images" / "p3.jpg").write_bytes(good)
    assert reader[3]["image"].shape == (48, 56, 3)


def test_objects_are_cached(tmp_path):
    class Boxes(Spy):
        fields = ("image", "boxes", "classes")

        def __getitem__(self, index):
            boxes = np.array([[1, 2, 3, 4.5]] * index, np.float32).reshape(-1, 4)
            image = super().__getitem__(index)["image"]
            return {"image": image, "boxes": boxes, "classes": np.ones(index, np.int32)}

    for _ in range(2):
        reader = cached(Boxes(), tmp_path)
        assert (reader[0]["boxes"].shape, reader[0]["classes"].shape) == ((0, 4), (0,))
        assert reader[2]["boxes"].tolist() == [[1, 2, 3, 4.5]] * 2
        assert reader.fields == ("image", "boxes", "classes")


def test_a_cache_has_the_attributes_of_its_reader(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    mask = Image.fromarray(np.zeros((4, 5), np.uint8))
    mask.putpalette([9, 8, 7, 6, 5, 4])
    mask.save(tmp_path / "masks" / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "images" / "a.png")
    reader = Folder(tmp_path / "images", tmp_path / "masks", ["x", "y"])
    for cached_reader in (cached(reader, "memory"), cached(reader, tmp_path / "cache")):
        assert cached_reader.name(0) == "a"
        assert cached_reader.channels == 1
        assert cached_reader.dtype == np.uint8
        assert cached_reader.mask_values == {0: 0, 1: 1}
        assert cached_reader.sizes.tolist() == [[4, 5]]
        assert cached_reader.palette.tolist() == [[9, 8, 7], [6, 5, 4]]
    assert cached(reader, None) is reader
    assert set(json.loads((tmp_path / "cache" / "reader.json").read_text())) == {"samples", "first"}
