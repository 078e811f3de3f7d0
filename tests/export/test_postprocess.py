import json

import pytest
import tensorflow as tf

from tfseg.export.postprocess import postprocess, run_lengths


@pytest.mark.parametrize(("classes", "dtype"), [(1, tf.uint8), (256, tf.uint8), (257, tf.uint16)])
def test_class_ids_take_a_byte_as_long_as_one_holds_them(classes, dtype):
    assert postprocess(tf.zeros((1, 2, 3, classes)))["class_ids"].dtype == dtype


def test_one_half_is_not_above_one_half():
    found = postprocess(tf.constant([[-1.0], [0.0], [1.0]]))
    assert found["class_ids"].numpy().tolist() == [0, 0, 1]
    assert found["probabilities"].numpy()[1] == 0.5


def test_run_lengths_by_hand():
    # down the columns: 0 0 1 1 1 2
    texts = run_lengths(tf.constant([[0, 1, 1], [0, 1, 2]], tf.uint8), 4).numpy()
    assert [json.loads(text) for text in texts] == [
        {"size": [2, 3], "counts": [0, 2, 4]},
        {"size": [2, 3], "counts": [2, 3, 1]},
        {"size": [2, 3], "counts": [5, 1]},
        {"size": [2, 3], "counts": [6]},
    ]
