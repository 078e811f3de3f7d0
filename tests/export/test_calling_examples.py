"""Calling examples are run as they are printed."""

import base64
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import noise, one_conv
from PIL import Image

from tfseg.export import calling_examples, saved_model
from tfseg.export.calling_examples import _saved_model_program


def programs(version, **options):
    return {example.title: example.text for example in calling_examples(version, **options)}


def run_program(text):
    """Run a program, and return its variables."""
    variables = {}
    exec(text, variables)
    return variables


def sent_by(command):
    """Run the part of a REST example before curl, and return what it sends."""
    sender, receiver = command.split(" |\n  curl")
    assert receiver.startswith(" -d @- http://localhost:8501/v1/models/")
    sent = subprocess.run(["bash", "-c", sender], capture_output=True, check=True, text=True)
    return json.loads(sent.stdout)


@pytest.fixture
def image(tmp_path, monkeypatch):
    """The image `image.png` in the working directory."""
    monkeypatch.chdir(tmp_path)
    pixels = noise(40, 56, 3).astype(np.uint8)
    Image.fromarray(pixels).save("image.png")
    return pixels


def test_a_saved_model_answers_its_examples(one_conv_version, image):
    found = programs(one_conv_version)
    assert list(found) == ["REST request to TF Serving", "SavedModel in Python"]
    run_program(found["SavedModel in Python"])
    signatures = tf.saved_model.load(str(one_conv_version)).signatures
    expected = signatures["uint8"](image=image[None])["class_ids"][0]
    assert np.array_equal(np.asarray(Image.open("mask.png")), expected)
    sent = sent_by(found["REST request to TF Serving"])
    assert sent.keys() == {"signature_name", "instances"}
    ((name, value),) = sent["instances"][0].items()
    file = base64.b64decode(value["b64"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), image)
    assert name in signatures[sent["signature_name"]].structured_input_signature[1]
    url = found["REST request to TF Serving"].split()[-1]
    assert url.endswith(f"/v1/models/{one_conv_version.parent.name}:predict")


@pytest.mark.parametrize(
    ("options", "shape", "signature"),
    [({}, (None, None, 4), "uint8"), ({"value_range": (0.5, 7)}, (20, 28, 1), "serving_default")],
)
def test_models_without_image_files_get_arrays(options, shape, signature, tmp_path, monkeypatch):
    version = saved_model(one_conv(3, shape), tmp_path / "bands", **options)
    found = programs(version)
    class_ids = run_program(found["SavedModel in Python"])["class_ids"]
    assert class_ids.shape == (shape[0] or 256, shape[1] or 256)
    monkeypatch.chdir(tmp_path)
    values = noise(2, 3, shape[2]).astype(np.uint8)
    np.save("image.npy", values)
    sent = sent_by(found["REST request to TF Serving"].replace("python -c", "python3 -c"))
    assert sent == {"signature_name": signature, "instances": values[None].tolist()}


@pytest.mark.parametrize("size", [None, (24, 32)])
def test_files_of_other_formats_answer_their_examples(size, tmp_path):
    formats = ("litert", "litert_float16", "onnx")
    images = [noise(30, 36, 3) for _ in range(2)]
    model = one_conv(2)
    version = saved_model(model, tmp_path / "m", formats=formats, images=images, size=size)
    found = programs(version, size=size)
    titles = [
        f"{name} in Python" for name in ("model.tflite", "model_float16.tflite", "model.onnx")
    ]
    assert list(found)[2:] == titles
    height, width = size or (256, 256)
    name = "class_ids" if size is None else "probabilities"
    expected = model(np.zeros((1, height, width, 3), np.float32))[0]
    expected = tf.argmax(expected, -1) if size is None else tf.nn.softmax(expected)
    for title in titles:
        answer = run_program(found[title])[name]
        np.testing.assert_allclose(answer, expected, atol=1e-2)


def test_the_results_of_detectors_and_instances_are_named():
    detections = {"boxes", "scores", "classes", "ok"}
    for outputs, last in [
        (detections | {"masks_png_bytes"}, "objects.png"),
        (detections, "boxes, scores, classes ="),
        (detections | {"instances"}, "instances ="),
    ]:
        program = _saved_model_program(Path("version"), "encoded", "", outputs)
        assert last in program.splitlines()[-1]
