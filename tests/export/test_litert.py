import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from conftest import draw_sample
from tfseg.export.folding import fold_batch_norm
from tfseg.export.litert import litert, litert_runner
from tfseg.export.postprocess import postprocess
from tfseg.export.quantizing import equalize_joins, sensitive_layers
from tfseg.models import cnn_classifier, unet
from tfseg.recipes.camvid import network

MODULE = sys.modules["tfseg.export.litert"]  # the function of that name hides it
pytestmark = pytest.mark.filterwarnings(
    "ignore:litert. quantize:UserWarning"
)  # random networks lose more than trained


def pictures(count=4):
    return [draw_sample(index)[0] for index in range(count)]


def answers(model, images):
    return {
        name: value.numpy() for name, value in postprocess(model(np.asarray(images, np.float32))).items()
    }


@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8"])
def test_a_file_takes_any_batch_and_size_and_answers_like_the_model(quantize, tmp_path):
    model = unet(3, filters=(4, 8))
    wide = np.random.default_rng(0).uniform(0, 255, (3, 65, 97, 3))
    file = litert(
        model, tmp_path / "phone" / "model.tflite", quantize, iter([*pictures(), wide[0]])
    )
    assert [path.name for path in file.parent.iterdir()] == ["model.tflite"]
    run = litert_runner(file, threads=1)
    for images in (np.stack(pictures(2)), wide, wide[:1, :1, :1], np.stack(pictures(2))):
        found, expected = run(images), answers(model, images)
        assert found.keys() == {"class_ids", "probabilities"}
        assert found["class_ids"].dtype == np.uint8
        assert found["probabilities"].dtype == np.float32
        np.testing.assert_allclose(
            found["probabilities"], expected["probabilities"], atol=0.08 if quantize else 1e-5
        )
        assert np.mean(found["class_ids"] == expected["class_ids"]) > (0.9 if quantize else 0.9999)


def test_each_form_is_smaller_and_int8_is_not_dynamic(tmp_path):
    model = unet(3, filters=(16, 32))
    forms = (None, "float16", "dynamic", "int8")
    files = {form: litert(model, tmp_path / f"{form}.tflite", form, pictures()) for form in forms}
    sizes = {form: file.stat().st_size for form, file in files.items()}
    assert sizes["float16"] < 0.7 * sizes[None]
    assert max(sizes["dynamic"], sizes["int8"]) < 0.8 * sizes["float16"]
    inside = {form: {str(t["dtype"]) for t in details(files[form])} for form in ("dynamic", "int8")}
    # the scores themselves are in int8 only where the activations are
    assert any("int8" in kind for kind in inside["int8"])
    assert activations(files["int8"]) > 0 == activations(files["dynamic"])


def details(file):
    return MODULE._interpreter()(str(file)).get_tensor_details()


def activations(file):
    """How many maps of any size are in int8."""
    return sum(t["dtype"] == np.int8 and -1 in t["shape_signature"] for t in details(file))


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_sigmoid_and_one_channel(quantize, tmp_path):
    model = unet(1, (None, None, 1), filters=(4, 8))
    images = [image[..., :1] for image in pictures()]
    model.get_layer("classes").bias.assign(
        [-np.median(model(np.asarray(images, np.float32)))]
    )  # half of the pixels
    found = litert_runner(litert(model, tmp_path / "m.tflite", quantize, images))(images)
    assert found["probabilities"].shape == (4, 48, 56, 1)
    assert np.mean(found["class_ids"] == answers(model, images)["class_ids"]) > 0.95
    assert 0.4 < found["class_ids"].mean() < 0.6


