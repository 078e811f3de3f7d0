import numpy as np
import pytest

from conftest import draw_sample
from tfseg.data import Folder
from tfseg.doctor import diagnose

NAMES = ["ground", "disc", "band"]


def reader_of(folder, names=NAMES, **options):
    return Folder(folder / "images", folder / "masks", names, **options)


def names(reader):
    return [reader.name(i) for i in range(len(reader))]


def test_the_same_seed_gives_the_same_split_without_overlap(folder):
    reader = reader_of(folder)
    train, val = reader.split(0.34, seed=4)
    assert (len(train), len(val)) == (4, 2)
    assert set(names(train)) | set(names(val)) == {f"p{i}" for i in range(6)}
    assert names(val) == names(reader.split(0.34, seed=4)[1])
    assert any(names(val) != names(reader.split(0.34, seed=s)[1]) for s in range(5))
    assert np.array_equal(train[0]["mask"], draw_sample(int(train.name(0)[1:]))[1])


def test_neither_side_of_a_split_is_empty(folder):
    two = reader_of(folder).subset([0, 1])
    assert [len(part) for part in two.split(0.01)] == [1, 1]
    assert [len(part) for part in two.split(0.9)] == [1, 1]
    for reader, fraction in ((two, 0.0), (two, 1.0), (two.subset([0]), 0.5)):
        with pytest.raises(ValueError, match="at least two samples"):
            reader.split(fraction)


def test_class_names_are_checked(folder):
    with pytest.raises(ValueError, match="twice"):
        reader_of(folder, ["a", "a"])
    with pytest.raises(ValueError, match="got 0 names"):
        reader_of(folder, [])
    with pytest.raises(ValueError, match="got 65536 names, expected 1 to 65535"):
        reader_of(folder, map(str, range(65536)))
    with pytest.raises(ValueError, match="an empty name"):
        reader_of(folder, ["a", "b", ""])
    with pytest.raises(ValueError, match="got only 'background'. Name the object"):
        reader_of(folder, ["background"])
    for wrong in ("leaf", {"a", "b"}, {0: "a", 1: "b"}):
        with pytest.raises(ValueError, match="is not a list. Expected names in the order"):
            reader_of(folder, wrong)
    for wrong in (["background"], ["a", "a"]):  # the doctor rejects what a reader rejects
        with pytest.raises(ValueError, match="class_names"):
            diagnose((folder / "images", folder / "masks"), wrong)
