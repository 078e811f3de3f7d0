import numpy as np
import pytest
from conftest import draw_sample
from PIL import Image

from tfseg.data import Arrays, Folder
from tfseg.doctor import check, diagnose

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
    assert summary.std == pytest.approx(flat.std(0).tolist())


def test_channels_of_more_than_8_bits_are_measured():
    images = np.random.default_rng(0).integers(0, 60000, (3, 20, 30, 2)).astype(np.uint16)
    summary = check(Arrays(images, np.zeros((3, 20, 30), np.uint8), NAMES), at_least=1)
    assert summary.mean == pytest.approx(images.mean((0, 1, 2)).tolist())
    assert summary.std == pytest.approx(images.std((0, 1, 2)).tolist())


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
    with pytest.raises(
        ValueError, match=r"(?s)2 problems:.*p1\.jpg is damaged.*p3\.png holds the value 77"
    ):
        check(reader)


def test_two_labeled_samples_are_needed():
    images, masks = zip(*(draw_sample(i) for i in range(3)), strict=True)
    empty = np.full_like(masks[0], 255)
    reader = Arrays(images, [masks[0], empty, empty], NAMES)
    with pytest.raises(ValueError, match="labeled pixel: 1 of 3; at least 2"):
        check(reader)
    assert check(reader, at_least=1).count == 3


def test_a_flat_image_has_a_deviation_to_divide_by():
    image = np.full((4, 4), 7, np.uint8)
    assert min(check(Arrays([image] * 2, [image * 0] * 2, ["a", "b"]), at_least=1).std) > 0


def test_objects_written_as_255_are_not_ignored_without_a_word():
    mask = np.array([[0, 0, 255, 255]] * 4, np.uint8)
    reader = Arrays([mask] * 2, [mask] * 2, ["background", "cell"])
    with pytest.raises(
        ValueError, match="All labeled pixels are of the class 'background'; 16 pixels are ignored"
    ):
        check(reader)
    assert check(reader, at_least=1).ignored_pixels == 16


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_no_network_can_use_are_told_of(value):
    images, masks = np.ones((2, 4, 4), np.float32), np.array([[[0, 1, 0, 1]] * 4] * 2, np.uint8)
    images[1, 2, 3] = value
    reader = Arrays(images, masks, ["a", "b"])
    with pytest.raises(ValueError, match="1 holds values that are NaN or infinite"):
        check(reader)
    assert any("NaN or infinite" in finding.message for finding in diagnose(reader).errors)


def test_class_shares_of_camvid_are_those_of_its_readme(shared_data):
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ]
    camvid = Folder(
        shared_data / "camvid/train", shared_data / "camvid/trainannot", names, ignore=11
    )
    summary = check(camvid)
    total = summary.class_pixels.sum() + summary.ignored_pixels
    stated = [16.8, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3]
    assert (100 * summary.class_pixels / total).round(1).tolist() == stated
    assert round(100 * summary.ignored_pixels / total, 1) == pytest.approx(3.9, abs=0.11)  # 3.95
