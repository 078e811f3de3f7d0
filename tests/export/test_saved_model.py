import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import draw_sample
from tfseg.export import saved_model, serve_command
from tfseg.export.postprocess import postprocess, uncertainty
from tfseg.inference import predict
from tfseg.models import cnn_classifier, unet

MODULE = sys.modules["tfseg.export.saved_model"]  # the function of that name hides it


def serve(version):
    return tf.saved_model.load(str(version)).signatures["serving_default"]


def test_versions_count_up_and_answer_like_the_model(tmp_path):
    model = unet(3, filters=(4, 8))
    first, second = (saved_model(model, tmp_path / "name") for _ in range(2))
    assert [path.relative_to(tmp_path).as_posix() for path in (first, second)] == [
        "name/1",
        "name/2",
    ]
    (tmp_path / "name" / "7").mkdir()
    assert saved_model(model, tmp_path / "name").name == "8"
    for size in ((48, 56), (33, 21), (1, 1)):
        image = draw_sample(0)[0][: size[0], : size[1]]
        answer = serve(second)(image=tf.constant(image[None], tf.float32))
        assert set(answer) == {"class_ids"}
        assert answer["class_ids"].dtype == tf.uint8
        assert np.array_equal(answer["class_ids"][0], predict(model, image))


@pytest.mark.parametrize("classes", [1, 4])
def test_probabilities_are_served_when_asked_for(tmp_path, classes):
    model = unet(classes, (None, None, 1), filters=(4, 8))
    answer = serve(saved_model(model, tmp_path, outputs=("probabilities",)))(
        image=tf.random.uniform((2, 20, 30, 1))
    )
    assert answer["probabilities"].shape == (2, 20, 30, classes)
    if classes == 1:
        assert np.array_equal(answer["class_ids"] == 1, answer["probabilities"][..., 0] > 0.5)
    else:
        np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"], -1), 1, atol=1e-5)


def test_uint8_and_uncertainty(tmp_path):
    model = unet(3, filters=(4, 8))
    signatures = tf.saved_model.load(
        str(saved_model(model, tmp_path, outputs=("probabilities", "uncertainty")))
    ).signatures
    image = draw_sample(0)[0][None]
    floats = signatures["serving_default"](image=tf.constant(image, tf.float32))
    bytes_ = signatures["uint8"](image=tf.constant(image))
    assert floats.keys() == bytes_.keys() == {"class_ids", "probabilities", "uncertainty"}
    for name in floats:
        assert np.array_equal(floats[name], bytes_[name])
    shares = floats["probabilities"].numpy().astype(np.float64)
    expected = -(shares * np.log(shares)).sum(-1) / np.log(3)
    np.testing.assert_allclose(floats["uncertainty"], expected, atol=1e-5)


def test_uncertainty_of_a_sigmoid_is_1_at_one_half():
    assert uncertainty(tf.constant([[0.5], [1.0], [0.0]])).numpy() == pytest.approx([1, 0, 0])
    assert float(uncertainty(tf.constant([0.25]))) == pytest.approx(
        0.8112781
    )  # 0.5 + 0.75 * log2(4 / 3)


@pytest.mark.parametrize("shape", [(0, 20, 30), (2, 0, 30), (2, 20, 0)])
def test_no_pixels_have_no_answers(shape, tmp_path):
    signatures = tf.saved_model.load(
        str(saved_model(unet(3, filters=(4, 8)), tmp_path, ("probabilities",)))
    ).signatures
    for name, dtype in (("serving_default", tf.float32), ("uint8", tf.uint8)):
        answer = signatures[name](image=tf.zeros((*shape, 3), dtype))
        assert answer["class_ids"].shape == shape
        assert answer["probabilities"].shape == (*shape, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 30, 3), np.float32),
        np.zeros((1, 20, 30, 4), np.float32),
        np.zeros((1, 20, 30, 3)),
    ],
)
def test_a_wrong_rank_channels_or_dtype_is_an_error(image, tmp_path):
    signature = serve(saved_model(unet(3, filters=(4, 8)), tmp_path))
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
        signature(image=tf.constant(image))


