"""Weights of keras.applications networks: channel order, download errors, files."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from keras import applications, ops
from plain_encoder import PLAIN

from tfseg.models.encoders import ENCODERS, encode
from tfseg.models.encoders.encoder import IMAGENET

GET_FILE = "keras.src.utils.file_utils.get_file"


def image_input(channels=3):
    return keras.Input((None, None, channels))


def test_bgr_weights_are_reordered_and_fitted_to_gray_images(tmp_path):
    network = applications.VGG16(include_top=False, weights=None)
    network.save_weights(tmp_path / "bare.weights.h5")
    kernel = ops.convert_to_numpy(network.get_layer("block1_conv1").kernel)
    for channels, expected in ((3, kernel[:, :, ::-1]), (1, kernel.sum(2, keepdims=True))):
        image = image_input(channels)
        model = keras.Model(image, encode(image, "vgg16", tmp_path / "bare.weights.h5")[0])
        first = ops.convert_to_numpy(model.get_layer("encoder1_block1_conv1").kernel)
        assert first == pytest.approx(expected, abs=1e-7)
    with pytest.raises(
        ValueError,
        match=r"(?s)unet: the tensors in '.*bare.weights.h5' are not.*23 match.*6 missing.*3 of wr",
    ):
        encode(image_input(), "vgg19", tmp_path / "bare.weights.h5", owner="unet")


def test_the_normalization_of_one_channel_is_the_mean_of_three(monkeypatch):
    # (123.675 + 116.28 + 103.53) / 3 = 114.495; (58.395 + 57.12 + 57.375) / 3 = 57.63
    entry = dataclasses.replace(PLAIN["plain"], normalization=IMAGENET)
    monkeypatch.setitem(ENCODERS, "plain", entry)
    image = image_input(1)
    model = keras.Model(image, encode(image, "plain")[0])
    assert model.get_layer("normalize").scale == pytest.approx([1 / 57.63])
    assert model.get_layer("normalize").offset == pytest.approx([-114.495 / 57.63])


def test_a_failed_download_says_where_to_put_the_file(monkeypatch):
    def fail(name, url, **options):
        raise Exception(f"URL fetch failure on {url}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(GET_FILE, fail)
    message = (
        "unet: cannot download the ImageNet weights of MobileNet (URL fetch failure on "
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
        "mobilenet_1_0_224_tf_no_top.h5: None"
    )
    with pytest.raises(OSError, match=re.escape(message)) as caught:
        encode(image_input(), "mobilenet", "imagenet", owner="unet")
    assert "~/.keras/models/mobilenet_1_0_224_tf_no_top.h5" in str(caught.value)
    assert "or pass its path as weights=" in str(caught.value)


def test_a_damaged_file_is_an_oserror(monkeypatch, tmp_path):
    (tmp_path / "cut.h5").write_text("no")
    monkeypatch.setattr(GET_FILE, lambda *a, **k: str(tmp_path / "cut.h5"))
    with pytest.raises(OSError, match="unet: cannot load the ImageNet weights of MobileNet"):
        encode(image_input(), "mobilenet", "imagenet", owner="unet")


def test_imagenet_weights_come_from_the_file_that_keras_downloads(monkeypatch, tmp_path):
    network = applications.MobileNet(include_top=False, weights=None, input_shape=(None, None, 3))
    network.save_weights(tmp_path / "cached.weights.h5")
    monkeypatch.setattr(GET_FILE, lambda *a, **k: str(tmp_path / "cached.weights.h5"))
    copy = ENCODERS["mobilenet"].build("imagenet", "unet")
    for ours, expected in zip(copy.get_weights(), network.get_weights(), strict=True):
        assert np.array_equal(ours, expected)
