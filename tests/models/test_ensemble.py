import keras
import numpy as np
import pytest
import tensorflow as tf

from tfseg.inference import predict_logits
from tfseg.models import ensemble, instances, mask_rcnn, normalization_of, tiny_unet, unet
from tfseg.models.ensemble import MeanProbability

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 13, 18, 3)).astype(np.uint8)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@pytest.fixture(scope="module")
def members():
    """Two networks, each with a normalization of its own."""
    keras.utils.set_random_seed(0)
    first = tiny_unet(3, filters=4, normalization=(100, 50))
    return [first, unet(3, filters=(2, 4), normalization=((0, 10, 20), (30, 40, 50)))]


@pytest.fixture(scope="module")
def model(members):
    return ensemble(members)


def test_the_probabilities_are_the_mean(members, model):
    expected = np.mean([softmax(member.predict_on_batch(IMAGES)) for member in members], axis=0)
    logits = model.predict_on_batch(IMAGES)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-6)
    np.testing.assert_allclose(logits, np.log(expected), atol=1e-5)
    assert (logits.argmax(-1) == expected.argmax(-1)).all()


@pytest.mark.parametrize("channels", [1, 2])
def test_sigmoids_are_averaged_one_by_one(channels):
    members = [tiny_unet(channels, filters=4) for _ in range(3)]
    logits = ensemble(members, multi_label=channels > 1).predict_on_batch(IMAGES)
    expected = np.mean([sigmoid(member.predict_on_batch(IMAGES)) for member in members], axis=0)
    np.testing.assert_allclose(sigmoid(logits), expected, atol=1e-6)


def test_means_by_hand():
    # p = 3/4, 1/4 and 1/2, 1/2: the mean is 5/8, 3/8
    logits = np.log(np.float32([[[[3, 1]]], [[[7, 7]]]]))[:, None]
    found = MeanProbability()(list(logits))
    np.testing.assert_allclose(found[0, 0, 0], np.log([5 / 8, 3 / 8]), atol=1e-6)
    # p = 3/4 and 1/2: the mean is 5/8, and 5/8 / (1 - 5/8) is 5/3
    single = np.log(np.float32([3, 1])).reshape(2, 1, 1, 1, 1)
    np.testing.assert_allclose(MeanProbability()(list(single)), [[[[np.log(5 / 3)]]]], atol=1e-6)


def test_certain_members_stay_finite_and_tiny_probabilities_stay_apart():
    certain = [np.float32([[[[500, -500, -600]]]])] * 2
    log_p = MeanProbability()(certain)[0, 0, 0].numpy()
    np.testing.assert_allclose(log_p, [0, -1000, -1100])
    one_against_one = [np.float32([[[[500]]]]), np.float32([[[[-500]]]])]
    assert float(MeanProbability()(one_against_one)[0, 0, 0, 0]) == 0


def test_it_is_saved_and_loaded_with_the_same_digits(model, tmp_path):
    model.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    expected = model.predict_on_batch(IMAGES)
    np.testing.assert_array_equal(again.predict_on_batch(IMAGES), expected)
    both = ensemble([model, again])  # models inside of models
    np.testing.assert_allclose(both.predict_on_batch(IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_it_has_a_finite_gradient_under_xla(channels):
    layer = MeanProbability()
    logits = [tf.Variable(tf.fill((1, 2, 2, channels), value)) for value in (-300.0, 0.5, 300.0)]
    with tf.GradientTape() as tape:
        mean = tf.function(lambda: layer([x.value() for x in logits]), jit_compile=True)()
        first = mean[..., 0]
    gradients = tape.gradient(first, logits)
    assert np.isfinite(gradients).all()


def test_windows_are_normalized_by_the_whole_image():
    members = [tiny_unet(2, filters=4, normalization="image") for _ in range(2)]
    model = ensemble(members)
    assert normalization_of(model) == "image"
    image = np.tile(IMAGES[0], (2, 2, 1))
    image[:, 18:] //= 5
    whole = predict_logits(model, image)
    windows = predict_logits(model, image, window=24)
    # only in the first of the windows, and far from its borders
    np.testing.assert_allclose(windows[:2, :2], whole[:2, :2], atol=1e-4)
    expected = np.mean([softmax(member.predict_on_batch(image[None])) for member in members], 0)
    np.testing.assert_allclose(softmax(whole), expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda first: [], "got no models, expected at least one"),
        (lambda first: [first, tiny_unet(2, filters=4)], "shape .*, but the first one .* same cha"),
        (lambda first: [mask_rcnn(2, encoder="plain", weights=None)], "predicts objects"),
        (lambda first: [instances(1, network="tiny_unet", filters=4)], "predicts objects"),
        (
            lambda first: [keras.Model(first.input, keras.layers.Softmax()(first.output))],
            "ends in softmax, expected logits",
        ),
        (
            lambda first: [keras.Model(first.input, [first.output, first.output])],
            "must be functional, with one input and one output",
        ),
    ],
)
@pytest.mark.usefixtures("plain_encoders")
def test_models_that_do_not_fit_are_refused(members, make, message):
    with pytest.raises(ValueError, match=message):
        ensemble(make(members[0]))
