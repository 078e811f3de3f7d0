"""Detectors as Keras models: fit, evaluate, predict and `.keras` files.

Tests share one trained model. Those that train it further check that it stays finite.
"""

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models import freeze, is_detector, tiny_unet, with_thresholds

LOSSES = ["loss_objectness", "loss_rpn_box", "loss_class", "loss_box", "loss_mask"]
OF_OBJECTS = ["loss_rpn_box", "loss_box", "loss_mask"]


def evaluate(model, images, labels):
    return model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)


def fit(model, images, labels):
    """Train one step, and return the losses; the same graph as in the fixture `trained`."""
    return model.fit(images, labels, batch_size=2, verbose=0).history


def losses_of(model, images, labels):
    """The losses of `evaluate`, computed eagerly."""
    for tracker in model.loss_trackers:
        tracker.reset_state()
    raw = model.raw(images)
    total = model.compute_loss(images, labels, raw, training=False)
    digits = {tracker.name: float(tracker.result()) for tracker in model.loss_trackers}
    return {"loss": float(total), **digits}


def with_boxes(labels, boxes, classes=0, crowd=False):
    """Labels of the same shapes, with boxes (K, 4) in both images and their numbers as masks."""
    labels = {name: np.zeros_like(values) for name, values in labels.items()}
    labels["classes"] -= 1
    for row, box in enumerate(boxes):
        left, top, right, bottom = np.nan_to_num(box).astype(int).clip(0)
        labels["boxes"][:, row], labels["classes"][:, row] = box, classes
        labels["crowd"][:, row] = crowd
        labels["instances"][:, top:bottom, left:right] = row + 1
    return labels


def many_boxes():
    low = np.random.default_rng(0).uniform(0, 40, (40, 2))
    return np.concatenate([low, low + 20], axis=1)


# in images of 70 x 61 pixels
UNUSABLE = {
    "no boxes": {"boxes": []},
    "no area": {"boxes": [(5, 5, 5, 40), (9, 9, 3, 30), (7, 7, 7, 7)]},
    "outside": {"boxes": [(70, 5, 90, 20), (-20, -20, 0, 0), (5, 61, 9, 90)]},
    "not a number": {"boxes": [(np.nan, 5, 30, 20)]},
}
EXTREME = {
    "crowds": {"boxes": [(0, 0, 50, 50), (30, 30, 70, 61)], "crowd": True},
    "more than proposals": {"boxes": many_boxes()},
    "one pixel": {"boxes": [(7, 8, 8, 9), (69, 60, 70, 61)]},
    "a fraction of a pixel": {"boxes": [(7.2, 8.4, 7.21, 8.41)]},
    "at the border": {"boxes": [(0, 0, 20, 20), (50, 40, 70, 61), (0, 0, 70, 61)]},
    "partly outside": {"boxes": [(-30, -30, 20, 20), (60, 50, 500, 500)]},
}


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
    assert (np.diff(found["scores"]) <= 0).all()
    boxes = found["boxes"][found["classes"] >= 0]
    low, high = boxes[:, :2], boxes[:, 2:]
    assert len(boxes)
    assert ((low >= 0) & (low < high) & (high <= (70, 61))).all()


def test_thresholds_change_without_training(trained, batch, tmp_path):
    model, images = trained[0], batch[0]
    before = model.predict(images, verbose=0)
    threshold = float(before["scores"][0, 2])
    strict = with_thresholds(model, score_threshold=threshold, max_detections=4)
    found = strict(images)
    found = {name: ops.convert_to_numpy(values) for name, values in found.items()}
    assert found["scores"][0] == pytest.approx([*before["scores"][0, :2], 0, 0], abs=1e-6)
    assert found["classes"][0].tolist() == [*before["classes"][0, :2], -1, -1]
    assert found["masks"][0, :2] == pytest.approx(before["masks"][0, :2], abs=1e-5)
    assert not found["boxes"][0, 2:].any()
    assert not found["masks"][0, 2:].any()
    strict.save(tmp_path / "strict.keras")
    again = keras.saving.load_model(tmp_path / "strict.keras")
    assert np.array_equal(ops.convert_to_numpy(again(images)["scores"]), found["scores"])


def test_losses_and_weights_stay_finite(trained, batch):
    # in one test, since the seed that each test sets makes TensorFlow prepare its graphs anew
    model, (images, labels) = trained[0], batch
    for name in ["no boxes", *EXTREME]:
        faulty = with_boxes(labels, **(UNUSABLE | EXTREME)[name])
        digits = {key: values[0] for key, values in fit(model, images, faulty).items()}
        assert np.isfinite(list(digits.values())).all(), (name, digits)
        assert all(np.isfinite(weights).all() for weights in model.get_weights()), name
        if name in ("no boxes", "crowds"):
            assert [digits[loss] for loss in OF_OBJECTS] == [0, 0, 0], name
        else:
            assert digits["loss_mask"] > 0, name


