import h5py
import keras
import numpy as np
import pytest
from keras import layers

from tfseg.models.encoders.coverage import require_full_coverage
from tfseg.models.encoders.weight_files import load_file


def small(width=4, more=False):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(width, 3, use_bias=False, name="first")(image)
    x = layers.BatchNormalization(name="norm")(x)
    if more:
        x = layers.Conv2D(2, 1, name="second")(x)
    return keras.Model(image, x)


def weights_of(network):
    return [np.array(weight) for weight in network.get_weights()]


def write_legacy(path, contents, split=False):
    """Write {layer: [array]} as an .h5 file of Keras 2."""
    with h5py.File(path, "w") as file:
        names = [name.encode() for name in contents]
        for index, part in enumerate([names[:1], names[1:]] if split else [names]):
            file.attrs[f"layer_names{index}" if split else "layer_names"] = part
        for name, arrays in contents.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/w{i}:0".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group[f"{name}/w{i}:0"] = array
    return path


def test_a_keras_3_file_is_loaded(tmp_path):
    source, target = small(), small()
    source.save_weights(tmp_path / "a.weights.h5")
    load_file(target, tmp_path / "a.weights.h5", "asker")
    assert all(
        np.array_equal(a, b) for a, b in zip(weights_of(source), weights_of(target), strict=True)
    )


@pytest.mark.parametrize("split", [False, True])
def test_a_keras_2_file_is_loaded_in_order(tmp_path, split):
    kernel = np.arange(108, dtype="float32").reshape(3, 3, 3, 4)
    norm = [np.full(4, value, "float32") for value in (2, 3, 5, 7)]
    contents = {"input_1": [], "convolution2d_1": [kernel], "batch": norm}
    network = small()
    load_file(network, write_legacy(tmp_path / "a_notop.h5", contents, split), "asker")
    assert np.array_equal(network.get_layer("first").kernel, kernel)
    assert [float(weight[0]) for weight in network.get_layer("norm").get_weights()] == [2, 3, 5, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"width": 5},
            r"(?s)asker: .*none were loaded.*0 match.*5 of wrong shape.*\(3, 3, 3, 5\) in",
        ),
        (
            {"more": True},
            r"(?s)5 match.*0 missing.*2 unexpected.*conv2d_1/vars/0 \(1, 1, 4, 2\).*0 of wrong",
        ),
    ],
)
def test_other_tensors_are_an_error_and_change_nothing(tmp_path, options, message):
    small(**options).save_weights(tmp_path / "a.weights.h5")
    network = small()
    before = weights_of(network)
    with pytest.raises(ValueError, match=message):
        load_file(network, tmp_path / "a.weights.h5", "asker")
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(network), strict=True))


def test_missing_tensors_are_an_error(tmp_path):
    small().save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(
        ValueError, match=r"(?s)5 match.*2 missing.*layers/conv2d_1/vars/1 \(2,\).*0 unexpected"
    ):
        load_file(small(more=True), tmp_path / "a.weights.h5", "asker")


def test_a_keras_2_file_is_checked_too(tmp_path):
    contents = {
        "a": [np.zeros((3, 3, 3, 5), "float32")],
        "b": [np.zeros(4, "float32")] * 3,
        "c": [np.zeros(9)],
    }
    path = write_legacy(tmp_path / "a.h5", contents)
    network = small()
    before = weights_of(network)
    message = (
        r"(?s)3 match.*1 missing\s+layer 1, weight 3 \(4,\).*1 unexpected\s+layer 2, weight 0 "
        r"\(9,\).*1 of wrong shape"
    )
    with pytest.raises(ValueError, match=message):
        load_file(network, path, "asker")
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(network), strict=True))


def test_a_file_without_weights_is_an_error(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(
        ValueError, match="asker: '.*text.h5' is not an HDF5 weights file, or is damaged"
    ):
        load_file(small(), tmp_path / "text.h5", "asker")
    with pytest.raises(
        FileNotFoundError,
        match="weights='imagnet' is not a file. Pass None, 'imagenet'.*Did you mean 'imagenet'",
    ):
        load_file(small(), "imagnet", "asker")
    small().save_weights(tmp_path / "cut.weights.h5")
    whole = (tmp_path / "cut.weights.h5").read_bytes()
    (tmp_path / "cut.weights.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match="cut.weights.h5' is not an HDF5 weights file, or is damaged"
    ):
        load_file(small(), tmp_path / "cut.weights.h5", "asker")


def test_the_table_is_short():
    with pytest.raises(ValueError, match=r"(?s)12 missing.*t7 \(1,\)\n *... and 4 more\n"):
        require_full_coverage("asker", "a.h5", {f"t{i}": (1,) for i in range(12)}, {})