def test_a_model_of_fixed_size_keeps_it(tmp_path):
    model = unet(2, (32, 48, 3), filters=(4, 8))
    run = litert_runner(litert(model, tmp_path / "m.tflite"))
    assert run(np.zeros((2, 32, 48, 3)))["class_ids"].shape == (2, 32, 48)
    with pytest.raises(
        ValueError,
        match=r"images of shape \(1, 32, 40, 3\) came; the model takes \(any, 32, 48, 3\)",
    ):
        run(np.zeros((1, 32, 40, 3)))


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_classifier_answers_once_an_image(quantize, tmp_path):
    model = cnn_classifier(3, filters=(4, 8), hidden=8)
    images = np.stack(pictures())
    found = litert_runner(litert(model, tmp_path / "m.tflite", quantize, images))(images)
    assert found["class_ids"].shape == (len(images),)
    np.testing.assert_allclose(
        found["probabilities"], answers(model, images)["probabilities"], atol=0.05
    )


def test_a_runner_says_what_it_cannot_take(tmp_path):
    file = litert(unet(2, filters=(4, 8)), tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"shape \(1, 8, 0, 3\) came, expected at least one pixel"):
        litert_runner(file)(np.zeros((1, 8, 0, 3)))
    with pytest.raises(ValueError, match="litert_runner: threads=0 must be a whole number"):
        litert_runner(file, threads=0)


def test_memory_is_allocated_only_when_the_shape_changes(tmp_path, monkeypatch):
    file = litert(unet(2, filters=(4, 8)), tmp_path / "m.tflite")
    real, shapes = MODULE._interpreter(), []

    class Counting(real):
        def resize_tensor_input(self, index, shape, **options):
            shapes.append(tuple(shape))
            super().resize_tensor_input(index, shape, **options)

    monkeypatch.setattr(MODULE, "_interpreter", lambda: Counting)
    run = litert_runner(file)
    for side in (8, 8, 9, 8):
        run(np.zeros((1, side, 8, 3)))
    assert shapes == [(1, 8, 8, 3), (1, 9, 8, 3), (1, 8, 8, 3)]
    with pytest.raises(ValueError, match=r"takes \(any, any, any, 3\)"):
        run(np.zeros((1, 8, 8, 1)))
    assert run(np.zeros((1, 8, 8, 3)))["class_ids"].shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("quantize", "samples", "message"),
    [
        ("float_16", None, "quantize='float_16' is unknown. .* Did you mean 'float16'"),
        ("int8", None, "quantize='int8' came without samples"),
        ("int8", [], "quantize='int8' came without samples"),
        (
            "int8",
            [np.zeros((8, 8, 1))],
            r"samples of shape \(8, 8, 1\) came; the model takes \(any, any, 3\)",
        ),
        (None, np.zeros((1, 1, 8, 8, 3)), r"samples of shape \(1, 8, 8, 3\) came"),
    ],
)
def test_what_cannot_be_is_refused(quantize, samples, message, tmp_path):
    with pytest.raises(ValueError, match=f"litert: {message}"):
        litert(unet(2, filters=(4, 8)), tmp_path / "name" / "m.tflite", quantize, samples)
    assert not (tmp_path / "name").exists()


def test_a_file_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"litert: file='.*m\.lite' must end in '\.tflite'"):
        litert(unet(2, filters=(4, 8)), tmp_path / "m.lite")


class Hue(layers.Layer):
    def call(self, x):
        return tf.image.rgb_to_hsv(x)


class LogGamma(layers.Layer):
    def call(self, x):
        return tf.math.lgamma(1 + x)


@pytest.mark.parametrize(
    ("layer", "message"),
    # the converter takes the second, but what it writes runs at no size
    [
        (Hue, r"LiteRT has no tf\.RGBToHSV\. Export it as ONNX"),
        (LogGamma, "LiteRT says: Given shapes"),
    ],
)
def test_an_operation_that_phones_lack_is_named(layer, message, tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(2, 1)(layer()(image)))
    with pytest.raises(ValueError, match=rf"cannot be converted\. {message}"):
        litert(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "m.tflite").write_bytes(b"the last one")
    convert = MODULE._converted

    def tamper(folded_model, *args):
        folded_model.get_layer("classes").bias.assign([0, 0, 10])
        return convert(folded_model, *args)

    monkeypatch.setattr(MODULE, "_converted", tamper)
    with pytest.raises(
        RuntimeError, match=r"quantize=None agrees with the model on [\d.]+% .*nothing was written"
    ):
        litert(unet(3, filters=(4, 8)), tmp_path / "m.tflite")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the last one"]


