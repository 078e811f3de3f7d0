import unicodedata

import numpy as np
import pytest

from tfseg.data import Arrays
from tfseg.data.groups import group_keys, group_sizes

NAMES = ["ann_1", "ann_2", "bob_1", "sub/cat_1"]


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        (r"([a-z]+)_\d", ["ann", "ann", "bob", "cat"]),
        (r"\d", ["1", "2", "1", "1"]),  # without parentheses: the whole match
        (r"(?:sub/)?([a-z]+)_(\d)", ["ann", "ann", "bob", "cat"]),  # the first of two groups
    ],
)
def test_a_pattern_is_searched_in_each_name(pattern, keys):
    assert group_keys(NAMES, pattern) == keys


@pytest.mark.parametrize("pattern", ["(ann)_", "(ann)?"])
def test_names_without_a_match_are_listed_with_the_pattern(pattern):
    with pytest.raises(ValueError, match="no group for 2 of 4 names: bob_1, sub/cat_1") as error:
        group_keys(NAMES, pattern)
    assert repr(pattern) in str(error.value)


def write(folder, text, encoding="utf-8"):
    path = folder / "slides.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


ROWS = "image,slide,lab\nann_1,s1,x\nbob_1.PNG,s2,y\nann_2,s1,y\nsub\\cat_1.tif,s3,x\nother,s9,z\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_names_and_groups(tmp_path, encoding, delimiter):
    table = write(tmp_path, ROWS.replace(",", delimiter), encoding)
    assert group_keys(NAMES, table) == ["s1", "s1", "s2", "s3"]
    assert group_keys(NAMES, f"{table}:lab") == ["x", "y", "y", "x"]
    assert group_keys(NAMES, f"{table}:image") == ["ann_1", "ann_2", "bob_1.PNG", "sub\\cat_1.tif"]


def test_a_table_needs_no_header_and_may_write_accents_in_two_characters(tmp_path):
    name = "\xe4_1"
    decomposed = unicodedata.normalize("NFD", name)
    assert group_keys([name], write(tmp_path, f"{decomposed}.jpg, g\n")) == ["g"]
    assert group_keys([decomposed], write(tmp_path, f"{name}, g\n")) == ["g"]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("ann_1,a\nann_2,b\nann_1.png,c\n", "", "has more than one row for ann_1. Keep one"),
        ("ann_1,a\nbob_1,\n", "", r"no group for 3 of 4 names: ann_2, bob_1, sub/cat_1\. .*second"),
        ("ann_1\nann_2\n", "", "no group for 4 of 4 names"),
        (ROWS, ":Lab", "has the columns image, slide, lab, but no 'Lab'. Choose one of them"),
        ("", "", "is empty. Expected rows of a name and its group"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path, text, column, message):
    with pytest.raises(ValueError, match=message) as error:
        group_keys(NAMES, write(tmp_path, text) + column)
    assert "slides.csv" in str(error.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table of groups '.*gone\.csv'"):
        group_keys(NAMES, str(tmp_path / "gone.csv"))


def test_the_sizes_of_groups_are_worded():
    assert group_sizes(["a", "b", "a", "b"]) == "2 groups of 2 images"
    assert group_sizes(["a", "b"]) == "2 groups of 1 image"
    assert group_sizes(["a"] * 9 + ["b"] * 3) == "2 groups of 3 to 9 images"


def test_readers_are_split_by_a_pattern():
    reader = Arrays(np.zeros((12, 2, 2, 1), np.uint8), np.zeros((12, 2, 2), np.uint8), ["a", "b"])
    _, val = reader.split(0.1, groups=".$")  # the names are 0 to 11: 0 and 10 end alike
    ends = [val.name(index)[-1] for index in range(len(val))]
    assert len(set(ends)) == 1
    _, val = reader.k_fold(10, groups=".$")[0]
    assert len({val.name(index)[-1] for index in range(len(val))}) == 1
    with pytest.raises(ValueError, match=r"split: got 1 groups \(x\), expected at least 2"):
        reader.split(0.5, groups=["x"] * 12)
