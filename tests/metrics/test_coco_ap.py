"""CocoAP gives the numbers of pycocotools 2.0.11."""

import contextlib
import io
import json
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import tfseg
from tfseg.metrics import CocoAP

NUM_CLASSES = 4
SIZE = 130  # of random images, in pixels


def peer_coco(images, num_classes, kind, key, first_id=1):
    """Return pycocotools' object of the labels or detections."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index, "width": 640, "height": 640} for index in range(len(images))],
        "categories": [{"id": index} for index in range(num_classes)],
        "annotations": [
            {"id": 0, "image_id": index, "iscrowd": 0, **annotation}
            for index, image in enumerate(images)
            for annotation in annotations_of(image[key], kind)
        ],
    }
    for number, annotation in enumerate(coco.dataset["annotations"], first_id):
        annotation["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def annotations_of(objects, kind):
    """Yield COCO annotations of arrays."""
    for row, class_id in enumerate(objects["classes"].tolist()):
        if class_id < 0:
            continue
        x_min, y_min, x_max, y_max = objects["boxes"][row].astype(float).tolist()
        annotation = {
            "category_id": class_id,
            "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
            "area": (x_max - x_min) * (y_max - y_min),
        }
        if kind == "masks":
            annotation["segmentation"] = objects["rle"][row]
            annotation["area"] = float(mask_api.area(objects["rle"][row]))
        if "areas" in objects:
            annotation["area"] = float(objects["areas"][row])
        if "scores" in objects:
            annotation["score"] = float(objects["scores"][row])
        if "crowd" in objects:
            annotation["iscrowd"] = int(objects["crowd"][row])
        yield annotation


def peer(images, num_classes=NUM_CLASSES, kind="boxes", max_detections=100, first_id=1):
    """Return pycocotools' evaluation; its `stats` are the twelve scores."""
    targets = peer_coco(images, num_classes, kind, "labels", first_id)
    found = peer_coco(images, num_classes, kind, "detections")
    return evaluate(targets, found, kind, max_detections)


def evaluate(targets, found, kind, max_detections=100):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(targets, found, {"boxes": "bbox", "masks": "segm"}[kind])
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def ours(images, num_classes=NUM_CLASSES, kind="boxes", **options):
    metric = CocoAP(num_classes, kind, **options)
    for image in images:
        metric.update_state(image["labels"], image["detections"])
    return metric


def assert_equal(metric, evaluation):
    """Compare all scores; pycocotools has -1 where ours are NaN."""
    assert np.nan_to_num(list(metric.result().values()), nan=-1) == pytest.approx(
        evaluation.stats, abs=1e-9
    )
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    per_class = metric.per_class()
    for name, expected in (
        ("ap", precision[..., 0, 2].mean((0, 1))),
        ("ap_medium", precision[..., 2, 2].mean((0, 1))),
        ("ar10", recall[:, :, 0, 1].mean(0)),
    ):
        assert np.nan_to_num(per_class[name], nan=-1) == pytest.approx(expected, abs=1e-9)
    curves = metric.precision_recall(0.75)
    for name, key in (("precision", "precision"), ("score", "scores")):
        expected = evaluation.eval[key][5, :, :, 0, 2].T
        assert np.nan_to_num(curves[name], nan=-1) == pytest.approx(expected, abs=1e-9)


def random_boxes(rng, count):
    """Return boxes of whole numbers, many of them equal, around the limits of the sizes."""
    sides = rng.choice([8, 16, 31, 32, 33, 64, 95, 96, 97], (count, 1)) + rng.choice(
        [0, 0, 0, 1, 4], (count, 2)
    )
    low = rng.integers(0, 4, (count, 2)) * 8
    return np.concatenate([low, low + sides], axis=1).astype("float32")


