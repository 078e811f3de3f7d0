import numpy as np
import pytest

from tfseg.export import formats as module
from tfseg.export import inspect, keras_runner, saved_model
from tfseg.models import unet


def pictures():
    return [
        np.random.default_rng(i).uniform(0, 255, (20 + i, 33, 3)).astype(np.float32)
        for i in range(2)
    ]


def test_forms_lie_beside_and_are_told_of(tmp_path):
    pytest.importorskip("openvino")
    version = saved_model(
        unet(2, filters=(4, 8)), tmp_path, formats=("litert", "openvino"), images=pictures()
    )
    folder = version / "assets.extra"
    rows = {row["format"]: row for row in inspect(version)["parity"]}
    assert list(rows) == ["Keras", "SavedModel", "litert", "openvino"]
    assert rows["SavedModel"]["bytes"] == (version / "saved_model.pb").stat().st_size
    assert rows["litert"]["bytes"] == (folder / "model.tflite").stat().st_size
    sizes = [(folder / "openvino" / name).stat().st_size for name in ("model.xml", "model.bin")]
    assert rows["openvino"]["bytes"] == sum(sizes)


def test_a_form_that_answers_otherwise_makes_no_version(tmp_path, monkeypatch):
    model = unet(2, filters=(4, 8))

    def wrong(file):
        def run(images):
            found = keras_runner(model)(images)
            found["class_ids"][:, :, 0] ^= 1  # a column of 33
            return found

        return run

    monkeypatch.setitem(
        module.FORMATS, "onnx", module.Format("a", lambda model, file, images: file.touch(), wrong)
    )
    with pytest.raises(
        RuntimeError,
        match=r"onnx agrees with the Keras model on 96.97% of the pixels, below 99.00%",
    ):
        saved_model(model, tmp_path / "name", formats=("onnx",), images=pictures())
    assert list(tmp_path.iterdir()) == []


def test_each_litert_form_is_of_its_kind(monkeypatch):
    monkeypatch.setattr(module, "litert", lambda model, file, quantize, images: quantize)
    kinds = {
        name: form.write(None, None, ())
        for name, form in module.FORMATS.items()
        if name.startswith("litert")
    }
    assert kinds == {
        "litert": None,
        "litert_float16": "float16",
        "litert_dynamic": "dynamic",
        "litert_int8": "int8",
    }
