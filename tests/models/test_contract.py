"""What every model of `tfseg.models.MODELS` keeps."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import MODELS, describe
from tfseg.models import build as build_by_name

pytestmark = pytest.mark.usefixtures("plain_encoders")

# the smallest network of each name, and the stride it then has; after a "+" with what is between it and its users
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
# by pooling, or by the statistics of group normalization
SEE_THE_WHOLE_IMAGE = {"fpn", "pspnet", "deeplab_v3", "deeplab_v3_plus", "lraspp", "upernet"}
THROUGH_GATES = {"unet+everything"}  # squeeze and excitation
# whose compilations, for tens of seconds each, belong to the tests that are run every time
QUICK = ("unet", "pspnet", "lraspp", "tiny_unet")
SLOW = pytest.mark.slow
EACH = [name if name in QUICK else pytest.param(name, marks=SLOW) for name in SMALL]
BARE, OTHERS = ([name for name in SMALL if name.count("+") == count] for count in (0, 1))
REAL = [pytest.param(name, marks=SLOW) for name in OTHERS if name != "unet+everything"]
SIZES = [(65, 97), (17, 16), (5, 4), (1, 1), (8, 30)]


@pytest.fixture(params=[*MODELS, "unet+everything"])
def name(request):
    return request.param


@pytest.fixture
def build(name):
    """The builder, small and with repeatable weights."""

    def small(num_classes=3, **options):
        keras.utils.set_random_seed(1)
        return MODELS[builder_of(name)](num_classes, **SMALL[name][0] | options)

    return small


def builder_of(name):
    return name.partition("+")[0]


def test_every_model_is_here():
    assert MODELS.keys() == set(map(builder_of, SMALL))


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


@pytest.mark.parametrize("name", [*BARE, "unet+everything", *REAL], indirect=True)
def test_any_size_comes_out_as_it_went_in(build, name):
    model = build()
    stride = SMALL[name][1]
    for height, width in [*SIZES, (stride + 1, stride - 1), (stride + 1, stride + 1)]:
        logits = logits_of(model, draw(height, width))
        assert logits.shape == (2, height, width, 3)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()


@pytest.mark.parametrize(("channels", "classes"), [(1, 1), (3, 2), (5, 21), (3, 1), (1, 21)])
def test_any_channels_and_classes(build, channels, classes):
    logits = logits_of(build(classes, input_shape=(None, None, channels)), draw(channels=channels))
    assert logits.shape == (2, 9, 14, classes)
    assert logits.std(axis=(0, 1, 2)).min() > 0


def test_every_image_of_a_batch_stands_alone(build):
    model, images = build(), draw(batch=3)
    assert logits_of(model, images)[1:2] == pytest.approx(logits_of(model, images[1:2]), abs=1e-5)


def test_bytes_and_floats_give_equal_logits(build):
    model, images = build(), draw()
    logits = logits_of(model, images)
    for dtype in ("float32", "float64", "int32"):
        assert np.array_equal(logits_of(model, images.astype(dtype)), logits)
    assert model.predict(images, verbose=0) == pytest.approx(logits, abs=1e-5)


@pytest.mark.parametrize("name", [*BARE, "unet+everything", *REAL], indirect=True)
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_logits_are_float32_under_mixed_precision(build, precision):
    model, images = build(input_shape=(None, None, 2), normalization=(40000, 2)), draw(channels=2)
    assert model.get_layer("classes").compute_dtype == precision.removeprefix("mixed_")
    logits = logits_of(model, images + np.uint16(40000 - 128))
    assert logits.dtype == np.float32
    # Half precision would round 40001 to 40000 and more: the images must be normalized in float32.
    keras.mixed_precision.set_dtype_policy("float32")
    exact = build(input_shape=(None, None, 2), normalization=(40000, 2))
    expected = logits_of(exact, images + np.uint16(40000 - 128))
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def test_images_may_be_normalized_each_by_itself(build):
    model, images = build(normalization="image"), draw().astype("float32")
    logits = logits_of(model, images)
    scale, shift = np.array([[[[0.5]]], [[[30]]]]), np.array([[[[3, 0, 1]]], [[[0, 100, -20]]]])
    assert logits_of(model, images * scale + shift) == pytest.approx(
        logits, abs=2e-3 * float(np.abs(logits).max())
    )
    single = np.concatenate([logits_of(model, image[None]) for image in images])
    assert single == pytest.approx(logits, abs=1e-4 * float(np.abs(logits).max()))


def test_a_static_size_gives_the_same_logits(build, name):
    images = draw(8, 12)
    static = build(input_shape=(8, 12, 3))
    assert static.output_shape == (None, 8, 12, 3)
    assert np.array_equal(logits_of(static, images), logits_of(build(), images))
    odd = build(input_shape=(9, 14, 3))
    assert odd.output_shape == (None, 9, 14, 3)
    assert np.array_equal(logits_of(odd, draw()), logits_of(build(), draw()))


def test_moving_the_image_by_the_stride_moves_the_logits(build, name):
    model, stride = build(), SMALL[name][1]
    sight = describe(model)
    assert sight.whole_image == (builder_of(name) in SEE_THE_WHOLE_IMAGE or name in THROUGH_GATES)
    if sight.whole_image:
        pytest.skip(
            "it sees the whole image, where what enters at one side changes all: see the next test"
        )
    margin = (
        -(-(sight.receptive_field // 2 + 2 * stride) // 32) * 32
    )  # out of reach of what np.roll brings in
    image = draw(2 * margin + 32, 2 * margin + 64, batch=1)
    moved = np.roll(image, (stride, 2 * stride), (1, 2))
    inner = slice(margin, -margin)
    expected = np.roll(logits_of(model, image), (stride, 2 * stride), (1, 2))[:, inner, inner]
    assert logits_of(model, moved)[:, inner, inner] == pytest.approx(expected, abs=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize("name", sorted(SEE_THE_WHOLE_IMAGE), indirect=True)
def test_moving_a_thing_by_the_stride_moves_the_logits(build, name):
    # on even ground, so that means over the image stay what they are; other parts of a pyramid have borders inside
    model, stride = build(**{"bins": (1,)} if name in ("pspnet", "upernet") else {}), SMALL[name][1]
    image = np.full((1, 960, 960, 3), 90, np.uint8)
    image[:, 480:520, 448:500] = draw(40, 52, batch=1)
    moved = np.roll(image, (stride, -2 * stride), (1, 2))
    inner = slice(
        384, -384
    )  # the farthest that is seen, by a dilation of 18 at stride 16, is 352 away
    expected = np.roll(logits_of(model, image), (stride, -2 * stride), (1, 2))[:, inner, inner]
    difference = np.abs(logits_of(model, moved)[:, inner, inner] - expected).max()
    assert difference < 0.01 * np.ptp(expected)
    assert np.abs(logits_of(model, image)[:, inner, inner] - expected).max() > 0.1 * np.ptp(
        expected
    )


def test_normalization_is_a_channel_s_own(build):
    options = {"input_shape": (None, None, 2)}
    images = draw(channels=2).astype("float32")
    plain = build(normalization=(0, 1), **options)
    told = build(normalization=((10, 200), (2, 50)), **options)
    normalized = (images - np.array([10, 200])) / np.array([2, 50])
    assert logits_of(told, images) == pytest.approx(
        logits_of(plain, normalized), abs=1e-4, rel=1e-5
    )
    # 0..255 becomes -1..1 when nothing is told
    assert logits_of(build(**options), images) == pytest.approx(
        logits_of(plain, images / 127.5 - 1), abs=1e-4
    )


def labeled(block=16):
    """Four images of 3 x 4 blocks in the colors of their labels; the first row is not labeled."""
    labels = draw(3, 4, 1, batch=4)[..., 0] % 3
    labels = labels.repeat(block, axis=1).repeat(block, axis=2)
    images = np.stack([labels * 100, 200 - labels * 50, labels * 0], -1).astype("uint8")
    labels[:, 0] = 255
    return images, labels


@pytest.mark.parametrize("name", EACH, indirect=True)
def test_it_trains_under_xla_and_comes_back_as_it_was(build, tmp_path):
    images, labels = labeled()
    model = build()
    metrics = [ConfusionMetrics(3, report=["mean_iou", "dice"], class_names=["a", "b", "c"])]
    model.compile(
        keras.optimizers.Adam(0.02),
        CrossEntropy() + 0.5 * Dice(),
        metrics=metrics,
        jit_compile=True,
    )
    losses = model.fit(images, labels, batch_size=2, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    model.jit_compile = again.jit_compile = (
        False  # XLA has been seen; compiling it twice more takes long
    )
    assert np.array_equal(logits_of(again, images), logits_of(model, images))
    digits = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert again.evaluate(images, labels, verbose=0, return_dict=True) == digits
    assert set(digits) == {"loss", "mean_iou", "dice/a", "dice/b", "dice/c"}


@pytest.mark.parametrize(
    "name",
    [
        "unet",
        *(
            pytest.param(name, marks=SLOW)
            for name in ("fpn", "deeplab_v3_plus", "pspnet", "segformer", "lraspp")
        ),
    ],
    indirect=True,
)
def test_four_images_are_learned_by_heart(name):
    keras.utils.set_random_seed(0)
    wide = {
        "unet": {"filters": (8, 16, 32)},
        "fpn": PLAIN | {"pyramid_width": 32, "width": 32},
        "deeplab_v3_plus": PLAIN | {"width": 32, "low_width": 8, "dropout": 0},
        "pspnet": PLAIN | {"width": 32, "dropout": 0},
        "segformer": PLAIN | {"width": 32, "dropout": 0},
        "lraspp": PLAIN | {"width": 32},
    }
    model = build_by_name(name, 3, **wide[name])
    images, labels = labeled()
    images = (
        (images * 0.5 + np.random.default_rng(1).normal(40, 20, images.shape))
        .clip(0, 255)
        .astype("uint8")
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        CrossEntropy() + Dice(),
        metrics=[ConfusionMetrics(3)],
        jit_compile=False,
    )
    model.fit(images, labels, batch_size=4, epochs=80, verbose=0)
    assert model.evaluate(images, labels, verbose=0, return_dict=True)["mean_iou"] > 0.9


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"], indirect=True)
def test_a_single_class_is_learned_in_half_precision(precision):
    keras.utils.set_random_seed(0)
    model = build_by_name("unet", 1, filters=(8, 16))
    images, labels = labeled()
    labels = np.where(labels == 255, 255, labels == 2)
    model.compile(
        keras.optimizers.Adam(0.01), CrossEntropy() + Dice(), metrics=[ConfusionMetrics(1)]
    )
    losses = model.fit(images, labels, batch_size=4, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    model.compile(metrics=[ConfusionMetrics(1)])
    assert model.evaluate(images, labels, verbose=0, return_dict=True)["mean_iou"] > 0.9


@pytest.fixture(scope="module")
def saved(plain_encoders, tmp_path_factory):
    """A folder with models as `.keras`, and an image: those without a "+", which build quickly."""
    return save(tmp_path_factory.mktemp("saved"), BARE)


@pytest.fixture(scope="module")
def saved_others(plain_encoders, tmp_path_factory):
    """As `saved`, of all other models."""
    return save(tmp_path_factory.mktemp("others"), OTHERS)


def save(folder, names):
    np.save(folder / "images.npy", draw(37, 50))
    for name in names:
        options, _ = SMALL[name]
        model = MODELS[builder_of(name)](3, normalization=((1, 2, 3), (50, 60, 70)), **options)
        model.compile("sgd", CrossEntropy() + Dice(), metrics=[ConfusionMetrics(3)])
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", model.predict(draw(37, 50), verbose=0))
    return folder


def logits_of_another_process(folder, names, backend):
    """{name: logits} of the files of `saved`, read by a fresh process under a backend."""
    code = (
        "import keras, tfseg, numpy as np, sys\n"
        "images = np.load('images.npy')\n"
        "for name in sys.argv[2:]:\n"
        "    model = keras.saving.load_model(name + '.keras')\n"
        "    logits = model.predict(images, verbose=0)  # compiled as a whole\n"
        "    np.save(f'{name}.{sys.argv[1]}.npy', logits)\n"
    )
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run(
        [sys.executable, "-c", code, backend, *names], cwd=folder, check=True, env=environment
    )
    return {name: np.load(folder / f"{name}.{backend}.npy") for name in names}


def test_a_fresh_process_reads_the_files(saved):
    same_in_another_process(saved, BARE)


@pytest.mark.slow
def test_a_fresh_process_reads_the_other_files(saved_others):
    same_in_another_process(saved_others, OTHERS)


def same_in_another_process(folder, names):
    for name, logits in logits_of_another_process(folder, names, keras.backend.backend()).items():
        assert np.array_equal(logits, np.load(folder / f"{name}.npy")), name


@pytest.mark.slow
def test_the_other_backend_gives_the_same_logits(saved, saved_others):
    same_under_the_other_backend(saved, BARE)
    same_under_the_other_backend(saved_others, OTHERS)


def same_under_the_other_backend(folder, names):
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    if not importlib.util.find_spec(other):
        pytest.skip(f"needs {other}")
    for name, logits in logits_of_another_process(folder, names, other).items():
        expected = np.load(folder / f"{name}.npy")
        assert np.abs(logits - expected).max() < 1e-4 * max(1, np.abs(expected).max()), name


def test_one_graph_serves_all_sizes(build):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX compiles once a size")
    import tensorflow as tf

    model = build()
    graph = tf.function(
        lambda x: model(x, training=False), [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    for height, width in [(9, 14), (37, 50)]:
        images = draw(height, width)
        assert ops.convert_to_numpy(graph(images)) == pytest.approx(
            logits_of(model, images), abs=1e-4
        )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModels are TensorFlow's")
@pytest.mark.parametrize("name", EACH, indirect=True)
def test_its_export_answers_as_it_does(build, tmp_path):
    from tfseg.export import saved_model

    assert (
        saved_model(build(), tmp_path, outputs=("probabilities", "uncertainty")).name == "1"
    )  # it raises where the two differ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, r"num_classes=0 must be a whole number of at least 1"),
        ({"input_shape": (None, None)}, r"input_shape=\(None, None\) must be \(H, W, C\)"),
        ({"input_shape": (64, 64, None)}, r"must be \(H, W, C\) with C known"),
        ({"normalization": ((1, 2), 1)}, r"2 numbers came for an image of 3 channels"),
        ({"normalization": (0, (1, 0, 1))}, r"every deviation must be above zero"),
        ({"normalization": (0, (1, 1, float("nan")))}, r"every deviation must be above zero"),
        ({"normalization": "image"}, r"normalization='image' is unknown"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
