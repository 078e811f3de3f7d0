"""What every loss of `tfseg.losses.LOSSES`, and a sum and a multiple of them, keeps."""

import json
from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import LOSSES, CrossEntropy, Dice

VARIANTS = {
    **LOSSES,
    "dice_per_image": partial(Dice, per_image=True),
    "sum": lambda **options: CrossEntropy(**options) + Dice(**options),
    "multiple": lambda **options: 0.3 * CrossEntropy(**options),
}
# name: (channels, highest label, options); the ways to read the channels
HEADS = {
    "softmax": (3, 2, {}),
    "one sigmoid": (1, 1, {}),
    "sigmoids": (3, 2, {"multi_label": True}),
}
every_loss = pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
every_head = pytest.mark.parametrize(("channels", "top", "options"), HEADS.values(), ids=HEADS)


def draw(channels=3, top=2, shape=(2, 4, 5), seed=0):
    """Labels 0..top, a fifth of them 255, and logits."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < 0.2, 255, rng.integers(0, top + 1, shape))
    return labels.astype("uint8"), rng.normal(0, 2, (*shape, channels)).astype("float32")


def one_hot(labels, channels):
    """Dense float32 targets; 255 in every channel where ignored."""
    if channels == 1:
        return labels[..., None].astype("float32")
    dense = np.eye(channels, dtype="float32")[np.minimum(labels, channels - 1)]
    return np.where(labels[..., None] == 255, np.float32(255), dense)


def certain(labels, channels, size=1e4):
    """Logits of +size for the class of `labels` and -size for the others."""
    dense = np.minimum(labels, 1)[..., None] if channels == 1 else one_hot(labels, channels)
    return np.where(dense == 1, size, -size).astype("float32")


def value_and_gradient(loss, y_true, logits, sample_weight=None):
    """Loss and its gradient by the logits, as float32 NumPy arrays."""
    logits = ops.convert_to_tensor(logits)
    if keras.backend.backend() == "jax":
        import jax

        value, gradient = jax.value_and_grad(lambda x: loss(y_true, x, sample_weight))(logits)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(y_true, logits, sample_weight)
        gradient = tape.gradient(value, logits)
    return tuple(ops.convert_to_numpy(ops.cast(part, "float32")) for part in (value, gradient))


SITUATIONS = {
    "all ignored": lambda labels: np.full_like(labels, 255),
    "only class 0": np.zeros_like,
    "only class 1": np.ones_like,
    "all classes": lambda labels: labels,
    "labels outside the classes": lambda labels: np.where(labels == 0, 77, labels),
}


@every_loss
class TestLoss:
    @every_head
    @pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
    def test_value_and_gradient_are_finite(self, make, channels, top, options, situation):
        labels, logits = draw(channels, top)
        labels = situation(labels)
        right = certain(labels, channels)
        loss = make(**options)
        for x in (logits, right, -right):
            value, gradient = value_and_gradient(loss, labels, x)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
        if (labels == 255).all():
            assert value == 0
            assert not gradient.any()

    @every_head
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_is_computed_in_float32(self, make, channels, top, options, dtype):
        # 300 x 300 pixels: a sum over them overflows in float16 and stalls in bfloat16
        labels, logits = draw(channels, top, (1, 300, 300))
        half = ops.cast(logits, dtype)
        loss = make(**options)
        value, gradient = value_and_gradient(loss, labels, half)
        assert value == pytest.approx(float(loss(labels, ops.cast(half, "float32"))), rel=1e-5)
        assert np.isfinite(gradient).all()
        assert np.isfinite(value_and_gradient(loss, labels, ops.cast(certain(labels, channels), dtype))[1]).all()

    @every_head
    def test_a_perfect_prediction_scores_0(self, make, channels, top, options):
        labels, _ = draw(channels, top)
        for target in (labels, one_hot(labels, channels)):
            assert float(make(**options)(target, certain(labels, channels, 100))) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("multi_label", [False, True])
    @pytest.mark.parametrize("class_weights", [(1, 2, 3), (0, 0, 5), (1e-6, 1, 1e6)])
    def test_a_perfect_prediction_scores_0_under_any_weights(self, make, multi_label, class_weights):
        labels, logits = draw()
        loss = make(class_weights=class_weights, multi_label=multi_label)
        for target in (labels, one_hot(labels, 3)):
            assert float(loss(target, certain(labels, 3, 100))) == pytest.approx(0, abs=1e-6)
            assert float(loss(target, logits)) > 0.1

    @every_head
    def test_ignored_pixels_carry_exactly_no_gradient(self, make, channels, top, options):
        labels, logits = draw(channels, top)
        labels = labels.astype("int32")
        labels[0, 0], labels[1, 1] = -1, 9
        ignored = (labels < 0) | (labels > top)
        value, gradient = value_and_gradient(make(**options), labels, logits)
        assert not gradient[ignored].any()
        assert gradient[~ignored].any(axis=-1).all()
        changed = np.where(ignored[..., None], np.float32(-1e4), logits)
        assert float(make(**options)(labels, changed)) == value

    @every_head
    @pytest.mark.parametrize("ignore_index", [255, 0, 1, None])
    def test_labels_and_one_hot_agree(self, make, channels, top, options, ignore_index):
        labels, logits = draw(channels, top)
        if ignore_index != 255:
            labels = labels % (top + 1)
        loss = make(ignore_index=ignore_index, **options)
        value = float(loss(labels, logits))
        assert value > 0.01 or (channels, ignore_index) == (1, 1)  # Dice is 0 where no foreground is left
        assert float(loss(one_hot(labels, channels), logits)) == pytest.approx(value, rel=1e-5)
        assert float(loss(labels[..., None], logits)) == value
        if channels > 1:
            assert float(loss(one_hot(labels, channels).astype("uint8"), logits)) == pytest.approx(value, rel=1e-5)

    @every_head
    def test_probabilities_are_read_as_their_logits(self, make, channels, top, options):
        labels, logits = draw(channels, top)
        sigmoid = channels == 1 or options
        probabilities = ops.convert_to_numpy(ops.sigmoid(logits) if sigmoid else ops.softmax(logits))
        value = float(make(from_logits=False, **options)(labels, probabilities))
        assert value == pytest.approx(float(make(**options)(labels, logits)), rel=1e-4)

    @every_head
    def test_a_volume_is_a_long_image(self, make, channels, top, options):
        labels, logits = draw(channels, top, (2, 3, 4, 5))
        flat = labels.reshape(2, 12, 5), logits.reshape(2, 12, 5, channels)
        loss = make(**options)
        assert float(loss(labels, logits)) == pytest.approx(float(loss(*flat)), rel=1e-5)
        assert float(loss(one_hot(labels, channels), logits)) == pytest.approx(float(loss(*flat)), rel=1e-5)

    @every_head
    def test_a_weight_an_image_equals_one_a_pixel(self, make, channels, top, options):
        labels, logits = draw(channels, top)
        loss = make(**options)
        image_weights = np.array([0.5, 2], "float32")
        pixel_weights = image_weights[:, None, None] * np.ones(labels.shape, "float32")
        value = float(loss(labels, logits, image_weights))
        assert value != pytest.approx(float(loss(labels, logits)), rel=1e-3)
        for weights in (pixel_weights, pixel_weights[..., None], image_weights.tolist()):
            assert float(loss(labels, logits, weights)) == pytest.approx(value, rel=1e-6)
        assert float(loss(labels, logits, np.ones(2))) == pytest.approx(float(loss(labels, logits)), rel=1e-6)

    def test_a_weight_of_0_takes_a_pixel_s_gradient(self, make):
        labels, logits = draw()
        weights = np.random.default_rng(1).integers(0, 2, labels.shape).astype("float32")
        gradient = value_and_gradient(make(), labels, logits, weights)[1]
        assert not gradient[weights == 0].any()
        assert gradient[(weights == 1) & (labels != 255)].any(axis=-1).all()

    def test_renaming_the_classes_changes_nothing(self, make):
        labels, logits = draw()
        weights = [1.0, 4.0, 0.5]
        value = float(make(class_weights=weights)(labels, logits))
        order = [2, 0, 1]  # new class c was order[c]
        renamed = np.where(labels == 255, 255, np.argsort(order)[np.minimum(labels, 2)])
        loss = make(class_weights=[weights[c] for c in order])
        assert float(loss(renamed, logits[..., order])) == pytest.approx(value, rel=1e-5)
        assert float(make(class_weights=[10 * w for w in weights])(labels, logits)) == pytest.approx(value, rel=1e-5)
        assert float(make()(labels, logits)) != pytest.approx(value, rel=1e-3)

    def test_it_is_saved_and_read_with_its_arguments(self, make):
        labels, logits = draw()
        loss = make(ignore_index=1, class_weights=(1, 2, 5), from_logits=True, name="mine")
        config = json.loads(json.dumps(keras.losses.serialize(loss)))
        for again in (
            keras.losses.deserialize(config),
            keras.saving.deserialize_keras_object(config),
            type(loss).from_config(loss.get_config()),
        ):
            assert again.get_config() == loss.get_config()
            assert again.name == loss.name
            assert float(again(labels, logits)) == float(loss(labels, logits))

    @pytest.mark.parametrize("shape", [(2, 4, 6), (2, 4, 5, 2), (2, 4), (3, 4, 5)])
    def test_a_target_of_another_shape_is_an_error(self, make, shape):
        with pytest.raises(ValueError, match=r"y_true of shape .* does not fit y_pred of shape \(2, 4, 5, 3\)"):
            make()(np.zeros(shape, "uint8"), draw()[1])

    @pytest.mark.parametrize("class_weights", [(1, 2), (1, -1, 1), (0, 0, 0), (1, 1, float("nan"))])
    def test_class_weights_that_do_not_fit_are_an_error(self, make, class_weights):
        with pytest.raises(ValueError, match=r"class_weights=.* must be 3 finite numbers"):
            make(class_weights=class_weights)(*draw())

    @pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 4, 6), (5, 4, 2), (2, 4, 5, 3)])
    def test_sample_weights_that_do_not_fit_are_an_error(self, make, shape):
        with pytest.raises(ValueError, match=r"sample_weight of shape .* must be one weight an image \(2,\)"):
            make()(*draw(), np.ones(shape))

    def test_an_unknown_reduction_is_an_error(self, make):
        with pytest.raises(ValueError, match="Did you mean 'sum'"):
            make(reduction="summ")

    def test_it_trains_under_xla(self, make):
        rng = np.random.default_rng(0)
        images = rng.normal(size=(8, 6, 6, 2)).astype("float32")
        labels = np.where(images[..., 0] > 0, 1, 2 * (images[..., 1] > 0)).astype("uint8")
        labels[:, 0] = 255
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(3, 1)])
        model.compile(keras.optimizers.Adam(0.1), make(class_weights=(1, 2, 3)), jit_compile=True)
        losses = model.fit(images, labels, batch_size=4, epochs=6, verbose=0).history["loss"]
        assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("cls", LOSSES.values(), ids=LOSSES)
def test_the_reductions_agree(cls):
    labels, logits = draw()
    single = cls(reduction="none")(labels, logits)
    assert np.array_equal(*(ops.convert_to_numpy(part) for part in (single, cls(reduction=None)(labels, logits))))
    assert float(ops.sum(single)) == pytest.approx(float(cls(reduction="sum")(labels, logits)), rel=1e-5)
