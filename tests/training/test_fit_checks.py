import warnings

import keras
import numpy as np
import pytest
from keras import layers

from tfseg.losses import CrossEntropy, Dice, deep_supervision
from tfseg.metrics import ConfusionMetrics
from tfseg.models import tiny_unet
from tfseg.training import Run, compile_for
from tfseg.training.fit_checks import takes_0_255, warn_of_wrong_outputs

pytestmark = pytest.mark.usefixtures("eager")


def ending_in(activation, channels=2):
    image = keras.Input((4, 4, 3))
    logits = layers.Conv2D(channels, 1)(image)
    return keras.Model(image, layers.Activation(activation)(logits))


def warnings_of(model, loss):
    model.compile("sgd", loss)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_wrong_outputs("owner", model)
    return [str(warning.message) for warning in found]


@pytest.mark.parametrize(
    ("activation", "loss", "message"),
    [
        ("softmax", CrossEntropy() + Dice(), "ends in softmax, but CrossEntropy and Dice expect "),
        ("sigmoid", 2 * Dice(), "the model ends in sigmoid, but Dice expects logits and would"),
        ("softmax", deep_supervision(Dice(), [1]), "but Dice expects logits"),
        (
            "softmax",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "but SparseCategoricalCrossentropy expects logits",
        ),
        ("softmax", CrossEntropy(from_logits=False), None),
        ("softmax", "sparse_categorical_crossentropy", None),
        ("softmax", lambda y, x: 0.0, None),
        ("linear", CrossEntropy(), None),
        ("linear", "sparse_categorical_crossentropy", None),  # its outputs may be anything
    ],
)
def test_a_softmax_or_sigmoid_is_not_applied_twice(activation, loss, message):
    found = warnings_of(ending_in(activation), loss)
    assert [message in text for text in found] == ([] if message is None else [True])


def test_losses_of_keras_that_expect_probabilities_are_reported_for_our_networks():
    network = tiny_unet(2, filters=4)
    for loss in ("categorical_crossentropy", CrossEntropy(from_logits=False)):
        (text,) = warnings_of(network, loss)
        assert "owner: the model returns logits, but" in text
        assert "expects probabilities. Pass a loss with from_logits=True" in text
    assert warnings_of(network, CrossEntropy()) == []
    assert warnings_of(network, None) == []
    assert warnings_of(network, my_crossentropy) == []  # it may take logits


def my_crossentropy(y_true, y_pred):
    return keras.ops.mean(y_pred)


def test_a_learning_rate_may_be_a_function(tmp_path):
    model = ending_in("linear")
    model.compile(keras.optimizers.SGD(rate), CrossEntropy(), metrics=[ConfusionMetrics(2)])
    x, y = np.ones((2, 4, 4, 3)), np.array([[[0, 1, 0, 1]] * 4] * 2)
    model.fit(x, y, verbose=0, callbacks=Run(tmp_path / "run").callbacks(monitor="mean_iou"))


def rate():
    return 0.1


def test_compile_for_warns_and_measures_probabilities_as_such():
    model = ending_in("sigmoid", channels=1)
    with pytest.warns(UserWarning, match="compile_for: the model ends in sigmoid"):
        compile_for(model, steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_for(model, steps=2, loss=Dice(from_logits=False))
    model.set_weights([np.zeros((1, 1, 3, 1)), np.array([-1.0])])  # probability 0.27 of class 1
    scores = model.evaluate(np.ones((1, 4, 4, 3)), np.zeros((1, 4, 4)), verbose=0, return_dict=True)
    assert scores["pixel_accuracy"] == 1


@pytest.mark.parametrize(("epochs", "accumulate"), [(4, None), (4, 2)])
def test_a_training_beyond_its_learning_rate_is_warned_of(tmp_path, epochs, accumulate):
    model = ending_in("linear")
    compile_for(model, steps=4, accumulate=accumulate, jit_compile=False)
    x, y = np.ones((2, 4, 4, 3)), np.zeros((2, 4, 4))
    options = {"batch_size": 1, "verbose": 0, "epochs": epochs}
    callbacks = Run(tmp_path / "run").callbacks(monitor="mean_iou")
    message = "ends after 4 steps, but this training has 8: the last"
    with pytest.warns(UserWarning, match=message):
        model.fit(x, y, callbacks=callbacks, **options)


def test_a_run_warns_when_its_training_begins(tmp_path):
    model = ending_in("softmax")
    model.compile("sgd", CrossEntropy(), metrics=[ConfusionMetrics(2)])
    x, y = np.ones((2, 4, 4, 3)), np.zeros((2, 4, 4))
    callbacks = Run(tmp_path / "run").callbacks(monitor="mean_iou")
    with pytest.warns(UserWarning, match="Run.callbacks: the model ends in softmax"):
        model.fit(x, y, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [(None, True), ((0, 255), True), ((300, 120), False), ((0.5, 0.25), False), ("image", False)],
)
def test_a_model_takes_8_bit_images_by_the_mean_and_std_of_its_normalization(
    normalization, expected
):
    network = tiny_unet(2, filters=2, normalization=normalization)
    assert takes_0_255(network) is expected
    assert takes_0_255(keras.Sequential([keras.Input((None, None, 3)), network])) is expected
