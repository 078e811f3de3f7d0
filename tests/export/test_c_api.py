"""An export runs where there is no Python: TensorFlow's C API, in a process of its own, answers to the bit alike."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.c_api import library_path, signatures
from PIL import Image

from conftest import draw_sample
from tfseg.export import saved_model
from tfseg.models import unet

pytestmark = pytest.mark.skipif(
    library_path() is None, reason="the installed TensorFlow brings no libtensorflow_cc.so.2"
)
CLIENT = Path(__file__).with_name("c_api.py")


def ask(version, requests):
    """The answers of a process that loads a SavedModel by the C API."""
    done = subprocess.run(
        [sys.executable, CLIENT, version],
        input=pickle.dumps(requests),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:].decode()
    return pickle.loads(done.stdout)


def bits(array):
    return array.tolist() if array.dtype == object else array.tobytes()


def as_file(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


IMAGES = np.stack([draw_sample(index, 47, 61)[0] for index in range(2)])
FILES = [
    as_file(IMAGES[0], "PNG"),
    b"these are no pixels",
    as_file(IMAGES[1, :29, :33], "JPEG"),
    as_file(IMAGES[1], "PNG")[:-300],
    b"",
]
REQUESTS = {
    "two of odd size": ("serving_default", {"image": IMAGES.astype(np.float32)}),
    "a wrong rank": ("serving_default", {"image": IMAGES[0].astype(np.float32)}),
    "one pixel": ("serving_default", {"image": IMAGES[:1, :1, :1].astype(np.float32)}),
    "none": ("serving_default", {"image": np.zeros((0, 5, 7, 3), np.float32)}),
    "bytes": ("uint8", {"image": IMAGES[:, 2:, 5:]}),
    "gray for colors": ("serving_default", {"image": IMAGES[..., :1].astype(np.float32)}),
    "floats for bytes": ("uint8", {"image": IMAGES.astype(np.float32)}),
    "no image": ("serving_default", {}),
    "files": ("encoded", {"image_bytes": np.array(FILES, object)}),
    "one file": ("encoded", {"image_bytes": np.array(FILES[:1], object)}),
    "no files": ("encoded", {"image_bytes": np.zeros(0, object)}),
}
REFUSED = {  # a session looks at no signature's shape: what the graph does not refuse is answered
    "a wrong rank": "expected shape [?,?,?,3]",
    "gray for colors": "expected shape [?,?,?,3]",
    "floats for bytes": "to be uint8 but float is provided",
    "no image": "must feed a value",
}


KINDS = {
    "plain": {"outputs": ("probabilities", "uncertainty", "rle")},
    "windows in bfloat16": {"outputs": ("uncertainty",), "window": 32, "dtype": "bfloat16"},
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def version(request, tmp_path_factory):
    keras.utils.set_random_seed(1)
    return saved_model(unet(3, filters=(4, 8)), tmp_path_factory.mktemp("name"), **request.param)


@pytest.fixture(scope="module")
def served(version):
    return tf.saved_model.load(str(version)).signatures


@pytest.fixture(scope="module")
def answers(version):
    """All by one process: it goes on after it has refused."""
    return dict(zip(REQUESTS, ask(version, list(REQUESTS.values())), strict=True))


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in REFUSED])
def test_the_answers_are_those_of_python_to_the_bit(name, served, answers):
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


def test_bad_files_are_told_from_good_ones(answers):
    files = answers["files"]
    assert files["ok"].tolist() == [True, False, True, False, False]
    shapes = [
        np.asarray(Image.open(io.BytesIO(mask))).shape for mask in files["mask_png_bytes"] if mask
    ]
    assert shapes == [(47, 61), (29, 33)]
    assert files["class_pixels"].sum(-1).tolist() == [47 * 61, 0, 29 * 33, 0, 0]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name, answers):
    assert REFUSED[name] in answers[name]


def test_what_is_no_saved_model_is_refused(tmp_path):
    script = f"import sys; sys.path.insert(0, {str(CLIENT.parent)!r}); import c_api; c_api.load({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"RuntimeError: Could not find SavedModel" in done.stderr


def test_signatures_are_read_from_a_meta_graph():
    # TensorFlow's own classes are the other opinion; a name of more than 127 bytes has a length of two.
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
