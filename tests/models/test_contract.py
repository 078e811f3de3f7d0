"""What every model of `tfseg.models.MODELS` guarantees.

Tests share models: `built` builds each configuration once.
"""

import functools
import importlib.util
import inspect
import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import DEFAULT_ENCODERS, MODELS, describe

pytestmark = pytest.mark.usefixtures("plain_encoders")

# The smallest network of each name, and its stride. Names with a "+" are variants: of `unet` with
# all options, and with real encoders instead of the plain one.
PLAIN = {"encoder": "plain"}
EVERYTHING = {"attention": True, "residual": True, "squeeze_excite": True}
SMALL = {
    "unet": ({"filters": (2, 4, 8)}, 4),
    "unetpp": (PLAIN | {"filters": (2, 4, 6, 8)}, 32),
    "linknet": (PLAIN | {"width": 8}, 32),
    "fpn": (PLAIN | {"pyramid_width": 8, "width": 8}, 32),
    "pspnet": (PLAIN | {"width": 8}, 8),
    "deeplab_v3": (PLAIN | {"width": 8}, 16),
    "deeplab_v3_plus": (PLAIN | {"width": 8, "low_width": 4}, 16),
    "lraspp": (PLAIN | {"width": 8}, 16),
    "upernet": (PLAIN | {"width": 8}, 32),
    "segformer": (PLAIN | {"width": 8}, 32),
    "tiny_unet": ({"filters": 4}, 2),
    "unet+everything": ({"filters": (4, 8, 16)} | EVERYTHING, 4),
    "linknet+efficientnet_lite0": ({"encoder": "efficientnet_lite0", "width": 8}, 32),
    "fpn+mobilenet_v2": ({"encoder": "mobilenet_v2", "pyramid_width": 8, "width": 8}, 32),
    "upernet+convnext_tiny": ({"encoder": "convnext_tiny", "width": 8}, 32),
    "deeplab_v3_plus+mobilenet_v3_small": (
        {"encoder": "mobilenet_v3_small", "width": 8, "low_width": 4},
        16,
    ),
    "segformer+mit_b0": ({"encoder": "mit_b0", "width": 8}, 32),
}
# through global pooling or group normalization
WHOLE_IMAGE = {"fpn", "pspnet", "deeplab_v3", "deeplab_v3_plus", "lraspp", "upernet"}
SLOW = pytest.mark.slow
BARE = [name for name in SMALL if "+" not in name]
# together they have all kinds of layers and decoders
DIFFERENT = ["unet+everything", "fpn", "pspnet", "deeplab_v3_plus", "lraspp", "segformer"]
SMALL_NAMES = [*BARE, "unet+everything"]
OTHERS = [name for name in SMALL if "+" in name]
REAL = [pytest.param(name, marks=SLOW) for name in OTHERS if name != "unet+everything"]


def quick(*names, among):
    """Parameters of a test that is slow for all but `names`."""
    return [name if name in names else pytest.param(name, marks=SLOW) for name in among]


@pytest.fixture(params=SMALL_NAMES)
def name(request):
    return request.param


def build(name, num_classes=3, **options):
    """A small model with the same random weights in every run."""
    random.seed(1)  # Keras draws the seeds of weights from it
    return MODELS[builder_of(name)](num_classes, **SMALL[name][0] | options)


@functools.cache
def built(name, num_classes=3, **options):
    """Like `build`, but cached. Tests must not change the model."""
    return build(name, num_classes, **options)


@pytest.fixture(scope="module", autouse=True)
def _forget_models():
    yield
    built.cache_clear()


def builder_of(name):
    return name.partition("+")[0]