@pytest.mark.parametrize("size", [(20, 20), (20, 90), (40, 90), (61, 33)])
def test_windows_are_those_of_predict(size, tmp_path):
    model = unet(3, filters=(4, 8))
    version = saved_model(model, tmp_path, window=32)
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    answer = serve(version)(image=tf.constant(images))["class_ids"].numpy()
    expected = np.stack([predict(model, image, window=32) for image in images])
    assert np.mean(answer == expected) > 0.999  # the order of sums differs
    if size[0] > 32:
        assert np.mean(answer == np.stack([predict(model, image) for image in images])) < 0.999


def test_bfloat16_agrees_as_well_as_it_can(tmp_path):
    model = unet(3, filters=(4, 8))
    version = saved_model(model, tmp_path, ("probabilities",), dtype="bfloat16")
    image = draw_sample(0)[0]
    answer = serve(version)(image=tf.constant(image[None], tf.float32))["class_ids"][0]
    assert 0.98 < np.mean(answer == predict(model, image)) <= 1
    found = serve(version)(image=tf.constant(image[None], tf.float32))["probabilities"]
    exact = tf.nn.softmax(model(image[None], training=False))
    assert 1e-4 < np.abs(found - exact).max() < 0.1  # another arithmetic


def test_more_classes_than_a_byte_holds(tmp_path):
    model = unet(300, filters=(4, 8))
    model.get_layer("classes").bias.assign(np.arange(300))
    answer = serve(saved_model(model, tmp_path))(image=tf.zeros((1, 8, 8, 3)))
    assert answer["class_ids"].dtype == tf.uint16
    assert int(tf.reduce_max(tf.cast(answer["class_ids"], tf.int32))) > 255


@pytest.mark.parametrize("classes", [1, 4])
def test_a_classifier_answers_once_an_image(classes, tmp_path):
    model = cnn_classifier(classes, filters=(4, 8), hidden=8)
    signatures = tf.saved_model.load(
        str(saved_model(model, tmp_path, ("probabilities", "uncertainty")))
    ).signatures
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    expected = postprocess(model(images.astype(np.float32), training=False))
    found = signatures["uint8"](image=tf.constant(images))
    assert np.array_equal(found["class_ids"], expected["class_ids"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    assert found["uncertainty"].shape == (3,)
    empty = signatures["uint8"](image=tf.zeros((0, 20, 30, 3), tf.uint8))
    assert {name: value.shape for name, value in empty.items()} == {
        "class_ids": (0,),
        "probabilities": (0, classes),
        "uncertainty": (0,),
    }
    files = [tf.io.encode_png(images[0]).numpy(), b"junk", tf.io.encode_png(images[2, :9]).numpy()]
    found = signatures["encoded"](image_bytes=tf.constant(files))
    assert found.keys() == {"class_ids", "probabilities", "uncertainty", "ok"}
    assert found["ok"].numpy().tolist() == [True, False, True]
    np.testing.assert_allclose(found["probabilities"][0], expected["probabilities"][0], atol=1e-5)
    assert not np.any(found["probabilities"][1])


@pytest.mark.parametrize("options", [{"window": 32}, {"outputs": ("rle",)}])
def test_pixels_are_asked_of_no_classifier(options, tmp_path):
    with pytest.raises(ValueError, match="are for models that give classes of pixels"):
        saved_model(cnn_classifier(3, filters=(4, 8)), tmp_path, **options)


def test_windows_do_not_go_with_images_normalized_each_by_itself(tmp_path):
    model = unet(2, filters=(4, 8), normalization="image")
    with pytest.raises(ValueError, match="window=32 came for a model of normalization='image'"):
        saved_model(model, tmp_path, window=32)


def test_a_model_of_one_size_slides_no_window(tmp_path):
    with pytest.raises(
        ValueError, match=r"window=16 came for a model that takes \(32, 48\) pixels only"
    ):
        saved_model(unet(3, (32, 48, 3), filters=(4, 8)), tmp_path, window=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"outputs": ("probabilites",)},
            "outputs='probabilites' is unknown. .* Did you mean 'probabilities'",
        ),
        ({"dtype": "float16"}, "dtype='float16' is unknown"),
        (
            {"metadata": {"class_names": ["sky", "road", "car", "tree"]}},
            "4 class names .* came for a model of 3 classes",
        ),
        (
            {"metadata": {"metrics": {"mean_iou": np.float32(0.7)}}},
            "metadata=.* cannot be written as JSON: .*float32",
        ),
        ({"window": 0}, "window=0 must be a whole number of at least 1"),
        ({"formats": ("onx",), "images": [0]}, "formats='onx' is unknown. .* Did you mean 'onnx'"),
        ({"formats": ("onnx",)}, r"formats=\('onnx',\) came without images"),
        ({"max_pixels": 0}, "max_pixels=0 must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=f"saved_model: {message}"):
        saved_model(unet(3, filters=(4, 8)), tmp_path / "name", **options)
    assert not (tmp_path / "name").exists()


def test_of_several_outputs_one_is_to_be_chosen(tmp_path):
    with pytest.raises(ValueError, match=r"expected logits .* model.outputs\[0\]"):
        saved_model(unet(3, filters=(4, 8, 8), deep_supervision=True), tmp_path)
    image = keras.Input((None, None, 3))
    boxes = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)[:, None])
    with pytest.raises(ValueError, match=r"gives \[\(None, 1, 3\)\], expected logits"):
        saved_model(boxes, tmp_path)


