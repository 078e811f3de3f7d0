"""ResNet-50 v1.5 against torchvision, whose weights it loads."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from seeded_weights import seeded_image, seeded_tensor
from torch_files import Named, write_legacy, write_state_dict, write_zip

from tfseg.models.encoders import encode, resnet
from tfseg.models.encoders.resnet import published_name
from tfseg.models.encoders.torch_layers import torch_tensors

GOLDEN = Path(__file__).parents[2] / "goldens" / "torchvision_resnet.npz"
NAME = "resnet50_v1_5"


def published_tensors(network):
    """A seeded state dict of torchvision's resnet50, with its classifier."""
    shapes = {"fc.weight": (10, 2048), "fc.bias": (10,)}
    for layer in network.layers:
        if layer.weights:
            name = published_name(layer.name)
            targets = torch_tensors(layer, name)
            shapes |= {key: target.shape for key, target in targets.items()}
            if len(targets) == 4:
                shapes[f"{name}.num_batches_tracked"] = ()
    return {name: seeded_tensor(name, shape) for name, shape in shapes.items()}


@pytest.fixture
def small(monkeypatch):
    """Replace the 16 blocks by four."""
    monkeypatch.setitem(resnet.SIZES, NAME, (1, 1, 1, 1))


def test_features_are_equal_to_torchvision(tmp_path):
    # torch 2.14.1, torchvision 0.29.1: tests/goldens/torchvision_resnet.py
    tensors = published_tensors(resnet.resnet(NAME))
    assert len(tensors) == 320  # of torchvision's state dict
    path = write_state_dict(tmp_path / "resnet50.pth", tensors)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, encode(image, NAME, path))
    features = model(seeded_image(64, 96)[None], training=False)
    golden = np.load(GOLDEN)
    for stage, feature in enumerate(features, start=1):
        expected = golden[f"stage{stage}"]
        step = feature.shape[-1] // expected.shape[-1]
        assert np.abs(ops.convert_to_numpy(feature)[0, :, :, ::step] - expected).max() < 1e-4


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_both_formats_are_loaded(small, tmp_path, write):
    network = resnet.resnet(NAME)
    tensors = published_tensors(network)
    resnet._load_published(network, write_state_dict(tmp_path / "a.pth", tensors, write))
    layer = network.get_layer("group2_block0_2_conv")
    expected = tensors["layer2.0.conv2.weight"].transpose(2, 3, 1, 0)
    assert np.array_equal(layer.kernel, expected)
    variance = network.get_layer("group4_block0_shortcut_bn").moving_variance
    assert np.array_equal(variance, tensors["layer4.0.downsample.1.running_var"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("bn1.bias"), r"(?s)1 missing\s+bn1.bias \(64,\)\s+0 unexpected"),
        (
            lambda t: t.update({"layer1.1.conv1.weight": np.zeros((2, 3), "f4")}),
            r"1 unexpected\s+layer1.1.conv1.weight \(2, 3\)",
        ),
        (
            lambda t: t.update({"conv1.weight": np.zeros((64, 4, 7, 7), "f4")}),
            r"conv1.weight \(64, 4, 7, 7\) instead of \(64, 3, 7, 7\)",
        ),
    ],
)
def test_loading_is_all_or_nothing(small, tmp_path, damage, message):
    network = resnet.resnet(NAME)
    tensors = published_tensors(network)
    damage(tensors)
    path = write_state_dict(tmp_path / "a.pth", tensors)
    before = network.get_weights()
    with pytest.raises(ValueError, match=message):
        resnet._load_published(network, path)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_a_malicious_file_is_blocked(small, tmp_path):
    state = {"conv1.weight": Named("os", "system", f"touch {tmp_path / 'run'}")}
    path = write_zip(tmp_path / "evil.pth", state, {})
    with pytest.raises(ValueError, match=r"tries to call 'os.system' when unpickled"):
        resnet.resnet(NAME, path)
    assert not (tmp_path / "run").exists()


def test_own_weights_are_restored(small, tmp_path):
    network = resnet.resnet(NAME)
    network.save_weights(tmp_path / "own.weights.h5")
    again = resnet.resnet(NAME, tmp_path / "own.weights.h5")
    assert all(
        np.array_equal(a, b)
        for a, b in zip(network.get_weights(), again.get_weights(), strict=True)
    )


def test_there_are_no_imagenet_weights():
    with pytest.raises(ValueError, match="resnet50_v1_5: weights='imagenet' is not available"):
        resnet.resnet(NAME, "imagenet")
