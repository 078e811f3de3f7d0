import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import one_conv
from keras import layers

from conftest import draw_sample
from tfseg.export.folding import fold_batch_norm
from tfseg.export.litert import litert, litert_runner
from tfseg.export.postprocess import postprocess
from tfseg.export.quantizing import equalize_concatenations, sensitive_layers
from tfseg.models import unet
from tfseg.models.decoders import Upsample

MODULE = sys.modules["tfseg.export.litert"]  # the function of that name hides it
# random networks lose more accuracy than trained ones
pytestmark = pytest.mark.filterwarnings("ignore:litert. quantize:UserWarning")

QUANTIZE = (None, "float16", "dynamic", "int8")


def sample_images(count=4):
    return [draw_sample(index)[0] for index in range(count)]


def wide_images():
    return np.random.default_rng(0).uniform(0, 255, (3, 65, 97, 3))


def outputs_of(model, images):
    outputs = postprocess(model(np.asarray(images, np.float32)))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return unet(3, filters=(16, 32))


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """{quantize: file}."""
    folder = tmp_path_factory.mktemp("litert")
    return {
        quantize: litert(
            model,
            folder / str(quantize) / "model.tflite",
            quantize,
            iter([*sample_images(), wide_images()[0]]),
        )
        for quantize in QUANTIZE
    }


@pytest.fixture(scope="module")
def one_conv_file(tmp_path_factory):
    return litert(one_conv(2), tmp_path_factory.mktemp("litert") / "m.tflite")


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_a_file_takes_any_batch_and_size_and_agrees_with_the_model(quantize, model, files):
    file = files[quantize]
    assert [path.name for path in file.parent.iterdir()] == ["model.tflite"]
    run = litert_runner(file, threads=1)
    small, wide = np.stack(sample_images(2)), wide_images()
    for images in (small, wide, wide[:1, :1, :1], small):
        found, expected = run(images), outputs_of(model, images)
        assert found.keys() == {"class_ids", "probabilities"}
        assert found["class_ids"].dtype == np.uint8
        assert found["probabilities"].dtype == np.float32
        np.testing.assert_allclose(
            found["probabilities"], expected["probabilities"], atol=0.08 if quantize else 1e-5
        )
        if images.shape[1] > 1:  # a single pixel may be a tie
            agreement = np.mean(found["class_ids"] == expected["class_ids"])
            assert agreement > (0.9 if quantize else 0.9999)


def test_quantized_files_are_smaller_and_only_int8_has_int8_activations(files):
    sizes = {quantize: file.stat().st_size for quantize, file in files.items()}
    assert sizes["float16"] < 0.7 * sizes[None]
    assert max(sizes["dynamic"], sizes["int8"]) < 0.8 * sizes["float16"]
    assert count_int8_activations(files["int8"]) > 0
    assert count_int8_activations(files["dynamic"]) == 0


def count_int8_activations(file):
    """Count the int8 tensors of variable size."""
    tensors = MODULE._interpreter_class()(str(file)).get_tensor_details()
    return sum(t["dtype"] == np.int8 and -1 in t["shape_signature"] for t in tensors)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_sigmoid_model_of_one_channel(quantize, tmp_path):
    model = unet(1, (None, None, 1), filters=(4, 8))
    images = [image[..., :1] for image in sample_images()]
    logits = model(np.asarray(images, np.float32))
    model.get_layer("classes").bias.assign([-np.median(logits)])  # half of the pixels are class 1
    found = litert_runner(litert(model, tmp_path / "m.tflite", quantize, images))(images)
    assert found["probabilities"].shape == (4, 48, 56, 1)
    assert np.mean(found["class_ids"] == outputs_of(model, images)["class_ids"]) > 0.95
    assert 0.4 < found["class_ids"].mean() < 0.6


