"""Instances of images and of tiles. The models are exact: the image contains their outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_runs import small_detector
from keras import layers

from tfseg.data import Arrays
from tfseg.datasets import dsb2018
from tfseg.inference import instance_predictor, predict_instances, tune_instances
from tfseg.metrics import average_precision
from tfseg.models import CropToImage, tiny_unet, with_thresholds
from tfseg.models.instances import ThingLogits
from tfseg.ops import object_probabilities, star_distances

RAYS, GRID = 8, 2


def select(channels, name):
    """Return a 1 x 1 convolution that selects channels, or a weighted sum for a matrix."""
    kernel = np.asarray(channels, np.float32)[None, None]
    return layers.Conv2D(
        kernel.shape[-1],
        1,
        use_bias=False,
        kernel_initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(kernel),
        name=name,
    )


@pytest.fixture(scope="module")
def star_model():
    """Return a star model for images of an object logit and the distances of each pixel."""
    image = keras.Input((None, None, 1 + RAYS))
    eye = np.eye(1 + RAYS)
    x = layers.AveragePooling2D(1, strides=GRID, padding="same")(image)
    logits = CropToImage(GRID, name="object_logits")(select(eye[:, :1], "object")(x), image)
    distances = CropToImage(GRID, name="distances")(select(eye[:, 1:], "rays")(x), image)
    return keras.Model(image, {"object_logits": logits, "distances": distances}, name="exact_star")


@pytest.fixture(scope="module")
def center_model():
    """Return a center model for images of a class, a center logit and the offsets."""
    image = keras.Input((None, None, 4))
    eye = np.eye(4)
    classes = np.array([[-9, 9], [0, 0], [0, 0], [0, 0]])  # the class is -1 or 1
    outputs = {
        "class_logits": ThingLogits((1,), name="class_logits")(
            select(classes, "classes")(image), image
        ),
        "center_logits": CropToImage(name="center_logits")(select(eye[:, 1:2], "c")(image), image),
        "offsets": CropToImage(name="offsets")(select(eye[:, 2:], "offset")(image), image),
    }
    return keras.Model(image, outputs, name="exact_center")


def star_image(labels):
    """Return the image (H, W, 1 + RAYS) for which the star model's outputs are the objects'."""
    probability = object_probabilities(labels[None])[0].clip(1e-4, 1 - 1e-4)
    image = np.zeros((*labels.shape, 1 + RAYS), np.float32)
    image[..., 0] = np.log(probability / (1 - probability))
    image[::GRID, ::GRID, 1:] = star_distances(labels[None], RAYS, GRID)[0]
    return image


def center_image(labels):
    """Return the image (H, W, 4) for which the center model's outputs are the objects'."""
    rows, columns = np.indices(labels.shape)
    sizes = np.maximum(np.bincount(labels.ravel()), 1)
    centers = [np.bincount(labels.ravel(), axis.ravel()) / sizes for axis in (rows, columns)]
    image = np.zeros((*labels.shape, 4), np.float32)
    image[..., 0] = np.where(labels > 0, 1, -1)
    image[..., 1] = -9
    nearest = [np.rint(axis[1:]).astype(int) for axis in centers]
    image[nearest[0], nearest[1], 1] = 3 - np.linspace(0, 1, len(nearest[0]))
    image[..., 2] = np.where(labels > 0, centers[0][labels] - rows, 0)
    image[..., 3] = np.where(labels > 0, centers[1][labels] - columns, 0)
    return image


IMAGES = {"star": star_image, "center": center_image}


@pytest.fixture
def models(star_model, center_model):
    return {"star": star_model, "center": center_model}


def discs(height=64, width=80):
    """Return touching discs, one of them cut by the border, and a single pixel."""
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.int32)
    for number, (row, column, radius) in enumerate(
        [(20, 20, 12), (20, 44, 12), (50, 30, 9), (62, 70, 11), (40, 62, 5)], 1
    ):
        labels[np.hypot(y - row, x - column) < radius] = number
    labels[4, 60] = 6
    return labels


@pytest.fixture(scope="module")
def mosaic(shared_data):
    """Return the numbered nuclei of 64 images side by side, 2,048 x 2,048 pixels."""
    train, _ = dsb2018(shared_data / "dsb2018_fluo")
    labels = np.zeros((2048, 2048), np.int32)
    for index in range(64):
        part = train[index]["instances"]
        row, column = np.divmod(index, 8) * np.array(256)
        shifted = np.where(part > 0, part + labels.max(), 0)
        labels[row : row + 256, column : column + 256] = shifted
    return labels


def ious(first, second):
    """Return the IoU of each object of a label map with the best one of another."""
    pairs = np.stack([first.ravel(), second.ravel()])
    (a, b), counts = np.unique(pairs, axis=1, return_counts=True)
    sizes, others = np.bincount(first.ravel()), np.bincount(second.ravel())
    iou = counts / (sizes[a] + others[b] - counts)
    best = np.zeros(len(sizes))
    is_pair = (a > 0) & (b > 0)
    np.maximum.at(best, a[is_pair], iou[is_pair])
    return best[1:][sizes[1:] > 0]


@pytest.mark.parametrize("head", ["star", "center"])
def test_objects_of_exact_outputs(models, head):
    labels = discs()
    found = predict_instances(models[head], IMAGES[head](labels))
    assert found["instances"].dtype == np.int32
    assert found["instances"].shape == labels.shape
    count = found["instances"].max()
    assert count == 6  # the single pixel is a sample of the grid
    assert sorted(np.unique(found["instances"])) == list(range(7))
    assert found["scores"].shape == found["classes"].shape == (6,)
    assert (np.diff(found["scores"]) <= 0).all()
    assert (found["classes"] == 0).all()
    worst = ious(labels, found["instances"]).min()
    assert worst == 1 if head == "center" else worst > 0.7
    if head == "center":
        np.testing.assert_array_equal(found["mask"], labels > 0)
    else:
        assert found["polygons"].shape == (6, RAYS, 2)
        single = found["polygons"][found["instances"][4, 60] - 1]
        np.testing.assert_allclose(single.mean(0), [60.5, 4.5], atol=1e-5)


@pytest.mark.parametrize("head", ["star", "center"])
def test_images_without_objects(models, head):
    image = IMAGES[head](discs() * 0)
    for tile in (None, 32):
        found = predict_instances(models[head], image, tile)
        assert not found["instances"].any()
        assert len(found["scores"]) == len(found["classes"]) == 0


@pytest.mark.parametrize("head", ["star", "center"])
@pytest.mark.parametrize("size", [(61, 83), (20, 97)])
def test_tiles_of_any_size_give_the_whole(models, head, size):
    labels = np.pad(discs(), 20, mode="wrap")[: size[0], : size[1]]
    image = IMAGES[head](labels)
    whole = predict_instances(models[head], image)
    tiled = predict_instances(models[head], image, tile=32)
    for name, values in whole.items():
        np.testing.assert_allclose(tiled[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["star", "center"])
def test_tiles_of_real_nuclei_give_the_whole(models, head, mosaic):
    """2,048 x 2,048 pixels: no object is split, doubled or lost at the borders of tiles."""
    image = IMAGES[head](mosaic)
    whole = predict_instances(models[head], image)
    tiled = predict_instances(models[head], image, tile=512)
    assert len(whole["scores"]) > 1500
    assert len(tiled["scores"]) == len(whole["scores"])
    np.testing.assert_array_equal(tiled["instances"], whole["instances"])
    np.testing.assert_allclose(tiled["scores"], whole["scores"], rtol=1e-6)
    assert (ious(mosaic, tiled["instances"]) > 0.5).mean() > 0.95


def box_outputs(model, image):
    """Return the detections of a perfect detector for an image of numbered objects."""
    labels = image[..., 0].astype(int)
    numbers = np.unique(labels[labels > 0])
    boxes = []
    for number in numbers:
        rows, columns = np.nonzero(labels == number)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    scores = 0.6 + 0.3 * (numbers * 0.618 % 1)
    order = np.append(np.argsort(-scores), len(numbers))  # the last row is padding
    return {
        "boxes": np.array([*boxes, [0, 0, 0, 0]], np.float32)[order],
        "scores": np.append(scores, 0).astype(np.float32)[order],
        "classes": np.append(numbers % 2, -1).astype(np.int32)[order],
        "masks": np.ones((len(order), 28, 28), np.float32),
    }


@pytest.fixture(scope="module")
def mask_rcnn():
    return with_thresholds(small_detector(), nms_iou=0.9)


def test_detections_of_tiles_are_those_of_the_whole(mask_rcnn, mosaic, monkeypatch):
    monkeypatch.setattr(instance_predictor, "outputs_of", box_outputs)
    image = np.repeat(mosaic[:400, :500, None], 3, -1)
    whole = predict_instances(mask_rcnn, image)
    tiled = predict_instances(mask_rcnn, image, tile=160)
    assert len(whole["scores"]) > 60
    for name in ("scores", "classes", "instances"):
        np.testing.assert_array_equal(tiled[name], whole[name])
    assert (np.diff(whole["scores"]) <= 0).all()


@pytest.fixture
def _untraced():
    """Run without tracing, which takes longer than to predict an image."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("_untraced")