@pytest.mark.filterwarnings("always:litert:UserWarning")
def test_int8_that_loses_much_is_written_with_a_warning(tmp_path):
    model = crowded()
    with pytest.warns(
        UserWarning, match=r"'int8' agrees with .* Most is lost in join \(\d.*The file was written"
    ):
        assert litert(model, tmp_path / "m.tflite", "int8", pictures()).is_file()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        litert(model, tmp_path / "f.tflite", "float16", pictures())


def crowded():
    """Where a channel of +-10,000, of no use, stands beside those that tell the classes apart."""
    image = keras.Input((None, None, 3))
    loud = layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(40), name="loud")(
        image
    )
    loud = layers.Activation("tanh")(loud * 1e-4) * 1e4  # nothing that a scale could go through
    small = layers.Conv2D(2, 3, padding="same", activation="tanh", name="small")(image / 255)
    x = layers.Concatenate(name="join")([loud, small])
    last = layers.Conv2D(2, 1, name="classes")
    model = keras.Model(image, last(x))
    last.kernel.assign([[[[0, 0], [9, -9], [-9, 9]]]])
    return model


def test_sensitive_layers_name_the_worst_first():
    model = crowded()
    found = sensitive_layers(model, pictures(2))
    assert found[0][0] == "join"
    assert found[0][1] > 0.02
    assert [loss for _, loss in found] == sorted((loss for _, loss in found), reverse=True)
    # its weights are a few that int8 holds exactly, its output a difference of large numbers
    assert dict(found)["classes"] < found[0][1]
    assert {name for name, _ in found} >= {"loud", "small", "join", "classes"}


def test_rounding_of_weights_is_seen_too():
    image = keras.Input((None, None, 1))
    last = layers.Conv2D(2, 1, use_bias=False, name="classes")
    x = last(layers.Concatenate()([image, image, image]))
    model = keras.Model(image, layers.Activation("linear", name="after")(x))
    # (1000 - 1000 + 3) x against x, until 3 is rounded to 0: one step is 1000 / 127
    last.kernel.assign([[[[1000, 0], [-1000, 0], [3, 1]]]])
    losses = dict(sensitive_layers(model, [np.full((4, 4, 1), 200, np.uint8)]))
    assert losses["classes"] == 1
    assert losses["after"] == 0  # its turn finds the weights as they were


@pytest.mark.parametrize(
    "make", [lambda: unet(3, filters=(4, 8, 8)), lambda: network(3, weights=None)]
)
def test_equal_joins_change_no_answer_but_bring_the_parts_together(make):
    model = fold_batch_norm(make())
    images = pictures(2)
    before = model(np.asarray(images, np.float32))
    joins = [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    source = model.get_layer("decoder0_narrow_conv") if len(joins) > 3 else None
    old = spreads(model, joins, images)
    kernel = source.kernel.numpy() if source else None
    equalize_joins(model, images)
    after = model(np.asarray(images, np.float32))
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
    new = spreads(model, joins, images)
    assert all(n <= o + 1e-3 for n, o in zip(new, old, strict=True))
    assert min(n / o for n, o in zip(new, old, strict=True)) < 0.8
    if source:
        assert not np.allclose(kernel, source.kernel)


def spreads(model, joins, images):
    """How far the channels of each join are, in the mean, below the loudest, in logarithms of their peaks."""
    maps = keras.Model(model.input, [join.output for join in joins])(np.asarray(images, np.float32))
    peaks = [np.abs(x).max((0, 1, 2)) for x in maps]
    return [float(np.mean(np.log(peak.max() / peak[peak > 0]))) for peak in peaks]
