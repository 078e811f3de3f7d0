import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import make_informative, one_conv

from conftest import draw_sample
from tfseg.export import inspect, saved_model, serve_command
from tfseg.export.metadata import read_metadata
from tfseg.export.postprocess import postprocess
from tfseg.inference import predict
from tfseg.models import CropToImage, PadToStride, tiny_unet, unet

MODULE = sys.modules["tfseg.export.saved_model"]  # the function of that name hides it


def serving_default(version):
    return tf.saved_model.load(str(version)).signatures["serving_default"]


def test_class_ids_equal_those_of_predict_at_any_size(unet_model, unet_version, unet_signatures):
    assert unet_version.parts[-2:] == ("name", "1")
    for size in ((48, 56), (33, 21), (1, 1)):
        image = draw_sample(0)[0][: size[0], : size[1]]
        outputs = unet_signatures["serving_default"](image=tf.constant(image[None], tf.float32))
        assert outputs["class_ids"].dtype == tf.uint8
        assert np.array_equal(outputs["class_ids"][0], predict(unet_model, image))


def test_by_default_only_class_ids_are_served_and_versions_count_up(tmp_path):
    model = one_conv(2, (None, None, 5))
    assert saved_model(model, tmp_path) == tmp_path / "1"
    version = saved_model(model, tmp_path)
    assert version == tmp_path / "2"
    assert set(serving_default(version)(image=tf.zeros((1, 4, 4, 5)))) == {"class_ids"}


def test_both_array_signatures_give_probabilities_and_uncertainty(unet_signatures):
    image = draw_sample(0)[0][None]
    floats = unet_signatures["serving_default"](image=tf.constant(image, tf.float32))
    uint8 = unet_signatures["uint8"](image=tf.constant(image))
    assert floats.keys() == uint8.keys() == {"class_ids", "probabilities", "uncertainty"}
    for name in floats:
        assert np.array_equal(floats[name], uint8[name])
    assert floats["probabilities"].shape == (1, 48, 56, 3)
    probabilities = floats["probabilities"].numpy().astype(np.float64)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    expected = -(probabilities * np.log(probabilities)).sum(-1) / np.log(3)
    np.testing.assert_allclose(floats["uncertainty"], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 20, 30), (2, 0, 30), (2, 20, 0)])
def test_empty_batches_give_empty_outputs(shape, unet_signatures):
    for name, dtype in (("serving_default", tf.float32), ("uint8", tf.uint8)):
        outputs = unet_signatures[name](image=tf.zeros((*shape, 3), dtype))
        assert outputs["class_ids"].shape == shape
        assert outputs["probabilities"].shape == (*shape, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 30, 3), np.float32),
        np.zeros((1, 20, 30, 4), np.float32),
        np.zeros((1, 20, 30, 3)),
    ],
)
def test_a_wrong_rank_channel_count_or_dtype_is_an_error(image, unet_signatures):
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
        unet_signatures["serving_default"](image=tf.constant(image))


@pytest.fixture(scope="module")
def windows_version(unet_model, tmp_path_factory):
    return saved_model(unet_model, tmp_path_factory.mktemp("windows"), window=32)


@pytest.mark.parametrize("size", [(20, 20), (20, 90), (40, 90), (61, 33)])
def test_windows_are_those_of_predict(size, unet_model, windows_version):
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    found = serving_default(windows_version)(image=tf.constant(images))["class_ids"].numpy()
    expected = np.stack([predict(unet_model, image, window=32) for image in images])
    assert np.mean(found == expected) > 0.999  # the order of sums differs
    if size[0] > 32:
        whole = np.stack([predict(unet_model, image) for image in images])
        assert np.mean(found == whole) < 0.999


def test_bfloat16_agrees_up_to_its_precision(unet_model, bfloat16_windows_version):
    image = draw_sample(0)[0][:32, :32].astype(np.float32)
    outputs = serving_default(bfloat16_windows_version)(image=tf.constant(image[None]))
    assert np.mean(outputs["class_ids"][0] == predict(unet_model, image)) > 0.95
    expected = tf.nn.softmax(unet_model(image[None], training=False))
    difference = np.abs(outputs["probabilities"] - expected).max()
    assert 1e-4 < difference < 0.1  # at 0 the dtype would have no effect
    assert read_metadata(bfloat16_windows_version)["window"] == 32


def test_more_than_256_classes_are_uint16(tmp_path):
    model = one_conv(300, (None, None, 5))
    model.get_layer("classes").bias.assign(np.arange(300))
    outputs = serving_default(saved_model(model, tmp_path))(image=tf.zeros((1, 8, 8, 5)))
    assert outputs["class_ids"].dtype == tf.uint16
    assert int(tf.reduce_max(tf.cast(outputs["class_ids"], tf.int32))) > 255


