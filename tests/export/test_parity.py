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
    saved_model_runner,
)
from tfseg.export.parity import require_parity, size_in_bytes, write_parity

NAMES = ["sky", "road", "car"]


def one_hot(ids):
    return np.eye(3, dtype=np.float32)[ids]


def constant_runner(ids):
    """Return a runner that gives each image the class ids listed for its height."""

    def run(images):
        found = np.repeat(ids[images.shape[1]][None], len(images), 0)
        return {"class_ids": found, "probabilities": one_hot(found)}

    return run


def test_agreement_by_hand():
    images = [np.zeros((1, 4, 1)), np.zeros((2, 4, 1))]
    right = constant_runner(
        {1: np.array([[0, 0, 0, 1]]), 2: np.array([[0, 1, 1, 1], [0, 0, 0, 0]])}
    )
    # 1 of 4 pixels is wrong on the first image and 1 of 8 on the second; Keras assigns both, and
    # 4 pixels in total, to class 1
    wrong = constant_runner(
        {1: np.array([[0, 0, 0, 2]]), 2: np.array([[0, 1, 1, 0], [0, 0, 0, 0]])}
    )
    keras_row, row = parity({"Keras": right, "other": wrong}, images, {"other": 123})
    assert (keras_row.agreement, keras_row.difference, keras_row.bytes) == (1, 0, None)
    assert row.agreement == pytest.approx(10 / 12)
    assert (row.worst_image, row.worst_agreement) == (0, 0.75)
    assert row.by_class == [1, pytest.approx(0.5), None]
    assert (row.difference, row.bytes) == (1, 123)
    assert row.milliseconds.keys() == {1, 8}


def test_times_are_milliseconds_per_batch():
    batch_sizes = []

    def slow(images):
        batch_sizes.append(len(images))
        time.sleep(0.01)
        return {
            "class_ids": np.zeros(images.shape[:3], np.uint8),
            "probabilities": np.ones((*images.shape[:3], 2)),
        }

    (row,) = parity({"Keras": slow}, [np.zeros((2, 3, 1))])
    assert all(10 <= time < 1000 for time in row.milliseconds.values())
    assert set(batch_sizes) == {1, 8}


def test_too_low_an_agreement_names_the_image_and_the_classes():
    row = Parity("LiteRT", 0.95, 3, 0.8, [0.99, 0.5, None], None, {1: 1.0, 8: 2.0}, 10)
    require_parity([row], 0.95, NAMES)
    message = (
        "LiteRT agrees with the Keras model on 95.00% of the pixels, expected at least 96.00%. "
        r"Agreement is lowest on image 3 \(80.00%\); per class: road 50.0%, sky 99.0%."
    )
    with pytest.raises(RuntimeError, match=message):
        require_parity([row], 0.96, NAMES)


def test_rows_can_be_saved_read_and_printed(tmp_path):
    rows = [
        Parity("Keras", 1.0, 0, 1.0, [1.0, 1.0, None], 0.0, {1: 1.25, 8: 2.0}, None),
        Parity("ONNX", 0.99912, 1, 0.9, [1.0, 0.5, None], None, {1: 1.0, 8: 2.0}, 2_500_000),
    ]
    write_parity(tmp_path / "parity.json", rows)
    assert read_parity(json.loads((tmp_path / "parity.json").read_text())) == rows
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(parity_table(rows))
    text = console.export_text()
    for value in ("ONNX", "99.912%", "2.50", "1.2"):
        assert value in text


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="parity: got no images"):
        parity({"Keras": constant_runner({})}, [])


def test_the_size_of_a_folder_is_the_sum_of_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    (tmp_path / "c").write_bytes(b"123")
    assert size_in_bytes(tmp_path) == 8
    assert size_in_bytes(tmp_path / "c") == 3


def test_a_runner_keeps_the_variables_of_its_saved_model(tmp_path):
    module = tf.Module()
    module.value = tf.Variable(3.0)
    spec = tf.TensorSpec((None, None, None, 3), tf.float32, name="image")
    add = tf.function(lambda image: {"sum": image + module.value}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": add})
    assert np.all(saved_model_runner(tmp_path)(np.zeros((1, 2, 2, 3)))["sum"] == 3)


def test_a_saved_model_agrees_with_its_model(unet_model, unet_version):
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (20 + i, 33, 3)) for i in range(3)]
    runners = {"Keras": keras_runner(unet_model), "SavedModel": saved_model_runner(unet_version)}
    _, row = parity(runners, images)
    assert row.agreement > 0.999
    assert row.difference < 1e-4


def test_probabilities_that_are_not_finite_are_rejected():
    right = constant_runner({1: np.array([[0, 1]]), 2: np.array([[0, 1], [1, 1]])})

    def broken(images):
        outputs = right(images)
        if images.shape[1] == 2:
            outputs["probabilities"] = outputs["probabilities"] * np.nan
        return outputs

    images = [np.zeros((1, 2, 1)), np.zeros((2, 2, 1))]
    rows = parity({"Keras": right, "LiteRT": broken}, images)
    assert rows[1].agreement == 1
    with pytest.raises(RuntimeError, match="LiteRT gives probabilities that are not finite"):
        require_parity(rows, 0.9, NAMES)
