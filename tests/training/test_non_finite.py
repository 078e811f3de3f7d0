import keras
import numpy as np
import pytest

from tfseg.data import Arrays
from tfseg.metrics import ConfusionMetrics
from tfseg.training import NonFiniteLossError, Run, compile_for, train
from tfseg.training.non_finite import explain_batches, mask_faults

from .conftest import NAMES, small_config, small_readers

pytestmark = pytest.mark.usefixtures("eager")

X, Y = np.ones((4, 2)), np.ones((4, 1))


def compiled(rate=0.01):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def fit(model, run, y=Y, y_val=Y, epochs=3):
    callbacks = run.callbacks(run.restore(model), monitor="val_loss")
    model.fit(
        *(X, y),
        validation_data=(X, y_val),
        epochs=epochs,
        batch_size=1,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )


@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_run_stops_at_the_first_loss_that_is_not_finite(tmp_path, step):
    run, model = Run(tmp_path / "run"), compiled()
    y = np.where(np.arange(4)[:, None] == step, np.nan, 1.0)
    with pytest.raises(
        NonFiniteLossError, match=rf"nan at step {step + 1} of epoch 1.*Nothing was"
    ) as e:
        fit(model, run, y)
    assert (e.value.epoch, e.value.batch) == (0, step)
    assert not run.best.exists()
    assert run.history() == {}


def test_a_run_that_diverges_keeps_its_best_epoch(tmp_path):
    run, model = Run(tmp_path / "run"), compiled()
    fit(model, run, epochs=2)
    kept = run.best.read_bytes()
    model.optimizer.learning_rate = 1e25
    with pytest.raises(
        NonFiniteLossError, match="diverged. Lower the learning rate .1e.25.*keeps 2"
    ):
        model.fit(X, Y, batch_size=1, verbose=0, callbacks=run.callbacks(2, monitor="loss"))
    assert run.best.read_bytes() == kept
    assert run.history()["epoch"] == [1, 2]


@pytest.mark.parametrize("monitor", ["loss", "val_loss"])
def test_weights_that_the_last_step_spoiled_are_not_saved(tmp_path, monitor):
    run, model = Run(tmp_path / "run"), compiled(rate=3e38)
    message = "After epoch 1: The weights are no longer finite: the training diverged.*Nothing was"
    callbacks = run.callbacks(0, monitor=monitor)
    with pytest.raises(NonFiniteLossError, match=message) as e:  # the loss of step 1 is finite
        model.fit(10 * X, Y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    assert (e.value.epoch, e.value.batch) == (0, 0)
    assert not run.best.exists()
    assert not list((run.folder / "state").glob("*"))
    assert run.history() == {}


def test_a_validation_loss_that_is_not_finite_stops_before_the_model_is_saved(tmp_path):
    run, model = Run(tmp_path / "run"), compiled()
    message = "validation loss is nan after epoch 1. The weights are finite, so the labels"
    with pytest.raises(NonFiniteLossError, match=message):
        fit(model, run, y_val=np.full((4, 1), np.nan))
    assert not run.best.exists()


def test_invalid_labels_stop_a_run_whose_own_loss_is_finite(tmp_path):
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    model.compile("sgd", lambda y, x: keras.ops.mean(x), metrics=[ConfusionMetrics(2)])
    x, y = np.ones((2, 4, 4, 3)), np.zeros((2, 4, 4), np.int32)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteLossError, match="after epoch 1: 16 pixels have labels that are"):
        model.fit(
            *(x, y),
            validation_data=(x, np.stack([y[0], y[1] + 5])),
            batch_size=1,
            verbose=0,
            callbacks=run.callbacks(),
        )
    assert not run.best.exists()


def test_labels_are_listed_in_full():
    (fault,) = mask_faults(np.array([0, 16777215, 0.5]), 2, 255)
    assert "The masks have the labels 0.5, 16777215; expected 0 to 1" in fault


def test_train_says_that_the_data_are_sound(tmp_path):
    config = small_config(
        tmp_path / "run", optimizer="sgd", learning_rate=1e25, schedule="constant"
    )
    message = r"train: .*diverged. Lower .* sound: images from \d.* to \d+, labels 0, 1, 2"
    with pytest.raises(NonFiniteLossError, match=message):
        train(config, *small_readers())
    assert not Run(config.out).best.exists()


def test_what_is_wrong_with_a_batch_is_named(network):
    images = np.zeros((3, 4, 4, 3), np.float32)
    masks = np.zeros((3, 4, 4), np.uint8)
    reader = Arrays(images, masks, NAMES)
    assert "sound: images from 0 to 0, labels 0." in explain_batches(
        [(images, masks)], reader, network
    )
    labels = masks.copy()
    labels[2, 0, :2] = 7, 255
    text = explain_batches([(images, masks), (images, {"mask": labels})], reader, network)
    assert text.startswith(
        "The masks have the labels 7; expected 0 to 2, or 255 for ignored pixels"
    )
    bad = images.copy()
    bad[1, 0, 0] = np.nan
    text = explain_batches([(bad, masks)], Arrays(bad, masks, NAMES), network)
    assert text.startswith("The images have 3 values that are NaN or infinite")
    assert text.endswith("The first such samples: 1.")


def test_poisoned_labels_stop_a_run_of_a_network(network, tmp_path):
    compile_for(network, "adam", steps=4, jit_compile=False)
    images, run = np.zeros((2, 16, 16, 3), np.uint8), Run(tmp_path / "run")
    with pytest.raises(
        NonFiniteLossError, match="weights are finite, so the labels are the likely"
    ):
        network.fit(images, np.full((2, 16, 16), 3), verbose=0, callbacks=run.callbacks())
