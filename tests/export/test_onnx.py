import sys

import keras
import numpy as np
import onnx as format_onnx
import onnxruntime
import pytest
from export.informative_models import (
    Digamma,
    assert_same_outputs,
    make_informative,
    noise,
    one_conv,
)
from keras import layers

from tfseg.export import onnx, onnx_runner
from tfseg.models import unet
from tfseg.models.decoders import segmentation_head

MODULE = sys.modules["tfseg.export.onnx"]  # the function of that name hides it


@pytest.fixture(scope="module")
def unet_file(unet_model, tmp_path_factory):
    return onnx(unet_model, tmp_path_factory.mktemp("onnx") / "new" / "model.onnx")


@pytest.fixture(scope="module")
def sigmoid_model():
    return make_informative(unet(1, (None, None, 1), filters=(2, 4)))


@pytest.fixture(scope="module")
def sigmoid_file(sigmoid_model, tmp_path_factory):
    return onnx(sigmoid_model, tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.mark.parametrize(("name", "classes", "channels"), [("unet", 3, 3), ("sigmoid", 1, 1)])
def test_any_batch_and_size_gives_the_outputs_of_the_model(name, classes, channels, request):
    model = request.getfixturevalue(f"{name}_model")
    file = request.getfixturevalue(f"{name}_file")
    assert list(file.parent.iterdir()) == [file]
    run = onnx_runner(file, threads=1)
    for size in ((1, 65, 97), (3, 48, 56), (2, 1, 1)):
        found = assert_same_outputs(run, model, *size, channels)
        assert len(np.unique(found["class_ids"])) > 1 or size[1] == 1
    assert run(noise(0, 20, 30, channels))["probabilities"].shape == (0, 20, 30, classes)


def test_the_file_names_its_inputs_outputs_and_axes(unet_file):
    graph = format_onnx.load(unet_file).graph
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }
    floats, ids = format_onnx.TensorProto.FLOAT, format_onnx.TensorProto.UINT8
    assert found == {
        "image": (floats, ["batch", "height", "width", 3]),
        "class_ids": (ids, ["batch", "height", "width"]),
        "probabilities": (floats, ["batch", "height", "width", 3]),
    }


def test_features_are_transposed_only_at_both_ends(unet_file):
    nodes = format_onnx.load(unet_file).graph.node
    types = [node.op_type for node in nodes]
    assert types.count("Transpose") == 2  # channels first inside, channels last outside
    assert types.count("BatchNormalization") == 0
    assert types.count("Conv") == 7  # three blocks of two, and the classes
    softmax = next(node for node in nodes if node.op_type == "Softmax")
    assert softmax.output == ["probabilities"]  # over the last axis, where ONNX Runtime is fast


def test_bilinear_upsampling_has_half_pixel_centers(tmp_path):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=4, padding="same")(image)
    model = make_informative(segmentation_head(x, image, 3, 4, "coarse"))
    run = onnx_runner(onnx(model, tmp_path / "model.onnx"))
    found = assert_same_outputs(run, model, 2, 37, 50, 3, max_difference=1e-5)
    assert len(np.unique(found["class_ids"])) == 3


def test_gelu_is_converted(tmp_path):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="gelu")(image / 255)
    model = make_informative(keras.Model(image, layers.Conv2D(3, 1, name="classes")(x)))
    assert_same_outputs(onnx_runner(onnx(model, tmp_path / "model.onnx")), model, 2, 37, 50, 3)


def test_more_than_256_classes_are_uint16(tmp_path):
    model = one_conv(300)
    model.get_layer("classes").bias.assign(np.arange(300))
    found = onnx_runner(onnx(model, tmp_path / "model.onnx"))(noise(1, 8, 8, 3))["class_ids"]
    assert found.dtype == np.uint16
    assert found.max() > 255


def test_a_model_of_fixed_size_keeps_it(fixed_size_model, tmp_path):
    run = onnx_runner(onnx(fixed_size_model, tmp_path / "model.onnx"))
    assert_same_outputs(run, fixed_size_model, 1, 32, 48, 3)
    invalid = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument
    with pytest.raises(invalid, match="Got: 32 Expected: 48"):
        run(noise(1, 32, 32, 3))


def test_a_classifier_gives_one_class_per_image(classifier_model, tmp_path):
    run = onnx_runner(onnx(classifier_model, tmp_path / "model.onnx"))
    found = assert_same_outputs(run, classifier_model, 3, 65, 97, 3)
    assert found["class_ids"].shape == (3,)


def test_invalid_arguments_and_unknown_operations_are_rejected(
    two_output_model, unet_model, tmp_path
):
    with pytest.raises(ValueError, match=r"onnx: .* expected logits .* model.outputs\[0\]"):
        onnx(two_output_model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="onnx: file='.*model.pb' must end in '.onnx'"):
        onnx(unet_model, tmp_path / "model.pb")
    with pytest.raises(ValueError, match="onnx_runner: threads=0 must be"):
        onnx_runner(tmp_path / "model.onnx", threads=0)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Digamma()(image), name="odd")
    message = "onnx: the model 'odd' uses the TensorFlow operation Digamma, which ONNX does not"
    with pytest.raises(ValueError, match=message):
        onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(unet_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"'tf2onnx'.*tfseg-keras\[onnx\]"):
        onnx(unet_model, tmp_path / "model.onnx")


# first other classes, then nearly the same classes with other probabilities
@pytest.mark.parametrize("change", [[0, 0, 10], [0, 0, 0.01]])
def test_a_file_that_disagrees_with_the_model_is_not_written(change, tmp_path, monkeypatch):
    model, convert = one_conv(), MODULE._convert
    (tmp_path / "model.onnx").write_text("before")

    def tamper(*args):
        proto = convert(*args)
        model.get_layer("classes").bias.assign_add(change)  # the model changes after conversion
        return proto

    monkeypatch.setattr(MODULE, "_convert", tamper)
    monkeypatch.setattr("tfseg.export.verify.MIN_AGREEMENT", 0.9)
    message = "agrees with the model on .* its probabilities differ by"
    with pytest.raises(RuntimeError, match=message):
        onnx(model, tmp_path / "model.onnx")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


# "unet" is converted above; these have all other kinds of layers.
CONVERTED = ["fpn", "pspnet", "deeplab_v3_plus", "lraspp", "segformer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVERTED)
def test_every_kind_of_layer_converts(name, small_network, tmp_path):
    model = small_network(name)
    run = onnx_runner(onnx(model, tmp_path / "model.onnx"))
    found = assert_same_outputs(run, model, 1, 65, 97, 3, max_difference=1e-3)
    assert len(np.unique(found["class_ids"])) > 1
