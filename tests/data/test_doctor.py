import numpy as np
import pytest
from conftest import draw_sample
from PIL import Image

from tfseg.data import Arrays, Folder, check

NAMES = ["ground", "disc", "band"]


def test_a_summary_counts_pixels_and_measures_channels():
    images, masks = zip(*(draw_sample(i) for i in range(4)), strict=True)
    masks = [np.where(mask == 1, 255, mask).astype(np.uint8) for mask in masks]
    summary = check(Arrays(images, masks, NAMES))
    flat = np.stack(images).reshape(-1, 3).astype(float)
    assert summary.count == 4
    assert summary.class_pixels.tolist() == [np.sum(np.stack(masks) == i) for i in range(3)]
    assert summary.ignored_pixels == np.sum(np.stack(masks) == 255)
    assert summary.mean == pytest.approx(flat.mean(0).tolist())
    assert summary.deviation == pytest.approx(flat.std(0).tolist())


def test_channels_of_more_than_8_bits_are_measured():
    images = np.random.default_rng(0).integers(0, 60000, (3, 20, 30, 2)).astype(np.uint16)
    summary = check(Arrays(images, np.zeros((3, 20, 30), np.uint8), NAMES))
    assert summary.mean == pytest.approx(images.mean((0, 1, 2)).tolist())
    assert summary.deviation == pytest.approx(images.std((0, 1, 2)).tolist())


def test_progress_is_told_of_every_sample():
    images, masks = zip(*(draw_sample(i) for i in range(3)), strict=True)
    seen = []

    def track(samples, total):
        for sample in samples:
            seen.append(total)
            yield sample

    check(Arrays(images, masks, NAMES), track)
    assert seen == [3, 3, 3]


def test_every_bad_file_is_named_at_once(folder):
    cut = folder / "images" / "p1.jpg"
    cut.write_bytes(cut.read_bytes()[:-300])
    mask = np.asarray(Image.open(folder / "masks" / "p3.png")).copy()
    mask[0, :3] = 77
    Image.fromarray(mask).save(folder / "masks" / "p3.png")
    reader = Folder(folder / "images", folder / "masks", NAMES)
    with pytest.raises(ValueError, match=r"(?s)2 problems:.*p1\.jpg is damaged.*p3\.png holds the value 77"):
        check(reader)


def test_two_labelled_samples_are_needed():
    images, masks = zip(*(draw_sample(i) for i in range(3)), strict=True)
    empty = np.full_like(masks[0], 255)
    reader = Arrays(images, [masks[0], empty, empty], NAMES)
    with pytest.raises(ValueError, match="labelled pixel: 1 of 3; at least 2"):
        check(reader)
    assert check(reader, at_least=1).count == 3


def test_a_flat_image_has_a_deviation_to_divide_by():
    image = np.full((4, 4), 7, np.uint8)
    assert min(check(Arrays([image] * 2, [image * 0] * 2, ["a", "b"])).deviation) > 0


def test_class_shares_of_camvid_are_those_of_its_readme(shared_data):
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    camvid = Folder(shared_data / "camvid/train", shared_data / "camvid/trainannot", names, ignore=11)
    summary = check(camvid)
    total = summary.class_pixels.sum() + summary.ignored_pixels
    stated = [16.8, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3]
    assert (100 * summary.class_pixels / total).round(1).tolist() == stated
    assert round(100 * summary.ignored_pixels / total, 1) == pytest.approx(3.9, abs=0.11)  # 3.95