def test_mask_rcnn_predicts_instances(mask_rcnn):
    image = np.zeros((64, 64, 3), np.uint8)
    found = predict_instances(mask_rcnn, image, object_threshold=0.01)
    assert found["instances"].shape == (64, 64)
    assert found["instances"].max() == len(found["scores"])
    assert set(found) == {"instances", "scores", "classes"}


def test_thresholds(star_model):
    labels = discs()
    image = star_image(labels)
    found = predict_instances(star_model, image)
    median = float(np.median(found["scores"][found["scores"] < found["scores"][0]]))
    strict = predict_instances(star_model, image, object_threshold=median)
    assert len(strict["scores"]) == (found["scores"] > median).sum() < 6
    doubled = predict_instances(star_model, image, nms_overlap=0.95)
    assert len(doubled["scores"]) > 6


def test_what_does_not_fit_is_refused(star_model, center_model):
    image = star_image(discs())
    with pytest.raises(ValueError, match="'tiny_unet' does not predict instances"):
        predict_instances(tiny_unet(2, filters=4), image)
    with pytest.raises(ValueError, match=r"expected \(H, W, 9\)"):
        predict_instances(star_model, image[..., :3])
    with pytest.raises(ValueError, match="nms_overlap=0.3 is for models with head='star'"):
        predict_instances(center_model, center_image(discs()), nms_overlap=0.3)
    with pytest.raises(ValueError, match="object_threshold=1.5 must be at least 0 and below 1"):
        predict_instances(star_model, image, object_threshold=1.5)
    with pytest.raises(ValueError, match="tile"):
        predict_instances(star_model, image, tile=0)


