import hashlib
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tfseg.data import Arrays
from tfseg.models import DEFAULT_ENCODERS, MODELS, build, instances, mask_rcnn
from tfseg.training import DataFacts, Run, TrainConfig, train
from tfseg.training.fine_tuning import CLASS_LAYERS, Source, channel_names

from .conftest import NAMES, small_config, small_readers

pytestmark = pytest.mark.usefixtures("eager")


class Weights(keras.callbacks.Callback):
    """Keeps the weights with which a training begins."""

    def on_train_begin(self, logs=None):
        self.first = {v.path: v.numpy() for v in self.model.weights}


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def tuned_config(run, out, **changes):
    """Return a config that goes on from the shared run."""
    return small_config(out, init_from=str(run), epochs=2, learning_rate=1e-3, **changes)


def other_readers(names=NAMES, **changes):
    """Return readers of the same images whose masks have other class names."""
    readers = small_readers()
    return [
        Arrays(
            np.stack([reader[i]["image"] for i in range(len(reader))]),
            np.stack([reader[i]["mask"] for i in range(len(reader))]),
            names,
            **changes,
        )
        for reader in readers
    ]


def test_a_training_begins_with_the_best_weights_of_a_run(finished, tmp_path):
    weights, old = Weights(), Run(finished)
    run = train(tuned_config(finished, tmp_path / "new"), *small_readers(), callbacks=[weights])
    for variable in old.model().weights:
        assert_array_equal(weights.first[variable.path], variable.numpy(), err_msg=variable.path)
    origin = run.record.origin
    assert origin["run"] == str(finished)
    assert origin["weights"] == hashlib.sha256((finished / "best.keras").read_bytes()).hexdigest()
    assert origin["epoch"] == old.best_epoch()
    assert (origin["kept"], origin["new"], origin["dropped"]) == (NAMES, [], [])
    assert run.history()["epoch"] == [1, 2]


def test_it_resumes_without_the_run_that_it_came_from(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "old")
    whole, killed = (tuned_config(tmp_path / "old", tmp_path / name) for name in ("a", "b"))
    whole = train(whole, *small_readers())
    with pytest.raises(KeyboardInterrupt):
        train(killed, *small_readers(), callbacks=[Kill()])
    shutil.rmtree(tmp_path / "old")
    resumed = train(killed, *small_readers())
    assert resumed.history() == whole.history()
    assert resumed.record.origin == whole.record.origin
    for value, other in zip(resumed.model().weights, whole.model().weights, strict=True):
        assert_array_equal(value.numpy(), other.numpy())


def test_classes_keep_their_weights_by_name_and_new_ones_are_random(finished, tmp_path):
    weights, names = Weights(), ["band", "stem", "ground"]  # as many as before
    config = replace(tuned_config(finished, tmp_path / "new"), class_weights=None, epochs=1)
    run = train(config, *other_readers(names), callbacks=[weights])
    old = {v.path: v.numpy() for v in Run(finished).model().weights}
    for path, value in weights.first.items():
        if not path.startswith("classes"):
            assert_array_equal(value, old[path], err_msg=path)
    kernel, bias = (weights.first[f"classes/{name}"] for name in ("kernel", "bias"))
    for name in ("band", "ground"):
        after, before = names.index(name), NAMES.index(name)
        assert_array_equal(kernel[..., after], old["classes/kernel"][..., before])
        assert bias[after] == old["classes/bias"][before]
    assert (kernel[..., 1] != old["classes/kernel"][..., 1]).all()
    assert bias[1] == 0
    origin = run.record.origin
    assert origin["kept"] == ["band", "ground"]
    assert origin["new"] == ["stem"]
    assert origin["dropped"] == ["disc"]


def test_the_normalization_is_that_of_the_run(finished, tmp_path):
    dark = []
    for reader in small_readers():
        images = np.stack([reader[i]["image"] // 2 for i in range(len(reader))])
        masks = np.stack([reader[i]["mask"] for i in range(len(reader))])
        dark.append(Arrays(images, masks, NAMES))
    run = train(replace(tuned_config(finished, tmp_path / "new"), epochs=1), *dark)
    assert (run.data.mean, run.data.std) == (Run(finished).data.mean, Run(finished).data.std)
    layers = (model.get_layer("normalize") for model in (run.model(), Run(finished).model()))
    scales = [np.ravel(layer.scale) for layer in layers]
    assert_array_equal(*scales)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 1}, "was trained on images with 3 channels, but these images have 1"),
        ({"dtype": "uint16"}, "was trained on uint8 images, but these images are uint16: their"),
    ],
)
def test_images_of_another_kind_are_refused(finished, change, message):
    source = Source(tuned_config(finished, "new"))
    with pytest.raises(ValueError, match=message):
        source.adapted(replace(Run(finished).data, **change))


def test_images_in_another_range_are_refused(run):
    record = json.loads((run.folder / "run.json").read_text())
    record["data"] |= {"dtype": "float32", "value_range": [0.0, 4000.0]}
    (run.folder / "run.json").write_text(json.dumps(record))
    source, facts = Source(tuned_config(run.folder, "new")), run.data
    assert source.adapted(replace(facts, value_range=[5.0, 3900.0])).channels == 3
    with pytest.raises(ValueError, match=r"The run '.*': the image values are in 0\.\.1, but the"):
        source.adapted(replace(facts, value_range=[0.0, 1.0]))


