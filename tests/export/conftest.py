"""Models and exports that the tests share. Nobody may change them."""

import os
import sys

os.environ["CI"] = "true"  # OpenVINO sends no telemetry

import keras
import pytest
import tensorflow as tf
from export.detector_models import REQUESTS, answer, small_detector
from export.informative_models import MAX_PIXELS, make_informative, one_conv
from keras import layers
from plain_encoder import FEATURE_LAYERS, PLAIN, WIDTHS

from tfseg.export import inspect, saved_model
from tfseg.export.detection_client import unoptimized
from tfseg.models import (
    build,
    cnn_classifier,
    unet,
    with_object_thresholds,
    with_thresholds,
)
from tfseg.models.encoders import ENCODERS
from tfseg.models.encoders.encoder import Encoder

# the smallest network of each name with an encoder
OPTIONS = {
    "unet": {"filters": (2, 4, 8)},
    "unetpp": {"encoder": "plain", "filters": (2, 4, 6, 8)},
    "linknet": {"encoder": "plain", "width": 8},
    "fpn": {"encoder": "plain", "pyramid_width": 8, "width": 8},
    "deeplab_v3_plus": {"encoder": "depthwise", "width": 8, "low_width": 4},
    "segformer": {"encoder": "mit_b0", "width": 8},  # transformer blocks with GELU
    "tiny_unet": {"filters": 4},
}

TINY_MIT = (8, 8, 10, 8), (1, 1, 1, 1)  # channels and number of blocks of the stages


def build_depthwise(weights, owner):
    """An encoder of the layers of MobileNet: depthwise convolutions and ReLU6."""
    image = x = keras.Input((None, None, 3))
    for stage, width in enumerate(WIDTHS, 1):
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", name=f"depthwise{stage}")(x)
        x = layers.BatchNormalization(name=f"bn{stage}")(x)
        x = layers.ReLU(6.0, name=f"relu_in{stage}")(x)
        x = layers.Conv2D(width, 1, use_bias=False, name=f"pointwise{stage}")(x)
        x = layers.BatchNormalization(name=f"bn_out{stage}")(x)
        x = layers.ReLU(6.0, name=f"relu{stage}")(x)
    return keras.Model(image, x)


@pytest.fixture
def small_network(monkeypatch):
    """The function name -> network of `list_models()`, small, with three classes."""
    encoders = PLAIN | {"depthwise": Encoder(build_depthwise, FEATURE_LAYERS)}
    for name, encoder in encoders.items():
        monkeypatch.setitem(ENCODERS, name, encoder)
    mit = sys.modules["tfseg.models.encoders.mit"]  # the function of that name hides it
    monkeypatch.setitem(mit.SIZES, "mit_b0", TINY_MIT)

    def make(name):
        options = OPTIONS.get(name, {"encoder": "plain", "width": 8})
        return make_informative(build(name, 3, **options))

    return make


@pytest.fixture(scope="session")
def unet_model():
    keras.utils.set_random_seed(1)
    return make_informative(unet(3, filters=(4, 8)))


@pytest.fixture(scope="session")
def unet_version(unet_model, tmp_path_factory):
    """A SavedModel with all outputs."""
    return saved_model(
        unet_model,
        tmp_path_factory.mktemp("unet") / "name",
        outputs=("probabilities", "uncertainty", "rle"),
        metadata={"class_names": ["sky", "road", "car"], "metrics": {"iou": 0.7}, "source": "run"},
        max_pixels=MAX_PIXELS,
    )


@pytest.fixture(scope="session")
def bfloat16_windows_version(unet_model, tmp_path_factory):
    return saved_model(
        unet_model,
        tmp_path_factory.mktemp("bfloat16"),
        outputs=("probabilities",),
        window=32,
        dtype="bfloat16",
    )


@pytest.fixture(scope="session")
def unet_signatures(unet_version):
    loaded = tf.saved_model.load(str(unet_version))
    return loaded.signatures


@pytest.fixture(scope="session")
def one_conv_version(tmp_path_factory):
    return saved_model(one_conv(), tmp_path_factory.mktemp("one_conv"))


@pytest.fixture(scope="session")
def fixed_size_model():
    return one_conv(3, (32, 48, 3))


@pytest.fixture(scope="session")
def fixed_size_version(fixed_size_model, tmp_path_factory):
    return saved_model(fixed_size_model, tmp_path_factory.mktemp("fixed_size"))


@pytest.fixture(scope="session")
def classifier_model():
    keras.utils.set_random_seed(1)
    return cnn_classifier(4, filters=(4, 8), hidden=8)


@pytest.fixture(scope="session")
def classifier_version(classifier_model, tmp_path_factory):
    return saved_model(
        classifier_model,
        tmp_path_factory.mktemp("classifier"),
        outputs=("probabilities", "uncertainty"),
    )


@pytest.fixture(scope="session")
def base_detector():
    """A small Mask R-CNN with default thresholds."""
    return small_detector()


@pytest.fixture(scope="session")
def detector(base_detector):
    """The Mask R-CNN with the thresholds of `detector_version`."""
    return with_thresholds(base_detector, score_threshold=0.7, max_detections=6)


@pytest.fixture(scope="session")
def detector_version(base_detector, tmp_path_factory):
    """A SavedModel of the Mask R-CNN; thresholds are set at export, whatever those of the model."""
    return saved_model(
        with_object_thresholds(base_detector, 0.2),
        tmp_path_factory.mktemp("detector") / "cells",
        metadata={"object_names": ["cell", "dust"]},
        max_pixels=MAX_PIXELS,
        score_threshold=0.7,
        max_detections=6,
    )


@pytest.fixture(scope="session")
def served_detector(detector_version):
    """The answers to `REQUESTS` by name, and the result of `inspect`.

    Both are made at once and without TensorFlow's graph optimizer, so that `inspect` uses the same
    functions: every module sets a seed, after which TensorFlow prepares them anew.
    """
    loaded = tf.saved_model.load(str(detector_version))
    with unoptimized():
        answers = {name: answer(loaded.signatures, *request) for name, request in REQUESTS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", lambda _: loaded)
        return answers, inspect(detector_version)


@pytest.fixture(scope="session")
def detector_answers(served_detector):
    return served_detector[0]


@pytest.fixture(scope="session")
def two_output_model():
    return unet(3, filters=(4, 8, 8), deep_supervision=True)
