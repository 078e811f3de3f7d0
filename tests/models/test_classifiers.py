import keras
import numpy as np
import pytest
from keras import ops

from tfseg.metrics import ConfusionMetrics
from tfseg.models import classifier, cnn_classifier, fpn, transfer, unet

pytestmark = pytest.mark.usefixtures("plain_encoders")


def draw(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, channels), np.uint8)


def test_the_cnn_has_its_parameters():
    # 3 x 3 convolutions without bias 3>64>128>256>512: 9 (192 + 8,192 + 32,768 + 131,072);
    # batch normalization: 4 * 960; dense 512>256: 131,328; 256>10: 2,570
    assert cnn_classifier(10).count_params() == 9 * 172_224 + 3_840 + 131_328 + 2_570
    names = [
        layer.name
        for layer in cnn_classifier(2).layers
        if isinstance(layer, keras.layers.MaxPooling2D)
    ]
    assert names == ["pool0", "pool1", "pool2", "pool3"]


@pytest.mark.parametrize(
    "build",
    [lambda **o: cnn_classifier(3, filters=(4, 6), **o), lambda **o: classifier(3, "plain", **o)],
)
def test_images_of_any_size_have_logits(build):
    model = build(input_shape=(None, None, 2))
    for height, width in [(1, 1), (17, 16), (33, 70)]:
        logits = ops.convert_to_numpy(model(draw(height, width, 2)))
        assert logits.shape == (2, 3)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("build", [cnn_classifier, lambda classes: classifier(classes, "plain")])
def test_logits_are_float32_under_mixed_precision(build):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = build(3)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert model.output.dtype == "float32"
    assert np.isfinite(ops.convert_to_numpy(model(draw(20, 30)))).all()


def test_classes_are_computed_from_the_deepest_features():
    # `plain` ends in 10 channels; dense 10>4: 44
    model = classifier(4, "plain", dropout=0.3)
    assert model.get_layer("logits").count_params() == 44
    assert model.get_layer("mean").input.shape[-1] == 10
    assert model.get_layer("head_dropout").rate == 0.3
    assert "head_dropout" not in [layer.name for layer in classifier(4, "plain", dropout=0).layers]


@pytest.mark.slow
def test_digits_are_classified():
    """scikit-learn's 1797 digits of 8 x 8 pixels in 0..16; the last 400 are held out."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = digits.images[..., None].astype("float32"), digits.target
    keras.utils.set_random_seed(0)
    model = cnn_classifier(
        10, (None, None, 1), filters=(32, 64, 128), hidden=64, normalization=(8, 8)
    )
    metrics = [
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top3"),
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 22 * 12)),
        loss,
        metrics=metrics,
        jit_compile=False,
    )
    model.fit(images[:-400], labels[:-400], batch_size=64, epochs=12, verbose=0)
    scores = model.evaluate(images[-400:], labels[-400:], verbose=0, return_dict=True)
    assert scores["accuracy"] > 0.95
    assert scores["top3"] >= max(0.99, scores["accuracy"])

    # One class per image is a map of 1 x 1 pixels: ConfusionMetrics works as for segmentation.
    confusion = ConfusionMetrics(10, scores=["pixel_accuracy", "recall"])
    logits = model.predict(images[-400:], verbose=0)
    confusion.update_state(labels[-400:, None, None], logits[:, None, None])
    assert float(confusion.result()["pixel_accuracy"]) == pytest.approx(scores["accuracy"])
    matrix = ops.convert_to_numpy(confusion.matrix)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (labels[-400:], logits.argmax(-1)), 1)
    assert np.array_equal(matrix, expected)


def test_transfer_copies_the_encoder_of_a_classifier():
    keras.utils.set_random_seed(0)
    source, target = classifier(4, "plain"), fpn(2, "plain", pyramid_width=4, width=4)
    # statistics are copied too
    source.get_layer("encoder3_bn3").moving_mean.assign(np.arange(6) + 0.5)
    head = [ops.convert_to_numpy(w) for w in target.get_layer("decoder_lateral0").weights]
    names = transfer(source, target)
    assert names == [
        f"encoder{stage}_{kind}{stage}" for stage in range(1, 6) for kind in ("conv", "bn")
    ]
    images = draw(40, 50)
    features = [
        keras.Model(model.input, model.get_layer("encoder5_relu5").output)(images, training=False)
        for model in (source, target)
    ]
    assert np.array_equal(*map(ops.convert_to_numpy, features))
    for before, weight in zip(head, target.get_layer("decoder_lateral0").weights, strict=True):
        assert np.array_equal(before, ops.convert_to_numpy(weight))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            lambda: classifier(4, "plain"),
            lambda: fpn(2, "plain", (None, None, 1), pyramid_width=4, width=4),
            r"only 9 of 10 encoder layers of 'fpn' match a layer of 'classifier' "
            r"\('encoder1_conv1' has shapes \[\(3, 3, 3, 2\)\], expected \[\(3, 3, 1",
        ),
        (
            lambda: cnn_classifier(4, filters=(2,)),
            lambda: fpn(2, "plain", pyramid_width=4, width=4),
            r"only 0 of 10 encoder .*is missing; .*; \.\.\.\); nothing was copied. Build both",
        ),
        (
            lambda: classifier(4, "plain"),
            lambda: unet(2, filters=(2, 4)),
            r"only 0 of 0 encoder layers of 'unet' .*\(it has no encoder\)",
        ),
    ],
)
def test_another_encoder_is_an_error_and_nothing_is_copied(source, target, message):
    source, target = source(), target()
    before = [ops.convert_to_numpy(w) for w in target.weights]
    with pytest.raises(ValueError, match=f"transfer: {message}"):
        transfer(source, target)
    for old, new in zip(before, target.weights, strict=True):
        assert np.array_equal(old, ops.convert_to_numpy(new))


@pytest.mark.parametrize(
    ("builder", "options", "message"),
    [
        (cnn_classifier, {"filters": (4, 0)}, "cnn_classifier: filters=0 must be"),
        (cnn_classifier, {"hidden": 0}, "cnn_classifier: hidden=0 must be"),
        (cnn_classifier, {"dropout": 1}, "cnn_classifier: dropout=1 must be"),
        (
            cnn_classifier,
            {"input_shape": (8, 8)},
            r"cnn_classifier: input_shape=\(8, 8\) must be \(H, W, C\)",
        ),
        (classifier, {"dropout": 1}, "classifier: dropout=1 must be"),
        (classifier, {"num_classes": 0}, "classifier: num_classes=0 must be"),
        (classifier, {"encoder": "plane"}, "classifier: encoder='plane' is unknown"),
    ],
)
def test_invalid_arguments_are_an_error(builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(**{"num_classes": 2} | options)
