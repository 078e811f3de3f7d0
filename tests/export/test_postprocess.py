import json

import pytest
import tensorflow as tf

from tfseg.export.postprocess import postprocess, run_lengths, uncertainty


@pytest.mark.parametrize(("classes", "dtype"), [(1, tf.uint8), (256, tf.uint8), (257, tf.uint16)])
def test_class_ids_are_uint8_up_to_256_classes(classes, dtype):
    assert postprocess(tf.zeros((1, 2, 3, classes)))["class_ids"].dtype == dtype


def test_a_sigmoid_of_one_half_is_class_0():
    outputs = postprocess(tf.constant([[-1.0], [0.0], [1.0]]))
    assert outputs["class_ids"].numpy().tolist() == [0, 0, 1]
    assert outputs["probabilities"].numpy()[1] == 0.5


def test_probabilities_are_a_softmax():
    # exp(0), exp(log 3): 1 / 4 and 3 / 4
    outputs = postprocess(tf.math.log([[1.0, 3.0]]))
    assert outputs["class_ids"].numpy().tolist() == [1]
    assert outputs["probabilities"].numpy()[0] == pytest.approx([0.25, 0.75])


def test_uncertainty_of_equal_classes_is_1():
    assert float(uncertainty(tf.fill([5], 0.2))) == pytest.approx(1)


def test_uncertainty_of_a_sigmoid_is_1_at_one_half():
    assert uncertainty(tf.constant([[0.5], [1.0], [0.0]])).numpy() == pytest.approx([1, 0, 0])
    # -(log2(1/4) / 4 + 3 log2(3/4) / 4) = 0.5 + 0.75 * log2(4 / 3)
    assert float(uncertainty(tf.constant([0.25]))) == pytest.approx(0.8112781)


def test_run_lengths_by_hand():
    # down the columns: 0 0 1 1 1 2
    texts = run_lengths(tf.constant([[0, 1, 1], [0, 1, 2]], tf.uint8), 4).numpy()
    assert [json.loads(text) for text in texts] == [
        {"size": [2, 3], "counts": [0, 2, 4]},
        {"size": [2, 3], "counts": [2, 3, 1]},
        {"size": [2, 3], "counts": [5, 1]},
        {"size": [2, 3], "counts": [6]},
    ]
