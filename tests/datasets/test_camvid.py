import pytest

from tfseg.datasets import camvid
from tfseg.doctor import check


@pytest.fixture(scope="module")
def parts(shared_data):
    return camvid(shared_data / "camvid")


def test_counts_and_fractions_are_as_documented(parts):
    train, val = parts
    assert (len(train), len(val)) == (367, 101)
    assert (train.sizes == (360, 480)).all()
    assert (val.sizes == (360, 480)).all()
    summary = check(train)
    total = summary.class_pixels.sum() + summary.ignored_pixels
    stated = [16.8, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3]
    assert (100 * summary.class_pixels / total).round(1).tolist() == stated
    assert 100 * summary.ignored_pixels / total == pytest.approx(3.9, abs=0.1)
    assert check(val).class_pixels.min() > 0


def test_lists_sequences_and_colors(parts, shared_data):
    train, val = parts
    for reader, name in ((train, "train.txt"), (val, "val.txt")):
        assert len(reader.select(shared_data / "camvid" / name)) == len(reader)
    sequences = [train.name(i)[:6] for i in range(len(train))]
    assert [sequences.count(name) for name in ("0016E5", "0006R0", "0001TP")] == [204, 101, 62]
    assert {val.name(i)[:6] for i in range(len(val))} == {"0016E5"}
    first, second = train.split(0.3, groups=lambda name: name[:6])
    assert sorted((len(first), len(second))) in ([101, 266], [62, 305])
    assert train.palette[train.class_names.index("pavement")].tolist() == [60, 40, 222]
    assert len(train.palette) == len(train.class_names) == 11
