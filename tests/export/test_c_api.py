"""An export runs without Python: TensorFlow's C API, in its own process, gives the same bits.

Detectors are in test_detector_export.py, whose export they share.
"""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from export.c_api import bits, library_path, run_client, signatures
from PIL import Image

from conftest import draw_sample

pytestmark = pytest.mark.skipif(
    library_path() is None, reason="the installed TensorFlow contains no libtensorflow_cc.so.2"
)
CLIENT = Path(__file__).with_name("c_api.py")


def as_file(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


IMAGES = np.stack([draw_sample(index, 47, 61)[0] for index in range(2)])
FILES = [
    as_file(IMAGES[0], "PNG"),
    b"not an image",
    as_file(IMAGES[1, :29, :33], "JPEG"),
    as_file(IMAGES[1], "PNG")[:-300],
    b"",
]
REQUESTS = {
    "two of odd size": ("serving_default", {"image": IMAGES.astype(np.float32)}),
    "wrong rank": ("serving_default", {"image": IMAGES[0].astype(np.float32)}),
    "one pixel": ("serving_default", {"image": IMAGES[:1, :1, :1].astype(np.float32)}),
    "empty batch": ("serving_default", {"image": np.zeros((0, 5, 7, 3), np.float32)}),
    "uint8": ("uint8", {"image": IMAGES[:, 2:, 5:]}),
    "gray for RGB": ("serving_default", {"image": IMAGES[..., :1].astype(np.float32)}),
    "floats for uint8": ("uint8", {"image": IMAGES.astype(np.float32)}),
    "no input": ("serving_default", {}),
    "files": ("encoded", {"image_bytes": np.array(FILES, object)}),
    "one file": ("encoded", {"image_bytes": np.array(FILES[:1], object)}),
    "no files": ("encoded", {"image_bytes": np.zeros(0, object)}),
}
# a session does not check the shapes of signatures: only the graph rejects inputs
REJECTED = {
    "wrong rank": "expected shape [?,?,?,3]",
    "gray for RGB": "expected shape [?,?,?,3]",
    "floats for uint8": "to be uint8 but float is provided",
    "no input": "must feed a value",
}


@pytest.fixture(scope="module", params=["unet_version", "bfloat16_windows_version"])
def version(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def served(version):
    return tf.saved_model.load(str(version)).signatures


@pytest.fixture(scope="module")
def answers(version):
    """Answers of one process, which continues after it rejects a request."""
    return dict(zip(REQUESTS, run_client(version, list(REQUESTS.values())), strict=True))


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in REJECTED])
def test_outputs_equal_those_of_python_bit_for_bit(name, served, answers):
    signature, arrays = REQUESTS[name]
    inputs = {
        key: tf.constant(value, tf.string if value.dtype == object else None)
        for key, value in arrays.items()
    }
    expected = {key: value.numpy() for key, value in served[signature](**inputs).items()}
    assert answers[name].keys() == expected.keys()
    for key, found in answers[name].items():
        assert (found.dtype, found.shape) == (expected[key].dtype, expected[key].shape), key
        assert bits(found) == bits(expected[key]), key


def test_bad_files_are_flagged(answers):
    outputs = answers["files"]
    assert outputs["ok"].tolist() == [True, False, True, False, False]
    masks = [Image.open(io.BytesIO(mask)) for mask in outputs["mask_png_bytes"] if mask]
    assert [np.asarray(mask).shape for mask in masks] == [(47, 61), (29, 33)]
    assert outputs["class_pixels"].sum(-1).tolist() == [47 * 61, 0, 29 * 33, 0, 0]


@pytest.mark.parametrize("name", REJECTED)
def test_rejected_requests_say_why(name, answers):
    assert REJECTED[name] in answers[name]


def test_a_folder_without_saved_model_is_rejected(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(CLIENT.parent)!r}); "
        f"import c_api; c_api.load({str(tmp_path)!r})"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert process.returncode == 1
    assert b"RuntimeError: Could not find SavedModel" in process.stderr


def test_signatures_are_read_from_a_meta_graph():
    # the reference is TensorFlow's protobuf class; a name of 300 bytes has a two-byte length
    long = "x" * 300
    meta_graph = tf.compat.v1.MetaGraphDef()
    meta_graph.meta_info_def.tags.append("serve")
    signature = meta_graph.signature_def["first"]
    signature.inputs["image"].name = f"{long}:0"
    signature.inputs["image"].dtype = 1
    signature.inputs["image"].tensor_shape.dim.add(size=-1)
    signature.outputs["ids"].name = "call:1"
    signature.outputs["more"].name = "call:2"
    meta_graph.signature_def["second"].method_name = "predict"
    expected = {
        "first": ({"image": f"{long}:0"}, {"ids": "call:1", "more": "call:2"}),
        "second": ({}, {}),
    }
    assert signatures(meta_graph.SerializeToString()) == expected
