import keras
import numpy as np
import pytest
from keras import layers, ops

from tfseg.models.encoders import encode, freeze, stage_of, unfreeze

pytestmark = pytest.mark.usefixtures("plain_encoders")


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(encode(image, "plain")[-1])
    return keras.Model(image, layers.Dense(1, name="classes")(x))


def trainable_stages(model):
    return {stage_of(layer) for layer in model.layers if layer.trainable_variables}


def test_stages_are_frozen_from_the_first_on(model):
    assert trainable_stages(model) == {1, 2, 3, 4, 5, None}
    freeze(model, until=2)
    assert trainable_stages(model) == {3, 4, 5, None}
    assert not model.get_layer("encoder2_bn2").trainable
    assert model.get_layer("encoder3_bn3").trainable
    freeze(model)
    assert trainable_stages(model) == {None}
    unfreeze(model, since=4)
    assert trainable_stages(model) == {4, 5, None}
    unfreeze(model)
    assert trainable_stages(model) == {1, 2, 3, 4, 5, None}


def test_frozen_batch_normalization_uses_and_keeps_its_statistics(model):
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    freeze(model, until=3)
    norms = [model.get_layer(name) for name in ("encoder1_bn1", "encoder5_bn5")]
    before = [ops.convert_to_numpy(norm.moving_mean) for norm in norms]
    shallow = keras.Model(model.input, model.get_layer("encoder3_relu3").output)
    in_training = ops.convert_to_numpy(shallow(images, training=True))
    assert np.array_equal(in_training, ops.convert_to_numpy(shallow(images, training=False)))
    model.compile("sgd", "mse")
    model.fit(images, np.ones((4, 1)), epochs=1, verbose=0)
    assert np.array_equal(ops.convert_to_numpy(norms[0].moving_mean), before[0])
    assert not np.array_equal(ops.convert_to_numpy(norms[1].moving_mean), before[1])


def test_a_loaded_model_stays_frozen_and_can_be_frozen(model, tmp_path):
    freeze(model, until=4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert trainable_stages(again) == {5, None}
    freeze(again)
    assert trainable_stages(again) == {None}


def test_a_nested_model_is_frozen(model):
    outer = keras.Model(model.input, layers.ReLU()(model(model.input)))
    freeze(outer)
    assert trainable_stages(model) == {None}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: freeze(model, until=6),
            r"freeze: until=6 is unknown. Choose from 1, 2, 3, 4, 5, 'all'",
        ),
        (lambda model: unfreeze(model, since=0), "unfreeze: since=0 is unknown"),
        (
            lambda model: freeze(keras.Sequential([layers.Dense(1)])),
            "has no encoder: no layer name starts with 'encoder1_'",
        ),
    ],
)
def test_errors(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
