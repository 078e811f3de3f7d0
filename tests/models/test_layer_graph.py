import keras
import pytest
from keras import layers

from tfseg.models.layer_graph import (
    all_layers,
    consumers,
    input_tensors,
    is_graph,
    is_used_once,
    output_activation,
    producer,
)


@pytest.fixture(scope="module")
def model():
    """`shared` is called twice; `join` takes both results."""
    image = keras.Input((4, 4, 3), name="image")
    shared = layers.Conv2D(3, 1, name="shared")
    first = shared(image)
    second = shared(layers.ReLU(name="relu")(first))
    return keras.Model(image, layers.Concatenate(name="join")([first, second]))


def test_layers_that_are_called_twice(model):
    used_once = {layer.name: is_used_once(layer) for layer in model.layers}
    assert used_once == {"image": True, "shared": False, "relu": True, "join": True}


def test_consumers_and_producers_of_outputs(model):
    image, join = model.get_layer("image"), model.get_layer("join")
    assert [layer.name for layer in consumers(image)] == ["shared"]
    assert [layer.name for layer in consumers(model.get_layer("shared"))] == [
        "relu",
        "join",
        "join",
    ]
    assert consumers(join) == []
    assert [producer(tensor).name for tensor in input_tensors(join)] == ["shared", "shared"]
    assert producer(model.output) is join


def functional(*last):
    """A model of two channels that ends in these layers."""
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(2, 1)(image)
    for layer in last:
        x = layer(x)
    return keras.Model(image, x)


class Subclass(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("last", "activation"),
    [
        ((), None),
        ((layers.ReLU(),), None),
        ((layers.Softmax(),), "softmax"),
        ((layers.Activation("sigmoid"),), "sigmoid"),
        ((layers.Conv2D(1, 1, activation="sigmoid"),), "sigmoid"),
        ((keras.ops.softmax,), "softmax"),
        ((keras.ops.sigmoid, layers.UpSampling2D(2), layers.Activation("linear")), "sigmoid"),
        ((layers.Softmax(), layers.Conv2D(2, 1)), None),
    ],
)
def test_the_activation_a_model_ends_in(last, activation):
    assert output_activation(functional(*last)) == activation


def test_the_activation_of_models_inside_models():
    inner = functional(layers.Softmax())
    assert output_activation(keras.Sequential([keras.Input((4, 4, 3)), inner])) == "softmax"
    image = keras.Input((4, 4, 3))
    assert output_activation(keras.Model(image, inner(image))) == "softmax"
    assert output_activation(Subclass(inner)) is None


def test_layers_of_models_inside_models():
    inner = functional(layers.ReLU(name="inner_relu"))
    outer = keras.Sequential([keras.Input((4, 4, 3)), inner, layers.ReLU(name="outer_relu")])
    names = [layer.name for layer in all_layers(outer)]
    assert names[-2:] == ["inner_relu", "outer_relu"]
    assert [layer.name for layer in all_layers(Subclass(inner))][-1] == "inner_relu"
    assert is_graph(outer)
    assert is_graph(inner)
    assert not is_graph(Subclass(inner))