def test_a_model_of_fixed_size_keeps_it(fixed_size_model, tmp_path):
    run = litert_runner(litert(fixed_size_model, tmp_path / "m.tflite"))
    assert run(np.zeros((2, 32, 48, 3)))["class_ids"].shape == (2, 32, 48)
    message = r"got images of shape \(1, 32, 40, 3\), expected \(any, 32, 48, 3\)"
    with pytest.raises(ValueError, match=message):
        run(np.zeros((1, 32, 40, 3)))


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_classifier_gives_one_class_per_image(quantize, classifier_model, tmp_path):
    images = np.stack(sample_images())
    file = litert(classifier_model, tmp_path / "m.tflite", quantize, images)
    found = litert_runner(file)(images)
    assert found["class_ids"].shape == (len(images),)
    expected = outputs_of(classifier_model, images)["probabilities"]
    np.testing.assert_allclose(found["probabilities"], expected, atol=0.05)


def test_a_runner_rejects_empty_arrays_and_invalid_threads(one_conv_file):
    message = r"got images of shape \(1, 8, 0, 3\), expected at least one pixel"
    with pytest.raises(ValueError, match=message):
        litert_runner(one_conv_file)(np.zeros((1, 8, 0, 3)))
    with pytest.raises(ValueError, match="litert_runner: threads=0 must be"):
        litert_runner(one_conv_file, threads=0)


def test_memory_is_allocated_only_when_the_shape_changes(one_conv_file, monkeypatch):
    interpreter, shapes = MODULE._interpreter_class(), []

    class Counting(interpreter):
        def resize_tensor_input(self, index, shape, **options):
            shapes.append(tuple(shape))
            super().resize_tensor_input(index, shape, **options)

    monkeypatch.setattr(MODULE, "_interpreter_class", lambda: Counting)
    run = litert_runner(one_conv_file)
    for side in (8, 8, 9, 8):
        run(np.zeros((1, side, 8, 3)))
    assert shapes == [(1, 8, 8, 3), (1, 9, 8, 3), (1, 8, 8, 3)]
    with pytest.raises(ValueError, match=r"expected \(any, any, any, 3\)"):
        run(np.zeros((1, 8, 8, 1)))
    assert run(np.zeros((1, 8, 8, 3)))["class_ids"].shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("quantize", "samples", "message"),
    [
        ("float_16", None, "quantize='float_16' is unknown.* Did you mean 'float16'"),
        ("int8", None, "got quantize='int8' without `samples`"),
        ("int8", [], "got quantize='int8' without `samples`"),
        (
            "int8",
            [np.zeros((8, 8, 1))],
            r"got samples of shape \(8, 8, 1\), expected \(any, any, 3\)",
        ),
        (None, np.zeros((1, 1, 8, 8, 3)), r"got samples of shape \(1, 8, 8, 3\)"),
    ],
)
def test_invalid_arguments_are_rejected(quantize, samples, message, unet_model, tmp_path):
    with pytest.raises(ValueError, match=f"litert: {message}"):
        litert(unet_model, tmp_path / "name" / "m.tflite", quantize, samples)
    assert not (tmp_path / "name").exists()


def test_another_suffix_is_rejected(unet_model, tmp_path):
    with pytest.raises(ValueError, match=r"litert: file='.*m\.lite' must end in '\.tflite'"):
        litert(unet_model, tmp_path / "m.lite")


class Hue(layers.Layer):
    def call(self, x):
        return tf.image.rgb_to_hsv(x)


class LogGamma(layers.Layer):
    def call(self, x):
        return tf.math.lgamma(1 + x)


@pytest.mark.parametrize(
    ("layer", "message"),
    # the converter accepts the second, but its file runs at no size
    [
        (Hue, r"LiteRT does not support tf\.RGBToHSV\. Export it as ONNX"),
        (LogGamma, "LiteRT reports: Given shapes"),
    ],
)
def test_an_operation_that_litert_lacks_is_named(layer, message, tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(2, 1)(layer()(image)))
    with pytest.raises(ValueError, match=rf"cannot be converted\. {message}"):
        litert(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_disagrees_with_the_model_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "m.tflite").write_bytes(b"the last one")
    convert = MODULE._convert

    def tamper(folded_model, *args):
        folded_model.get_layer("classes").bias.assign([0, 0, 10])
        return convert(folded_model, *args)

    monkeypatch.setattr(MODULE, "_convert", tamper)
    message = r"quantize=None agrees with the model on [\d.]+% .*the file was not written"
    with pytest.raises(RuntimeError, match=message):
        litert(one_conv(), tmp_path / "m.tflite")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the last one"]


