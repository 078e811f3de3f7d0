import importlib
from pathlib import Path

import numpy as np
import pytest
from export.informative_models import one_conv

from tfseg.export import formats as module
from tfseg.export import inspect, keras_runner, saved_model


def noise_images():
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 255, (20 + i, 33, 3)).astype(np.float32) for i in range(2)]


def test_formats_are_written_compared_and_reported(tmp_path):
    pytest.importorskip("openvino")
    version = saved_model(
        one_conv(2), tmp_path, formats=("litert", "openvino"), images=noise_images()
    )
    folder = version / "assets.extra"
    rows = {row["format"]: row for row in inspect(version)["parity"]}
    assert list(rows) == ["Keras", "SavedModel", "litert", "openvino"]
    assert rows["SavedModel"]["bytes"] == (version / "saved_model.pb").stat().st_size
    assert rows["litert"]["bytes"] == (folder / "model.tflite").stat().st_size
    sizes = [(folder / "openvino" / name).stat().st_size for name in ("model.xml", "model.bin")]
    assert rows["openvino"]["bytes"] == sum(sizes)


def test_no_version_appears_if_a_format_disagrees(tmp_path, monkeypatch):
    model = one_conv(2)

    def wrong_runner(file):
        def run(images):
            outputs = keras_runner(model)(images)
            outputs["class_ids"][:, :, 0] ^= 1  # one column of 33
            return outputs

        return run

    def touch(model, file, *_):
        file.touch()

    monkeypatch.setitem(module.FORMATS, "onnx", module.Format("a", touch, wrong_runner))
    message = (
        r"onnx agrees with the Keras model on 96.97% of the pixels, expected at least 99.00%. "
        r".* image \d .*; per class: "
    )
    with pytest.raises(RuntimeError, match=message):
        saved_model(model, tmp_path / "name", formats=("onnx",), images=noise_images())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["litert", "onnx", "openvino"])
def test_formats_are_verified_in_the_range_of_the_training(name, tmp_path, monkeypatch):
    package = {"litert": "ai_edge_litert"}.get(name, name)
    pytest.importorskip(package)
    module_of_format = importlib.import_module(f"tfseg.export.{name}")
    runner_of = getattr(module_of_format, f"{name}_runner")

    def clipping_runner(file):
        run = runner_of(file)
        return lambda images: run(np.minimum(images, 255))

    monkeypatch.setattr(module_of_format, f"{name}_runner", clipping_runner)
    entry = module.FORMATS[name]
    file = tmp_path / Path(entry.file).name
    entry.write(one_conv(2), file, None, None, None, (0, 255))
    with pytest.raises(RuntimeError, match="agrees with the model on"):
        entry.write(one_conv(2), file, None, None, None, (0, 4095))


def test_each_litert_format_has_its_quantization(monkeypatch):
    monkeypatch.setattr(module, "litert", lambda model, file, quantize, *_: quantize)
    quantizations = {
        name: entry.write(None, None, (), None, None, None)
        for name, entry in module.FORMATS.items()
        if name.startswith("litert")
    }
    assert quantizations == {
        "litert": None,
        "litert_float16": "float16",
        "litert_dynamic": "dynamic",
        "litert_int8": "int8",
    }
