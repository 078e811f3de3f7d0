import numpy as np
import pytest
from PIL import Image

from tfseg.doctor.measure import (
    Sample,
    channel_statistics,
    label_statistics,
    measure_files,
)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_values_of_a_mask(dtype):
    mask = [
        [0, 0, 0, 3, 3, 9],
        [0, 0, 0, 3, 3, 9],
        [0, 0, 0, 3, 3, 9],
        [0, 0, 0, 9, 9, 9],
    ]
    labels = label_statistics(np.array(mask, dtype))
    assert labels.values.tolist() == [0, 3, 9]
    assert labels.pixels.tolist() == [12, 6, 6]
    # eight equal neighbors, without those outside the image: columns 0 and 1
    assert labels.interior.tolist() == [8, 0, 0]
    # a smaller and a greater value within two pixels: the threes; no value is greater than 9
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
    assert (sample.name, sample.channels) == (str(image), 3)
    assert (sample.size, sample.mask_size) == ((2, 4), (1, 4))
    # channel 0 is 0, 3, ..., 21: the sum is 84, that of squares 9 * (0 + 1 + 4 + ... + 49) = 1260
    assert sample.moments[:, 0].tolist() == [8, 84, 1260]
    assert sample.colors == {(1, 2, 3): 3, (9, 9, 9): 1}
    assert sample.labels is None
    assert sample.faults == []


def test_a_gif_mask_has_no_palette(tmp_path):
    Image.fromarray(np.array([[0, 2, 2, 1]], np.uint8)).save(tmp_path / "b.gif")
    sample = measure_files(None, tmp_path / "b.gif")
    assert sample.labels.values.tolist() == [0, 1, 2]
    assert sample.palette is None


def test_every_fault_of_a_pair_is_recorded(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("junk")
    sample = measure_files(tmp_path / "a.png", tmp_path / "b.png")
    assert [(kind, name) for kind, name, _ in sample.faults] == [
        ("unreadable", str(tmp_path / "a.png")),
        ("unreadable", str(tmp_path / "b.png")),
    ]


def test_gray_images_count_in_all_channels():
    gray = Sample("gray", moments=np.array([[2], [10], [58]]))  # pixels 3 and 7
    color = Sample("color", moments=np.array([[1, 1, 1], [2, 8, 5], [4, 64, 25]]))
    mean, std = channel_statistics([gray, Sample("unreadable"), color])
    assert mean == pytest.approx([4, 6, 5])
    # variances: (58 + 4) / 3 - 16, (58 + 64) / 3 - 36, (58 + 25) / 3 - 25
    assert std == pytest.approx([(14 / 3) ** 0.5, (14 / 3) ** 0.5, (8 / 3) ** 0.5])
    assert channel_statistics([Sample("unreadable")]) == ([], [])