def test_a_model_of_fixed_size_keeps_it(tmp_path):
    assert serve(saved_model(unet(2, (32, 48, 3), filters=(4, 8)), tmp_path))(
        image=tf.zeros((1, 32, 48, 3))
    )


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    model = unet(2, filters=(4, 8))

    def fail(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(MODULE, "_compare", fail)
    with pytest.raises(RuntimeError, match="no"):
        saved_model(model, tmp_path / "name")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    model = unet(3, filters=(4, 8))
    write = MODULE._write

    def tamper(*args):
        write(*args)
        model.get_layer("classes").bias.assign(
            [0, 0, 10]
        )  # the model has changed since it was written

    monkeypatch.setattr(MODULE, "_write", tamper)
    with pytest.raises(RuntimeError, match="agrees with the model on"):
        saved_model(model, tmp_path)

    def soften(*args):
        write(*args)
        layer = model.get_layer("classes")
        layer.kernel.assign(layer.kernel / 2)  # the same classes with other probabilities
        layer.bias.assign(layer.bias / 2)

    monkeypatch.setattr(MODULE, "_write", soften)
    with pytest.raises(RuntimeError, match="its probabilities are off by up to 0"):
        saved_model(model, tmp_path, outputs=("probabilities",))


@pytest.mark.parametrize("name", ["serving_default", "uint8", "encoded"])
def test_a_single_signature_that_answers_otherwise_is_refused(name, tmp_path, monkeypatch):
    make = getattr(MODULE, "encoded" if name == "encoded" else "serving")

    def tamper(logits_of, shape, extra, last):
        wrong = last == {"serving_default": tf.float32, "uint8": tf.uint8}.get(name, last)
        return make((lambda image: -logits_of(image)) if wrong else logits_of, shape, extra, last)

    monkeypatch.setattr(MODULE, make.__name__, tamper)
    with pytest.raises(RuntimeError, match=rf"\({name}\) agrees with the model on"):
        saved_model(unet(3, filters=(4, 8)), tmp_path)


def test_forms_are_compared_on_what_one_window_holds(tmp_path, monkeypatch):
    shapes = []
    monkeypatch.setattr(
        MODULE, "write_formats", lambda *args: shapes.extend(image.shape for image in args[3])
    )
    images = [np.zeros((40, 50, 3)), np.zeros((20, 50, 3))]
    saved_model(unet(2, filters=(4, 8)), tmp_path, window=32, images=images)
    assert shapes == [(32, 32, 3), (20, 32, 3)]


def test_the_command_mounts_all_versions_under_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = serve_command("saved_models/leaves/3")
    assert f"{tmp_path}/saved_models/leaves:/models/leaves" in words
    assert "MODEL_NAME=leaves" in words


def test_a_killed_export_leaves_no_version(tmp_path):
    script = (
        "import os, signal, sys, keras, tfseg; from tfseg.export import saved_model\n"
        "module = sys.modules['tfseg.export.saved_model']\n"
        "module._compare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"saved_model(tfseg.models.unet(2, filters=(4, 8)), {str(tmp_path)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ}, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr[-2000:]
    assert not [path for path in tmp_path.iterdir() if path.name.isdigit()]
