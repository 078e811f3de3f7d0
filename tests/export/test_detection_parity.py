import json

import numpy as np
import pytest

from tfseg.export import parity, parity_table, read_parity
from tfseg.export.detection_parity import match_detections, require_matches
from tfseg.export.parity import require_parity, write_parity

BOXES = np.array([[0, 0, 100, 50], [20, 30, 70, 90], [20, 30, 70, 90], [0, 0, 0, 0]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0], np.float32)
CLASSES = np.array([0, 1, 1, -1], np.int32)


def detections(boxes=BOXES, scores=SCORES, classes=CLASSES, **masks):
    return {"boxes": boxes, "scores": scores, "classes": classes, **masks}


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def test_equal_detections_match_one_to_one():
    found = match_detections(detections(), detections())
    assert found.pairs.tolist() == [[0, 0], [1, 1], [2, 2]]  # of equal boxes the scores decide
    assert found.agreement == 1
    assert match_detections(
        detections(classes=np.full(4, -1)), detections(classes=np.full(4, -1))
    ).agreement == pytest.approx(1)


@pytest.mark.parametrize(
    ("other", "matched"),
    [
        # IoU 5000 / 5050 = 0.9901 and 5000 / 5055 = 0.9891
        (detections(boxes=changed(BOXES, (0, 2), 101)), True),
        (detections(boxes=changed(BOXES, (0, 2), 101.1)), False),
        (detections(scores=changed(SCORES, 0, 0.909)), True),
        (detections(scores=changed(SCORES, 0, 0.911)), False),
        (detections(classes=changed(CLASSES, 0, 1)), False),
    ],
)
def test_boxes_scores_and_classes_must_agree(other, matched):
    found = match_detections(detections(), other)
    # 2 of 3 are matched in both, or all
    assert found.agreement == pytest.approx(1 if matched else 4 / 6)


def test_a_detection_matches_one_other():
    twice = detections(BOXES[[0, 0]], SCORES[[0, 0]], CLASSES[[0, 0]])
    once = detections(BOXES[:1], SCORES[:1], CLASSES[:1])
    assert match_detections(twice, once).agreement == pytest.approx(2 / 3)
    assert match_detections(once, twice).agreement == pytest.approx(2 / 3)


def test_a_detection_that_the_other_lacks_counts_once():
    less = detections(classes=changed(CLASSES, 2, -1))
    assert match_detections(detections(), less).agreement == pytest.approx(4 / 5)
    assert match_detections(less, detections()).agreement == pytest.approx(4 / 5)


def test_masks_must_agree_on_average():
    masks = np.zeros((4, 10, 10), np.float32)
    first = detections(masks=masks)
    close = detections(masks=changed(masks, (0, 0, 0), 0.9))  # 0.009 on average
    other = detections(masks=changed(masks, (0, 0, slice(2)), 0.9))
    assert match_detections(first, close).agreement == 1
    assert match_detections(first, other).agreement == pytest.approx(4 / 6)


def batch(**parts):
    return {name: value[None] for name, value in detections(**parts).items()}


def test_formats_of_a_detector_are_compared_by_matches(tmp_path):
    def shifted(images):
        return batch(scores=changed(SCORES, 1, 0.795 if images.shape[1] == 4 else 0.5))

    images = [np.zeros((4, 6, 3)), np.zeros((5, 6, 3))]
    runners = {"Keras": lambda images: batch(), "other": shifted}
    keras_row, row = rows = parity(runners, images, {"other": 7})
    assert (keras_row.agreement, keras_row.detections, keras_row.bytes) == (1, 6, None)
    # on the second image one of three is not matched in both: 10 of 12
    assert row.agreement == pytest.approx(10 / 12)
    assert (row.worst_image, row.worst_agreement) == (1, pytest.approx(4 / 6))
    assert row.difference == pytest.approx(0.005, abs=1e-6)
    assert (row.smallest_iou, row.bytes) == (pytest.approx(1), 7)
    write_parity(tmp_path / "parity.json", rows)
    assert read_parity(json.loads((tmp_path / "parity.json").read_text())) == rows
    assert parity_table(rows).row_count == 2
    require_parity(rows, 0.8, ["a", "b"])
    with pytest.raises(RuntimeError, match=r"other agrees .* 83.33% of the detections.* image 1"):
        require_parity(rows, 0.9, ["a", "b"])


def test_too_few_matches_are_an_error():
    require_matches(batch(), batch(), "x", 1)
    with pytest.raises(RuntimeError, match=r"\(x\) agrees with the model on 66.67%"):
        require_matches(batch(), batch(scores=changed(SCORES, 0, 0.5)), "x", 0.9)
    # NaN matches nothing
    with pytest.raises(RuntimeError, match="on 0.00%"):
        require_matches(batch(), batch(scores=np.full(4, np.nan, np.float32)), "x", 0.9)