def test_other_networks_are_refused(finished, network, tmp_path):
    config = tuned_config(finished, tmp_path / "new")
    with pytest.raises(ValueError, match=r"has filters=4, but this training has filters=8, for"):
        train(replace(config, filters=8), *small_readers())
    with pytest.raises(ValueError, match="got a model, but config.init_from=.* names a run"):
        train(config, *small_readers(), network)
    with pytest.raises(ValueError, match=r"weights='a.h5' contradicts init_from"):
        replace(config, weights="a.h5")
    with pytest.raises(ValueError, match=r"folds=3 contradicts init_from: the network has seen"):
        replace(config, folds=3)
    with pytest.raises(FileNotFoundError, match="has no run"):
        train(replace(config, init_from=str(tmp_path)), *small_readers())


def test_runs_without_a_model_or_with_a_network_of_a_script_are_refused(run, network, tmp_path):
    (run.folder / "best.keras").unlink()
    with pytest.raises(FileNotFoundError, match="contains no model yet: its first epoch has not"):
        Source(tuned_config(run.folder, "new"))
    scripted = train(small_config(tmp_path / "scripted", epochs=1), *small_readers(), network)
    with pytest.raises(ValueError, match=r"a script built. Load it with `tfseg.training.Run\('"):
        Source(tuned_config(scripted.folder, "new"))


FACTS = dict.fromkeys(DataFacts.__dataclass_fields__)


def test_the_names_of_channels():
    assert channel_names(DataFacts(**FACTS | {"class_names": ["a", "b"]})) == ["a", "b"]
    objects = FACTS | {"class_names": ["a"], "object_names": ["cat"], "label_names": ["sky", "cat"]}
    assert channel_names(DataFacts(**objects)) == ["cat"]
    assert channel_names(DataFacts(**objects | {"thing_ids": [1]})) == ["sky", "cat"]


def copied(config, folder, models, before, after):
    """Return what `copy_weights` makes of the second model, if the first one is the run's best."""
    folder.mkdir()
    models[0].save(folder / "best.keras")
    source = Source.__new__(Source)
    source._config, source._run = config, Run(folder)
    source._run.best_epoch = lambda: 1
    source._record = type("Record", (), {"data": before})
    return source.copy_weights(models[1], after)


def test_heads_of_detectors_keep_classes_and_background(tmp_path):
    names = ["cat", "dog"], ["bird", "dog", "cat"]
    models = [mask_rcnn(len(part), weights=None) for part in names]
    facts = [DataFacts(**FACTS | {"object_names": part}) for part in names]
    untouched = {v.path: v.numpy() for v in models[1].weights}
    origin = copied(TrainConfig(out="x"), tmp_path / "old", models, *facts)
    assert (origin["kept"], origin["new"]) == (["dog", "cat"], ["bird"])
    old, new = ({v.path: v.numpy() for v in model.weights} for model in models)
    for path, value in new.items():
        layer = path.split("/")[-2]
        per_class = 4 if layer == "box_deltas" else 1
        if layer not in ("class_logits", "box_deltas", "mask_logits"):
            assert_array_equal(value, old[path], err_msg=path)
            continue
        channels = [slice(per_class * i, per_class * (i + 1)) for i in range(4)]
        for after, before in ((0, 0), (2, 2), (3, 1)):  # background, dog, cat
            assert_array_equal(value[..., channels[after]], old[path][..., channels[before]])
        assert_array_equal(value[..., channels[1]], untouched[path][..., channels[1]])


def test_heads_without_boxes_keep_classes(tmp_path):
    def center(count, thing_ids):
        return instances(count, "center", "tiny_unet", filters=4, thing_ids=thing_ids)

    names = ["sky", "cat", "soil"], ["soil", "sky", "dog", "cat"]
    models = [center(3, [1]), center(4, [2, 3])]
    facts = [
        DataFacts(**FACTS | {"object_names": ["cat"], "label_names": part, "thing_ids": [1]})
        for part in names
    ]
    copied(TrainConfig(out="x"), tmp_path / "center", models, *facts)
    old, new = (model.get_layer("classes").kernel.numpy() for model in models)
    assert_array_equal(new[..., [1, 3, 0]], old)
    # a star head with one class has no output for classes: all of its other weights are kept
    star = [instances(count, "star", "tiny_unet", filters=4, rays=8) for count in (1, 2)]
    facts = [DataFacts(**FACTS | {"object_names": part}) for part in (["a"], ["a", "b"])]
    copied(TrainConfig(out="x"), tmp_path / "star", star, *facts)
    assert_array_equal(*(model.get_layer("rays").kernel.numpy() for model in star))


@pytest.mark.slow
def test_the_layers_of_classes_are_known_by_their_names():
    # every network: those whose shapes depend on the number of classes
    for name in MODELS:
        options = {"weights": None} if name in DEFAULT_ENCODERS else {}
        two, three = (build(name, count, **options) for count in (2, 3))
        shapes = {variable.path: variable.shape for variable in three.weights}
        differ = {v.path.split("/")[-2] for v in two.weights if v.shape != shapes[v.path]}
        assert differ == {"classes"} <= set(CLASS_LAYERS), name
