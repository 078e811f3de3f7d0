import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from instance_runs import instance_config, let_find_objects, small_model
from numpy.testing import assert_allclose
from object_scenes import NAMES, SIDE, Scenes

from tfseg.data import Augment
from tfseg.inference import evaluate_instances
from tfseg.losses import CenterHeatmap, CrossEntropy, StarDistance
from tfseg.models import instance_settings, tiny_unet
from tfseg.training import (
    InstanceScores,
    Run,
    TrainConfig,
    augmented,
    build_model,
    compile_for,
    instance_targets,
    open_readers,
    train,
)

TRAIN, VAL = range(4), range(4, 6)


class StuffScenes(Scenes):
    """Scenes above a ground, whose classes are things (1, 2) and stuff (0, 3)."""

    object_names = NAMES

    def __init__(self, indices):
        super().__init__(indices)
        self.class_names = ["sky", *NAMES, "ground"]
        for scene in self._scenes:
            below = (scene["mask"] == 0) & (np.arange(SIDE)[:, None] >= SIDE // 2)
            scene["mask"] = np.where(below, 3, scene["mask"]).astype(np.uint8)


def test_a_run_has_the_facts_scores_and_best_model(star_run, eager):
    run = Run(star_run / "run")
    facts, (train_reader, val) = run.data, open_readers(run.config, run.data)
    assert (facts.object_names, facts.class_names, facts.thing_ids) == (
        ["object"],
        ["object"],
        None,
    )
    objects = [len(train_reader[i]["classes"]) for i in range(len(train_reader))]
    assert facts.object_counts == [sum(objects)]
    assert (run.config.head, run.config.monitor, run.config.encoder) == ("star", "val_ap", None)
    history = run.history()
    assert history["epoch"] == [1, 2]
    assert {"loss", "val_ap", "val_ap50", "val_pq"} < set(history)
    model = run.model()
    settings = instance_settings(model)
    assert (settings.head, settings.num_classes, model.name) == ("star", 1, "tiny_unet_star")
    best = int(np.argmax(np.nan_to_num(history["val_ap"], nan=-1)))
    found = evaluate_instances(model, val).means()
    for name in ("ap", "ap50", "pq"):
        expected = history[f"val_{name}"][best]
        assert found[name] == pytest.approx(expected, abs=1e-6, nan_ok=True)


class Kill(keras.callbacks.Callback):
    """Stops the training like Ctrl-C at the start of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_run_continues(star_run, tmp_path, eager):
    config = instance_config(star_run, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[Kill()])
    assert Run(config.out).history()["epoch"] == [1]
    resumed, straight = train(config), Run(star_run / "run")
    states = []
    for run in (resumed, straight):
        with np.load(next((run.folder / "state").iterdir())) as state:
            states.append({name: state[name] for name in state.files})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert_allclose(states[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert_allclose(resumed.history()["loss"], straight.history()["loss"], rtol=1e-4)


def test_a_center_head_learns_stuff_too(tmp_path, eager):
    config = TrainConfig(
        task="instances",
        head="center",
        model="tiny_unet",
        filters=4,
        epochs=1,
        batch_size=4,
        augment={"size": 32},
        class_weights="median",
        out=str(tmp_path / "run"),
    )
    run = train(config, StuffScenes(TRAIN), StuffScenes(VAL))
    weights = run.record.resolved["loss"]["class_logits"]["config"]["class_weights"]
    assert weights == run.data.median_weights
    assert (run.data.thing_ids, run.data.label_names) == ([1, 2], ["sky", *NAMES, "ground"])
    model = run.model()
    assert model.output["class_logits"].shape[-1] == 4
    assert instance_settings(model).thing_ids == (1, 2)
    evaluation = evaluate_instances(model, StuffScenes(VAL))
    assert evaluation.names == [*NAMES, "sky", "ground"]
    assert evaluation.scores["pq"] == pytest.approx(run.history()["val_pq"][0])
    again = build_model(run.config, run.data)
    assert again.output_shape == model.output_shape


def test_the_targets_are_those_of_the_model():
    scenes = Scenes(range(2))
    images = np.stack([scenes[i]["image"] for i in range(2)])
    labels = {
        "instances": np.stack([scenes[i]["instances"] for i in range(2)]),
        "mask": np.stack([scenes[i]["mask"] for i in range(2)]),
        "classes": np.array([[*scenes[i]["classes"], *[-1] * 3][:3] for i in range(2)]),
    }
    batches = tf.data.Dataset.from_tensors((images, labels))
    model = small_model(num_classes=2, grid=4)
    _, targets = next(iter(batches.map(instance_targets(model))))
    assert targets["distances"].shape == (2, SIDE // 4, SIDE // 4, 9)
    assert set(targets) == set(model.output)
    _, targets = next(iter(batches.map(instance_targets(small_model("center", 2)))))
    assert (targets["class_logits"].numpy() == labels["mask"]).all()
    with pytest.raises(ValueError, match="'tiny_unet' predicts no instances"):
        instance_targets(tiny_unet(2, filters=4))


def test_every_output_has_the_loss_of_its_paper():
    model = small_model(num_classes=2)
    compile_for(model, schedule="constant")
    assert set(model.loss) == {"object_logits", "distances", "class_logits"}
    assert model.loss["distances"].weights == (0.2,)
    assert isinstance(model.loss["distances"].losses[0], StarDistance)
    model = small_model("center")
    compile_for(model, schedule="constant")
    assert isinstance(model.loss["class_logits"], CrossEntropy)
    assert model.loss["center_logits"].weights == (200.0,)
    assert isinstance(model.loss["center_logits"].losses[0], CenterHeatmap)
    assert model.loss["offsets"].weights == (0.01,)
    compile_for(model, schedule="constant", class_weights=[1, 2])
    assert model.loss["class_logits"].class_weights == [1, 2]
    with pytest.raises(ValueError, match="class_weights=.* has losses of its own"):
        compile_for(small_model(), schedule="constant", class_weights=[1, 2])


def test_targets_cannot_be_augmented_in_the_train_step():
    with pytest.raises(ValueError, match="'tiny_unet_star' are made after the aug.*in the pipel"):
        augmented(small_model(), Augment(32))


def config_of(**changes):
    return TrainConfig(**{"task": "instances", "head": "star", "out": "run", **changes})


def test_defaults_of_the_heads():
    star, center = config_of(), config_of(head="center")
    assert (star.model, star.encoder, star.monitor) == ("unet", "efficientnet_lite0", "val_ap")
    assert (star.augment["rotate"], star.augment["flip"]) == (180, "both")
    assert (center.augment["rotate"], center.augment["flip"]) == (10, "horizontal")
    assert center.monitor == "val_pq"
    assert config_of(model="tiny_unet").encoder is None
    assert config_of(encoder="resnet50").encoder == "resnet50"
    assert (star.is_boxless, star.is_detector, star.has_objects) == (True, False, True)
    mask = config_of(head="mask_rcnn")
    assert (mask.is_boxless, mask.is_detector, mask.monitor) == (False, True, "val_mask_ap")
    config = config_of(filters=(4, 8, 16, 32, 64), window=64, images="a", labels="b")
    assert TrainConfig.from_json(config.to_json()) == config
    assert json.loads(config.to_json())["head"] == "star"
    assert replace(config, seed=3).encoder == config.encoder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_sizes": (8, 16, 32, 64, 128)}, "has no meaning for head='star'. Remove it"),
        ({"masks": "m", "images": "i"}, "masks='m' has no meaning for head='star'"),
        ({"class_weights": "median"}, "class_weights='median' has no meaning for head='star'"),
        ({"loss": {"Dice": 1.0}}, "heads for objects have losses of their own"),
        ({"task": "detect"}, "contradicts task='detect'. Pass task='instances'"),
        ({"task": "semantic"}, "has no meaning for task='semantic'"),
        ({"head": "stars"}, "Did you mean 'star'"),
        ({"head": "mask_rcnn", "model": "fpn"}, "contradicts task='instances'. Pass a head"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(**changes)


@pytest.mark.parametrize(
    ("changes", "model", "message"),
    [
        ({"model": None}, None, "config.model is None, so pass a network"),
        ({}, lambda: tiny_unet(2, filters=4), "head='star' needs a model of tfseg.models.instan"),
        ({"head": "center"}, small_model, "has the head 'star', but config.head is 'center'"),
        ({}, small_model, "'tiny_unet_star' has 1 object classes, but the reader has 2: red, gr"),
        ({"head": "mask_rcnn"}, small_model, "needs a detector"),
        ({"head": "center", "class_weights": (1, 2)}, None, "one number per class: background, r"),
    ],
)
def test_models_that_do_not_fit_are_refused(changes, model, message, tmp_path):
    config = config_of(**{"weights": None, "out": str(tmp_path / "run"), **changes})
    with pytest.raises(ValueError, match=message):
        train(config, Scenes(TRAIN), Scenes(VAL), None if model is None else model())


def test_readers_without_masks_of_objects_are_refused(tmp_path):
    config = config_of(out=str(tmp_path / "run"), weights=None)
    with pytest.raises(ValueError, match="needs instances, but the reader provides image, boxes"):
        train(config, Scenes(TRAIN, masks=False), Scenes(VAL, masks=False))


class Found(Scenes):
    """Scenes whose objects are what a model finds in them."""

    object_names = ["object"]

    def __init__(self, indices, model):
        super().__init__(indices)
        self.class_names = ["background", "object"]
        from tfseg.inference import predict_instances

        for scene in self._scenes:
            found = predict_instances(model, scene["image"])
            scene["instances"], scene["classes"] = found["instances"], found["classes"]
            scene["mask"] = (found["instances"] > 0).astype(np.uint8)


@pytest.fixture
def finder():
    """Return a model that finds polygons everywhere, and whose averages are its weights."""
    model = small_model()
    compile_for(model, "sgd", schedule="constant", average=0.5)
    let_find_objects(model, Scenes(range(1))[0]["image"])
    model.run_eagerly = True
    return model


def test_objects_that_are_found_have_scores_of_1(finder):
    scores, logs = InstanceScores(Found(range(2), finder)), {"loss": 1.0}
    scores.set_model(finder)
    scores.on_epoch_end(0, logs)
    one = pytest.approx(1.0)
    assert logs == {"loss": 1.0, "val_ap": one, "val_ap50": one, "val_pq": one}
    nothing = {"loss": float("nan")}  # of weights that are not finite
    scores.on_epoch_end(0, nothing)
    assert set(nothing) == {"loss"}


def test_the_averaged_weights_are_scored(finder):
    found = Found(range(2), finder)
    scores, logs = InstanceScores(found), {}
    scores.set_model(finder)
    finder.optimizer.build(finder.trainable_variables)
    averages = finder.optimizer._model_variables_moving_average
    for average, variable in zip(averages, finder.optimizer._trainable_variables, strict=True):
        average.assign(variable)
        variable.assign(keras.ops.zeros_like(variable))  # the weights themselves find nothing
    scores.on_epoch_end(0, logs)
    assert logs["val_ap"] == pytest.approx(1.0)
    assert not any(variable.numpy().any() for variable in finder.trainable_variables)


def test_what_cannot_be_scored_is_refused(finder):
    with pytest.raises(ValueError, match="provides image, boxes.*; expected instances and classes"):
        InstanceScores(Scenes(range(1), masks=False))
    scores = InstanceScores(Scenes(range(1)))
    with pytest.raises(ValueError, match="InstanceScores: the model 'tiny_unet' predicts no inst"):
        scores.set_model(tiny_unet(2, filters=4))
    with pytest.raises(ValueError, match="has 1 object classes, but the reader has 2: red, green"):
        scores.set_model(finder)
