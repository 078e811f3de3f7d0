"""Detectors as Keras models: fit, evaluate, predict and `.keras` files.

Tests share one trained model and call it eagerly, since tracing a graph takes longer.
"""

import keras
import numpy as np
import pytest
from keras import ops

from conftest import untraced
from tfseg.models import is_detector, tiny_unet, with_thresholds

LOSSES = ["loss_objectness", "loss_rpn_box", "loss_class", "loss_box", "loss_mask"]
OF_OBJECTS = ["loss_rpn_box", "loss_box", "loss_mask"]
UNUSABLE = {  # boxes in images of 61 x 70 pixels
    "no area": [(5, 5, 5, 40), (9, 9, 3, 30), (7, 7, 7, 7)],
    "outside": [(70, 5, 90, 20), (-20, -20, 0, 0), (5, 61, 9, 90)],
    "not a number": [(np.nan, 5, 30, 20)],
}


@pytest.fixture(scope="module")
def model(trained):
    """The trained model."""
    return trained.model


@pytest.fixture(scope="module")
def raw(model, objects):
    """The raw outputs that `evaluate` computes the losses from."""
    return model.raw(objects[0])


@pytest.fixture(scope="module")
def detections(model, objects):
    """The detections of the model."""
    return detect(model, objects[0])


@pytest.fixture(scope="module")
def losses(model, objects, raw):
    """The losses of an eager evaluation."""
    return losses_of(model, *objects, raw)


@pytest.fixture(scope="module")
def losses_without_boxes(model, objects, raw, with_boxes):
    """The losses if the images have no objects."""
    images, labels = objects
    return losses_of(model, images, with_boxes(labels, []), raw)


def detect(model, images):
    found = model(images, training=False)
    return {name: ops.convert_to_numpy(values) for name, values in found.items()}


def losses_of(model, images, labels, raw=None, training=False):
    """The losses of `evaluate`, or of a step of `fit`."""
    for tracker in model.loss_trackers:
        tracker.reset_state()
    raw = model.raw(images) if raw is None else raw
    total = model.compute_loss(images, labels, raw, training=training)
    losses = {tracker.name: float(tracker.result()) for tracker in model.loss_trackers}
    return {"loss": float(total), **losses}


def test_fit_reports_the_losses_and_lowers_their_sum(trained):
    history = trained.history
    assert set(history) == {"loss", *LOSSES}
    sums = np.sum([history[name] for name in LOSSES], axis=0)
    assert history["loss"] == pytest.approx(sums, rel=1e-5)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_losses_and_weights_stay_finite(trained):
    for name, losses in trained.extreme.items():
        assert np.isfinite(list(losses.values())).all(), name
        if name in ("no boxes", "crowds"):
            assert [losses[loss] for loss in OF_OBJECTS] == [0, 0, 0], name
            assert losses["loss_class"] > 0
        else:
            assert losses["loss_mask"] > 0, name
    assert len(trained.extreme) == 7
    assert all(np.isfinite(weights).all() for weights in trained.model.get_weights())


@pytest.mark.slow
def test_evaluate_in_a_graph_equals_an_eager_call(make, objects):
    model = make()
    model.compile("sgd", jit_compile=False)
    found = model.evaluate(*objects, verbose=0, return_dict=True)
    assert found == pytest.approx(losses_of(model, *objects), rel=1e-4)


def test_evaluate_and_predict_equal_eager_calls(model, objects, losses, detections):
    images, labels = objects
    with untraced():  # tests/export traces the detections, and notebook 08 the losses
        evaluated = model.evaluate(images, labels, verbose=0, return_dict=True)
        again = model.evaluate(images, labels, verbose=0, return_dict=True)
        found = model.predict(images, verbose=0)
    assert evaluated == pytest.approx(losses, rel=1e-4)
    assert min(evaluated.values()) > 0
    assert again == pytest.approx(evaluated, rel=1e-6)  # threads add in any order
    assert {name: (values.shape, values.dtype) for name, values in found.items()} == {
        "boxes": ((2, 7, 4), np.float32),
        "scores": ((2, 7), np.float32),
        "classes": ((2, 7), np.int32),
        "masks": ((2, 7, 28, 28), np.float32),
    }
    for name, values in found.items():
        assert values == pytest.approx(detections[name], abs=1e-3), name


def test_detections_lie_in_the_image_in_descending_order(detections):
    assert (np.diff(detections["scores"]) <= 0).all()
    boxes = detections["boxes"][detections["classes"] >= 0]
    low, high = boxes[:, :2], boxes[:, 2:]
    assert len(boxes)
    assert ((low >= 0) & (low < high) & (high <= (70, 61))).all()
    assert np.ptp(detections["masks"][0]) > 0


def test_a_keras_file_gives_the_same_losses_and_detections(
    model, objects, losses, detections, tmp_path
):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert losses_of(again, *objects) == losses
    assert detections["scores"].any()
    for name, values in detect(again, objects[0]).items():
        assert np.array_equal(values, detections[name]), name


