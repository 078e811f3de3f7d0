import numpy as np
import pytest
from PIL import Image

from conftest import draw_sample
from tfseg.data import Arrays, Folder
from tfseg.doctor import check, diagnose

NAMES = ["ground", "disc", "band"]


def images_and_masks(count):
    samples = [draw_sample(index) for index in range(count)]
    return [image for image, _ in samples], [mask for _, mask in samples]


def test_a_summary_counts_pixels_and_measures_channels():
    images, masks = images_and_masks(4)
    masks = [np.where(mask == 1, 255, mask).astype(np.uint8) for mask in masks]
    summary = check(Arrays(images, masks, NAMES))
    flat = np.stack(images).reshape(-1, 3).astype(float)
    assert summary.count == 4
    assert summary.class_pixels.tolist() == [np.sum(np.stack(masks) == i) for i in range(3)]
    assert summary.ignored_pixels == np.sum(np.stack(masks) == 255)
    assert summary.mean == pytest.approx(flat.mean(0).tolist())
    assert summary.std == pytest.approx(flat.std(0).tolist())


def test_class_weights_are_those_of_median_frequency():
    # frequencies 12/16 and 4/16, median 8/16
    mask = np.array([[0, 0, 0, 1]] * 4, np.uint8)
    summary = check(Arrays([mask] * 2, [mask] * 2, ["a", "b"]))
    assert summary.class_weights == pytest.approx([8 / 12, 8 / 4])


def test_channels_with_more_than_8_bits_are_measured():
    images = np.random.default_rng(0).integers(0, 60000, (3, 20, 30, 2)).astype(np.uint16)
    summary = check(Arrays(images, np.zeros((3, 20, 30), np.uint8), NAMES), min_samples=1)
    assert summary.mean == pytest.approx(images.mean((0, 1, 2)).tolist())
    assert summary.std == pytest.approx(images.std((0, 1, 2)).tolist())


def test_progress_is_reported_for_every_sample():
    images, masks = images_and_masks(3)
    totals = []

    def track(samples, total):
        for sample in samples:
            totals.append(total)
            yield sample

    check(Arrays(images, masks, NAMES), track)
    assert totals == [3, 3, 3]


def test_every_faulty_file_is_named_at_once(folder):
    damaged = folder / "images" / "p1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-300])
    mask = np.asarray(Image.open(folder / "masks" / "p3.png")).copy()
    mask[0, :3] = 77
    Image.fromarray(mask).save(folder / "masks" / "p3.png")
    reader = Folder(folder / "images", folder / "masks", NAMES)
    message = (
        r"(?s)2 problems:.*p1\.jpg is damaged.*p3\.png contains values that map to no class: 77"
    )
    with pytest.raises(ValueError, match=message):
        check(reader)


def test_two_labeled_samples_are_required():
    images, masks = images_and_masks(3)
    empty = np.full_like(masks[0], 255)
    reader = Arrays(images, [masks[0], empty, empty], NAMES)
    with pytest.raises(ValueError, match="Only 1 of 3 samples have a labeled pixel; at least 2"):
        check(reader)
    assert check(reader, min_samples=1).count == 3


def test_min_classes_is_independent_of_min_samples():
    mask = np.zeros((4, 4), np.uint8)
    reader = Arrays([mask] * 2, [mask] * 2, ["a", "b"])
    with pytest.raises(ValueError, match="All labeled pixels have the class 'a'; 0 pixels"):
        check(reader, min_samples=1, min_classes=2)
    assert check(reader, min_samples=2, min_classes=1).count == 2


def test_the_std_of_a_flat_image_is_above_zero():
    image = np.full((4, 4), 7, np.uint8)
    reader = Arrays([image] * 2, [image * 0] * 2, ["a", "b"])
    assert min(check(reader, min_samples=1).std) > 0


def test_a_class_drawn_as_255_is_refused():
    mask = np.array([[0, 0, 255, 255]] * 4, np.uint8)
    reader = Arrays([mask] * 2, [mask] * 2, ["background", "cell"])
    message = "class 'background'; 16 pixels are ignored.*pass mask_values={0: 0, 255: 1}"
    with pytest.raises(ValueError, match=message):
        check(reader)
    assert check(reader, min_samples=1).ignored_pixels == 16


def test_with_more_than_255_classes_255_is_one_of_them():
    masks = np.full((2, 4, 4), 65535, np.int32)
    masks[:, :2] = [[[255]], [[256]]]
    reader = Arrays(np.ones((2, 4, 4), np.uint8), masks, [f"class {i}" for i in range(300)])
    summary = check(reader)
    assert summary.class_pixels[[255, 256]].tolist() == [8, 8]
    assert summary.ignored_pixels == 16
    report = diagnose(reader)
    assert [row.name for row in report.classes if row.pixels] == ["class 255", "class 256"]
    assert report.ignored_pixels == 16


def test_ids_of_a_reader_that_are_no_classes_are_refused():
    class Wrong(Arrays):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "mask": np.full((4, 4), 7, np.uint8)}

    mask = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="its mask contains the ids 7. Expected 0 to 1, and 255"):
        check(Wrong([mask] * 2, [mask] * 2, ["a", "b"]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_errors(value):
    images, masks = np.ones((2, 4, 4), np.float32), np.array([[[0, 1, 0, 1]] * 4] * 2, np.uint8)
    images[1, 2, 3] = value
    reader = Arrays(images, masks, ["a", "b"])
    with pytest.raises(ValueError, match="1 contains NaN or infinite values"):
        check(reader)
    assert any("NaN or infinite" in finding.message for finding in diagnose(reader).errors)


CAMVID_NAMES = [
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


def test_class_fractions_of_camvid_equal_those_of_its_readme(shared_data):
    images, masks = shared_data / "camvid/train", shared_data / "camvid/trainannot"
    camvid = Folder(images, masks, CAMVID_NAMES, ignore_value=11)
    summary = check(camvid)
    total = summary.class_pixels.sum() + summary.ignored_pixels
    stated = [16.8, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3]  # shared/data/README.md
    assert (100 * summary.class_pixels / total).round(1).tolist() == stated
    assert round(100 * summary.ignored_pixels / total, 1) == pytest.approx(3.9, abs=0.11)  # 3.95
    # SegNet's weights are smaller by one factor; its labels have 2.5 times fewer pixels of signs.
    ratios = dict(
        zip(CAMVID_NAMES, np.divide(summary.class_weights, PUBLISHED_WEIGHTS), strict=True)
    )
    assert ratios.pop("sign") == pytest.approx(0.40, abs=0.01)
    assert np.median(list(ratios.values())) == pytest.approx(1.089, abs=0.01)
    assert all(abs(ratio / 1.089 - 1) < 0.12 for ratio in ratios.values())


# Class weights of SegNet (arXiv:1511.00561), from segnet_train.prototxt of its authors' tutorial
# (github.com/alexgkendall/SegNet-Tutorial). None of them is 1, as the weight of the median class
# must be: all are smaller than ours, by 1.09 in the median.
PUBLISHED_WEIGHTS = [
    0.2595,
    0.1826,
    4.5640,
    0.1417,
    0.9051,
    0.3826,
    9.6446,
    1.8418,
    0.6823,
    6.2478,
    7.3614,
]
