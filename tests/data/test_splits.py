import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfseg.data import Arrays, Reader
from tfseg.data.splits import indices_of, k_fold, split

PATIENTS = ["ann"] * 5 + ["bob"] * 2 + ["cat"] * 1 + ["dan"] * 4


class Listed(Reader):
    """Samples without pixels: `present` lists the classes of each."""

    fields = ("image", "boxes", "classes")

    def __init__(self, present, names=None):
        self._present, self._names = present, names
        super().__init__(["a", "b", "c"], [(1, 1)] * len(present), 1, np.uint8)

    def __getitem__(self, index):
        return {"classes": np.array(self._present[index], np.int32)}

    def name(self, index):
        return self._names[index] if self._names else f"s{index}"


def names(reader):
    return [reader.name(i) for i in range(len(reader))]


def test_a_plain_split_equals_that_of_earlier_versions():
    # numpy.random.default_rng(4).permutation(10) is 1 0 7 2 9 8 6 4 3 5
    train, val = Listed([[]] * 10).split(0.34, seed=4)
    assert names(val) == ["s0", "s1", "s7"]
    assert names(train) == [f"s{i}" for i in range(10) if i not in (0, 1, 7)]


@pytest.mark.parametrize("stratify", [False, True])
def test_groups_stay_together(stratify):
    named = Listed([[0]] * 12, [f"{patient}{i}" for i, patient in enumerate(PATIENTS)])
    for seed in range(10):
        train, val = named.split(0.4, seed, groups=lambda name: name[:3], stratify=stratify)
        sides = [{name[:3] for name in names(part)} for part in (train, val)]
        assert not sides[0] & sides[1]
        assert abs(len(val) - 4.8) < 2  # possible sizes are 4, 5 and 6
    assert names(named.split(0.4, 9, PATIENTS, stratify)[1]) == names(val)


def test_groups_are_dealt_evenly_to_folds():
    folds = Listed([[]] * 12).k_fold(3, groups=PATIENTS)
    assert sorted(len(val) for _, val in folds) == [3, 4, 5]  # bob with cat
    assert sorted(len(train) for train, _ in folds) == [7, 8, 9]


def test_folds_without_groups_are_even_and_contain_each_sample_once():
    reader = Listed([[]] * 11)
    folds = reader.k_fold(3, seed=1)
    assert sorted(len(val) for _, val in folds) == [3, 4, 4]
    assert sorted(name for _, val in folds for name in names(val)) == sorted(names(reader))
    for train, val in folds:
        assert set(names(train)) | set(names(val)) == set(names(reader))
    assert names(folds[0][1]) != names(reader.k_fold(3, seed=2)[0][1])


def counts(indices, present):
    return np.bincount(
        np.concatenate([[], *(present[i] for i in indices)]).astype(int), minlength=3
    )


def test_stratified_folds_contain_the_classes_in_equal_proportions():
    # 20 samples contain a, 10 b and 5 c, so each of 5 folds gets 4, 2 and 1. Without stratification
    # some fold lacks c, for each of ten seeds.
    present = [[0, 1]] * 6 + [[0, 2]] * 2 + [[1]] * 4 + [[2]] * 3 + [[0]] * 12 + [[]] * 8
    reader = Listed(present)
    for seed in range(10):
        for train, val in k_fold(reader, 5, seed, stratify=True):
            assert counts(val, present).tolist() == [4, 2, 1]
            assert counts(train, present).tolist() == [16, 8, 4]
            assert len(val) == 7
        assert any(counts(val, present)[2] == 0 for _, val in k_fold(reader, 5, seed))


def test_a_stratified_split_reads_the_masks():
    masks = np.zeros((30, 4, 5), np.uint8)
    masks[:10, 0, 0], masks[10:20, 1, 1], masks[20:, 2, 2] = 1, 2, 255
    reader = Arrays(np.zeros((30, 4, 5, 1), np.uint8), masks, ["ground", "b", "c"])
    for seed in range(5):
        val = {int(name) for name in names(reader.split(0.3, seed, stratify=True)[1])}
        counts = [len(val & set(range(start, start + 10))) for start in (0, 10, 20)]
        assert counts == [3, 3, 3]


def test_stratified_groups_balance_classes():
    # 8 patients of 3 sections; c is only in ann and bob, b in four of them
    groups = np.repeat(np.arange(8), 3)
    present = [[0, 2]] * 6 + [[0, 1]] * 12 + [[0]] * 6
    for seed in range(5):
        train, val = split(Listed(present), 0.5, seed, groups.tolist(), stratify=True)
        assert counts(val, present).tolist() == counts(train, present).tolist() == [12, 6, 3]
        assert not set(groups[train]) & set(groups[val])


def test_a_class_of_a_single_sample_is_in_train():
    present = [[0]] * 9 + [[0, 2]]
    for seed in range(5):
        assert 9 in split(Listed(present), 0.3, seed, stratify=True)[0]


def test_no_side_of_a_stratified_split_is_empty():
    assert [len(side) for side in split(Listed([[0]] * 3), 0.01, stratify=True)] == [2, 1]
    # the smallest of the groups of 4, 1 and 2 samples is moved
    groups = [0, 0, 0, 0, 1, 2, 2]
    assert split(Listed([[0]] * 7), 0.01, 0, groups, stratify=True)[1].tolist() == [4]
    assert split(Listed([[0]] * 7), 0.99, 0, groups, stratify=True)[0].tolist() == [4]


