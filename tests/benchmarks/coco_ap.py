"""Time of COCO's average precision of a dataset, compared with pycocotools.

Random objects of 80 classes, 7 per image, and 100 detections per image around them and elsewhere,
as a detector with a low score threshold gives them. Both sides start from arrays (boxes) or from
RLE (masks) in memory and end with the twelve scores, which must be equal; the peer's time includes
the dicts of annotations that it works on, without JSON. They take turns in one process. The ratio
is the median over rounds of our time / theirs, on `--images` images.

Without a peer: all of COCO's size (5,000 images), and the masks of 28 x 28 that a model returns,
pasted into images of 480 x 640.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfseg.metrics import CocoAP

CLASSES, OBJECTS, DETECTIONS = 80, 7, 100
HEIGHT, WIDTH = 480, 640
COCO_IMAGES, COCO_SECONDS = 5000, 60
TARGET_RATIO = 0.5


def draw(rng):
    """Return the labels and detections of an image."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (OBJECTS, 2)))
    low = rng.uniform(0, 1, (OBJECTS, 2)) * np.maximum((WIDTH, HEIGHT) - sides, 1)
    boxes = np.concatenate([low, low + sides], axis=1)
    classes = rng.integers(0, CLASSES, OBJECTS)
    rows = rng.integers(0, OBJECTS, DETECTIONS)
    found = boxes[rows] + np.tile(sides[rows], 2) * rng.normal(0, 0.1, (DETECTIONS, 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    is_right = rng.random(DETECTIONS) < 0.5
    labels = {"boxes": clip(boxes), "classes": classes, "crowd": rng.random(OBJECTS) < 0.01}
    return labels, {
        "boxes": clip(found),
        "classes": np.where(is_right, classes[rows], rng.integers(0, CLASSES, DETECTIONS)),
        "scores": rng.random(DETECTIONS).astype("float32"),
    }


def clip(boxes):
    low = boxes[:, :2].clip(0, (WIDTH - 2, HEIGHT - 2))
    high = np.maximum(boxes[:, 2:].clip(0, (WIDTH, HEIGHT)), low + 1)
    return np.concatenate([low, high], axis=1).astype("float32")


def with_ellipses(objects):
    """Return the objects with the RLE of an ellipse in each box."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    boxes = objects["boxes"].astype(float)
    centers, radii = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    outlines = centers[:, None] + radii[:, None] * circle
    polygons = [outline.ravel().tolist() for outline in outlines]
    return {**objects, "rle": mask_api.frPyObjects(polygons, HEIGHT, WIDTH)}


def ours(images, kind):
    metric = CocoAP(CLASSES, kind)
    for labels, detections in images:
        metric.update_state(labels, detections)
    return list(metric.result().values())


def theirs(images, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        targets, found = (peer_coco([image[side] for image in images], kind) for side in (0, 1))
        evaluation = COCOeval(targets, found, {"boxes": "bbox", "masks": "segm"}[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def peer_coco(images, kind):
    coco = COCO()
    annotations = [
        annotation
        for index, objects in enumerate(images)
        for annotation in annotations_of(objects, index, kind)
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    coco.dataset = {
        "images": [{"id": index, "height": HEIGHT, "width": WIDTH} for index in range(len(images))],
        "categories": [{"id": index} for index in range(CLASSES)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def annotations_of(objects, index, kind):
    boxes = objects["boxes"].astype(float)
    sides = boxes[:, 2:] - boxes[:, :2]
    count = len(boxes)
    areas = mask_api.area(objects["rle"]) if kind == "masks" else sides.prod(axis=1)
    for row in range(count):
        yield {
            "image_id": index,
            "category_id": int(objects["classes"][row]),
            "bbox": [*boxes[row, :2].tolist(), *sides[row].tolist()],
            "area": float(areas[row]),
            "iscrowd": int(objects["crowd"][row]) if "crowd" in objects else 0,
            "score": float(objects["scores"][row]) if "scores" in objects else 1.0,
            "segmentation": objects["rle"][row] if kind == "masks" else [],
        }


def in_turns(images, kind, rounds):
    """Return the medians of the seconds of both sides, of their ratio, and the largest error."""
    seconds, scores = {ours: [], theirs: []}, {}
    for _ in range(rounds):
        for side in (ours, theirs):
            start = time.perf_counter()
            scores[side] = side(images, kind)
            seconds[side].append(time.perf_counter() - start)
    pairs = zip(seconds[ours], seconds[theirs], strict=True)
    return {
        "tfseg": statistics.median(seconds[ours]),
        "pycocotools": statistics.median(seconds[theirs]),
        "ratio": statistics.median(mine / other for mine, other in pairs),
        "largest difference": float(np.abs(np.array(scores[ours]) - scores[theirs]).max()),
    }


def pasted_seconds(rng, images):
    """Return the seconds per image of masks as a model returns them."""
    metric, spent = CocoAP(CLASSES, "masks"), 0.0
    for labels, detections in images:
        masks = rng.random((DETECTIONS, 28, 28), "float32")
        start = time.perf_counter()
        metric.update_state(labels, {**detections, "masks": masks})
        spent += time.perf_counter() - start
    start = time.perf_counter()
    metric.result()
    return (spent + time.perf_counter() - start) / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = [draw(rng) for _ in range(COCO_IMAGES)]
    few = images[: arguments.images]
    results = {"boxes": in_turns(few, "boxes", arguments.rounds)}
    print(f"boxes of {len(few)} images: {results['boxes']}", flush=True)
    with_rle = [tuple(with_ellipses(objects) for objects in image) for image in few]
    results["masks"] = in_turns(with_rle, "masks", arguments.rounds)
    print(f"masks of {len(few)} images: {results['masks']}", flush=True)
    results["pasted"] = pasted_seconds(
        rng, [(labels, found) for (labels, _), (_, found) in zip(with_rle[:50], few, strict=False)]
    )
    print(f"masks of a model: {1e3 * results['pasted']:.1f} ms per image", flush=True)
    start = time.perf_counter()
    ours(images, "boxes")
    results["seconds"] = time.perf_counter() - start
    print(
        f"boxes of {COCO_IMAGES} images: {results['seconds']:.1f} s (target: {COCO_SECONDS}); "
        f"ratio {results['boxes']['ratio']:.2f}, with masks {results['masks']['ratio']:.2f} "
        f"(target: {TARGET_RATIO})"
    )
    print(json.dumps({**results, "target": {"ratio": TARGET_RATIO, "seconds": COCO_SECONDS}}))


if __name__ == "__main__":
    main()
