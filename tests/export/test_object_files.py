import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfseg.export.object_files import object_files
from tfseg.ops import paste_masks

ENCODE = tf.function(object_files, reduce_retracing=True)


def encode(masks, boxes, height, width, count=None):
    """Return the run lengths as dicts, None for padding, and the numbers of the PNG."""
    count = len(boxes) if count is None else count
    arrays = np.asarray(masks, np.float32), np.asarray(boxes, np.float32)
    found = ENCODE(*map(tf.constant, arrays), tf.constant(count), tf.constant([height, width]))
    texts = found["masks_rle_bytes"].numpy()
    image = Image.open(io.BytesIO(found["masks_png_bytes"].numpy()))
    return [json.loads(text) if text else None for text in texts], np.asarray(image)


FULL = np.ones((28, 28))


def test_run_lengths_of_full_masks_by_hand():
    # The border of one pixel makes the box larger by 30 / 28: center (4, 2.5) and half sides
    # (2.14, 1.61) give columns 1 to 6 and rows 0 to 4, and 30 -> 6 or 5 pixels skip the border.
    inside, beyond = encode([FULL, FULL], [[2, 1, 6, 4], [-3, 1, 1, 4]], 8, 10)[0]
    assert inside == {"size": [8, 10], "counts": [8, *5 * [5, 3], 5, 27]}
    # center (-1, 2.5): columns -3 to 1, of which 0 and 1 are in the image
    assert beyond == {"size": [8, 10], "counts": [0, 5, 3, 5, 67]}


def test_a_run_goes_on_in_the_next_column():
    # center (2, 2), half sides (1.07, 2.14): columns 0 to 3, all rows of the image
    (runs,), _ = encode([FULL], [[1, 0, 3, 4]], 4, 6)
    assert runs == {"size": [4, 6], "counts": [0, 16, 8]}


def test_an_empty_mask_and_padding():
    runs, numbers = encode([0 * FULL, FULL, FULL], [[1, 0, 3, 4]] * 3, 4, 6, count=2)
    assert runs == [
        {"size": [4, 6], "counts": [24]},
        {"size": [4, 6], "counts": [0, 16, 8]},
        None,
    ]
    assert numbers.dtype == np.uint16
    assert np.unique(numbers).tolist() == [0, 2]


def test_no_detections_give_an_empty_image():
    runs, numbers = encode([FULL], [[0, 0, 2, 2]], 5, 3, count=0)
    assert runs == [None]
    assert numbers.tolist() == [[0] * 3] * 5


def test_masks_are_those_of_paste_masks_and_the_highest_score_is_in_front():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    height, width, count = 61, 83, 9
    corner = rng.uniform(-5, 50, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.3, 60, (count, 2))], 1)
    masks = rng.uniform(0, 1, (count, 28, 28)).astype(np.float32)
    runs, numbers = encode(masks, boxes, height, width)
    expected = paste_masks(masks, boxes.astype(np.float32), height, width) > 0.5
    found = [coco.decode(coco.frPyObjects(run, height, width)) for run in runs]
    assert np.mean(found != expected) < 1e-4  # probabilities of almost 0.5
    assert all(min(run["counts"][1:]) > 0 for run in runs)
    in_front = np.zeros((height, width), int)
    for number in range(count, 0, -1):
        in_front[found[number - 1] > 0] = number
    assert np.array_equal(numbers, in_front)
