"""Detectors as Keras models: fit, evaluate, predict and `.keras` files."""

import keras
import numpy as np
import pytest

from tfseg.models import is_detector, tiny_unet, with_thresholds

LOSSES = ["loss_objectness", "loss_rpn_box", "loss_class", "loss_box", "loss_mask"]


def test_fit_reports_the_losses_and_lowers_their_sum(trained):
    history = trained[1]
    assert set(history) == {"loss", *LOSSES}
    sums = np.sum([history[name] for name in LOSSES], axis=0)
    assert history["loss"] == pytest.approx(sums, rel=1e-5)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_keras_file_evaluates_and_predicts_to_the_same_digits(trained, batch, tmp_path):
    model, (images, labels) = trained[0], batch
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    digits = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert set(digits) == {"loss", *LOSSES}
    assert again.evaluate(images, labels, verbose=0, return_dict=True) == digits
    expected = model.predict(images, verbose=0)
    found = again.predict(images, verbose=0)
    assert expected["scores"].any()
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


def test_detections_have_the_agreed_shapes(trained, batch):
    found = trained[0].predict(batch[0], verbose=0)
    shapes = {name: (values.shape, values.dtype) for name, values in found.items()}
    assert shapes == {
        "boxes": ((2, 7, 4), np.float32),
        "scores": ((2, 7), np.float32),
        "classes": ((2, 7), np.int32),
        "masks": ((2, 7, 28, 28), np.float32),
    }


def test_thresholds_change_without_training(trained, batch, tmp_path):
    model, images = trained[0], batch[0]
    before = model.predict(images, verbose=0)
    threshold = float(before["scores"][0, 2])
    strict = with_thresholds(model, score_threshold=threshold, max_detections=4)
    found = strict.predict(images, verbose=0)
    assert found["scores"][0].tolist() == [*before["scores"][0, :2], 0, 0]
    assert found["classes"][0].tolist() == [*before["classes"][0, :2], -1, -1]
    assert np.array_equal(found["masks"][0, :2], before["masks"][0, :2])
    assert not found["boxes"][0, 2:].any()
    assert not found["masks"][0, 2:].any()
    strict.save(tmp_path / "strict.keras")
    again = keras.saving.load_model(tmp_path / "strict.keras")
    assert np.array_equal(again.predict(images, verbose=0)["scores"], found["scores"])


def test_is_detector(trained):
    assert is_detector(trained[0])
    assert not is_detector(tiny_unet(2))
