import numpy as np
import pytest

from tfseg.datasets import dsb2018


def test_nuclei_are_those_of_the_readme(shared_data):
    train, val = dsb2018(shared_data / "dsb2018_fluo")
    assert (len(train), len(val)) == (80, 20)
    samples = [part[i] for part in (train, val) for i in range(len(part))]
    counts = [len(sample["boxes"]) for sample in samples]
    assert (sum(counts), min(counts), np.median(counts), max(counts)) == (2896, 1, 22, 101)
    assert 100 * np.mean([sample["mask"].mean() for sample in samples]) == pytest.approx(7, abs=0.5)
    for sample in samples:
        assert sample["instances"].max() == len(sample["boxes"]) == len(sample["classes"])
        assert np.array_equal(sample["mask"], sample["instances"] > 0)
        assert (sample["boxes"][:, :2] < sample["boxes"][:, 2:]).all()


def test_the_first_box_is_that_of_its_pixels(shared_data):
    sample = dsb2018(shared_data / "dsb2018_fluo")[1][0]
    y, x = np.nonzero(sample["instances"] == 1)
    assert sample["boxes"][0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