@pytest.fixture
def precision(request):
    """A global dtype policy for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(request.param)
    yield request.param
    keras.mixed_precision.set_dtype_policy(before)


def draw(height=9, width=14, channels=3, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, channels), np.uint8)


def logits_of(model, images):
    return ops.convert_to_numpy(model(images, training=False))


def test_every_model_is_tested():
    assert MODELS.keys() == set(map(builder_of, SMALL))


def test_the_table_of_default_encoders_is_right():
    for name, builder in MODELS.items():
        parameters = inspect.signature(builder).parameters
        assert ("encoder" in parameters) == ("weights" in parameters) == (name in DEFAULT_ENCODERS)
        if name in DEFAULT_ENCODERS:
            assert parameters["encoder"].default == DEFAULT_ENCODERS[name]


@pytest.mark.parametrize("name", [*SMALL_NAMES, *REAL], indirect=True)
def test_logits_have_the_size_of_the_image(name):
    stride = SMALL[name][1]
    for height, width in [(1, 1), (stride + 1, 2 * stride - 1)]:
        logits = logits_of(built(name), draw(height, width, batch=1))
        assert logits.shape == (1, height, width, 3)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()


def test_images_of_a_batch_are_independent(name):
    model, images = built(name), draw(batch=3)
    assert logits_of(model, images)[1:2] == pytest.approx(logits_of(model, images[1:2]), abs=1e-5)


@pytest.mark.parametrize("name", ["unet", "fpn"], indirect=True)
def test_all_dtypes_give_equal_logits(name):
    model, images = built(name), draw()
    logits = logits_of(model, images)
    for dtype in ("float32", "float64", "int32"):
        assert np.array_equal(logits_of(model, images.astype(dtype)), logits)


# One class, two channels: the numbers that a builder could ignore.
TWO_CHANNELS = (None, None, 2)


def test_static_size_channels_classes_and_normalization(name):
    images = draw(channels=2).astype("float32")
    model = build(
        name, 1, input_shape=(9, 14, 2), normalization=((10, 200), (2, 50))
    )  # one mean and std per channel
    assert model.output_shape == (None, 9, 14, 1)
    logits = logits_of(model, images)
    assert logits.std() > 0
    dynamic = built(name, 1, input_shape=TWO_CHANNELS, normalization=(0, 1))
    normalized = (images - np.array([10, 200])) / np.array([2, 50])
    assert logits == pytest.approx(logits_of(dynamic, normalized), abs=1e-4, rel=1e-5)


@pytest.mark.parametrize("name", ["unet", "fpn"], indirect=True)
@pytest.mark.parametrize(("height", "width"), [(32, 64), (33, 40)])
def test_a_static_size_gives_exactly_the_same_logits(name, height, width):
    images = draw(height, width)
    static = build(name, input_shape=(height, width, 3))
    assert np.array_equal(logits_of(static, images), logits_of(built(name), images))


def test_images_are_mapped_to_minus_one_to_one_by_default(name):
    model = built(name)
    normalized = keras.Model(model.input, model.get_layer("normalize").output)(draw())
    assert ops.convert_to_numpy(normalized) == pytest.approx(draw() / 127.5 - 1, abs=1e-6)


@pytest.mark.parametrize("name", ["unet", "fpn"], indirect=True)
def test_each_image_is_standardized_on_request(name):
    model, images = build(name, normalization="image"), draw().astype("float32")
    logits = logits_of(model, images)
    scale, shift = np.array([[[[0.5]]], [[[30]]]]), np.array([[[[3, 0, 1]]], [[[0, 100, -20]]]])
    largest = float(np.abs(logits).max())
    changed = logits_of(model, images * scale + shift)
    assert changed == pytest.approx(logits, abs=2e-3 * largest)
    single = np.concatenate([logits_of(model, image[None]) for image in images])
    assert single == pytest.approx(logits, abs=1e-4 * largest)


HALF = [("mixed_float16", name) for name in DIFFERENT]
HALF += [("mixed_bfloat16", name) for name in ("unet", "pspnet")]
# float16 overflows in attention and in normalization of channels first
REAL_HALF = ("segformer+mit_b0", "upernet+convnext_tiny")
HALF += [pytest.param("mixed_float16", name, marks=SLOW) for name in REAL_HALF]


@pytest.mark.parametrize(("precision", "name"), HALF, indirect=True)
def test_logits_are_float32_under_mixed_precision(precision, name):
    # Half precision would round 40001 to 40000: images must be normalized in float32.
    images = draw(channels=2)
    model = build(name, 1, input_shape=TWO_CHANNELS, normalization=(40000, 2))
    assert model.get_layer("classes").compute_dtype == precision.removeprefix("mixed_")
    logits = logits_of(model, images + np.uint16(40000 - 128))
    assert logits.dtype == np.float32
    keras.mixed_precision.set_dtype_policy("float32")
    exact = built(name, 1, input_shape=TWO_CHANNELS, normalization=(0, 1))
    expected = logits_of(exact, (images.astype("float32") - 128) / 2)
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def test_moving_the_image_by_the_stride_moves_the_logits(name):
    model, stride = built(name), SMALL[name][1]
    facts = describe(model)
    squeezes = name == "unet+everything"
    assert facts.whole_image == (builder_of(name) in WHOLE_IMAGE or squeezes)
    if facts.whole_image:
        return  # pixels that enter at one side change all logits: see the next test
    # np.roll brings in pixels from the other side; the margin is out of their reach
    margin = -(-(facts.receptive_field // 2 + 2 * stride) // 32) * 32
    image = draw(2 * margin + 32, 2 * margin + 64, batch=1)
    moved = np.roll(image, (stride, 2 * stride), (1, 2))
    logits, moved_logits = logits_of(model, np.concatenate([image, moved]))
    inner = np.s_[margin:-margin, margin:-margin]
    expected = np.roll(logits, (stride, 2 * stride), (0, 1))[inner]
    assert moved_logits[inner] == pytest.approx(expected, abs=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize("name", sorted(WHOLE_IMAGE), indirect=True)
def test_moving_an_object_by_the_stride_moves_the_logits(name):
    # The background is uniform, so means over the image do not change. One bin, because finer bins
    # have borders inside the image.
    options = {"bins": (1,)} if name in ("pspnet", "upernet") else {}
    model, stride = built(name, **options), SMALL[name][1]
    image = np.full((1, 960, 960, 3), 90, np.uint8)
    image[:, 480:520, 448:500] = draw(40, 52, batch=1)
    moved = np.roll(image, (stride, -2 * stride), (1, 2))
    logits = logits_of(model, image)
    # The receptive field of a dilation of 18 at stride 16 extends 352 pixels to each side.
    inner = np.s_[:, 384:-384, 384:-384]
    expected = np.roll(logits, (stride, -2 * stride), (1, 2))[inner]
    assert np.abs(logits_of(model, moved)[inner] - expected).max() < 0.01 * np.ptp(expected)
    assert np.abs(logits[inner] - expected).max() > 0.1 * np.ptp(expected)


def labeled(block=16):
    """Four images of 3 x 4 blocks in the colors of their labels; the first row is ignored."""
    labels = draw(3, 4, 1, batch=4)[..., 0] % 3
    labels = labels.repeat(block, axis=1).repeat(block, axis=2)
    images = np.stack([labels * 100, 200 - labels * 50, labels * 0], -1).astype("uint8")
    labels[:, 0] = 255
    return images, labels


# deeplab_v3 is a part of deeplab_v3_plus, and unet of unet+everything.
# `test_a_keras_file_evaluates_to_the_same_digits` trains tiny_unet.
FITTED = [name for name in SMALL_NAMES if name not in ("deeplab_v3", "unet", "tiny_unet")]


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED, indirect=True)
def test_training_under_xla_and_keras_file(name, tmp_path):
    images, labels = labeled()
    model = build(name)
    # half of the compilation of Adam
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, CrossEntropy(), jit_compile=True)
    losses = model.fit(images, labels, batch_size=2, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits_of(again, images), logits_of(model, images))


def test_a_keras_file_evaluates_to_the_same_digits(tmp_path):
    images, labels = labeled(4)
    model = build("tiny_unet")
    metrics = [ConfusionMetrics(3, scores=["mean_iou", "dice"], class_names=["a", "b", "c"])]
    loss = CrossEntropy() + 0.5 * Dice()
    # half of the compilation of Adam
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, loss, metrics=metrics, jit_compile=True)
    losses = model.fit(images, labels, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, again):  # XLA was tested; two more compilations are slow
        each.jit_compile, each.run_eagerly = False, True
    digits = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert again.evaluate(images, labels, verbose=0, return_dict=True) == digits
    assert set(digits) == {"loss", "mean_iou", "dice/a", "dice/b", "dice/c"}


WIDER = {
    "unet": {"filters": (8, 16, 32)},
    "fpn": PLAIN | {"pyramid_width": 32, "width": 32},
    "deeplab_v3_plus": PLAIN | {"width": 32, "low_width": 8, "dropout": 0},
    "pspnet": PLAIN | {"width": 32, "dropout": 0},
    "segformer": PLAIN | {"width": 32, "dropout": 0},
    "lraspp": PLAIN | {"width": 32},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDER)
def test_four_images_are_memorized(name):
    keras.utils.set_random_seed(0)
    model = MODELS[name](3, **WIDER[name])
    images, labels = labeled()
    noise = np.random.default_rng(1).normal(40, 20, images.shape)
    images = (images * 0.5 + noise).clip(0, 255).astype("uint8")
    model.compile(keras.optimizers.Adam(0.01), CrossEntropy() + Dice(), jit_compile=False)
    model.fit(images, labels, batch_size=4, epochs=80, verbose=0)
    assert mean_iou(labels, logits_of(model, images).argmax(-1), 3) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
def test_a_single_class_is_learned_in_half_precision(precision):
    keras.utils.set_random_seed(0)
    model = MODELS["unet"](1, filters=(4, 8))
    images, labels = labeled(4)
    labels = np.where(labels == 255, 255, labels == 2)
    model.compile(keras.optimizers.Adam(0.02), CrossEntropy() + Dice(), jit_compile=False)
    losses = model.fit(images, labels, batch_size=4, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert mean_iou(labels, logits_of(model, images)[..., 0] > 0, 2) > 0.9


def mean_iou(labels, predictions, classes):
    valid, one_hot = labels != 255, np.eye(classes)
    metrics = ConfusionMetrics(classes)
    metrics.update_state(labels[valid][None], one_hot[predictions[valid].astype(int)][None])
    return float(metrics.result()["mean_iou"])


# all of them in a new process: `test_a_new_process_loads_all_files`
@pytest.mark.parametrize("name", DIFFERENT, indirect=True)
def test_keras_files_are_restored(name, tmp_path):
    model, images = built(name), draw()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits_of(again, images), logits_of(model, images))


# Encoders with layers of their own kinds; files with other real encoders are in test_encoders.py.
SAVED = [*SMALL_NAMES, "segformer+mit_b0", "upernet+convnext_tiny"]
# Of a network from a file, only the layers depend on the backend: these have all kinds of ours, and
# all kinds of Keras but `LayerScale`.
ALL_LAYERS = ["unet+everything", "fpn", "pspnet", "segformer+mit_b0"]


@pytest.fixture(scope="module")
def saved(plain_encoders, tmp_path_factory):
    """A folder with models as compiled `.keras` files, an image and the logits."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "images.npy", draw(37, 50, batch=1))
    for name in SAVED:
        model = build(name, normalization=((1, 2, 3), (50, 60, 70)))
        model.compile("sgd", CrossEntropy() + Dice(), metrics=[ConfusionMetrics(3)])
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", logits_of(model, draw(37, 50, batch=1)))
    return folder