def test_unusable_boxes_count_as_none(trained, batch):
    model, (images, labels) = trained[0], batch
    expected = evaluate(model, images, with_boxes(labels, []))
    for name, boxes in UNUSABLE.items():
        assert evaluate(model, images, with_boxes(labels, **boxes)) == expected, name


def test_any_number_of_rows_gives_the_same_losses(trained, batch):
    model, (images, labels) = trained[0], batch
    expected = evaluate(model, images, labels)
    few = {name: values[:, :2] for name, values in labels.items()}
    few["instances"] = labels["instances"]
    assert losses_of(model, images, few) == pytest.approx(expected, rel=1e-4)
    none = {name: values[:, :0] for name, values in labels.items()}
    none["instances"] = labels["instances"] * 0
    expected = evaluate(model, images, with_boxes(labels, []))
    assert losses_of(model, images, none) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("wrong", [3, -2])
def test_a_class_out_of_range_makes_the_loss_nan(wrong, trained, batch):
    labels = with_boxes(batch[1], [(5, 5, 30, 30)], classes=wrong)
    assert np.isnan(evaluate(trained[0], batch[0], labels)["loss"])


def test_samples_are_drawn_anew_in_training_and_the_same_in_evaluation(trained, batch):
    model, (images, labels) = trained[0], batch
    state = ops.convert_to_numpy(model.sampling_seed.state)
    assert evaluate(model, images, labels) == evaluate(model, images, labels)
    assert np.array_equal(ops.convert_to_numpy(model.sampling_seed.state), state)
    fit(model, images, labels)
    assert not np.array_equal(ops.convert_to_numpy(model.sampling_seed.state), state)
    assert any(variable is model.sampling_seed.state for variable in model.variables)
    drawn = [
        ops.convert_to_numpy(model._priorities((2, 500), np.array(key), stage))
        for key, stage in [((1, 2), 0), ((1, 2), 1), ((1, 3), 0), ((2, 2), 0)]
    ]
    rows = np.concatenate(drawn)
    assert len({row.tobytes() for row in rows}) == len(rows) == 8
    assert rows.mean() == pytest.approx(0.5, abs=0.03)


def test_a_frozen_encoder_is_not_trained(make, batch):
    model = make("faster_rcnn")
    freeze(model)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}
    model.train_on_batch(*batch)
    changed = {
        weight.path.split("/")[0]
        for weight in model.weights
        if not np.array_equal(before[weight.path], ops.convert_to_numpy(weight))
    }
    assert not any(name.startswith("encoder") for name in changed)
    assert {"fpn_lateral2", "fpn_lateral2_bn", "rpn_conv1", "rpn_deltas", "box_fc1"} <= changed


def test_images_of_a_batch_are_independent(trained, batch):
    model, images = trained[0], batch[0]
    together = model.predict(images, verbose=0)
    assert together["scores"][0].any()
    alone = model(images[:1], training=False)
    for name, values in together.items():
        assert ops.convert_to_numpy(alone[name]) == pytest.approx(values[:1], abs=1e-3), name


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles once per size")
def test_one_graph_serves_all_sizes(trained, batch):
    import tensorflow as tf

    model = trained[0]
    graph = tf.function(
        lambda x: model(x, training=False), [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    for images in (batch[0], batch[0][:1, :33, :50]):
        expected = model(images, training=False)
        for name, values in graph(images).items():
            assert np.asarray(values) == pytest.approx(np.asarray(expected[name]), abs=1e-3), name


def test_gradients_are_accumulated(make, batch):
    model = make("faster_rcnn")
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model.compile(optimizer, run_eagerly=True)
    kernel = model.get_layer("rpn_deltas").kernel
    start = ops.convert_to_numpy(kernel)
    model.train_on_batch(*batch)
    assert np.array_equal(ops.convert_to_numpy(kernel), start)
    model.train_on_batch(*batch)
    assert not np.array_equal(ops.convert_to_numpy(kernel), start)


def test_wrong_labels_are_an_error(make, trained, batch):
    model, (images, labels) = trained[0], batch
    raw = model.raw(images)
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


def test_is_detector(trained):
    assert is_detector(trained[0])
    assert not is_detector(tiny_unet(2))
    with pytest.raises(TypeError, match="with_thresholds: model=.* is not a detector"):
        with_thresholds(tiny_unet(2), 0.5)