class Exact(Arrays):
    """Samples with "instances" and the images of an exact model."""

    def __init__(self, images, labels):
        super().__init__(
            images, [(map_ > 0).astype(np.uint8) for map_ in labels], ["background", "disc"]
        )
        self._labels = labels

    def __getitem__(self, index):
        return {**super().__getitem__(index), "instances": self._labels[index]}


def test_thresholds_are_tuned_by_average_precision(star_model):
    # The image has one false object with a probability of 0.7: the threshold must be higher.
    labels = discs()
    image = star_image(labels)
    wrong = labels == 5
    image[wrong, 0] = np.minimum(image[wrong, 0], np.log(0.7 / 0.3))
    target = np.where(wrong, 0, labels)
    tuning = tune_instances(star_model, Exact([image] * 2, [target] * 2))
    assert tuning.object_threshold >= 0.7
    assert tuning.nms_overlap in (0.3, 0.4, 0.5)
    assert tuning.ap > tuning.ap_untuned
    found = predict_instances(star_model, image, None, tuning.object_threshold, tuning.nms_overlap)
    again = average_precision([target] * 2, [found["instances"]] * 2)["mean_ap"]
    assert again == pytest.approx(tuning.ap, abs=1e-12)


def test_center_thresholds_are_tuned(center_model):
    labels = discs()
    image = center_image(labels)
    image[2, 2, :2] = 1, np.log(0.12 / 0.88)  # a false object of one pixel with a heat of 0.12
    tuning = tune_instances(center_model, Exact([image] * 2, [labels] * 2))
    assert (tuning.object_threshold, tuning.nms_overlap, tuning.ap) == (0.15, None, 1.0)
    assert tuning.ap_untuned < 1
