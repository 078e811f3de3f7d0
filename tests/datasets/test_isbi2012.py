import pytest

from tfseg.datasets import isbi2012
from tfseg.doctor import check


def test_sections_and_fractions_are_as_documented(shared_data):
    train, val = isbi2012(shared_data / "isbi2012_em")
    assert [train.name(i) for i in range(len(train))] == [str(i) for i in range(20)]
    assert [val.name(i) for i in range(len(val))] == ["20", "21", "22", "23"]
    assert (train.channels, train.class_names) == (1, ["membrane", "cell"])
    pixels = sum(check(part).class_pixels for part in (train, val))
    assert pixels.sum() == 24 * 512 * 512
    assert 100 * pixels / pixels.sum() == pytest.approx([22, 78], abs=0.6)  # 22.54 and 77.46