def test_a_classifier_gives_one_class_per_image(classifier_model, classifier_version):
    signatures = tf.saved_model.load(str(classifier_version)).signatures
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    expected = postprocess(classifier_model(images.astype(np.float32), training=False))
    found = signatures["uint8"](image=tf.constant(images))
    assert np.array_equal(found["class_ids"], expected["class_ids"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    assert found["uncertainty"].shape == (3,)
    empty = signatures["uint8"](image=tf.zeros((0, 20, 30, 3), tf.uint8))
    assert {name: value.shape for name, value in empty.items()} == {
        "class_ids": (0,),
        "probabilities": (0, 4),
        "uncertainty": (0,),
    }
    files = [tf.io.encode_png(images[0]).numpy(), b"junk", tf.io.encode_png(images[2, :9]).numpy()]
    found = signatures["encoded"](image_bytes=tf.constant(files))
    assert found.keys() == {"class_ids", "probabilities", "uncertainty", "ok", "reason"}
    assert found["ok"].numpy().tolist() == [True, False, True]
    np.testing.assert_allclose(found["probabilities"][0], expected["probabilities"][0], atol=1e-5)
    assert not np.any(found["probabilities"][1])
    metadata = inspect(classifier_version)
    assert metadata["image_shape"] == [None, None, 3]
    assert len(metadata["palette"]) == 4


@pytest.mark.parametrize("options", [{"window": 32}, {"outputs": ("rle",)}])
def test_options_for_segmentation_are_rejected_for_a_classifier(
    options, classifier_model, tmp_path
):
    with pytest.raises(ValueError, match="need a segmentation model"):
        saved_model(classifier_model, tmp_path, **options)


@pytest.fixture(scope="module")
def standardizing_model():
    """A model whose answer depends on the statistics of the image, but little on borders."""
    model = tiny_unet(2, normalization="image", filters=4)
    return make_informative(model)


def test_windows_of_a_model_that_normalizes_each_image_have_the_whole_images_statistics(
    standardizing_model, tmp_path
):
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (40, 90, 3)).astype(np.float32)
    image[:, 45:] /= 20  # a dark half, which a window would make bright
    version = saved_model(standardizing_model, tmp_path, window=32)
    found = serving_default(version)(image=tf.constant(image[None]))["class_ids"][0].numpy()
    assert np.mean(found == predict(standardizing_model, image, window=32)) > 0.999
    assert np.mean(found == predict(standardizing_model, image)) > 0.98
    alone = predict(standardizing_model, image[:32, 58:])
    assert np.mean(found[:32, 58:] == alone) < 0.95  # what its own statistics would give


def test_windows_begin_on_the_stride(tmp_path):
    # the model sees blocks of 8 x 8 pixels only: windows on the stride change nothing
    image = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(8)(PadToStride(8)(image / 255))
    x = keras.layers.UpSampling2D(8)(keras.layers.Conv2D(3, 1, name="classes")(x))
    model = keras.Model(image, CropToImage()(x, image))
    version = saved_model(model, tmp_path, ("probabilities",), window=24)
    images = np.random.default_rng(0).uniform(0, 255, (1, 45, 51, 3)).astype(np.float32)
    found = serving_default(version)(image=tf.constant(images))["probabilities"]
    whole = postprocess(model(images))["probabilities"]
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_windows_are_rejected_for_models_that_normalize_inside_a_model(tmp_path):
    inner = unet(2, filters=(2, 4), normalization="image")
    model = keras.Sequential([keras.Input((None, None, 3)), inner])
    with pytest.raises(ValueError, match="contains a model with normalization='image'"):
        saved_model(model, tmp_path, window=32)


def test_windows_are_rejected_for_models_of_fixed_size(fixed_size_model, tmp_path):
    message = r"got window=16 for a model with the fixed size \(32, 48\)"
    with pytest.raises(ValueError, match=message):
        saved_model(fixed_size_model, tmp_path, window=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"outputs": ("probabilites",)},
            "outputs='probabilites' is unknown.* Did you mean 'probabilities'",
        ),
        ({"dtype": "float16"}, "dtype='float16' is unknown"),
        (
            {"metadata": {"class_names": ["sky", "road", "car", "tree"]}},
            "got 4 class names .* for a model with 3 classes",
        ),
        (
            {"metadata": {"metrics": {"mean_iou": np.float32(0.7)}}},
            "metadata=.* cannot be written as JSON: .*float32",
        ),
        ({"window": 0}, "window=0 must be"),
        ({"formats": ("onx",), "images": [0]}, "formats='onx' is unknown.* Did you mean 'onnx'"),
        ({"formats": ("onnx",)}, r"got formats=\('onnx',\) without `images`"),
        ({"max_pixels": 0}, "max_pixels=0 must be"),
        ({"value_range": (255, 0)}, r"value_range=\(255, 0\) must be \(low, high\)"),
        ({"value_range": 4095}, r"value_range=4095 must be \(low, high\)"),
        ({"size": (32, 48)}, r"got size=\(32, 48\) without `formats`"),
        (
            {"size": (32, 0), "formats": ("litert",), "images": [0]},
            "size=0 must be",
        ),
    ],
)
def test_invalid_arguments_are_rejected(options, message, unet_model, tmp_path):
    with pytest.raises(ValueError, match=f"saved_model: {message}"):
        saved_model(unet_model, tmp_path / "name", **options)
    assert not (tmp_path / "name").exists()


