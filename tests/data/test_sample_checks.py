import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import (
    Arrays,
    Augment,
    Reader,
    Resize,
    TFRecords,
    pipeline,
    reading_error,
    write_tfrecords,
)
from tfseg.data.sample_checks import ImageChecks

NAMES = ["ground", "disc"]


class Custom(Reader):
    """A reader of a user, which returns arrays as they are."""

    def __init__(self, images, masks, fields=("image", "mask"), class_names=NAMES):
        images = [np.asarray(image) for image in images]
        sizes = [image.shape[:2] for image in images]
        super().__init__(class_names, sizes, images[0].shape[-1], images[0].dtype)
        self.images, self.masks, self.fields = images, masks, fields

    def __getitem__(self, index):
        sample = {"image": self.images[index], "mask": self.masks[index]}
        if "boxes" in self.fields:
            sample["boxes"] = np.array([[0, 0, 4, 4]], np.float32)
            sample["classes"] = np.array([self.masks[index].max()])
        return {name: sample[name] for name in self.fields}

    def name(self, index):
        return f"image{index}"


def drawn(count=4, side=16, dtype=np.uint8):
    """Return images in 0..255 and masks of 0 and 1."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, 3)).astype(dtype)
    masks = np.zeros((count, side, side), np.uint8)
    masks[:, 4:9, 5:] = 1
    return images, masks


def with_value(masks, value):
    """Return masks of which the second has one pixel of another value."""
    masks = list(masks.astype(np.asarray(value).dtype))
    masks[1][2, 3] = value
    return masks


def one_pass(reader, augment, **options):
    return list(pipeline(reader, 2, augment, **options))


CROPS = Augment(8)
STREAMS = pytest.mark.parametrize("augment", [None, CROPS], ids=["whole", "crops"])


# ---- labels ----


@pytest.mark.parametrize(
    ("value", "message", "augment"),
    [
        (np.uint8(2), "contains values that map to no class: 2 .*mask_values=", None),
        (np.int8(-1), "contains values that map to no class: -1 ", None),
        (np.uint16(256), "contains values that map to no class: 256 ", CROPS),  # 0 as a byte
        (np.float32(0.5), "contains fractions or NaN", None),
        (np.float32("nan"), "contains fractions or NaN", CROPS),
    ],
)
def test_masks_that_are_not_class_ids_raise(value, message, augment, without_xla):
    images, masks = drawn()
    with pytest.raises(tf.errors.OpError) as caught:
        one_pass(Custom(images, with_value(masks, value)), augment)
    assert str(reading_error(caught.value)).startswith("pipeline: the mask of 'image1' ")
    with pytest.raises(OSError, match=message):
        raise reading_error(caught.value)


@pytest.mark.parametrize("depth", [2, 3])
def test_colors_and_one_hot_masks_raise(depth):
    images, masks = drawn()
    deep = np.repeat(masks[..., None], depth, axis=-1)
    with pytest.raises(tf.errors.OpError, match=rf"is an array \(16, 16, {depth}\) of uint8"):
        one_pass(Custom(images, deep), None)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_masks_of_any_dtype_with_class_ids_are_read(dtype):
    images, masks = drawn()
    expected = [mask.numpy() for _, mask in one_pass(Arrays(images, masks, NAMES), None)]
    for shape in ((4, 16, 16), (4, 16, 16, 1)):
        found = one_pass(Custom(images, masks.astype(dtype).reshape(shape)), None)
        assert np.array_equal([mask for _, mask in found], expected)
        assert found[0][1].dtype == tf.uint8


def test_samples_with_invalid_masks_are_skipped_if_wanted():
    images, masks = drawn()
    reader = Custom(images, with_value(masks, np.uint8(7)))
    with pytest.warns(UserWarning, match="image1: pipeline: the mask of 'image1' contains values"):
        ((_, mask),) = pipeline(reader, 4, on_error="skip")
    assert np.unique(mask[1]).tolist() == [255]


def test_objects_of_unknown_classes_raise():
    images, masks = drawn()
    reader = Custom(images, with_value(masks, np.int32(9)), ("image", "boxes", "classes"))
    with pytest.raises(tf.errors.OpError, match="the objects of 'image1' have the class ids 9"):
        one_pass(reader, None)


@STREAMS
def test_masks_of_0_and_255_are_reported(augment, without_xla):
    images, masks = drawn()
    with pytest.warns(UserWarning, match=r"pipeline: .*pass mask_values={0: 0, 255: 1}"):
        one_pass(Custom(images, masks * np.uint8(255)), augment)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_pass(Custom(images, np.where(masks == 1, 255, masks.cumsum(1) > 2)), augment)


# ---- images ----


@pytest.mark.parametrize(
    ("dtype", "normalize", "augment"),
    [
        (np.float16, False, None),
        (np.float32, True, None),
        (np.float32, False, CROPS),
        (np.float64, True, CROPS),
    ],
)
def test_images_that_were_divided_by_255_are_reported(dtype, normalize, augment, without_xla):
    scale, shift, remedy = 1 / 255, 0, "Do not divide images by 255"
    if normalize:
        scale, shift, remedy = 1 / 50, -2.5, "Do not normalize images"
    images, masks = drawn()
    scaled = (images * scale + shift).astype(dtype)
    with pytest.warns(UserWarning, match=f"^pipeline: image[0-3]: the image values .*{remedy}"):
        one_pass(Custom(scaled, masks), augment)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_pass(Custom(scaled, masks), augment, value_range=(scaled.min(), scaled.max()))


def test_usual_images_are_not_reported(without_xla):
    images, masks = drawn()
    dark = [images[0], *(images[1:] // 255)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for usual in (dark, images.astype("float32"), images * 257.0, images - 128.0):
            one_pass(Custom(usual, masks), CROPS)
        for sixteen in (images.astype(np.uint16) * 257, images.astype(np.int16) - 1024):
            one_pass(Custom(sixteen, masks), None)
        normalized = Augment(8, normalization=(0.5, 0.2))
        one_pass(Custom(images / 255, masks), normalized)


@pytest.mark.parametrize(
    ("factor", "dtype", "trained"),
    [
        (1, np.uint8, (0, 65535)),
        (1, np.uint16, (0, 4095)),
        (16, np.uint16, (0, 65535)),
        (257, np.uint16, (0, 4095)),
        (1, np.float32, (0, 1)),
    ],
)
def test_images_outside_the_trained_range_are_reported(factor, dtype, trained):
    images, masks = drawn(dtype=dtype)
    images = images * dtype(factor)
    with pytest.warns(UserWarning, match=r"^pipeline: image\d: the image values .* was trained on"):
        one_pass(Custom(images, masks), None, value_range=trained)


def test_an_image_outside_the_range_is_reported_after_many_inside():
    images, masks = drawn(count=8, dtype=np.float32)
    images[:7] /= 255
    checks = ImageChecks(Custom(images, masks), expected=(0, 1))
    for index in range(7):
        checks.check(images[index], index)
    with pytest.warns(UserWarning, match=r"^pipeline: image7: .* was trained on"):
        checks.check(images[7], 7)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_that_colors_would_clip_are_refused(dtype, without_xla):
    images, masks = drawn(dtype=dtype)
    augment = Augment(8, brightness=0.1, value_range=(0, 1))
    message = r"is in 0\.\.255: the image has values outside of 0\.\.1, to which the color"
    with pytest.raises(tf.errors.OpError, match=r"image\d " + message):
        one_pass(Custom(images, masks), augment)
    with pytest.raises(ValueError, match="Augment: the image " + message):
        augment.sample({"image": images[0]})


def test_dark_images_within_a_narrow_range_are_accepted(without_xla):
    images, masks = drawn()
    augment = Augment(8, brightness=0.1, value_range=(0, 100))
    one_pass(Custom(images // 3, masks), augment)


def test_nan_is_reported_once():
    images, masks = drawn(dtype=np.float32)
    images[1:3, 5, 5] = np.nan
    with pytest.warns(UserWarning, match=r"the image of 'image\d' has NaN or infinite") as caught:
        one_pass(Custom(images, masks), None)
    assert len(caught) == 1


def test_single_dark_images_are_not_reported():
    images, masks = drawn(dtype=np.float32)
    images[:3] /= 255
    checks = ImageChecks(Custom(images, masks))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(4):
            checks.check(images[index], index)


# ---- color operations and the range of values ----


def readers_of(dtype):
    """Readers of whole images, tiles, subsets and boxes."""
    images, masks = drawn(dtype=dtype)
    arrays = Arrays(images, masks, NAMES)
    boxes = Custom(images, masks, ("image", "mask", "boxes", "classes"))
    return {"arrays": arrays, "subset": arrays.subset([2, 1]), "tiles": arrays.tiles(8)} | {
        "boxes": boxes
    }


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("arrays", np.uint16),
        ("arrays", np.int16),
        ("subset", np.float32),
        ("tiles", np.uint16),
        ("boxes", np.float32),
    ],
)
def test_colors_need_the_range_of_values(kind, dtype):
    reader = readers_of(dtype)[kind]
    message = f"Augment: brightness, noise of {np.dtype(dtype)} images .* Pass value_range="
    with pytest.raises(ValueError, match=message):
        pipeline(reader, 2, Augment(8, brightness=0.1, noise=0.1))
    pipeline(reader, 2, Augment(8, brightness=0.1, value_range=(0, 255)))
    pipeline(reader, 2, Augment(8, flip="both"))


@pytest.mark.parametrize("kind", ["arrays", "tiles", "boxes"])
def test_the_pipeline_provides_the_range_of_values(kind, without_xla):
    images = np.full((4, 16, 16, 3), 1000, np.uint16)
    masks = drawn()[1]
    reader = Arrays(images, masks, NAMES)
    if kind == "boxes":
        reader = Custom(images, masks, ("image", "mask", "boxes", "classes"))
    if kind == "tiles":
        reader = reader.tiles(8)
    augment = Augment(8, brightness=(0.1, 0.1))
    image, _ = next(iter(pipeline(reader, 2, augment, value_range=(0, 4095))))
    assert image.numpy() == pytest.approx(1409.5)
    own = Augment(8, brightness=(0.1, 0.1), value_range=(0, 2000))
    image, _ = next(iter(pipeline(reader, 2, own, value_range=(0, 4095))))
    assert image.numpy() == pytest.approx(1200)


def test_an_impossible_range_raises():
    with pytest.raises(ValueError, match=r"pipeline: value_range=\(9, 3\) must be \(lowest"):
        pipeline(readers_of(np.uint8)["arrays"], 2, value_range=(9, 3))


# ---- more than 255 classes ----


def many_classes():
    images = np.zeros((2, 12, 12, 3), np.uint8)
    masks = np.zeros((2, 12, 12), np.int32)
    masks[:, :4], masks[:, 4:6], masks[:, 6] = 255, 299, 65535
    return Arrays(images, masks, [f"class{class_id}" for class_id in range(300)])


@pytest.mark.parametrize("kind", ["arrays", "subset", "tiles", "records", "memory", "folder"])
def test_more_than_255_classes_pass_through(kind, tmp_path):
    reader, cache = many_classes(), None
    if kind == "subset":
        reader = reader.subset([1, 0])
    elif kind == "tiles":
        reader = reader.tiles(12)
    elif kind == "records":
        write_tfrecords(reader, tmp_path)
        reader = TFRecords(tmp_path)
    elif kind != "arrays":
        cache = "memory" if kind == "memory" else tmp_path / "cache"
    ((_, masks),) = pipeline(reader, 2, cache=cache)
    assert masks.dtype == tf.int32
    assert np.array_equal(masks, np.stack([many_classes()[i]["mask"] for i in range(2)]))


def test_more_than_255_classes_are_padded_and_cropped(without_xla):
    reader = many_classes()
    ((_, masks),) = pipeline(reader, 2, resize=Resize((12, 20)))
    assert (masks.numpy()[:, :, 12:] == 65535).all()
    ((_, masks),) = pipeline(reader, 2, Augment(20, cutout=(0.2, 0.2)))
    assert masks.dtype == tf.int32
    assert set(np.unique(masks)) == {0, 255, 299, 65535}
    sizes = Custom([np.zeros((5, 5, 1)), np.zeros((9, 7, 1))], [np.full((5, 5), 255)] * 2)
    sizes.class_names = reader.class_names
    sizes.masks[1] = np.full((9, 7), 299)
    ((_, masks),) = pipeline(sizes, 2, pad=True)
    assert set(np.unique(masks[0])) == {255, 65535}