@pytest.mark.filterwarnings("always:litert:UserWarning")
def test_an_int8_file_that_loses_much_is_written_with_a_warning(tmp_path):
    model = unequal_ranges()
    message = r"'int8' agrees with .* most sensitive layers are join \(\d.*The file was written"
    with pytest.warns(UserWarning, match=message):
        assert litert(model, tmp_path / "m.tflite", "int8", sample_images()).is_file()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        litert(model, tmp_path / "f.tflite", "float16", sample_images())


def unequal_ranges():
    """A model that joins a useless channel of +-10,000 with those that separate the classes."""
    image = keras.Input((None, None, 3))
    initializer = keras.initializers.Constant(40)
    large = layers.Conv2D(1, 1, kernel_initializer=initializer, name="large")(image)
    large = layers.Activation("tanh")(large * 1e-4) * 1e4  # a scale cannot pass through tanh
    small = layers.Conv2D(2, 3, padding="same", activation="tanh", name="small")(image / 255)
    x = layers.Concatenate(name="join")([large, small])
    last = layers.Conv2D(2, 1, name="classes")
    model = keras.Model(image, last(x))
    last.kernel.assign([[[[0, 0], [9, -9], [-9, 9]]]])
    return model


def test_sensitive_layers_are_sorted_worst_first():
    found = sensitive_layers(unequal_ranges(), sample_images(2))
    assert found[0][0] == "join"
    assert found[0][1] > 0.02
    assert [loss for _, loss in found] == sorted((loss for _, loss in found), reverse=True)
    # int8 represents its few weights exactly; its output is a difference of large numbers
    assert dict(found)["classes"] < found[0][1]
    assert {name for name, _ in found} >= {"large", "small", "join", "classes"}


def test_sensitive_layers_round_weights_too():
    image = keras.Input((None, None, 1))
    last = layers.Conv2D(2, 1, use_bias=False, name="classes")
    x = last(layers.Concatenate()([image, image, image]))
    model = keras.Model(image, layers.Activation("linear", name="after")(x))
    # (1000 - 1000 + 3) x against x, until 3 is rounded to 0: one step is 1000 / 127
    last.kernel.assign([[[[1000, 0], [-1000, 0], [3, 1]]]])
    losses = dict(sensitive_layers(model, [np.full((4, 4, 1), 200, np.uint8)]))
    assert losses["classes"] == 1
    assert losses["after"] == 0  # the weights were restored before its turn


def upsampling_decoder():
    """A join of an upsampled, weak convolution with a skip, as in `tfseg.models`."""
    image = keras.Input((None, None, 3))
    skip = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image / 255)
    narrow = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="narrow")
    x = layers.Concatenate(name="join")([Upsample(2)(narrow(skip)), skip])
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    model = keras.Model(image, layers.Conv2D(3, 1, name="classes")(x))
    narrow.kernel.assign(0.05 * narrow.kernel)
    return model


def plain_unet():
    return unet(3, filters=(4, 8, 8))


@pytest.mark.parametrize(("make", "source"), [(plain_unet, None), (upsampling_decoder, "narrow")])
def test_equalized_concatenations_keep_the_outputs_and_narrow_the_ranges(make, source):
    model = fold_batch_norm(make())
    images = np.stack(sample_images(2)).astype(np.float32)
    before = model(images)
    joins = [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    old = peak_spreads(model, joins, images)
    kernel = model.get_layer(source).kernel.numpy() if source else None
    equalize_concatenations(model, list(images))
    np.testing.assert_allclose(model(images), before, atol=1e-4 * np.abs(before).max())
    new = peak_spreads(model, joins, images)
    assert all(n <= o + 1e-3 for n, o in zip(new, old, strict=True))
    assert min(n / o for n, o in zip(new, old, strict=True)) < 0.8
    if source:
        assert not np.allclose(kernel, model.get_layer(source).kernel)


def peak_spreads(model, joins, images):
    """Return for each join the mean log ratio of the largest peak to those of the channels."""
    maps = keras.Model(model.input, [join.output for join in joins])(images)
    peaks = [np.abs(x).max((0, 1, 2)) for x in keras.tree.flatten(maps)]
    return [float(np.mean(np.log(peak.max() / peak[peak > 0]))) for peak in peaks]