def random_image(rng, most_detections):
    """Return labels and detections with ties, crowds, padding and misses; any of them empty."""
    classes = rng.choice([[0, 1, 2], [0, 0, 3]])  # at most three of the four have objects
    count = rng.integers(0, 9)
    boxes = random_boxes(rng, count)
    labels = {
        "boxes": boxes,
        "classes": rng.choice([*classes, -1], count).astype("int32"),
        "crowd": rng.random(count) < 0.2,
    }
    if rng.random() < 0.5:
        labels["areas"] = rng.choice([100, 1024, 1025, 9216, 9217], count).astype("float32")
    found = rng.integers(0, most_detections + 1)
    near = boxes[rng.integers(0, count, found)] if count else random_boxes(rng, found)
    is_moved = rng.random((found, 1)) < 0.7
    near = near + is_moved * rng.integers(-6, 7, (found, 4)).astype("float32")
    near[:, 2:] = np.maximum(near[:, :2] + 1, near[:, 2:])
    detections = {
        "boxes": near,
        "classes": rng.choice([0, 0, 1, 2, 3, -1], found).astype("int32"),
        "scores": rng.choice([0.1, 0.3, 0.5, 0.5, 0.9], found).astype("float32"),
    }
    return {"labels": labels, "detections": detections}


def rectangle(box):
    mask = np.zeros((SIZE, SIZE), np.uint8, "F")
    x_min, y_min, x_max, y_max = np.maximum(box, 0).astype(int)
    mask[y_min:y_max, x_min:x_max] = 1
    mask[y_min + 3, x_min:x_max] = 0  # a mask is not its box
    return mask_api.encode(mask)


def with_rle(image):
    for objects in image.values():
        objects["rle"] = [rectangle(box) for box in objects["boxes"]]
    return image


def test_random_boxes():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        most = 130 if seed % 20 == 0 else 12
        images = [random_image(rng, most) for _ in range(rng.integers(1, 4))]
        assert_equal(ours(images), peer(images))


def test_random_masks():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        images = [with_rle(random_image(rng, 9)) for _ in range(rng.integers(1, 4))]
        assert_equal(ours(images, kind="masks"), peer(images, kind="masks"))


def test_more_than_100_objects():
    rng = np.random.default_rng(0)
    low = np.stack(np.meshgrid(np.arange(0, 150, 10), np.arange(0, 150, 10)), -1).reshape(-1, 2)
    boxes = np.concatenate([low, low + 8], axis=1).astype("float32")
    labels = {"boxes": boxes, "classes": np.zeros(len(boxes), int)}
    scores = rng.permutation(len(boxes)) / len(boxes)
    images = [{"labels": labels, "detections": {**labels, "scores": scores}}]
    metric = ours(images, 1)
    assert_equal(metric, peer(images, 1))
    assert metric.result()["ar100"] == pytest.approx(100 / 225)
    raised = ours(images, 1, max_detections=300)
    assert raised.result()["ap"] == pytest.approx(1)
    assert raised.result()["ar300"] == 1
    # pycocotools computes only AP50 and AP75 with another limit than 100
    assert raised.result()["ap50"] == pytest.approx(peer(images, 1, max_detections=300).stats[1])


