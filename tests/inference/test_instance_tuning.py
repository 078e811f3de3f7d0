"""Thresholds of instance models. The models are exact: the image contains their outputs."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from detector_runs import small_detector
from exact_instances import IMAGES, Exact, center_image, center_model, discs, star_image, star_model
from object_scenes import Scenes

from tfseg.data.readers.objects import boxes_around
from tfseg.inference import (
    evaluate_instances,
    evaluate_objects,
    instance_predictor,
    instance_tuning,
    predict_instances,
    tune_instances,
    tune_run,
)
from tfseg.metrics import InstanceMetrics, PanopticQuality
from tfseg.models import instance_settings, with_object_thresholds, with_thresholds
from tfseg.models.instance_decoding import suppress
from tfseg.training import Run


@pytest.fixture(scope="module")
def star():
    return star_model()


@pytest.fixture(scope="module")
def false_object():
    """Return an image with a false object of probability 0.7, and the label map without it."""
    labels = discs()
    image = star_image(labels)
    wrong = labels == 5
    image[wrong, 0] = np.minimum(image[wrong, 0], np.log(0.7 / 0.3))
    return image, np.where(wrong, 0, labels)


@pytest.mark.parametrize("score", ["ap", "pq"])
def test_the_best_thresholds_have_the_score_of_an_evaluation(score, star, false_object):
    image, target = false_object
    reader = Exact([image] * 2, [target] * 2)
    tuning = tune_instances(star, reader, score)
    assert tuning.object_threshold >= 0.7
    assert tuning.nms_overlap in (0.3, 0.4, 0.5)
    assert tuning.improves
    assert tuning.score_cv > tuning.score_untuned
    untuned = evaluate_instances(star, reader).means()[score]
    assert tuning.score_untuned == pytest.approx(untuned, abs=1e-12)
    # both images are the same, so that each fold finds the thresholds of all images
    thresholds = tuning.object_threshold, tuning.nms_overlap
    tuned = evaluate_instances(with_object_thresholds(star, *thresholds), reader).means()[score]
    assert tuning.score_cv == pytest.approx(tuned, abs=1e-12)


def slow_tuning(model, reader, score, choices, default, things=(1,)):
    """Tune with a prediction and a metric per choice and image; each image is a fold."""
    metrics = []
    for index in range(len(reader)):
        labels, of_choice = reader[index], {}
        for choice in choices:
            of_choice[choice] = _metric(score, things)
            found = predict_instances(model, labels["image"], None, *choice)
            of_choice[choice].update_state(labels, found)
        metrics.append(of_choice)

    def total(parts):
        metric = _metric(score, things)
        metric.merge_state(parts)
        return metric.result()[score]

    def distance(choice):
        return sum(abs(x - y) for x, y in zip(choice, default, strict=True) if y is not None)

    def best(images):
        scores = {choice: total([image[choice] for image in images]) for choice in choices}
        return max(choices, key=lambda choice: (scores[choice], -distance(choice)))

    held_out = [
        image[best(metrics[:place] + metrics[place + 1 :])] for place, image in enumerate(metrics)
    ]
    return total([image[default] for image in metrics]), total(held_out), *best(metrics)


def _metric(score, things):
    return PanopticQuality(things) if score == "pq" else InstanceMetrics(things)


@pytest.mark.parametrize("score", ["ap", "ap50", "pq"])
@pytest.mark.parametrize("head", ["star", "center"])
def test_tuning_is_that_of_a_prediction_per_choice(head, score, star, monkeypatch):
    thresholds, overlaps = (0.1, 0.3, 0.5, 0.7), (0.3, 0.4)
    monkeypatch.setattr(instance_tuning, "THRESHOLDS", thresholds)
    monkeypatch.setattr(instance_tuning, "OVERLAPS", overlaps)
    monkeypatch.setattr(instance_tuning, "CENTER_THRESHOLDS", thresholds)
    choices = list(itertools.product(thresholds, overlaps if head == "star" else [None]))
    images = [IMAGES[head](discs()) for _ in range(3)]
    generator = np.random.default_rng(0)
    for image in images:  # many false objects, and true ones that are not exact
        image += generator.normal(0, 2, image.shape)
    if head == "star":
        images = [np.concatenate([i[..., :1], i[..., 1:].clip(0)], -1) for i in images]
    model = star if head == "star" else center_model()
    reader = Exact(images, [discs()] * 3)
    tuning = tune_instances(model, reader, score)
    expected = slow_tuning(
        model, reader, score, choices, (0.5, 0.4) if head == "star" else (0.1, None)
    )
    assert dataclasses.astuple(tuning) == (score, *expected)


@pytest.mark.parametrize(("most", "best"), [(3, 0.5), (7, 0.1)])
def test_thresholds_with_too_many_objects_are_left_out(most, best, star, monkeypatch):
    # All six objects are right, but one needs a threshold below 0.2. Where 3 objects are too many,
    # that threshold is left out. The default is not: it gives the score before tuning.
    monkeypatch.setattr(instance_tuning, "SOME", most)
    monkeypatch.setattr(instance_tuning, "TIMES", 0)
    monkeypatch.setattr(instance_tuning, "THRESHOLDS", (0.1, 0.5, 0.99))
    labels = discs()
    image = star_image(labels)
    for number, probability in enumerate((0.95, 0.9, 0.8, 0.7, 0.2), 1):
        logit = np.log(probability / (1 - probability))
        image[labels == number, 0] = np.minimum(image[labels == number, 0], logit)
    reader = Exact([image] * 2, [labels] * 2)
    tuning = tune_instances(star, reader)
    assert tuning.object_threshold == best
    untuned = evaluate_instances(star, reader).means()["ap"]
    assert tuning.score_untuned == pytest.approx(untuned, abs=1e-12)


@pytest.mark.parametrize("most", [2, 30, 500])
def test_the_first_survivors_do_not_need_all_candidates(most):
    rng = np.random.default_rng(2)
    candidates = {
        "centers": rng.uniform(0, 40, (300, 2)),
        "distances": rng.uniform(1, 6, (300, 8)),
        "scores": rng.integers(0, 20, 300) / 20,  # many are equal
        "classes": np.arange(300),
    }
    survivors = suppress(candidates, 0.4)["classes"]
    assert 30 < len(survivors) < 200
    found = suppress(candidates, 0.4, most)
    assert found["classes"].tolist() == survivors[:most].tolist()
    assert found["distances"].shape == (min(most, len(survivors)), 8)


def test_thresholds_that_help_on_one_image_only_do_not_improve(star, false_object):
    # On the first image the object of probability 0.7 is false, on the second it is true.
    image, target = false_object
    reader = Exact([image] * 2, [target, discs()])
    tuning = tune_instances(star, reader)
    assert not tuning.improves
    assert tuning.score_cv < tuning.score_untuned


def test_center_thresholds_are_tuned():
    labels = discs()
    image = center_image(labels)
    image[2, 2, :2] = 1, np.log(0.12 / 0.88)  # a false object of one pixel with a heat of 0.12
    tuning = tune_instances(center_model(), Exact([image] * 2, [labels] * 2), "ap50")
    assert (tuning.object_threshold, tuning.nms_overlap) == (0.15, None)
    assert (tuning.score, tuning.score_cv) == ("ap50", 1.0)
    assert tuning.score_untuned < 1


class Found(Scenes):
    """Scenes whose objects are those that a detector finds with a threshold."""

    def __init__(self, indices, model, threshold):
        super().__init__(indices)
        for scene in self._scenes:
            found = predict_instances(model, scene["image"], None, threshold)
            instances, classes = found["instances"], found["classes"]
            scene.update(
                instances=instances,
                classes=classes,
                mask=np.array([0, *(classes + 1)], np.uint8)[instances],
                boxes=boxes_around(instances),
                crowd=np.zeros(len(classes), bool),
                areas=np.bincount(instances.ravel())[1:].astype(np.float32),
            )


@pytest.fixture(scope="module")
def detector():
    """Return a Mask R-CNN whose random weights give scores between 0.1 and 0.7."""
    keras.utils.set_random_seed(0)
    model = small_detector()
    logits = model.get_layer("box_head").get_layer("class_logits")
    logits.kernel.assign(1000 * logits.kernel)
    logits.bias.assign([0, 1.5, 1.5])
    return model


@pytest.fixture(scope="module")
def predicted():
    """Return {bytes of an image: outputs of the detector}, which are the same for any choice."""
    return {}


@pytest.fixture
def _predict_once(predicted, monkeypatch, eager):
    predict = instance_predictor.outputs_of

    def outputs_of(model, image, flips=False):
        key = image.tobytes()
        if key not in predicted:
            predicted[key] = predict(model, image, flips)
        return predicted[key]

    monkeypatch.setattr(instance_predictor, "outputs_of", outputs_of)


@pytest.mark.usefixtures("_predict_once")
@pytest.mark.parametrize("score", ["ap", "ap50", "pq"])
@pytest.mark.parametrize("threshold", [0.25, 0.6])
def test_the_score_that_objects_of_detectors_need_is_tuned(threshold, score, detector):
    reader = Found(range(4), detector, threshold)
    tuning = tune_instances(detector, reader, score)
    choices = [(value, None) for value in instance_tuning.THRESHOLDS]
    things = reader.object_label_ids
    expected = slow_tuning(detector, reader, score, choices, (0.5, None), things)
    assert dataclasses.astuple(tuning) == (score, *expected)
    assert tuning.object_threshold == threshold
    assert tuning.improves


@pytest.mark.usefixtures("eager")
def test_a_run_of_a_detector_keeps_its_object_threshold(detector, tmp_path):
    run, reader = Run(tmp_path), Found([0, 1], detector, 0.25)
    detector.save(run.best)
    assert tune_run(run, reader).improves
    tuned = with_thresholds(run.model(), nms_iou=0.5)  # does not change it
    image = reader[0]["image"]
    found = predict_instances(tuned, image)
    assert len(found["scores"]) > len(predict_instances(detector, image)["scores"])
    np.testing.assert_array_equal(found["instances"], reader[0]["instances"])
    evaluation = evaluate_objects(run.model(), reader)
    assert evaluation.object_threshold == 0.25
    assert evaluation.instances.means()["ap"] == 1
    # the detections themselves stay the same
    assert evaluation.scores["ap"] == evaluate_objects(detector, reader).scores["ap"]
    with pytest.raises(ValueError, match="has no head for instances"):
        with_object_thresholds(small_detector(masks=False), 0.3)


def test_a_run_keeps_what_improves_it(star, false_object, tmp_path):
    image, target = false_object
    run = Run(tmp_path)
    star.save(run.best)
    tuning = tune_run(run, Exact([image] * 2, [target] * 2))
    assert run.tuning()["object_threshold"] == tuning.object_threshold
    settings = instance_settings(run.model())
    assert settings.object_threshold == tuning.object_threshold
    assert settings.nms_overlap == tuning.nms_overlap
    assert predict_instances(run.model(), image)["instances"].max() == target.max() - 1
    assert instance_settings(run.model(tuned=False)).object_threshold == 0.5
    # the same probabilities, but now all of them are right
    tuning = tune_run(run, Exact([image] * 2, [discs()] * 2))
    assert not tuning.improves
    assert run.tuning() is None
    assert instance_settings(run.model()).object_threshold == 0.5


def test_thresholds_are_in_keras_files_and_give_way_to_arguments(star, false_object, tmp_path):
    image = false_object[0]
    strict = with_object_thresholds(with_object_thresholds(star, 0.2), nms_overlap=0.9)
    strict.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    settings = instance_settings(loaded)
    assert (settings.object_threshold, settings.nms_overlap) == (0.2, 0.9)
    expected = predict_instances(star, image, None, 0.2, 0.9)["instances"]
    np.testing.assert_array_equal(predict_instances(loaded, image)["instances"], expected)
    expected = predict_instances(star, image)["instances"]
    found = predict_instances(loaded, image, None, 0.5, 0.4)["instances"]
    np.testing.assert_array_equal(found, expected)


def test_what_does_not_fit_is_refused(star, false_object):
    image, target = false_object
    with pytest.raises(ValueError, match=r"got folds=1 and 1 images, expected at least two"):
        tune_instances(star, Exact([image], [target]))
    with pytest.raises(ValueError, match="score='aji' is unknown"):
        tune_instances(star, Exact([image] * 2, [target] * 2), "aji")
    with pytest.raises(ValueError, match="object_threshold=1.5 must be at least 0 and below 1"):
        with_object_thresholds(star, 1.5)
    with pytest.raises(ValueError, match="nms_overlap=0.3 is for models with head='star'"):
        with_object_thresholds(center_model(), nms_overlap=0.3)
