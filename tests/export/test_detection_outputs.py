from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfseg.export.detection_outputs import as_object_detection_api, object_names_of, with_count

DETECTIONS = {
    "boxes": tf.constant([[[10.0, 20, 30, 60], [0, 0, 0, 0]]]),
    "scores": tf.constant([[0.75, 0.0]]),
    "classes": tf.constant([[2, -1]]),
    "masks": tf.ones((1, 2, 28, 28)),
}


def test_the_names_and_units_of_the_object_detection_api():
    # an image of 80 x 40: 20 / 80, 10 / 40, 60 / 80, 30 / 40; class 0 of tfseg is 1 there, and the
    # API adds 1 to the zeros of padding, too
    found = as_object_detection_api(with_count(DETECTIONS), tf.constant([80, 40]))
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(
        (
            "detection_boxes",
            "detection_scores",
            "detection_classes",
            "num_detections",
            "detection_masks",
        ),
        tf.float32,
    )
    assert found["detection_boxes"].numpy().tolist() == [[[0.25, 0.25, 0.75, 0.75], [0] * 4]]
    assert found["detection_classes"].numpy().tolist() == [[3, 1]]
    assert found["num_detections"].numpy().tolist() == [1]
    assert found["detection_masks"].shape == (1, 2, 28, 28)


def test_padding_is_not_counted():
    classes = tf.constant([[0, 1, -1], [-1, -1, -1], [1, 0, 0]])
    assert with_count({"classes": classes})["num_detections"].numpy().tolist() == [2, 0, 3]


def test_object_names_fit_the_categories():
    model = SimpleNamespace(num_classes=2)
    assert object_names_of("onnx", model, None) == ["0", "1"]
    assert object_names_of("onnx", model, np.array(["cell", "dust"])) == ["cell", "dust"]
    # a single category has no background
    assert object_names_of("onnx", SimpleNamespace(num_classes=1), ["cell"]) == ["cell"]
    with pytest.raises(ValueError, match=r"onnx: got 1 object names .* with 2 object categories"):
        object_names_of("onnx", model, ["cell"])
