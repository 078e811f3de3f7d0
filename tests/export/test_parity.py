import io
import json
import time

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tfseg.export import (
    Parity,
    keras_runner,
    parity,
    parity_table,
    read_parity,
    saved_model,
    saved_model_runner,
)
from tfseg.export.parity import bytes_of, require_parity, write_parity
from tfseg.models import unet

NAMES = ["sky", "road", "car"]


def shares_of(ids):
    return np.eye(3, dtype=np.float32)[ids]


def constant(ids):
    """A runner that gives each image, by its height, the class ids listed for it."""
    return lambda images: {
        "class_ids": np.repeat(ids[images.shape[1]][None], len(images), 0),
        "probabilities": np.repeat(shares_of(ids[images.shape[1]])[None], len(images), 0),
    }


def test_figures_by_hand():
    images = [np.zeros((1, 4, 1)), np.zeros((2, 4, 1))]
    right = constant({1: np.array([[0, 0, 0, 1]]), 2: np.array([[0, 1, 1, 1], [0, 0, 0, 0]])})
    # 1 of 4 pixels is wrong on the first image, 1 of 8 on the second; both of class 1, which Keras gives 4 pixels
    wrong = constant({1: np.array([[0, 0, 0, 2]]), 2: np.array([[0, 1, 1, 0], [0, 0, 0, 0]])})
    keras_row, row = parity({"Keras": right, "other": wrong}, images, {"other": 123})
    assert (keras_row.agreement, keras_row.difference, keras_row.bytes) == (1, 0, None)
    assert row.agreement == pytest.approx(10 / 12)
    assert (row.worst_image, row.worst_agreement) == (0, 0.75)
    assert row.by_class == [1, pytest.approx(0.5), None]
    assert (row.difference, row.bytes) == (1, 123)
    assert row.milliseconds.keys() == {1, 8}


def test_times_are_of_whole_batches_in_milliseconds():
    sizes = []

    def slow(images):
        sizes.append(len(images))
        time.sleep(0.02)
        return {
            "class_ids": np.zeros(images.shape[:3], np.uint8),
            "probabilities": np.ones((*images.shape[:3], 2)),
        }

    (row,) = parity({"Keras": slow}, [np.zeros((2, 3, 1))])
    assert all(20 <= time < 2000 for time in row.milliseconds.values())
    assert set(sizes) == {1, 8}


def test_below_the_threshold_the_message_says_where():
    row = Parity("LiteRT", 0.95, 3, 0.8, [0.99, 0.5, None], None, {1: 1.0, 8: 2.0}, 10)
    require_parity([row], 0.95, NAMES)
    expected = (
        r"LiteRT agrees with the Keras model on 95.00% of the pixels, below 96.00%. Least on image 3 \(80.00%\), and "
        r"by class: 50.0% of road, 99.0% of sky."
    )
    with pytest.raises(RuntimeError, match=expected):
        require_parity([row], 0.96, NAMES)


def test_rows_go_through_json_and_into_a_table(tmp_path):
    rows = [
        Parity("Keras", 1.0, 0, 1.0, [1.0, 1.0, None], 0.0, {1: 1.25, 8: 2.0}, None),
        Parity("ONNX", 0.99912, 1, 0.9, [1.0, 0.5, None], None, {1: 1.0, 8: 2.0}, 2_500_000),
    ]
    write_parity(tmp_path / "parity.json", rows)
    assert read_parity(json.loads((tmp_path / "parity.json").read_text())) == rows
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(parity_table(rows))
    text = console.export_text()
    assert "99.912%" in text
    assert "2.50" in text
    assert "1.2" in text


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match="no image came"):
        parity({"Keras": constant({})}, [])


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    (tmp_path / "c").write_bytes(b"123")
    assert bytes_of(tmp_path) == 8
    assert bytes_of(tmp_path / "c") == 3


def test_a_runner_keeps_the_variables_of_its_saved_model(tmp_path):
    module = tf.Module()
    module.value = tf.Variable(3.0)
    spec = tf.TensorSpec((None, None, None, 3), tf.float32, name="image")
    add = tf.function(lambda image: {"sum": image + module.value}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": add})
    assert np.all(saved_model_runner(tmp_path)(np.zeros((1, 2, 2, 3)))["sum"] == 3)


def test_a_saved_model_and_its_model_agree(tmp_path):
    model = unet(3, filters=(4, 8))
    version = saved_model(model, tmp_path, outputs=("probabilities",))
    images = [np.random.default_rng(i).uniform(0, 255, (20 + i, 33, 3)) for i in range(3)]
    _, row = parity(
        {"Keras": keras_runner(model), "SavedModel": saved_model_runner(version)}, images
    )
    assert row.agreement > 0.999
    assert row.difference < 1e-4


def test_a_form_with_probabilities_that_are_no_numbers_is_refused():
    right = constant({1: np.array([[0, 1]]), 2: np.array([[0, 1], [1, 1]])})

    def broken(images):
        answers = right(images)
        return answers | {
            "probabilities": answers["probabilities"] * (np.nan if images.shape[1] == 2 else 1)
        }

    rows = parity({"Keras": right, "LiteRT": broken}, [np.zeros((1, 2, 1)), np.zeros((2, 2, 1))])
    assert rows[1].agreement == 1
    with pytest.raises(RuntimeError, match="LiteRT gives probabilities that are not finite"):
        require_parity(rows, 0.9, NAMES)
