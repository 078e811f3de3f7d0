import sys
from pathlib import Path

import keras
import numpy as np
import openvino as format_openvino
import pytest
from export.informative_models import (
    Digamma,
    assert_same_outputs,
    make_informative,
    noise,
    one_conv,
)

from tfseg.export import openvino, openvino_runner
from tfseg.models import unet

MODULE = sys.modules["tfseg.export.openvino"]  # the function of that name hides it


@pytest.fixture(scope="module")
def unet_file(unet_model, tmp_path_factory):
    return openvino(unet_model, tmp_path_factory.mktemp("openvino") / "new" / "model.xml")


@pytest.fixture(scope="module")
def sigmoid_model():
    return make_informative(unet(1, (None, None, 1), filters=(2, 4)))


@pytest.fixture(scope="module")
def sigmoid_file(sigmoid_model, tmp_path_factory):
    return openvino(sigmoid_model, tmp_path_factory.mktemp("openvino") / "model.xml")


@pytest.mark.parametrize(("name", "channels"), [("unet", 3), ("sigmoid", 1)])
def test_any_batch_and_size_gives_the_outputs_of_the_model(name, channels, request):
    model = request.getfixturevalue(f"{name}_model")
    file = request.getfixturevalue(f"{name}_file")
    assert file.name == "model.xml"
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.bin", "model.xml"]
    run = openvino_runner(file, threads=1)
    first = run(noise(1, 48, 56, channels))
    kept = {name: value.copy() for name, value in first.items()}
    for size in ((1, 65, 97), (3, 48, 56), (2, 1, 1)):
        found = assert_same_outputs(run, model, *size, channels)
        assert len(np.unique(found["class_ids"])) > 1 or size[1] == 1
    for name, value in first.items():
        assert np.array_equal(value, kept[name])  # later calls do not overwrite it
    message = r"got images of shape \(0, 48, 56, .\), expected at least one pixel"
    with pytest.raises(ValueError, match=message):
        run(noise(0, 48, 56, channels))


@pytest.mark.skipif(
    "BF16" not in format_openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="needs a processor that supports bfloat16",
)
def test_bfloat16_gives_nearly_the_same_outputs(unet_file):
    images = noise(1, 65, 97, 3)
    full = openvino_runner(unet_file, dtype="float32")(images)
    half = openvino_runner(unet_file, dtype="bfloat16")(images)
    assert half["probabilities"].dtype == np.float32
    assert 0 < np.abs(half["probabilities"] - full["probabilities"]).max() < 0.1
    assert np.mean(half["class_ids"] == full["class_ids"]) > 0.97


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_more_than_256_classes_are_uint16(classes, dtype, tmp_path):
    model = one_conv(classes)
    model.get_layer("classes").bias.assign(100 * np.arange(classes))
    found = openvino_runner(openvino(model, tmp_path / "model.xml"))(noise(1, 8, 8, 3))["class_ids"]
    assert found.dtype == dtype
    assert found.max() == classes - 1


def test_weights_stay_float32(unet_model, unet_file):
    weights = sum(np.prod(weight.shape) for weight in unet_model.weights)
    assert unet_file.with_suffix(".bin").stat().st_size > 4 * 0.9 * weights


def test_a_classifier_gives_one_class_per_image(classifier_model, tmp_path):
    run = openvino_runner(openvino(classifier_model, tmp_path / "model.xml"))
    found = assert_same_outputs(run, classifier_model, 3, 65, 97, 3)
    assert found["class_ids"].shape == (3,)


def test_invalid_arguments_and_unknown_operations_are_rejected(
    two_output_model, unet_model, tmp_path
):
    with pytest.raises(ValueError, match=r"openvino: .* expected logits"):
        openvino(two_output_model, tmp_path / "model.xml")
    with pytest.raises(ValueError, match="openvino: file='.*model.onnx' must end in '.xml'"):
        openvino(unet_model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="openvino_runner: threads=0 must be"):
        openvino_runner(tmp_path / "model.xml", threads=0)
    with pytest.raises(ValueError, match="dtype='bfloat' is unknown.* Did you mean 'bfloat16'"):
        openvino_runner(tmp_path / "model.xml", dtype="bfloat")
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Digamma()(image), name="odd")
    message = "cannot convert the model 'odd'. It reports: .*Digamma. Build"
    with pytest.raises(ValueError, match=message):
        openvino(model, tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(unet_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"'openvino'.*tfseg-keras\[openvino\]"):
        openvino(unet_model, tmp_path / "model.xml")


def test_files_that_disagree_with_the_model_are_not_written(tmp_path, monkeypatch):
    model, logits_function = one_conv(), MODULE._logits_function
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("before")

    def tamper(model, size):
        function = logits_function(model, size)
        model.get_layer("classes").bias.assign_add([0, 0, 10])  # the model changes afterwards
        return function

    monkeypatch.setattr(MODULE, "_logits_function", tamper)
    with pytest.raises(RuntimeError, match="agrees with the model on"):
        openvino(model, tmp_path / "model.xml")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before", "before"]


def test_an_interruption_leaves_no_xml_with_the_weights_of_another_model(tmp_path, monkeypatch):
    (tmp_path / "model.xml").write_text("before")
    replace = Path.replace

    def interrupt(path, target):
        if path.suffix == ".xml":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        openvino(one_conv(), tmp_path / "model.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


# "unet" is converted above; these have all other kinds of layers.
CONVERTED = ["fpn", "pspnet", "deeplab_v3_plus", "lraspp", "segformer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVERTED)
def test_every_kind_of_layer_converts(name, small_network, tmp_path):
    model = small_network(name)
    run = openvino_runner(openvino(model, tmp_path / "model.xml"))
    found = assert_same_outputs(run, model, 1, 65, 97, 3, max_difference=1e-3)
    assert len(np.unique(found["class_ids"])) > 1
