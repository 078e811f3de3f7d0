import os
import signal
import subprocess
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
from eager_command import eager_command
from keras import layers

from conftest import draw_sample
from tfseg.data import Arrays, Augment, pipeline
from tfseg.losses import CrossEntropy
from tfseg.metrics import ConfusionMetrics
from tfseg.training import Run, train

from .conftest import NAMES

SIDE = 16


def dense(units=1):
    """Return a model whose steps are not traced, which takes longer than to run them."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def with_dropout():
    keras.utils.set_random_seed(5)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.BatchNormalization()(layers.Dropout(0.3)(x))
    model = keras.Model(image, layers.Conv2D(3, 1)(x))
    metric = ConfusionMetrics(3, scores=["mean_iou"])
    model.compile(keras.optimizers.Adam(1e-2), CrossEntropy(), metrics=[metric], jit_compile=False)
    return model


def stream(augment, epochs_done=0):
    reader = Arrays(*zip(*[draw_sample(i, 32, 32) for i in range(4)], strict=True), NAMES)
    train = pipeline(reader, 2, augment, first_step=2 * epochs_done)
    return {"x": train, "validation_data": pipeline(reader, 2), "shuffle": False, "verbose": 0}


def test_an_interrupted_fit_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, without_xla):
    # with dropout: the states of random layers must be restored too
    augment = Augment(SIDE, rotate=10)
    straight = with_dropout()
    straight.fit(**stream(augment) | {"validation_data": None}, epochs=4)

    first, model = Run(tmp_path / "run"), with_dropout()
    assert first.restore(model) == 0
    logs = model.fit(**stream(augment), epochs=2, callbacks=first.callbacks()).history
    assert first.history()["val_mean_iou"] == pytest.approx(logs["val_mean_iou"])
    assert [path.name for path in (first.folder / "state").iterdir()] == ["epoch-000002.npz"]

    second, resumed = Run(tmp_path / "run"), with_dropout()
    done = second.restore(resumed)
    assert done == 2
    callbacks = second.callbacks(done)
    resumed.fit(**stream(augment, done), epochs=4, initial_epoch=done, callbacks=callbacks)
    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert second.history()["epoch"] == [1, 2, 3, 4]
    scores = second.model().evaluate(
        stream(augment)["validation_data"], verbose=0, return_dict=True
    )
    best = max(second.history()["val_mean_iou"])
    assert scores["mean_iou"] == pytest.approx(best, abs=1e-6)
    second.drop_state()
    assert second.restore(resumed) == 0


def same_weights(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_tuned_model_is_loaded_until_a_better_epoch(tmp_path):
    run, model, other = Run(tmp_path / "run"), dense(), dense()
    other.set_weights([weight + 1 for weight in model.get_weights()])
    keep = run.callbacks(monitor="score")[0]
    keep.set_model(model)
    keep.on_epoch_end(0, {"score": 0.5})
    assert run.tuning() is None
    run.keep_tuned(other, {"score": "mean_iou"})
    assert run.tuning() == {"score": "mean_iou"}
    assert same_weights(run.model(), other)
    assert same_weights(run.model(tuned=False), model)
    keep.on_epoch_end(1, {"score": 0.0})  # worse: the best model stays, and its tuning
    assert run.tuned.is_file()
    keep.on_epoch_end(2, {"score": 1.0})
    assert same_weights(run.model(), model)
    assert not (run.folder / "tuning.json").exists()


def test_where_a_run_can_start(finished, tmp_path):
    record = Run(finished).record
    run = Run(tmp_path / "deep" / "run")
    assert run.can_start()
    assert not run.exists()
    run.create(record)
    assert run.record.data == record.data
    assert run.config.out == str(run.folder)  # a run may be moved
    run.create(record)  # nothing was trained yet
    (run.folder / ".hidden").touch()  # as a kill may leave behind
    assert run.can_start()
    (run.folder / "state").mkdir()
    with pytest.raises(FileExistsError, match="already contains a run. Continue it with --resume"):
        run.create(record)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty. Choose another folder"):
        Run(tmp_path / "mine").create(record)
    (tmp_path / "empty").mkdir()
    Run(tmp_path / "empty").raise_if_exists()
    with pytest.raises(FileExistsError, match="is not empty"):
        Run(tmp_path / "mine" / "thesis.txt").raise_if_exists()


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no run. Start one with `tfseg train"):
        _ = Run(tmp_path).config
    with pytest.raises(FileNotFoundError, match="contains no model yet"):
        Run(tmp_path).model()
    assert Run(tmp_path).history() == {}


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    run, prefix = Run(tmp_path), f".{'0a' * 16}"
    (tmp_path / "state").mkdir()
    for name in (f"{prefix}-best.keras", f"state/{prefix}-epoch-000001.npz", "best.keras"):
        (tmp_path / name).touch()
    keep = run.callbacks()[0]
    keep.set_model(dense())
    keep.set_params({})
    keep.on_train_begin()
    assert {path.name for path in tmp_path.rglob("*")} == {"best.keras", "state"}


def test_the_state_of_another_model_is_refused(tmp_path):
    run, model = Run(tmp_path / "run"), dense()
    x, y = np.ones((4, 2)), np.ones((4, 1))
    model.fit(x, y, verbose=0, callbacks=run.callbacks(monitor="loss"))
    with pytest.raises(ValueError, match="was written by another model"):
        run.restore(dense(units=2))


X, Y = np.ones((4, 2)), np.ones((4, 1))
VALIDATED = {"validation_data": (X, Y), "verbose": 0}


def test_a_metric_that_is_missing_cannot_select_the_best(tmp_path):
    run = Run(tmp_path / "run")
    message = "monitor='val_mean_iou' selects the best epoch, but the logs have only epoch, loss"
    with (
        pytest.warns(UserWarning, match="epoch 1 had no validation"),
        pytest.raises(ValueError, match=message),  # when the training ends: it may have come later
    ):
        dense().fit(X, Y, verbose=0, callbacks=run.callbacks())
    for options in ({"monitor": "val_mean_iou"}, {"monitor": "mean_iou"}):
        callbacks = Run(tmp_path / "other").callbacks(**options)
        with pytest.raises(ValueError, match="the logs have only epoch, loss, val_loss"):
            dense().fit(X, Y, epochs=2, callbacks=callbacks, **VALIDATED)


def test_epochs_without_a_validation_are_not_compared(tmp_path):
    run, model = Run(tmp_path / "run"), dense()
    # the loss stays: no improvement
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    options = {"epochs": 9, "validation_freq": 2, **VALIDATED}
    with pytest.warns(UserWarning, match="The first epoch with 'val_loss' will be"):
        model.fit(X, Y, callbacks=run.callbacks(monitor="val_loss", patience=2), **options)
    history = run.history()
    # validated after epochs 2, 4 and 6: two of them without improvement
    assert history["epoch"] == [1, 2, 3, 4, 5, 6]
    assert np.isnan(history["val_loss"]).tolist() == [True, False] * 3
    model.fit(X, Y, callbacks=run.callbacks(6, "val_loss", 2), initial_epoch=6, **options)
    assert run.history()["epoch"] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_training_may_have_another_metric(tmp_path):
    run = Run(tmp_path / "run")
    dense().fit(X, Y, callbacks=run.callbacks(monitor="loss"), **VALIDATED)
    model = dense()
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    done = run.restore(model)
    callbacks = run.callbacks(done, monitor="loss")
    model.fit(X, Y, callbacks=callbacks, epochs=2, initial_epoch=done, **VALIDATED)
    history = run.history()
    assert np.isnan(history["mae"]).tolist() == [True, False]
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    ("monitor", "best"),
    [
        ("val_loss", 1),
        ("loss", 1),
        ("val_mask_loss", 1),
        ("val_calibration_error", 1),
        ("val_mean_squared_error", 1),
        ("val_mean_iou", 0),
        ("accuracy", 0),
    ],
)
def test_losses_and_errors_are_best_when_low(tmp_path, monitor, best):
    keep = Run(tmp_path / "run").callbacks(monitor=monitor, patience=2)[0]
    model = dense()
    keep.set_model(model)
    for epoch, value in enumerate([3.0, 2.0, 2.5]):
        model.set_weights([np.full((2, 1), value), np.zeros(1)])
        keep.on_epoch_end(epoch, {monitor: value})
    kept = Run(tmp_path / "run").model().get_weights()[0][0, 0]
    assert kept == [3.0, 2.0][best]
    assert model.stop_training == (best == 0)  # two epochs without improvement


def test_a_metric_says_its_direction(tmp_path):
    run, model = Run(tmp_path / "run"), dense()
    metric = keras.metrics.MeanSquaredError(name="distance_to_x")
    model.compile("sgd", "mse", metrics=[metric], run_eagerly=True)
    fall = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.set_weights(
            [np.full((2, 1), 3.0 - epoch), np.zeros(1)]
        )
    )
    model.fit(X, Y, epochs=2, callbacks=[fall, *run.callbacks(monitor="distance_to_x")], verbose=0)
    scores = run.history()["distance_to_x"]
    assert scores[1] < scores[0]
    assert run.model().evaluate(X, Y, verbose=0)[0] < scores[0]


def cut(file):
    """Truncate a file like an interrupted copy, then change a byte of a complete one."""
    content = file.read_bytes()
    yield content[: len(content) // 2]
    yield b""
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def test_damaged_files_are_named_with_what_can_be_done(tmp_path):
    run, model = Run(tmp_path / "run"), dense()
    model.fit(X, Y, verbose=0, callbacks=run.callbacks(monitor="loss"))
    (state,) = (run.folder / "state").iterdir()
    for damaged in cut(state):
        state.write_bytes(damaged)
        message = (
            "epoch-000001.npz is damaged.* or delete it to train again.* best.keras, can still"
        )
        with pytest.raises(ValueError, match=message):
            run.restore(model)
    state.unlink()
    assert run.restore(model) == 0
    for damaged in cut(run.best):
        run.best.write_bytes(damaged)
        with pytest.raises(
            ValueError, match="best.keras is damaged.* Copy it again, or train again"
        ):
            run.model()
    (run.folder / "history.csv").write_text("epoch,loss\n1,0.5\n2,0.")
    assert run.history() == {"epoch": [1, 2], "loss": [0.5, 0.0]}
    (run.folder / "history.csv").write_text("epoch,loss\n1,0.5\n2\n3,x")
    with pytest.raises(ValueError, match="history.csv is damaged .* Copy it again, or repair"):
        run.history()


def test_a_run_of_a_fit_needs_no_create(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    with pytest.raises(ValueError, match="record={} must be a RunRecord.* leave `create` out"):
        run.create({})
    dense().fit(X, Y, verbose=0, callbacks=run.callbacks(monitor="loss"))
    assert run.model().count_params() == 3
    with pytest.raises(
        FileNotFoundError, match=r"has no run.json: .*`Run.model\(\)` loads its best"
    ):
        _ = run.config


@pytest.mark.slow
def test_a_run_of_the_shell_survives_kill_9(folder, eager):
    words = ("--images", folder / "images", "--masks", folder / "masks")
    words += ("--class-names", ",".join(NAMES), "--out", folder / "killed")
    words += ("--model", "tiny_unet", "--size", 16, "--batch-size", 2, "--epochs", 12)
    command = eager_command("train", *words)
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    history = folder / "killed" / "history.csv"
    while not history.exists() or len(history.read_text().splitlines()) < 4:  # three epochs done
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    run = Run(folder / "killed")
    assert len(run.history()["epoch"]) < 12
    resumed = train(run.config)
    straight = train(replace(run.config, out=str(folder / "straight")))
    states = [np.load(next((each.folder / "state").iterdir())) for each in (straight, resumed)]
    for name in states[0].files:
        np.testing.assert_allclose(
            states[0][name], states[1][name], rtol=1e-3, atol=1e-5, err_msg=name
        )
    for name, values in straight.history().items():
        np.testing.assert_allclose(
            resumed.history()[name], values, rtol=1e-3, atol=1e-4, err_msg=name
        )
