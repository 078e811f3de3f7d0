import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.testing import assert_allclose

from tfseg.models.batch_norm import BatchNorm

FUSED = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fused kernel is TensorFlow's"
)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(3, 5, (4, 6, 5, 3)).astype("float32")
OPTIONS = [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1, "momentum": 0.7}]


def pair(**options):
    """Our layer and Keras' with the same random weights."""
    ours, theirs = BatchNorm(**options), layers.BatchNormalization(**{"momentum": 0.9, **options})
    for layer in (ours, theirs):
        layer.build(IMAGES.shape)
    values = [RNG.uniform(0.5, 2, v.shape) for v in ours.weights]
    for layer in (ours, theirs):
        layer.set_weights(values)
    return ours, theirs


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_predicts_and_trains_like_keras(options):
    ours, theirs = pair(**options)
    for training in (False, True):
        assert_allclose(
            array(ours(IMAGES, training=training)),
            array(theirs(IMAGES, training=training)),
            atol=1e-4,
        )
    ours_mean, ours_variance = ours.non_trainable_variables
    mean, variance = theirs.non_trainable_variables
    assert_allclose(array(ours_mean), array(mean), rtol=1e-5)
    # The biased and unbiased variance of 4 * 6 * 5 = 120 values differ by 120 / 119, weighted by
    # 1 - momentum.
    assert_allclose(array(ours_variance), array(variance), rtol=1 / 119)


@FUSED
def test_running_variance_is_unbiased():
    layer = BatchNorm(momentum=0.75)
    layer(IMAGES, training=True)
    expected = 0.75 * 1 + 0.25 * IMAGES.var(axis=(0, 1, 2), ddof=1)
    assert_allclose(array(layer.moving_variance), expected, rtol=1e-5)


@FUSED
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("trainable", [True, False])
def test_gradients_are_equal_to_keras(options, trainable):
    import tensorflow as tf

    weights = RNG.normal(size=IMAGES.shape).astype("float32")
    gradients = []
    for layer in pair(**options):
        layer.trainable = trainable
        x = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) * weights)
        learned = [v.value for v in layer.trainable_variables]
        gradients.append(tape.gradient(loss, [x, *learned]))
    for ours, theirs in zip(*gradients, strict=True):
        assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_frozen_layer_keeps_its_statistics():
    layer, _ = pair()
    layer.trainable = False
    before = [array(v) for v in layer.weights]
    assert_allclose(array(layer(IMAGES, training=True)), array(layer(IMAGES, training=False)))
    for value, kept in zip(layer.weights, before, strict=True):
        assert_allclose(array(value), kept)


@pytest.mark.parametrize(
    "dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16", pytest.param("float64", marks=FUSED)]
)
def test_other_precisions(dtype):
    layer = BatchNorm(dtype=dtype)
    out = layer(IMAGES, training=True)
    assert keras.backend.standardize_dtype(out.dtype) == dtype.removeprefix("mixed_")
    expected = (IMAGES - IMAGES.mean((0, 1, 2))) / np.sqrt(IMAGES.var((0, 1, 2)) + 1e-3)
    assert_allclose(array(out), expected, atol=0.05)
    # under mixed precision, the statistics are float32 values of rounded images
    wanted = 0.1 * IMAGES.mean((0, 1, 2))
    assert_allclose(array(layer.moving_mean), wanted, rtol=1e-3 if "mixed" in dtype else 2e-2)


@pytest.mark.parametrize("shape", [(0, 6, 5, 3), (1, 1, 1, 3), (4, 3), (4, 6, 3)])
def test_any_shape(shape):
    layer = BatchNorm()
    x = RNG.normal(size=shape).astype("float32")
    for training in (False, True) if x.size else (False,):
        out = array(layer(x, training=training))
        assert out.shape == shape
        assert np.isfinite(out).all()


def test_saves_and_loads(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, BatchNorm(epsilon=0.01)(image))
    model.layers[1].set_weights([RNG.uniform(0.5, 2, 3) for _ in range(4)])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_allclose(again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert type(again.layers[1]) is BatchNorm


@FUSED
def test_fits_under_xla():
    image = keras.Input((6, 5, 3))
    model = keras.Model(image, layers.Conv2D(1, 1)(BatchNorm()(image)))
    model.compile("sgd", loss="mse", jit_compile=True)
    losses = model.fit(IMAGES, IMAGES[..., :1], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
