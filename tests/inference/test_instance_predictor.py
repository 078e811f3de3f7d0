"""Instances of images and of tiles. The models are exact: the image contains their outputs."""

import exact_instances
import numpy as np
import pytest
import tensorflow as tf
from detector_runs import small_detector
from exact_instances import IMAGES, RAYS, center_image, discs, star_image

from tfseg.datasets import dsb2018
from tfseg.inference import instance_predictor, predict_instances
from tfseg.models import tiny_unet, with_thresholds


@pytest.fixture(scope="module")
def star_model():
    return exact_instances.star_model()


@pytest.fixture(scope="module")
def center_model():
    return exact_instances.center_model()


@pytest.fixture
def models(star_model, center_model):
    return {"star": star_model, "center": center_model}


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


def box_outputs(model, image, flips=False):
    """Return the detections of a perfect detector for an image of numbered objects; no flips."""
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
