"""Properties of every loss in `tfseg.losses.INSTANCE_LOSSES`, and their values."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import INSTANCE_LOSSES, CenterHeatmap, CenterOffset, CrossEntropy, StarDistance

TENSORFLOW = keras.backend.backend() == "tensorflow"
SHAPE = (2, 4, 5)
CHANNELS = {
    "center_heatmap": 1,
    "center_offset": 2,
    "object_probability": 1,
    "star_distance": 3,
}
PROBABILITIES = ("center_heatmap", "object_probability")
every_loss = pytest.mark.parametrize("name", INSTANCE_LOSSES)


def draw(name, shape=SHAPE, seed=0):
    """Return a target, a fifth of whose pixels are ignored, and outputs of a model."""
    rng = np.random.default_rng(seed)
    ignored = rng.random(shape) < 0.2
    if name in PROBABILITIES:
        target = np.where(ignored, -1, rng.random(shape))[..., None]
    else:
        values = rng.uniform(0, 9, (*shape, CHANNELS[name]))
        weight = np.where(ignored, 0, rng.uniform(0.1, 1, shape))
        target = np.concatenate([values, weight[..., None]], axis=-1)
    outputs = rng.normal(0, 3, (*shape, CHANNELS[name]))
    return target.astype("float32"), outputs.astype("float32")


def is_ignored(name, target):
    return target[..., 0] == -1 if name in PROBABILITIES else target[..., -1] == 0


def value_and_gradient(loss, y_true, outputs, sample_weight=None):
    outputs = ops.convert_to_tensor(outputs)
    if TENSORFLOW:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = loss(y_true, outputs, sample_weight)
        gradient = tape.gradient(value, outputs)
    else:
        import jax

        value, gradient = jax.value_and_grad(lambda x: loss(y_true, x, sample_weight))(outputs)
    dtype = "float64" if ops.dtype(outputs) == "float64" else "float32"
    return tuple(ops.convert_to_numpy(ops.cast(part, dtype)) for part in (value, gradient))


def test_every_loss_is_tested():
    assert INSTANCE_LOSSES.keys() == CHANNELS.keys()


@every_loss
class TestInstanceLoss:
    def test_ignored_pixels_have_exactly_zero_gradient(self, name):
        target, outputs = draw(name)
        ignored = is_ignored(name, target)
        loss = INSTANCE_LOSSES[name]()
        value, gradient = value_and_gradient(loss, target, outputs)
        assert not gradient[ignored].any()
        assert gradient[~ignored].all()
        extreme = np.where(ignored[..., None], np.float32(3e38), outputs)
        again = value_and_gradient(loss, target, extreme)
        assert again[0] == value
        assert np.array_equal(again[1], gradient)

    def test_finite_if_all_pixels_are_ignored(self, name):
        target, outputs = draw(name)
        if name in PROBABILITIES:
            target[:] = -1
        else:
            target[..., -1] = 0
        value, gradient = value_and_gradient(INSTANCE_LOSSES[name](), target, outputs)
        assert value == 0
        assert not gradient.any()

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_is_computed_in_float32(self, name, dtype):
        target, outputs = draw(name, (1, 258, 258))  # sums of 66 564 pixels overflow in float16
        half = ops.cast(outputs, dtype)
        value, gradient = value_and_gradient(INSTANCE_LOSSES[name](), target, half)
        full = ops.cast(half, "float32")
        expected = value_and_gradient(INSTANCE_LOSSES[name](), target, full)
        assert value == expected[0]
        assert np.allclose(gradient, expected[1], rtol=0.01, atol=1e-6)  # rounded once

    def test_finite_for_certain_wrong_predictions(self, name):
        target, outputs = draw(name)
        for size in (65472, -65472):  # the second largest float16
            wrong = ops.cast(np.full_like(outputs, size), "float16")
            value, gradient = value_and_gradient(INSTANCE_LOSSES[name](), target, wrong)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()

    @pytest.mark.parametrize("label", [np.nan, np.inf, -np.inf])
    def test_an_invalid_target_makes_the_loss_nan(self, name, label):
        target, outputs = draw(name)
        loss = INSTANCE_LOSSES[name]()
        for channel in range(target.shape[-1]):
            invalid, ignored = target.copy(), target.copy()
            invalid[1, 2, 3, channel] = label
            ignored[1, 2, 3, -1] = -1 if name in PROBABILITIES else 0
            value, gradient = value_and_gradient(loss, invalid, outputs)
            assert np.isnan(value)
            expected = value_and_gradient(loss, ignored, outputs)[1]
            assert gradient == pytest.approx(expected, abs=1e-7)
        value, gradient = value_and_gradient(loss, np.full_like(target, label), outputs)
        assert np.isnan(value)
        assert np.isfinite(gradient).all()

    def test_sample_weights_are_factors(self, name):
        target, outputs = draw(name)
        loss = INSTANCE_LOSSES[name]()
        value, gradient = value_and_gradient(loss, target, outputs)
        for factor, weights in ((2, np.full(SHAPE, 2)), (0, np.zeros(2)), (3, [3.0, 3.0])):
            scaled = value_and_gradient(loss, target, outputs, weights)
            assert scaled[0] == pytest.approx(factor * value, rel=1e-6)
            assert scaled[1] == pytest.approx(factor * gradient, rel=1e-5, abs=1e-8)
        single = ops.convert_to_numpy(INSTANCE_LOSSES[name](reduction="sum")(target, outputs))
        images = [
            float(INSTANCE_LOSSES[name](reduction="sum")(target[i : i + 1], outputs[i : i + 1]))
            for i in range(2)
        ]
        assert float(single) == pytest.approx(sum(images), rel=1e-5)
        weighted = float(INSTANCE_LOSSES[name](reduction="sum")(target, outputs, [0.5, 2.0]))
        assert weighted == pytest.approx(0.5 * images[0] + 2 * images[1], rel=1e-5)

    def test_sample_weights_of_another_shape_are_an_error(self, name):
        with pytest.raises(ValueError, match="sample_weight has shape"):
            INSTANCE_LOSSES[name]()(*draw(name), np.ones((2, 4)))

    def test_reductions_agree(self, name):
        target, outputs = draw(name)
        single = ops.convert_to_numpy(INSTANCE_LOSSES[name](reduction="none")(target, outputs))
        assert single.shape == SHAPE
        assert not single[is_ignored(name, target)].any()
        total = float(INSTANCE_LOSSES[name](reduction="sum")(target, outputs))
        assert single.sum() == pytest.approx(total, rel=1e-5)
        counts = ~is_ignored(name, target) if name in PROBABILITIES else target[..., -1]
        mean = float(INSTANCE_LOSSES[name]()(target, outputs))
        assert mean == pytest.approx(total / counts.sum(), rel=1e-5)

    @pytest.mark.skipif(not TENSORFLOW, reason="JAX has no float64 by default")
    def test_gradient_matches_finite_differences(self, name):
        target, outputs = draw(name, seed=3)
        outputs = outputs.astype("float64")
        loss = INSTANCE_LOSSES[name]()
        value, gradient = value_and_gradient(loss, target, outputs)
        assert value.dtype == "float64"
        step = 1e-5 * np.random.default_rng(4).normal(size=outputs.shape)
        above, below = (
            float(loss(target, ops.convert_to_tensor(outputs + sign * step))) for sign in (1, -1)
        )
        assert 2 * (gradient * step).sum() == pytest.approx(above - below, rel=1e-5, abs=1e-12)

    def test_a_target_of_another_shape_is_an_error(self, name):
        target, outputs = draw(name)
        for wrong in (target[..., :0], target[:, :3], target[..., 0]):
            with pytest.raises(ValueError, match=r"y_true of shape .* does not fit y_pred"):
                INSTANCE_LOSSES[name]()(wrong, outputs)

    def test_serialization_keeps_the_arguments(self, name):
        loss = INSTANCE_LOSSES[name](reduction="sum", name="mine")
        config = json.loads(json.dumps(keras.losses.serialize(0.2 * loss + loss)))
        again = keras.losses.deserialize(config)
        assert again.weights == (0.2, 1.0)
        assert again.losses[0].get_config() == loss.get_config()
        assert float(again(*draw(name))) == pytest.approx(1.2 * float(loss(*draw(name))), rel=1e-6)

    def test_an_unknown_reduction_is_an_error(self, name):
        with pytest.raises(ValueError, match="Did you mean 'sum'"):
            INSTANCE_LOSSES[name](reduction="summ")


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("value", [1.01, -0.5, 255])
def test_values_outside_of_0_to_1_make_the_loss_nan(name, value):
    target, outputs = draw(name)
    target[0, 0, 0] = value
    assert np.isnan(float(INSTANCE_LOSSES[name]()(target, outputs)))


def test_distances_and_weights_are_not_negative():
    for channel in (0, -1):
        target, outputs = draw("star_distance")
        target[0, 0, 0, channel] = -1
        assert np.isnan(float(StarDistance()(target, outputs)))


def test_offsets_can_be_negative():
    # |-3 - 1| + |2 - 4| = 6
    assert float(CenterOffset()([[[[-3.0, 2.0, 0.5]]]], [[[[1.0, 4.0]]]])) == 6


def test_distances_are_averaged_by_their_weights():
    # errors (1 + 3) / 2 and (4 + 0) / 2 with weights 1 and 0.25: (2 + 0.5) / 1.25
    target = [[[[5.0, 3.0, 1.0], [4.0, 6.0, 0.25]]]]
    assert float(StarDistance()(target, [[[[4.0, 6.0], [8.0, 6.0]]]])) == 2


def test_heat_is_a_sigmoid():
    # sigmoid(log 3) = 0.75
    assert float(CenterHeatmap()([[[[0.25]]]], [[[[np.log(3)]]]])) == pytest.approx(0.25)


@pytest.mark.skipif(not TENSORFLOW, reason="the targets of the binary cross entropy are the same")
def test_object_probability_is_the_binary_cross_entropy_of_keras():
    target, outputs = draw("object_probability")
    target = np.abs(target)
    expected = float(keras.losses.BinaryCrossentropy(from_logits=True)(target, outputs))
    assert float(INSTANCE_LOSSES["object_probability"]()(target, outputs)) == pytest.approx(
        expected
    )


def test_all_train_under_xla_and_are_saved_with_their_model(tmp_path):
    image = keras.Input((4, 5, 2))
    outputs = {name: keras.layers.Conv2D(CHANNELS[name], 1, name=name)(image) for name in CHANNELS}
    outputs["class_logits"] = keras.layers.Conv2D(3, 1, name="class_logits")(image)
    model = keras.Model(image, outputs)
    losses = {name: make() for name, make in INSTANCE_LOSSES.items()}
    losses["star_distance"] = 0.2 * losses["star_distance"]
    losses["class_logits"] = CrossEntropy()
    model.compile(keras.optimizers.SGD(0.05), losses, jit_compile=True)
    images = np.random.default_rng(1).normal(size=(*SHAPE, 2)).astype("float32")
    targets = {name: draw(name)[0] for name in CHANNELS}
    targets["class_logits"] = np.zeros(SHAPE, "int32")
    history = model.fit(images, targets, epochs=5, verbose=0).history
    for name in ("loss", *(f"{name}_loss" for name in outputs)):
        assert history[name][-1] < history[name][0], name
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    model.jit_compile = again.jit_compile = False
    values = model.evaluate(images, targets, verbose=0, return_dict=True)
    assert again.evaluate(images, targets, verbose=0, return_dict=True) == values
    assert np.isfinite(list(values.values())).all()