def test_too_few_groups_are_rejected():
    reader = Listed([[]] * 12)
    with pytest.raises(ValueError, match=r"split: got 1 groups \(x\), expected at least 2"):
        reader.split(0.5, groups=["x"] * 12)
    with pytest.raises(
        ValueError, match=r"k_fold: got 4 groups \(ann, bob, cat, dan\), expected at least 5"
    ):
        reader.k_fold(5, groups=PATIENTS, stratify=True)
    with pytest.raises(ValueError, match="k_fold: got 12 samples, expected at least 13"):
        reader.k_fold(13)
    with pytest.raises(ValueError, match="groups: got 11 keys for 12 samples"):
        reader.split(0.5, groups=PATIENTS[1:])
    with pytest.raises(ValueError, match="k=1 leaves nothing to train on"):
        reader.k_fold(1)
    with pytest.raises(ValueError, match="k=2.5 must be a whole number"):
        reader.k_fold(2.5)


@st.composite
def cases(draw):
    count = draw(st.integers(2, 24))
    present = draw(
        st.lists(st.lists(st.integers(0, 2), max_size=3), min_size=count, max_size=count)
    )
    groups = draw(st.none() | st.lists(st.integers(0, 5), min_size=count, max_size=count))
    return Listed(present), groups, draw(st.booleans()), draw(st.integers(0, 2**31))


def check_sides(sides, groups, count):
    assert sorted(np.concatenate(sides).tolist()) == list(range(count))
    assert all(len(side) for side in sides)
    assert all((np.diff(side) > 0).all() for side in sides)
    if groups is not None:
        groups_of = [{groups[i] for i in side} for side in sides]
        assert sum(map(len, groups_of)) == len(set(groups))


@settings(max_examples=40, deadline=None)
@given(cases(), st.floats(0.01, 0.99))
def test_a_split_is_a_partition_of_whole_groups(case, fraction):
    reader, groups, stratify, seed = case
    if groups is not None and len(set(groups)) < 2:
        return
    sides = split(reader, fraction, seed, groups, stratify)
    check_sides(sides, groups, len(reader))
    again = split(reader, fraction, seed, groups, stratify)
    assert [side.tolist() for side in sides] == [side.tolist() for side in again]


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(2, 6))
def test_folds_are_a_partition_of_whole_groups(case, k):
    reader, groups, stratify, seed = case
    if len(reader if groups is None else set(groups)) < k:
        return
    folds = k_fold(reader, k, seed, groups, stratify)
    check_sides([val for _, val in folds], groups, len(reader))
    for train, val in folds:
        check_sides([train, val], groups, len(reader))
    again = k_fold(reader, k, seed, groups, stratify)
    assert [val.tolist() for _, val in folds] == [val.tolist() for _, val in again]


def test_samples_are_selected_by_name(tmp_path):
    reader = Listed([[]] * 12)
    assert names(reader.select(["s7", "s2"])) == ["s7", "s2"]
    path = tmp_path / "val.txt"
    path.write_bytes("\ufeffs3\r\n\r\n  s11 \r\n".encode())
    assert names(reader.select(path)) == names(reader.select(str(path))) == ["s3", "s11"]


def test_names_in_lists_may_have_suffixes_and_decomposed_accents():
    reader = Listed([[]] * 3)
    assert names(reader.select(["s2.jpg", "s0.PNG"])) == ["s2", "s0"]
    with pytest.raises(ValueError, match=r"1 of 1 names are unknown: s2\.v1"):
        reader.select(["s2.v1"])
    reader.name = lambda index: unicodedata.normalize("NFD", f"\xfc{index}")
    assert indices_of(reader, [unicodedata.normalize("NFC", "\xfc1"), "\xfc2"]) == [1, 2]


def test_unknown_names_are_listed(tmp_path):
    reader = Listed([[]] * 12)
    with pytest.raises(
        ValueError, match=r"select: 2 of 3 names are unknown: s12, t1\. .*such as 's0'"
    ):
        reader.select(["s12", "s1", "t1"])
    path = tmp_path / "val.txt"
    path.write_text("\n".join(f"x{i}" for i in range(10)))
    with pytest.raises(ValueError, match=r"val\.txt: 10 of 10 names .* x7 \.\.\.\. Samples"):
        reader.select(path)
    path.write_text("\n\n")
    with pytest.raises(ValueError, match=r"val\.txt: got no names"):
        reader.select(path)
    with pytest.raises(FileNotFoundError, match=r"no list of names .*gone\.txt"):
        reader.select(tmp_path / "gone.txt")


def test_a_large_group_is_not_drawn_if_a_smaller_one_fits():
    # 30 of 100 samples are wanted from groups of 60, 25 and 15: 25 alone or 25 + 15 is closest.
    groups = [0] * 60 + [1] * 25 + [2] * 15
    assert {len(split(Listed([[]] * 100), 0.3, seed, groups)[1]) for seed in range(20)} == {25, 40}
