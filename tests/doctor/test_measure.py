import numpy as np
import pytest
from PIL import Image

from tfseg.doctor.measure import label_statistics, measure_files


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_the_values_of_a_mask(dtype):
    mask = [
        [0, 0, 0, 3, 3, 9],
        [0, 0, 0, 3, 3, 9],
        [0, 0, 0, 3, 3, 9],
        [0, 0, 0, 9, 9, 9],
    ]
    labels = label_statistics(np.array(mask, dtype))
    assert labels.values.tolist() == [0, 3, 9]
    assert labels.pixels.tolist() == [12, 6, 6]
    # all eight neighbors alike (those beyond the border do not count): columns 0 and 1
    assert labels.inner.tolist() == [8, 0, 0]
    # a smaller and a greater value within two pixels: the threes; a nine has no greater one
    assert labels.between.tolist() == [0, 6, 0]


def test_large_ids_keep_their_order():
    labels = label_statistics(np.array([[70000, 5, 1_000_000]]))
    assert labels.values.tolist() == [5, 70000, 1_000_000]
    assert labels.between.tolist() == [0, 1, 0]
    assert labels.pixels.tolist() == [1, 1, 1]


def test_a_pair_of_files(tmp_path):
    image, mask = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).save(image)
    Image.fromarray(np.array([[(9, 9, 9), (1, 2, 3), (1, 2, 3), (1, 2, 3)]], np.uint8)).save(mask)
    sample = measure_files(image, mask)
    assert (sample.name, sample.size, sample.mask_size, sample.channels) == (
        str(image),
        (2, 4),
        (1, 4),
        3,
    )
    # channel 0 holds 0, 3, ..., 21: their sum is 84, that of their squares 9 * (0 + 1 + 4 + ... + 49) = 1260
    assert sample.moments[:, 0].tolist() == [8, 84, 1260]
    assert sample.colors == {(1, 2, 3): 3, (9, 9, 9): 1}
    assert sample.labels is None
    assert sample.faults == []


def test_every_fault_of_a_pair_is_kept(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("junk")
    sample = measure_files(tmp_path / "a.png", tmp_path / "b.png")
    assert [(kind, name) for kind, name, _ in sample.faults] == [
        ("unreadable", str(tmp_path / "a.png")),
        ("unreadable", str(tmp_path / "b.png")),
    ]
