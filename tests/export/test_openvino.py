import os
import sys
from pathlib import Path

os.environ["CI"] = "true"  # or OpenVINO tells its makers of every import

import keras
import numpy as np
import openvino as format_openvino
import pytest
from export.informative_models import Digamma, make_informative, noise, same, small

from tfseg.export import openvino, openvino_runner
from tfseg.models import cnn_classifier, list_models, unet

MODULE = sys.modules["tfseg.export.openvino"]  # the function of that name hides it


@pytest.mark.parametrize(("classes", "channels"), [(3, 3), (1, 1)])
def test_any_size_answers_like_the_model(classes, channels, tmp_path):
    model = make_informative(unet(classes, (None, None, channels), filters=(4, 8)))
    file = openvino(model, tmp_path / "new" / "model.xml")
    assert file == tmp_path / "new" / "model.xml"
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.bin", "model.xml"]
    run = openvino_runner(file, threads=1)
    first = run(noise(1, 48, 56, channels))
    kept = {name: value.copy() for name, value in first.items()}
    for size in ((1, 65, 97), (3, 48, 56), (2, 1, 1)):
        found = same(run, model, *size, channels)
        assert len(np.unique(found["class_ids"])) > 1 or size[1] == 1
    for name, value in first.items():
        assert np.array_equal(value, kept[name])  # later calls leave it alone
    with pytest.raises(
        ValueError, match=r"shape \(0, 48, 56, .\) came, expected at least one pixel"
    ):
        run(noise(0, 48, 56, channels))


@pytest.mark.skipif(
    "BF16" not in format_openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="needs a processor that computes in bfloat16",
)
def test_bfloat16_is_another_arithmetic_with_nearly_the_same_answers(tmp_path):
    model = make_informative(unet(3, filters=(4, 8)))
    file = openvino(model, tmp_path / "model.xml")
    whole, half = (
        openvino_runner(file, dtype=dtype)(noise(1, 65, 97, 3)) for dtype in ("float32", "bfloat16")
    )
    assert half["probabilities"].dtype == np.float32
    assert 0 < np.abs(half["probabilities"] - whole["probabilities"]).max() < 0.1
    assert np.mean(half["class_ids"] == whole["class_ids"]) > 0.97


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_more_classes_than_a_byte_holds(classes, dtype, tmp_path):
    model = unet(classes, filters=(4, 8))
    model.get_layer("classes").bias.assign(100 * np.arange(classes))
    found = openvino_runner(openvino(model, tmp_path / "model.xml"))(noise(1, 8, 8, 3))["class_ids"]
    assert found.dtype == dtype
    assert found.max() == classes - 1


def test_weights_stay_float32(tmp_path):
    model = unet(3, filters=(4, 8))
    openvino(model, tmp_path / "model.xml")
    assert (tmp_path / "model.bin").stat().st_size > 4 * 0.9 * sum(
        np.prod(w.shape) for w in model.weights
    )


def test_a_classifier_answers_once_an_image(tmp_path):
    model = cnn_classifier(3, filters=(4, 8), hidden=8)
    found = same(openvino_runner(openvino(model, tmp_path / "model.xml")), model, 3, 65, 97, 3)
    assert found["class_ids"].shape == (3,)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"openvino: .* expected logits"):
        openvino(unet(3, filters=(4, 8, 8), deep_supervision=True), tmp_path / "model.xml")
    with pytest.raises(ValueError, match="openvino: file='.*model.onnx' must end in '.xml'"):
        openvino(unet(3, filters=(4, 8)), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="openvino_runner: threads=0 must be a whole number"):
        openvino_runner(tmp_path / "model.xml", threads=0)
    with pytest.raises(ValueError, match="dtype='bfloat' is unknown.* Did you mean 'bfloat16'"):
        openvino_runner(tmp_path / "model.xml", dtype="bfloat")
    image = keras.Input((None, None, 3))
    with pytest.raises(
        ValueError, match="cannot convert the model 'odd'. It says: .*Digamma. Build"
    ):
        openvino(keras.Model(image, Digamma()(image), name="odd"), tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"'openvino'.*tfseg-keras\[openvino\]"):
        openvino(unet(3, filters=(4, 8)), tmp_path / "model.xml")


def test_other_answers_are_refused_and_leave_what_was_there(tmp_path, monkeypatch):
    model, serving = make_informative(unet(3, filters=(4, 8))), MODULE._serving
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("before")

    def tamper(model):
        serve = serving(model)
        model.get_layer("classes").bias.assign_add([0, 0, 10])  # the model has changed since
        return serve

    monkeypatch.setattr(MODULE, "_serving", tamper)
    with pytest.raises(RuntimeError, match="agrees with the model on"):
        openvino(model, tmp_path / "model.xml")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before", "before"]


def test_a_stop_between_the_two_files_leaves_no_xml_with_weights_of_another(tmp_path, monkeypatch):
    (tmp_path / "model.xml").write_text("before")
    replace = Path.replace

    def stop(path, target):
        if path.suffix == ".xml":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        openvino(unet(3, filters=(4, 8)), tmp_path / "model.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_network_converts(name, tmp_path):
    model = small(name)
    found = same(
        openvino_runner(openvino(model, tmp_path / "model.xml")),
        model,
        1,
        65,
        97,
        3,
        difference=1e-3,
    )
    assert len(np.unique(found["class_ids"])) > 1