def test_thresholds_change_without_training(model, objects, detections, tmp_path):
    threshold = float(detections["scores"][0, 2])
    strict = with_thresholds(model, score_threshold=threshold, max_detections=4)
    found = detect(strict, objects[0])
    assert found["scores"][0].tolist() == [*detections["scores"][0, :2], 0, 0]
    assert found["classes"][0].tolist() == [*detections["classes"][0, :2], -1, -1]
    assert found["masks"][0, :2] == pytest.approx(detections["masks"][0, :2], abs=1e-5)
    assert not found["boxes"][0, 2:].any()
    assert not found["masks"][0, 2:].any()
    strict.save(tmp_path / "strict.keras")
    again = keras.saving.load_model(tmp_path / "strict.keras")
    assert np.array_equal(detect(again, objects[0])["scores"], found["scores"])


def test_images_of_a_batch_are_independent(model, objects, detections):
    assert detections["scores"][0].any()
    for name, values in detect(model, objects[0][:1]).items():
        assert values == pytest.approx(detections[name][:1], abs=1e-3), name


def test_unusable_boxes_count_as_none(model, objects, raw, losses_without_boxes, with_boxes):
    images, labels = objects
    assert losses_without_boxes["loss_objectness"] > 0
    for name, boxes in UNUSABLE.items():
        found = losses_of(model, images, with_boxes(labels, boxes), raw)
        assert found == losses_without_boxes, name


def test_any_number_of_rows_gives_the_same_losses(
    model, objects, raw, losses, losses_without_boxes
):
    images, labels = objects
    few = {name: values[:, :2] for name, values in labels.items()}
    few["instances"] = labels["instances"]
    assert losses_of(model, images, few, raw) == pytest.approx(losses, rel=1e-5)
    none = {name: values[:, :0] for name, values in labels.items()}
    none["instances"] = labels["instances"] * 0
    assert losses_of(model, images, none, raw) == pytest.approx(losses_without_boxes, rel=1e-5)


@pytest.mark.parametrize("wrong", [3, -2])
def test_a_class_out_of_range_makes_the_loss_nan(wrong, model, objects, raw, with_boxes):
    images, labels = objects
    labels = with_boxes(labels, [(5, 5, 30, 30)], classes=wrong)
    assert np.isnan(losses_of(model, images, labels, raw)["loss"])


def test_samples_are_drawn_anew_in_training_and_the_same_in_evaluation(model, objects, raw, losses):
    state = model.sampling_seed.state
    before = ops.convert_to_numpy(state)
    assert losses_of(model, *objects, raw) == losses
    assert np.array_equal(ops.convert_to_numpy(state), before)
    drawn = [losses_of(model, *objects, raw, training=True) for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert not np.array_equal(ops.convert_to_numpy(state), before)
    assert any(variable is state for variable in model.variables)
    rows = np.concatenate(
        [
            ops.convert_to_numpy(model._priorities((2, 500), np.array(key), stage))
            for key, stage in [((1, 2), 0), ((1, 2), 1), ((1, 3), 0), ((2, 2), 0)]
        ]
    )
    assert len({row.tobytes() for row in rows}) == len(rows) == 8
    assert rows.mean() == pytest.approx(0.5, abs=0.03)


def test_a_letterboxed_image_gives_the_boxes_and_losses_of_the_small_one(
    model, objects, losses, detections, make
):
    """Halving a doubled image restores it exactly."""
    images, labels = objects
    large = make(size=(61, 70))
    large.set_weights(model.get_weights())
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)
    found = detect(large, doubled)
    assert found["boxes"] == pytest.approx(2 * detections["boxes"], abs=1e-2)
    for name in ("scores", "masks"):
        assert found[name] == pytest.approx(detections[name], abs=1e-4)
    instances = labels["instances"].repeat(2, axis=1).repeat(2, axis=2)
    labels = labels | {"boxes": 2 * labels["boxes"], "instances": instances}
    assert losses_of(large, doubled, labels) == pytest.approx(losses, rel=0.02)


def test_wrong_labels_are_an_error(model, objects, raw, make):
    images, labels = objects
    with pytest.raises(ValueError, match="expected a dict with boxes, classes, instances"):
        model.compute_loss(images, {"boxes": labels["boxes"]}, raw)
    with pytest.raises(ValueError, match="got labels ndarray"):
        model.compute_loss(images, labels["boxes"], raw)
    with pytest.raises(ValueError, match="mask_rcnn: got sample_weight"):
        model.compute_loss(images, labels, raw, sample_weight=np.ones(2))
    model = make("faster_rcnn")
    model.compile("sgd", loss="mse", run_eagerly=True)
    with pytest.raises(ValueError, match="compile got a loss or metrics"):
        model.train_on_batch(images, labels)


def test_is_detector(model):
    assert is_detector(model)
    assert not is_detector(tiny_unet(2))
    with pytest.raises(TypeError, match="with_thresholds: model=.* is not a detector"):
        with_thresholds(tiny_unet(2), 0.5)