def test_by_hand():
    # The best detection hits an object with IoU 0.82, the second is wrong, the third is exact:
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1. From the right it is 1 up to recall 0.5 (51 of
    # 101 recalls) and 2/3 above (50). At the 3 of 10 thresholds above 0.82 the first one is wrong
    # too: precision 1/3 at recall 1/2. The first object and the wrong detection are small.
    labels = {"boxes": np.array([[0, 0, 10, 100], [50, 50, 90, 90]]), "classes": np.array([0, 0])}
    detections = {
        "boxes": np.array([[50, 50, 90, 90], [0, 0, 10, 82], [200, 0, 210, 10]]),
        "classes": np.array([0, 0, 0]),
        "scores": np.array([0.2, 0.9, 0.5]),
    }
    metric = CocoAP(1)
    metric.update_state(labels, detections)
    result = metric.result()
    loose, strict = (51 + 50 * 2 / 3) / 101, 51 / 3 / 101
    assert result["ap50"] == result["ap75"] == pytest.approx(loose)
    assert result["ap"] == pytest.approx(0.7 * loose + 0.3 * strict)
    assert (result["ar1"], result["ar10"]) == pytest.approx((0.35, 0.85))
    assert result["ap_small"] == pytest.approx(0.7)
    assert np.isnan(result["ap_large"])


@pytest.mark.parametrize(("order", "ap"), [([0, 1], 1), ([1, 0], 51 / 101)])
def test_of_equal_iou_the_later_object_is_taken(order, ap):
    # The first detection has IoU 5/7 with both objects, the second is the object on the left.
    boxes = np.array([[0, 0, 12, 10], [4, 0, 16, 10]])
    labels = {"boxes": boxes[order], "classes": np.array([0, 0])}
    detections = {
        "boxes": np.array([[2, 0, 14, 10], [0, 0, 12, 10]]),
        "classes": np.array([0, 0]),
        "scores": np.array([0.9, 0.5]),
    }
    images = [{"labels": labels, "detections": detections}]
    metric = ours(images, 1)
    assert metric.precision_recall(0.7)["ap"] == pytest.approx([ap])
    assert_equal(metric, peer(images, 1))


def test_the_peer_ignores_a_match_with_annotation_id_0():
    """pycocotools stores the id of the match and takes 0 for none, so oracles must start at 1."""
    box = {"boxes": np.array([[0, 0, 9, 9]]), "classes": np.array([0])}
    images = [{"labels": box, "detections": {**box, "scores": np.array([0.5])}}]
    assert peer(images, 1, first_id=0).stats[0] == 0
    assert peer(images, 1).stats[0] == pytest.approx(1)
    assert ours(images, 1).result()["ap"] == pytest.approx(1)


def padded(objects, count):
    """Return the arrays of an image with `count` rows, padded by rows that would be wrong."""
    return {
        name: np.pad(
            values,
            [(0, count - len(values)), *[(0, 0)] * (values.ndim - 1)],
            constant_values=-1 if name == "classes" else 1,
        )
        for name, values in objects.items()
    }


def test_batches_with_padding_and_tensors():
    rng = np.random.default_rng(5)
    images = [random_image(rng, 9) for _ in range(6)]
    for image in images:
        image["labels"].pop("areas", None)
    expected = ours(images).result()
    batch = {
        key: {
            name: np.stack([padded(image[key], 10)[name] for image in images])
            for name in images[0][key]
        }
        for key in ("labels", "detections")
    }
    metric = CocoAP(NUM_CLASSES)
    metric.update_state(**batch)
    assert metric.result() == pytest.approx(expected, nan_ok=True)
    metric.reset_state()
    assert np.isnan(metric.result()["ap"])
    tensors = {
        key: {name: keras.ops.convert_to_tensor(value) for name, value in objects.items()}
        for key, objects in batch.items()
    }
    metric.update_state(**tensors)
    assert metric.result() == pytest.approx(expected, nan_ok=True)


def test_instances_and_pasted_masks():
    """Masks of label maps, and 28 x 28 masks pasted into the image, are those of pycocotools."""
    rng = np.random.default_rng(1)
    instances = np.zeros((90, 120), np.int32)
    instances[10:50, 20:70], instances[45:85, 60:110], instances[0:20, 0:15] = 1, 2, 4
    instances[60:65, 0:120] = 0  # the second object has two pieces
    labels = {
        "boxes": np.float32([[20, 10, 70, 50], [60, 45, 110, 85], [0, 70, 40, 90], [0, 0, 15, 20]]),
        "classes": np.array([0, 1, -1, 1]),
        "crowd": np.array([False, False, False, True]),
        "instances": instances,
    }
    detections = {
        "boxes": np.float32(
            [[18, 9, 72, 53], [61, 44.5, 120, 86], [2, 1, 12.5, 16], [0, 40, 60, 90]]
        ),
        "classes": np.array([0, 1, 1, 0]),
        "scores": np.float32([0.9, 0.7, 0.8, 0.95]),
        "masks": rng.random((4, 28, 28)).astype("float32") * 0.4 + 0.35,
    }
    pasted = tfseg.ops.paste_masks(detections["masks"], detections["boxes"], 90, 120) > 0.5
    rle = {
        "labels": [
            mask_api.encode(np.asfortranarray(instances == k, np.uint8)) for k in range(1, 5)
        ],
        "detections": [mask_api.encode(np.asfortranarray(mask, np.uint8)) for mask in pasted],
    }
    images = [
        {
            "labels": {**labels, "rle": rle["labels"]},
            "detections": {**detections, "rle": rle["detections"]},
        }
    ]
    metric = CocoAP(2, kind="masks")
    metric.update_state(labels, detections)
    assert 0.1 < metric.result()["ap50"] < 0.9
    assert_equal(metric, peer(images, 2, "masks"))
    uncompressed = [{"size": [90, 120], "counts": counts_of(rle)} for rle in rle["labels"]]
    metric.reset_state()
    metric.update_state({**labels, "rle": uncompressed}, detections)
    assert_equal(metric, peer(images, 2, "masks"))


def encode(masks):
    """Return the RLEs of (N, H, W) masks."""
    return [mask_api.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def counts_of(rle):
    """Return the lengths of the runs of an RLE, the first of zeros."""
    flat = mask_api.decode(rle).ravel("F")
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return np.diff([0, *edges, flat.size]).tolist()


def test_a_crowd_without_pixels_is_its_box():
    labels = {
        "boxes": np.array([[0, 0, 20, 20], [30, 30, 40, 40]]),
        "classes": np.array([0, 0]),
        "crowd": np.array([True, False]),
        "instances": np.zeros((50, 50), int),
    }
    labels["instances"][30:40, 30:40] = 2
    detections = {
        "boxes": np.array([[2, 2, 12, 12], [30, 30, 40, 40]]),
        "classes": np.array([0, 0]),
        "scores": np.array([0.9, 0.5]),
        "masks": np.ones((2, 28, 28)),
    }
    metric = CocoAP(1, kind="masks")
    metric.update_state(labels, detections)
    assert metric.result()["ap50"] == pytest.approx(1)


def test_batches_with_masks():
    rng = np.random.default_rng(2)
    instances = np.zeros((3, 60, 80), np.int32)
    instances[0, 5:30, 5:40], instances[0, 30:50, 10:30], instances[1, 20:60, 20:80] = 1, 2, 1
    labels = {
        "boxes": np.float32(
            [
                [[5, 5, 40, 30], [10, 30, 30, 50]],
                [[20, 20, 80, 60], [0, 0, 0, 0]],
                [[0, 0, 0, 0], [0, 0, 0, 0]],
            ]
        ),
        "classes": np.array([[0, 1], [1, -1], [-1, -1]]),
        "instances": instances,
    }
    detections = {
        "boxes": labels["boxes"] + np.float32([0, 0, 2, 3]),
        "classes": np.array([[0, 1], [1, -1], [0, -1]]),
        "scores": np.float32([[0.9, 0.8], [0.7, 0], [0.6, 0]]),
        "masks": rng.random((3, 2, 28, 28)).astype("float32") * 0.5 + 0.45,
    }
    metric = CocoAP(2, kind="masks")
    metric.update_state(labels, detections)
    images = []
    for index in range(3):
        image = {
            "labels": {key: value[index] for key, value in labels.items()},
            "detections": {key: value[index] for key, value in detections.items()},
        }
        image["labels"]["rle"] = encode([instances[index] == k for k in (1, 2)])
        pasted = tfseg.ops.paste_masks(
            detections["masks"][index], detections["boxes"][index], 60, 80
        )
        image["detections"]["rle"] = encode(pasted > 0.5)
        images.append(image)
    assert_equal(metric, peer(images, 2, "masks"))
    assert 0.3 < metric.result()["ap"] < 1


def test_samples_of_a_reader_give_the_scores_of_its_file(tmp_path):
    """Objects that overlap, a crowd, annotated areas and category ids with gaps."""
    star = [30, 5, 40, 30, 60, 35, 40, 45, 30, 70, 22, 45, 5, 35, 22, 30]
    counts = [0, 20, 60, 20, 60, 20, 100 * 80 - 180]
    annotations = [
        {"id": 1, "image_id": 9, "category_id": 5, "segmentation": [star], "bbox": [5, 5, 55, 65]},
        {
            "id": 2,
            "image_id": 9,
            "category_id": 3,
            "segmentation": [[20, 20, 70, 20, 70, 60, 20, 60]],
            "bbox": [20, 20, 50, 40],
        },
        {
            "id": 3,
            "image_id": 9,
            "category_id": 3,
            "iscrowd": 1,
            "segmentation": {"size": [80, 100], "counts": counts},
            "bbox": [0, 0, 3, 20],
        },
    ]
    for annotation, area in zip(annotations, (1500, 900, 60), strict=True):
        annotation.update(area=area, iscrowd=annotation.get("iscrowd", 0))
    data = {
        "images": [
            {"id": 9, "file_name": "a.png", "height": 80, "width": 100},
            {"id": 12, "file_name": "b.png", "height": 80, "width": 100},
        ],
        "categories": [{"id": 3, "name": "leaf"}, {"id": 5, "name": "star"}],
        "annotations": annotations,
    }
    for image in data["images"]:
        Image.new("RGB", (100, 80)).save(tmp_path / image["file_name"])
    (tmp_path / "objects.json").write_text(json.dumps(data), "utf-8")
    reader = tfseg.data.Coco(tmp_path, tmp_path / "objects.json")
    boxes = np.float32([[4, 6, 60, 71], [22, 20, 70, 61], [0, 2, 3, 18], [50, 50, 60, 60]])
    masks = np.ones((80, 100), bool) & np.zeros((4, 1, 1), bool)
    for mask, (x_min, y_min, x_max, y_max) in zip(masks, boxes.astype(int), strict=True):
        mask[y_min:y_max, x_min:x_max] = True
    detections = {
        "boxes": boxes,
        "classes": np.array([1, 0, 0, 0]),
        "scores": np.array([0.7, 0.6, 0.9, 0.3]),
        "rle": encode(masks),
    }
    for kind in ("boxes", "masks"):
        metric = CocoAP(2, kind)
        for index in range(2):
            labels = {**reader[index], "rle": reader.object_rle(index)}
            metric.update_state(labels, detections)
        found = peer_coco([{"detections": detections}] * 2, 2, kind, "detections")
        found.dataset["images"] = data["images"]
        for annotation in found.dataset["annotations"]:
            annotation["image_id"] = (9, 12)[annotation["image_id"]]
            annotation["category_id"] = (3, 5)[annotation["category_id"]]
        with contextlib.redirect_stdout(io.StringIO()):
            found.createIndex()
            targets = COCO(tmp_path / "objects.json")
        assert_equal(metric, evaluate(targets, found, kind))
        assert 0.2 < metric.result()["ap"] < 0.9


def test_areas_are_annotated_or_of_the_mask_or_of_the_box():
    instances = np.zeros((200, 200), int)
    instances[:30, :30] = 1  # small, in a box of 100 x 100
    labels = {"boxes": np.array([[0, 0, 100, 100]]), "classes": np.array([0])}
    detections = {**labels, "scores": np.array([0.5])}
    for extra, size in (
        ({}, "ap_large"),
        ({"instances": instances}, "ap_small"),
        ({"instances": instances, "areas": np.array([2000.0])}, "ap_medium"),
    ):
        metric = CocoAP(1)
        metric.update_state({**labels, **extra}, detections)
        result = metric.result()
        sizes = {name for name in ("ap_small", "ap_medium", "ap_large") if result[name] >= 0}
        assert sizes == {size}


def perturbed(rng, boxes, classes, num_classes):
    """Return detections near to objects: shifted, some missing, doubled, or of another class."""
    rows = rng.choice(len(boxes), int(1.3 * len(boxes)) + 1) if len(boxes) else np.zeros(0, int)
    sides = boxes[rows, 2:] - boxes[rows, :2]
    found = boxes[rows] + np.tile(sides, 2) * rng.normal(0, 0.06, (len(rows), 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    is_wrong = rng.random(len(rows)) < 0.1
    return {
        "boxes": found.clip(0).astype("float32"),
        "classes": np.where(is_wrong, rng.integers(0, num_classes, len(rows)), classes[rows]),
        "scores": rng.random(len(rows)).round(2).astype("float32"),
    }


@pytest.fixture(scope="module")
def coco_images(shared_data):
    """Things of COCO64 with their crowds, areas and masks as annotated, and detections."""
    folder = shared_data / "coco64/panoptic_segmentation/annotations/panoptic_train2017"
    data = json.loads(folder.with_suffix(".json").read_text("utf-8"))
    things = [entry["id"] for entry in data["categories"] if entry["isthing"]]
    rng = np.random.default_rng(3)
    images = []
    for annotation in data["annotations"]:
        segments = [x for x in annotation["segments_info"] if x["category_id"] in things]
        colors = np.asarray(Image.open(folder / annotation["file_name"]), np.int32)
        ids = colors[..., 0] + 2**8 * colors[..., 1] + 2**16 * colors[..., 2]
        bounds = np.array([segment["bbox"] for segment in segments]).reshape(-1, 4)
        bounds[:, 2:] += bounds[:, :2]
        labels = {
            "boxes": bounds.astype("float32"),
            "classes": np.array([things.index(x["category_id"]) for x in segments], int),
            "areas": np.array([segment["area"] for segment in segments]),
            "crowd": np.array([segment["iscrowd"] for segment in segments], bool),
            "rle": encode([ids == segment["id"] for segment in segments]),
        }
        detections = perturbed(rng, bounds, labels["classes"], len(things))
        masks = rng.random((len(detections["boxes"]), 28, 28)) * 0.6 + 0.35
        pasted = tfseg.ops.paste_masks(masks, detections["boxes"], *ids.shape) > 0.5
        detections["rle"] = encode(pasted)
        images.append({"labels": labels, "detections": detections})
    assert sum(image["labels"]["crowd"].sum() for image in images) == 5
    return images, len(things)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_coco64(coco_images, kind):
    images, num_classes = coco_images
    metric = ours(images, num_classes, kind)
    assert_equal(metric, peer(images, num_classes, kind))
    assert 0.05 < metric.result()["ap"] < 0.9


BOX = {"boxes": np.array([[0, 0, 9, 9]]), "classes": np.array([1])}
FOUND = {**BOX, "scores": np.array([0.5])}
RLE = mask_api.encode(np.ones((9, 9), np.uint8, "F"))


@pytest.mark.parametrize(
    ("labels", "detections", "message"),
    [
        (BOX, {**FOUND, "classes": np.array([2])}, r"classes of detections are \[2\], .* 0 to 1"),
        ({**BOX, "classes": np.array([-2])}, FOUND, r"classes of labels are \[-2\]"),
        ({**BOX, "classes": np.array([0.5])}, FOUND, "whole numbers"),
        (BOX, BOX, "detections have .*, but no 'scores'"),
        (BOX, {**FOUND, "scores": np.array([np.nan])}, "scores are NaN"),
        (BOX, {**FOUND, "boxes": np.full((1, 4), np.nan)}, "boxes of detections are NaN"),
        ({**BOX, "boxes": np.zeros((1, 5))}, FOUND, r"labels have the shapes boxes \(1, 5\)"),
        ({**BOX, "classes": np.array([[1]])}, FOUND, r"classes \(1, 1\); expected"),
        (BOX, {key: value[None].repeat(2, 0) for key, value in FOUND.items()}, "1 images and .* 2"),
    ],
)
def test_invalid_batches_are_an_error(labels, detections, message):
    with pytest.raises(ValueError, match=f"^CocoAP: .*{message}"):
        CocoAP(2).update_state(labels, detections)


@pytest.mark.parametrize(
    ("labels", "detections", "message"),
    [
        (BOX, FOUND, '"rle", one RLE per box, or "instances"'),
        ({**BOX, "rle": []}, FOUND, "0 masks in .* for 1 objects"),
        ({**BOX, "rle": [RLE]}, FOUND, 'Pass "masks"'),
        ({**BOX, "rle": ["abc"]}, FOUND, "got 'abc' in"),
        (
            {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int), "rle": []},
            {**FOUND, "masks": np.ones((1, 28, 28))},
            'its size is unknown. Pass "instances"',
        ),
        (
            {**BOX, "rle": [RLE]},
            {**FOUND, "rle": [mask_api.encode(np.ones((9, 8), np.uint8, "F"))]},
            r"sizes \[\(9, 8\), \(9, 9\)\]",
        ),
    ],
)
def test_missing_masks_are_an_error(labels, detections, message):
    with pytest.raises(ValueError, match=f"^CocoAP: .*{message}"):
        CocoAP(2, kind="masks").update_state(labels, detections)


def test_invalid_arguments_are_an_error():
    with pytest.raises(ValueError, match="^CocoAP: kind='mask' .* Did you mean 'masks'"):
        CocoAP(2, kind="mask")
    with pytest.raises(ValueError, match="max_detections=10 must be above 10"):
        CocoAP(2, max_detections=10)
    with pytest.raises(ValueError, match="^CocoAP: iou_threshold=0.52 must be one of 0.5, 0.55"):
        CocoAP(2).precision_recall(0.52)


def test_boxes_need_no_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    metric = CocoAP(2)
    metric.update_state(BOX, FOUND)
    assert metric.result()["ap"] == pytest.approx(1)
    with pytest.raises(ImportError, match=r"tfseg-keras\[coco\]"):
        CocoAP(2, kind="masks")
