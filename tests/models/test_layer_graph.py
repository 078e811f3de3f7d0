import keras
import pytest
from keras import layers

from tfseg.models.layer_graph import consumers, input_tensors, is_used_once, producer


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
