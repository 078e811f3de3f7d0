import keras
import numpy as np
import pytest

from tfseg.optimizers import SGD
from tfseg.training import Run

X, Y = np.array([[0.5], [1.0], [2.0], [4.0]]), np.ones((4, 1))


class Note(keras.callbacks.Callback):
    """Notes the weight after every step and at every validation, and interrupts the second."""

    def __init__(self, interrupt=False):
        super().__init__()
        self.trained, self.validated, self.interrupt = [], [], interrupt

    def on_train_batch_end(self, batch, logs=None):
        self.trained.append(self.model.get_weights()[0].item())

    def on_test_batch_end(self, batch, logs=None):
        self.validated.append(self.model.get_weights()[0].item())
        if self.interrupt and len(self.validated) == 2:
            raise KeyboardInterrupt


def compiled():
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(SGD(0.01, use_ema=True, ema_momentum=0.9), "mse", metrics=["mae"])
    return model


def fit(model, run, note, **options):
    options = {"verbose": 0, "epochs": 3, "batch_size": 4, **options}
    callbacks = [*run.callbacks(monitor="val_mae"), note]
    return model.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, **options)


def test_validations_measure_the_averages(tmp_path):
    model, note = compiled(), Note()
    fit(model, Run(tmp_path / "run"), note)
    first, second, third = note.trained
    average = 2 / 11 * first + 9 / 11 * second
    averages = [first, average, 3 / 12 * average + 9 / 12 * third]
    assert note.validated == pytest.approx(averages)
    assert model.get_weights()[0].item() == pytest.approx(averages[-1])  # as Keras does at the end


def test_an_interrupted_validation_leaves_the_weights_of_the_training(tmp_path):
    model, note, run = compiled(), Note(interrupt=True), Run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        fit(model, run, note)
    first, second = note.trained
    assert note.validated[1] != second
    assert model.get_weights()[0].item() == second
    # the averages are still averages: the next step continues with them
    again = Note()
    fit(model, run, again, epochs=1)
    average = 2 / 11 * first + 9 / 11 * second
    expected = 3 / 12 * average + 9 / 12 * again.trained[0]
    assert again.validated == pytest.approx([expected])


def test_evaluate_of_the_user_measures_the_weights_themselves(tmp_path):
    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.loss = self.model.evaluate(X, Y, verbose=0)[0]
            self.weight = self.model.get_weights()[0].item()

    model, look = compiled(), Evaluate()
    fit(model, Run(tmp_path / "run"), look, epochs=2)
    assert look.loss == pytest.approx(float(np.mean((look.weight * X - Y) ** 2)))