def test_a_model_whose_output_is_not_logits_is_rejected(two_output_model, tmp_path):
    with pytest.raises(ValueError, match=r"expected logits .* model.outputs\[0\]"):
        saved_model(two_output_model, tmp_path)
    image = keras.Input((None, None, 3))
    boxes = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)[:, None])
    message = r"has outputs of shape \[\(None, 1, 3\)\], expected logits"
    with pytest.raises(ValueError, match=message):
        saved_model(boxes, tmp_path)


@pytest.mark.parametrize("step", ["_write", "_compare", "write_warmup", "write_metadata"])
def test_a_failure_at_any_step_leaves_nothing(step, tmp_path, monkeypatch):
    def fail(*_):
        # a killed process leaves what exists now: no numbered folder
        assert not [path for path in (tmp_path / "name").iterdir() if path.name.isdigit()]
        raise RuntimeError("no")

    # steps before are skipped, which is faster
    for name in ("_write", "_compare", "write_warmup"):
        monkeypatch.setattr(MODULE, name, lambda *_: None)
    monkeypatch.setattr(MODULE, step, fail)
    with pytest.raises(RuntimeError, match="no"):
        saved_model(one_conv(2), tmp_path / "name")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_disagrees_with_the_model_is_rejected(tmp_path, monkeypatch):
    model = one_conv()
    write = MODULE._write

    def other_classes(*args):
        write(*args)
        model.get_layer("classes").bias.assign([0, 0, 10])  # the model changes after the export

    def same_classes_other_probabilities(*args):
        write(*args)
        layer = model.get_layer("classes")
        layer.kernel.assign(layer.kernel / 2)
        layer.bias.assign(layer.bias / 2)

    monkeypatch.setattr(MODULE, "_write", other_classes)
    with pytest.raises(RuntimeError, match="agrees with the model on"):
        saved_model(model, tmp_path)
    monkeypatch.setattr(MODULE, "_write", same_classes_other_probabilities)
    with pytest.raises(RuntimeError, match="its probabilities differ by up to 0"):
        saved_model(model, tmp_path, outputs=("probabilities",))


@pytest.mark.parametrize("name", ["serving_default", "uint8", "encoded"])
def test_a_single_wrong_signature_is_rejected(name, tmp_path, monkeypatch):
    kind = "file_signature" if name == "encoded" else "array_signature"
    make = getattr(MODULE, kind)
    wrong_dtype = {"serving_default": tf.float32, "uint8": tf.uint8}.get(name)

    def tamper(logits_of, shape, extra, last, *more):
        is_wrong = wrong_dtype is None or last == wrong_dtype
        wrong = (lambda x: -logits_of(x)) if is_wrong else logits_of
        return make(wrong, shape, extra, last, *more)

    monkeypatch.setattr(MODULE, kind, tamper)
    with pytest.raises(RuntimeError, match=rf"\({name}\) agrees with the model on"):
        saved_model(one_conv(), tmp_path)


def test_other_formats_are_compared_on_crops_of_one_window(tmp_path, monkeypatch):
    shapes = []

    def record(version, model, formats, images, class_names, size, value_range):
        shapes.extend(image.shape for image in images)

    monkeypatch.setattr(MODULE, "_compare", lambda *_: None)
    monkeypatch.setattr(MODULE, "write_formats", record)
    images = [np.zeros((40, 50, 5)), np.zeros((20, 50, 5))]
    saved_model(one_conv(2, (None, None, 5)), tmp_path, window=32, images=images)
    assert shapes == [(32, 32, 5), (20, 32, 5)]


def test_the_serve_command_mounts_all_versions_under_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = serve_command("saved_models/leaves/3")
    assert f"{tmp_path}/saved_models/leaves:/models/leaves" in words
    assert "MODEL_NAME=leaves" in words
