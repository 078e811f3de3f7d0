import numpy as np
import pytest

from tfseg.metrics import DetectionConfusion

LABELS = {
    "boxes": np.array(
        [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 50, 40, 90], [0, 0, 1, 1]]
    ),
    "classes": np.array([0, 1, 1, 2, -1]),
    "crowd": np.array([False, False, False, True, False]),
}
DETECTIONS = {
    "boxes": np.array(
        [
            [0, 0, 10, 8],  # class 0 found, IoU 0.8
            [0, 0, 10, 10],  # found again with a lower score: not an object
            [20, 0, 30, 6],  # class 1 taken for class 2, IoU 0.6
            [40, 0, 50, 10],  # class 1 found, with a score below the threshold
            [5, 55, 20, 70],  # in the crowd of class 2: not counted
            [5, 55, 20, 70],  # there too, but of class 1
            [70, 70, 80, 80],  # nothing
            [40, 0, 50, 10],  # padding
        ]
    ),
    "classes": np.array([0, 0, 2, 1, 2, 1, 0, -1]),
    "scores": np.array([0.9, 0.8, 0.7, 0.4, 0.9, 0.9, 0.5, 0.9]),
}
EXPECTED = [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [2, 1, 0, 0]]


def test_by_hand():
    confusion = DetectionConfusion(3)
    confusion.update_state(LABELS, DETECTIONS)
    assert confusion.result().tolist() == EXPECTED
    batch = [{key: np.stack([x, x]) for key, x in y.items()} for y in (LABELS, DETECTIONS)]
    confusion.update_state(*batch)
    assert confusion.result().tolist() == (3 * np.array(EXPECTED)).tolist()
    confusion.reset_state()
    assert not confusion.result().any()


def test_thresholds():
    confusion = DetectionConfusion(3, iou_threshold=0.7, score_threshold=0.4)
    confusion.update_state(LABELS, DETECTIONS)
    assert confusion.result().tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [2, 1, 1, 0]]


def test_the_highest_score_takes_the_best_object_of_any_class():
    labels = {"boxes": np.array([[0, 0, 10, 10], [0, 0, 10, 8]]), "classes": np.array([0, 1])}
    detections = {
        "boxes": np.array([[0, 0, 10, 8], [0, 0, 10, 8]]),
        "classes": np.array([1, 0]),
        "scores": np.array([0.6, 0.7]),
    }
    confusion = DetectionConfusion(2)
    confusion.update_state(labels, detections)
    assert confusion.result().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_images_without_objects_or_detections():
    nothing = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}
    confusion = DetectionConfusion(3, score_threshold=0)
    confusion.update_state(LABELS, {**nothing, "scores": np.zeros(0)})
    confusion.update_state(nothing, DETECTIONS)
    assert confusion.result()[:, 3].tolist() == [1, 2, 0, 0]
    assert confusion.result()[3].tolist() == [3, 2, 2, 0]


def test_invalid_arguments_are_an_error():
    with pytest.raises(ValueError, match="^DetectionConfusion: iou_threshold=1.1 must be at most"):
        DetectionConfusion(2, iou_threshold=1.1)
    with pytest.raises(ValueError, match="^DetectionConfusion: score_threshold=-1"):
        DetectionConfusion(2, score_threshold=-1)
    with pytest.raises(ValueError, match="^DetectionConfusion: the classes of labels"):
        DetectionConfusion(1).update_state(LABELS, DETECTIONS)
