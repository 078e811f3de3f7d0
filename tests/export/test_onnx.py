import sys

import keras
import numpy as np
import onnx as format_onnx
import onnxruntime
import pytest
from export.informative_models import Digamma, make_informative, noise, same, small
from keras import layers

from tfseg.export import onnx, onnx_runner
from tfseg.models import cnn_classifier, list_models, unet
from tfseg.models.decoders import segmentation_head

MODULE = sys.modules["tfseg.export.onnx"]  # the function of that name hides it


@pytest.mark.parametrize(("classes", "channels"), [(3, 3), (1, 1)])
def test_any_size_answers_like_the_model(classes, channels, tmp_path):
    model = make_informative(unet(classes, (None, None, channels), filters=(4, 8)))
    file = onnx(model, tmp_path / "new" / "model.onnx")
    assert file == tmp_path / "new" / "model.onnx"
    assert list(file.parent.iterdir()) == [file]
    run = onnx_runner(file, threads=1)
    for size in ((1, 65, 97), (3, 48, 56), (2, 1, 1)):
        found = same(run, model, *size, channels)
        assert len(np.unique(found["class_ids"])) > 1 or size[1] == 1
    assert run(noise(0, 20, 30, channels))["probabilities"].shape == (0, 20, 30, classes)


def test_the_file_says_what_it_takes_and_gives(tmp_path):
    file = onnx(unet(3, filters=(4, 8)), tmp_path / "model.onnx")
    graph = format_onnx.load(file).graph
    told = {
        value.name: (
            value.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }
    floats, ids = format_onnx.TensorProto.FLOAT, format_onnx.TensorProto.UINT8
    assert told == {
        "image": (floats, ["batch", "height", "width", 3]),
        "class_ids": (ids, ["batch", "height", "width"]),
        "probabilities": (floats, ["batch", "height", "width", 3]),
    }


def test_features_are_turned_around_once_at_either_end(tmp_path):
    file = onnx(unet(3, filters=(4, 8, 8)), tmp_path / "model.onnx")
    nodes = format_onnx.load(file).graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.count("Transpose") == 2  # channels first within, channels last outside
    assert kinds.count("BatchNormalization") == 0
    assert kinds.count("Conv") == 11  # 5 blocks of two, and the classes
    (softmax,) = (node for node in nodes if node.op_type == "Softmax")
    assert softmax.output == ["probabilities"]  # over the last axis, which ONNX Runtime is quick at


def test_bilinear_upsampling_has_half_pixel_centers(tmp_path):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=4, padding="same")(image)
    model = make_informative(segmentation_head(x, image, 3, 4, "coarse"))
    found = same(
        onnx_runner(onnx(model, tmp_path / "model.onnx")), model, 2, 37, 50, 3, difference=1e-5
    )
    assert len(np.unique(found["class_ids"])) == 3


def test_gelu_is_written_of_what_onnx_has(tmp_path):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="gelu")(image / 255)
    model = make_informative(keras.Model(image, layers.Conv2D(3, 1, name="classes")(x)))
    same(onnx_runner(onnx(model, tmp_path / "model.onnx")), model, 2, 37, 50, 3)


def test_more_classes_than_a_byte_holds(tmp_path):
    model = unet(300, filters=(4, 8))
    model.get_layer("classes").bias.assign(np.arange(300))
    found = onnx_runner(onnx(model, tmp_path / "model.onnx"))(noise(1, 8, 8, 3))["class_ids"]
    assert found.dtype == np.uint16
    assert found.max() > 255


def test_a_model_of_fixed_size_keeps_it(tmp_path):
    model = unet(2, (32, 48, 3), filters=(4, 8))
    run = onnx_runner(onnx(model, tmp_path / "model.onnx"))
    same(run, model, 1, 32, 48, 3)
    with pytest.raises(
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="Got: 32 Expected: 48"
    ):
        run(noise(1, 32, 32, 3))


def test_a_classifier_answers_once_an_image(tmp_path):
    model = cnn_classifier(3, filters=(4, 8), hidden=8)
    found = same(onnx_runner(onnx(model, tmp_path / "model.onnx")), model, 3, 65, 97, 3)
    assert found["class_ids"].shape == (3,)


def test_what_cannot_be_is_refused(tmp_path):
    model = unet(3, filters=(4, 8, 8), deep_supervision=True)
    with pytest.raises(ValueError, match=r"onnx: .* expected logits .* model.outputs\[0\]"):
        onnx(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="onnx: file='.*model.pb' must end in '.onnx'"):
        onnx(unet(3, filters=(4, 8)), tmp_path / "model.pb")
    with pytest.raises(ValueError, match="onnx_runner: threads=0 must be a whole number"):
        onnx_runner(tmp_path / "model.onnx", threads=0)
    image = keras.Input((None, None, 3))
    with pytest.raises(
        ValueError,
        match="onnx: the model 'odd' uses Digamma of TensorFlow, which ONNX does not have",
    ):
        onnx(keras.Model(image, Digamma()(image), name="odd"), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"'tf2onnx'.*tfseg-keras\[onnx\]"):
        onnx(unet(3, filters=(4, 8)), tmp_path / "model.onnx")


# other classes; the same classes of nearly all pixels, with other probabilities
@pytest.mark.parametrize("change", [[0, 0, 10], [0, 0, 0.01]])
def test_other_answers_are_refused_and_leave_what_was_there(change, tmp_path, monkeypatch):
    model, convert = make_informative(unet(3, filters=(4, 8))), MODULE._convert
    (tmp_path / "model.onnx").write_text("before")

    def tamper(*args):
        proto = convert(*args)
        model.get_layer("classes").bias.assign_add(change)  # the model has changed since
        return proto

    monkeypatch.setattr(MODULE, "_convert", tamper)
    monkeypatch.setattr("tfseg.export.verify.AGREEMENT", 0.9)
    with pytest.raises(RuntimeError, match="agrees with the model on .* its probabilities are off"):
        onnx(model, tmp_path / "model.onnx")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_network_converts(name, tmp_path):
    model = small(name)
    found = same(
        onnx_runner(onnx(model, tmp_path / "model.onnx")), model, 1, 65, 97, 3, difference=1e-3
    )
    assert len(np.unique(found["class_ids"])) > 1
