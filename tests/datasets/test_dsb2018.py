import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tfseg.datasets import dsb2018


def test_nuclei_are_as_documented(shared_data):
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


def test_the_files_of_the_competition_give_the_same(shared_data, tmp_path, monkeypatch):
    module = sys.modules[dsb2018.__module__]  # the function of the same name hides it
    for part in ("TRAIN", "VAL"):
        monkeypatch.setattr(module, part, " ".join(getattr(module, part).split()[:5]))
    derived = dsb2018(shared_data / "dsb2018_fluo")
    for part in derived:
        for index in range(len(part)):
            sample, folder = part[index], tmp_path / part.name(index)
            for name in ("images", "masks"):
                (folder / name).mkdir(parents=True)
            Image.fromarray(sample["image"]).save(folder / "images" / f"{part.name(index)}.png")
            for number in range(1, sample["instances"].max() + 1):
                mask = 255 * (sample["instances"] == number).astype(np.uint8)
                Image.fromarray(mask).save(folder / "masks" / f"{number:04d}.png")
    (tmp_path / "unrelated").mkdir()
    for expected, part in zip(derived, dsb2018(tmp_path), strict=True):
        assert len(part) == len(expected)
        for index in range(len(part)):
            assert part.name(index) == expected.name(index)
            for name, value in expected[index].items():
                assert np.array_equal(part[index][name], value), name
                assert part[index][name].dtype == value.dtype
    shutil.rmtree(tmp_path / derived[1].name(3))
    with pytest.raises(
        FileNotFoundError,
        match=f"lacks the image {derived[1].name(3)[:8]}... Download it from github",
    ):
        dsb2018(tmp_path)


def test_the_first_box_is_that_of_its_pixels(shared_data):
    sample = dsb2018(shared_data / "dsb2018_fluo")[1][0]
    y, x = np.nonzero(sample["instances"] == 1)
    assert sample["boxes"][0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