def logits_of_another_process(folder, names, backend):
    """{name: logits} of the files of `saved`, loaded by a new process with this backend."""
    code = (
        "import keras, tfseg, numpy as np, sys\n"
        "images = np.load('images.npy')\n"
        "for name in sys.argv[2:]:\n"
        "    model = keras.saving.load_model(name + '.keras')\n"
        "    if sys.argv[1] == 'jax':  # would compile each operation\n"
        "        logits = model.predict(images, verbose=0)\n"
        "    else:\n"
        "        logits = keras.ops.convert_to_numpy(model(images, training=False))\n"
        "    np.save(f'{name}.{sys.argv[1]}.npy', logits)\n"
    )
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run(
        [sys.executable, "-c", code, backend, *names], cwd=folder, check=True, env=environment
    )
    return {name: np.load(folder / f"{name}.{backend}.npy") for name in names}


@pytest.mark.slow
def test_a_new_process_loads_all_files(saved):
    for name, logits in logits_of_another_process(saved, SAVED, keras.backend.backend()).items():
        expected = np.load(saved / f"{name}.npy")
        assert logits == pytest.approx(
            expected, abs=1e-5 * max(1, float(np.abs(expected).max()))
        ), name


@pytest.mark.slow
def test_the_other_backend_gives_the_same_logits(saved):
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    if not importlib.util.find_spec(other):
        pytest.skip(f"needs {other}")
    for name, logits in logits_of_another_process(saved, ALL_LAYERS, other).items():
        expected = np.load(saved / f"{name}.npy")
        assert np.abs(logits - expected).max() < 1e-4 * max(1, np.abs(expected).max()), name


@pytest.mark.parametrize("name", [*DIFFERENT, "unetpp"], indirect=True)
def test_one_graph_serves_all_sizes(name):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX compiles once per size")
    import tensorflow as tf

    model = built(name)
    graph = tf.function(
        lambda x: model(x, training=False), [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    for height, width in [(9, 14), (37, 50)]:
        images = draw(height, width, batch=1)
        expected = logits_of(model, images)
        assert ops.convert_to_numpy(graph(images)) == pytest.approx(expected, abs=1e-4)


# `test_one_graph_serves_all_sizes` has other layers, and tests/export the folded ones.
EXPORTED = ["tiny_unet", "upernet+convnext_tiny", "deeplab_v3_plus+mobilenet_v3_small"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModels are TensorFlow's")
@pytest.mark.parametrize("name", quick("tiny_unet", among=EXPORTED), indirect=True)
def test_an_export_gives_the_same_logits(name, tmp_path):
    from tfseg.export import saved_model

    # raises if the exported model and the original differ
    version = saved_model(build(name), tmp_path, outputs=("probabilities", "uncertainty"))
    assert version.name == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, r"num_classes=0 must be a whole number of at least 1"),
        ({"input_shape": (None, None)}, r"input_shape=\(None, None\) must be \(H, W, C\)"),
    ],
)
def test_every_model_checks_classes_and_input_shape(name, options, message):
    with pytest.raises(ValueError, match=f"{builder_of(name)}: {message}"):
        build(name, **options)


@pytest.mark.parametrize("name", ["unet", "fpn"], indirect=True)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (64, 64, None)}, r"must be \(H, W, C\) with C known"),
        ({"normalization": ((1, 2), 1)}, "got 2 numbers for an image of 3 channels"),
        ({"normalization": (0, (1, 0, 1))}, "every std must be above zero"),
        ({"normalization": (0, (1, 1, float("nan")))}, "every std must be above zero"),
        ({"normalization": "images"}, "normalization='images' is unknown"),
    ],
)
def test_invalid_arguments_are_an_error(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)
