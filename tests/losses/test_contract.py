"""Properties of every loss in `tfseg.losses.LOSSES`, and of a sum and a multiple of them."""

import json
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.losses import LOSSES, CLDice, CrossEntropy, Dice

LOSSES = {**LOSSES, "cl_dice": partial(CLDice, include_background=True, iterations=2)}
VARIANTS = {
    **LOSSES,
    "sum": lambda **options: 0.3 * CrossEntropy(**options) + Dice(per_image=True, **options),
}
# Exceptions:
# The loss depends on the position of a pixel.
POSITION_MATTERS = {"boundary", "cl_dice", "hausdorff_distance"}
# Some counted pixels have gradient 0. Boundary is flat on the innermost pixels, minima and maxima
# have one pixel with a gradient, the steps of Lovász end with the last pixel of the class, and TopK
# omits the easy pixels.
FLAT_PIXELS = {"boundary", "cl_dice", "lovasz", "topk"}
# An absent class is never counted: it has no boundary and no correlation.
PRESENT_CLASSES_ONLY = {"boundary", "mcc"}
# Upper bounds; the others are not bounded. The lower bound is 0.
AT_MOST = dict.fromkeys(
    ["cl_dice", "dice", "focal_tversky", "generalized_dice", "jaccard", "lovasz", "tversky"], 1
) | {"mcc": 2}
# {name: (channels, highest label, options)}
HEADS = {
    "softmax": (3, 2, {"multi_label": False}),
    "one sigmoid": (1, 1, {"multi_label": False}),
    "sigmoids": (3, 2, {"multi_label": True}),
}
# These share the code for other heads with "dice" (values are in test_region.py), or are slow: JAX
# compiles a distance transform at each call (values are in test_boundary.py).
SOFTMAX_ONLY = {
    *("jaccard", "tversky", "focal_tversky", "sum"),
    *("boundary", "cl_dice", "hausdorff_distance"),
}
# Only the formulas of jaccard and tversky differ from those of dice and focal_tversky.
EVERY_KIND = [name for name in VARIANTS if name not in ("jaccard", "tversky")]
# For what a loss does with labels and weights: only the formulas of the others differ from those of
# dice and boundary.
OWN_CODE = [name for name in EVERY_KIND if name not in ("focal_tversky", "hausdorff_distance")]
REGION = [name for name, make in LOSSES.items() if hasattr(make(), "average_over")]
every_loss = pytest.mark.parametrize("name", VARIANTS)
every_own_code = pytest.mark.parametrize("name", OWN_CODE)
every_region_loss = pytest.mark.parametrize("name", REGION)
TENSORFLOW = keras.backend.backend() == "tensorflow"
# One shape for most tests: JAX compiles each operation for each shape.
SHAPE = (2, 4, 5)


def with_heads(heads=HEADS, names=EVERY_KIND):
    """Parametrize a test by loss and head."""
    cases = [
        pytest.param(name, *HEADS[head], id=f"{name}-{head}")
        for name in names
        for head in heads
        if head == "softmax" or name not in SOFTMAX_ONLY
    ]
    return pytest.mark.parametrize(("name", "channels", "top", "options"), cases)


every_head = with_heads()
# For code that treats several sigmoids like a single one.
softmax_and_sigmoid = with_heads(["softmax", "one sigmoid"])
every_target = with_heads(names=OWN_CODE)
softmax_and_sigmoid_targets = with_heads(["softmax", "one sigmoid"], OWN_CODE)


def draw(channels=3, top=2, shape=SHAPE, seed=0):
    """Return labels 0..top, a fifth of them 255, and logits."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < 0.2, 255, rng.integers(0, top + 1, shape))
    return labels.astype("uint8"), rng.normal(0, 2, (*shape, channels)).astype("float32")


def one_hot(labels, channels):
    """Return dense float32 targets; 255 in every channel of ignored pixels."""
    if channels == 1:
        return labels[..., None].astype("float32")
    dense = np.eye(channels, dtype="float32")[np.minimum(labels, channels - 1)]
    return np.where(labels[..., None] == 255, np.float32(255), dense)


def certain(labels, channels, size=1e4):
    """Return logits of +size for the class of `labels` and -size for all others."""
    dense = np.minimum(labels, 1)[..., None] if channels == 1 else one_hot(labels, channels)
    return np.where(dense == 1, size, -size).astype("float32")


def value_and_gradient(loss, y_true, logits, sample_weight=None):
    """Return a loss and its gradient in NumPy; float64 for float64 logits, else float32."""
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
    dtype = "float64" if ops.dtype(logits) == "float64" else "float32"
    return tuple(ops.convert_to_numpy(ops.cast(part, dtype)) for part in (value, gradient))


def parts_and_gradient(loss, y_true, logits, sample_weight):
    """Return the parts of a loss by name, and the gradient of their sum."""
    if keras.backend.backend() == "jax":
        import jax

        def total(x):
            parts = loss.parts(y_true, x, sample_weight)
            return sum(parts.values()), parts

        gradient, parts = jax.grad(total, has_aux=True)(logits)
        return parts, gradient
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(logits)
        parts = loss.parts(y_true, logits, sample_weight)
        total = sum(parts.values())
    return parts, tape.gradient(total, logits)


def assert_finite(*arrays):
    for array in arrays:
        assert np.isfinite(array).all()


class TestEveryHead:
    @softmax_and_sigmoid
    def test_finite_if_all_pixels_are_ignored(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        labels = np.full_like(labels, 255)
        value, gradient = value_and_gradient(VARIANTS[name](**options), labels, logits)
        assert value == 0
        assert not gradient.any()

    @softmax_and_sigmoid
    def test_finite_if_classes_are_absent(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        loss = VARIANTS[name](**options)
        only_0, only_1 = np.zeros_like(labels), np.ones_like(labels)
        assert_finite(*value_and_gradient(loss, only_0, -certain(only_0, channels)))
        assert_finite(*value_and_gradient(loss, only_1, logits))

    @softmax_and_sigmoid
    def test_finite_for_certain_predictions(self, name, channels, top, options):
        labels, _ = draw(channels, top)
        # 65472 is the second largest float16
        for dtype, size in (("float16", 65472), ("float32", -1e4)):
            logits = ops.cast(certain(labels, channels, size), dtype)
            assert_finite(*value_and_gradient(VARIANTS[name](**options), labels, logits))

    @softmax_and_sigmoid
    def test_perfect_prediction_has_loss_0(self, name, channels, top, options):
        labels, _ = draw(channels, top)
        for target in (labels, one_hot(labels, channels)):
            loss = VARIANTS[name](**options)
            assert float(loss(target, certain(labels, channels, 100))) == pytest.approx(0, abs=1e-6)

    @every_head
    def test_ignored_pixels_have_exactly_zero_gradient(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        labels[0, 0] = 255
        ignored = labels == 255
        loss = VARIANTS[name](**options)
        value, gradient = value_and_gradient(loss, labels, logits)
        assert not gradient[ignored].any()
        if name not in FLAT_PIXELS:
            assert gradient[~ignored].any(axis=-1).all()
        huge = np.random.default_rng(1).normal(0, 1e4, logits.shape).astype("float32")
        extreme = np.float32(3e38) * np.sign(huge)
        for other in (huge, extreme) if name in ("cross_entropy", "dice") else (extreme,):
            again = value_and_gradient(loss, labels, np.where(ignored[..., None], other, logits))
            assert again[0] == value
            assert np.array_equal(again[1], gradient)

    @softmax_and_sigmoid_targets
    def test_an_invalid_label_makes_the_loss_nan(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        labels = labels.astype("int64")
        labels[1, 2, 3] = 255
        loss = VARIANTS[name](**options)
        expected = value_and_gradient(loss, labels, logits)[1]
        invalid = [top + 1]
        if name == "cross_entropy":  # all losses find invalid labels with the same code
            invalid += [-1, 2**32 + 1] if TENSORFLOW else [-1]
        for label in invalid:
            labels[1, 2, 3] = label
            value, gradient = value_and_gradient(loss, labels, logits)
            assert np.isnan(value)
            assert np.array_equal(gradient, expected)  # as if the pixel were ignored
        value, gradient = value_and_gradient(loss, np.full_like(labels, top + 1), logits)
        assert np.isnan(value)
        assert np.isfinite(gradient).all()

    @softmax_and_sigmoid_targets
    def test_an_ignored_class_is_ignored_in_labels_and_one_hot(self, name, channels, top, options):
        labels = draw(channels, top)[0] % (top + 1)
        logits = draw(channels, top)[1]
        away = VARIANTS[name](**options)
        for ignore_index in (0, 1) if channels == 1 else (1, None):
            loss = VARIANTS[name](ignore_index=ignore_index, **options)
            value = float(loss(labels, logits))
            # with one channel, an ignored class can leave only one class to compare
            assert value > 0.01 or channels == 1
            assert float(loss(one_hot(labels, channels), logits)) == pytest.approx(value, rel=1e-5)
            if ignore_index is not None:
                other = np.where(labels == ignore_index, 255, labels)
                assert float(away(other, logits)) == value

    @every_target
    def test_labels_and_one_hot_agree(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        weights = np.random.default_rng(1).random(labels.shape).astype("float32")
        loss = VARIANTS[name](class_weights=(1, 4, 0.5)[-max(channels, 2) :], **options)
        value, gradient = value_and_gradient(loss, labels, logits, weights)
        dense = value_and_gradient(loss, one_hot(labels, channels), logits, weights)
        assert dense[0] == pytest.approx(value, rel=1e-5)
        assert dense[1] == pytest.approx(gradient, rel=1e-4, abs=1e-6)
        if not options["multi_label"]:
            assert float(loss(labels[..., None], logits, weights)) == value
        elif channels > 1:
            small = one_hot(labels, channels).astype("uint8")
            assert float(loss(small, logits, weights)) == dense[0]

    @softmax_and_sigmoid_targets
    def test_probabilities_give_the_same_as_their_logits(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        function = ops.sigmoid if channels == 1 else ops.softmax
        probabilities = ops.convert_to_numpy(function(logits))
        loss = VARIANTS[name](from_logits=False, **options)
        expected = float(VARIANTS[name](**options)(labels, logits))
        assert float(loss(labels, probabilities)) == pytest.approx(expected, rel=1e-4)
        extremes = ops.convert_to_numpy(ops.cast(certain(labels, channels) < 0, "float32"))
        assert_finite(*value_and_gradient(loss, labels, extremes))

    @softmax_and_sigmoid_targets
    def test_a_constant_sample_weight_is_a_factor(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        loss = VARIANTS[name](**options)
        value, gradient = value_and_gradient(loss, labels, logits)
        for factor, weights in ((2, np.full(labels.shape, 2)), (0, np.zeros(2))):
            scaled = value_and_gradient(loss, labels, logits, weights)
            assert scaled[0] == pytest.approx(factor * value, rel=1e-6)
            assert scaled[1] == pytest.approx(factor * gradient, rel=1e-4, abs=1e-7)

    @pytest.mark.skipif(not TENSORFLOW, reason="JAX has no float64 by default")
    @every_head
    def test_gradient_matches_finite_differences(self, name, channels, top, options):
        labels, logits = draw(channels, top, (2, 3, 4), seed=3)
        rng = np.random.default_rng(4)
        weights = rng.uniform(0.5, 2, labels.shape)
        loss = VARIANTS[name](class_weights=(1, 4, 0.5)[-max(channels, 2) :], **options)
        logits = logits.astype("float64")
        value, gradient = value_and_gradient(loss, labels, logits, weights)
        assert value.dtype == "float64"
        if channels > 1 and not options["multi_label"]:
            in_float32 = float(loss(labels, logits.astype("float32"), weights))
            assert value == pytest.approx(in_float32, rel=1e-5)
        step = 1e-5 * rng.normal(size=logits.shape)
        above = float(loss(labels, ops.convert_to_tensor(logits + step), weights))
        below = float(loss(labels, ops.convert_to_tensor(logits - step), weights))
        assert 2 * (gradient * step).sum() == pytest.approx(above - below, rel=1e-5, abs=1e-12)

    @with_heads(["softmax", "one sigmoid"], LOSSES)
    def test_images_do_not_affect_each_other(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        weights = np.random.default_rng(1).random(labels.shape).astype("float32")
        if name in REGION:
            class_weights = (1, 4, 0.5)[-max(channels, 2) :]
            options = {**options, "per_image": True, "class_weights": class_weights}
        elif name == "topk":
            options = {**options, "keep_fraction": 1}  # otherwise it selects from the whole batch
        loss = LOSSES[name](reduction="none", **options)
        together = ops.convert_to_numpy(loss(labels, logits, weights))
        each = [loss(labels[i : i + 1], logits[i : i + 1], weights[i : i + 1]) for i in range(2)]
        each = [ops.convert_to_numpy(values) for values in each]
        assert together == pytest.approx(np.concatenate(each), rel=1e-5, abs=1e-7)
        assert together.shape == ((2,) if name in REGION else labels.shape)
        if name in REGION:
            mean = float(LOSSES[name](**options)(labels, logits, weights))
            assert mean == pytest.approx(together.mean(), rel=1e-5)


@every_own_code
class TestTargetsAndWeights:
    def test_half_precision_is_computed_in_float32(self, name):
        labels, logits = draw()
        half = ops.cast(logits, "bfloat16" if name in ("cross_entropy", "dice") else "float16")
        value, gradient = value_and_gradient(VARIANTS[name](), labels, half)
        expected = value_and_gradient(VARIANTS[name](), labels, ops.cast(half, "float32"))
        assert value == expected[0]
        assert gradient == pytest.approx(expected[1], rel=0.01, abs=1e-6)  # rounded once

    def test_a_large_image_in_half_precision(self, name):
        if name in POSITION_MATTERS:
            return  # slow, and their sums are those of the other losses
        # a sum over 66 564 pixels overflows in float16
        labels, logits = draw(shape=(1, 258, 258))
        half = ops.cast(logits, "float16")
        value, gradient = value_and_gradient(VARIANTS[name](), labels, half)
        assert value == float(VARIANTS[name]()(labels, ops.cast(half, "float32")))
        assert_finite(gradient)
        assert gradient.any()

    def test_a_volume_is_a_long_image(self, name):
        labels, logits = draw()
        volume = labels.reshape(2, 2, 2, 5), logits.reshape(2, 2, 2, 5, 3)
        loss = VARIANTS[name](multi_label=False)
        value, gradient = value_and_gradient(loss, *volume)
        dense = float(loss(one_hot(volume[0], 3), volume[1]))
        assert dense == pytest.approx(float(value), rel=1e-5)
        assert_finite(value, gradient)
        if name not in POSITION_MATTERS:
            assert value == pytest.approx(float(loss(labels, logits)), rel=1e-5)

    def test_image_weights_equal_pixel_weights(self, name):
        labels, logits = draw()
        loss = VARIANTS[name](multi_label=False)
        image_weights = np.array([0.5, 2], "float32")
        pixel_weights = image_weights[:, None, None] * np.ones(labels.shape, "float32")
        value = float(loss(labels, logits, image_weights))
        assert value != pytest.approx(float(loss(labels, logits)), rel=1e-3)
        for weights in (pixel_weights, pixel_weights[..., None], image_weights.tolist()):
            assert float(loss(labels, logits, weights)) == pytest.approx(value, rel=1e-6)

    def test_a_pixel_of_weight_0_has_zero_gradient(self, name):
        labels, logits = draw()
        weights = np.random.default_rng(1).integers(0, 2, labels.shape).astype("float32")
        gradient = value_and_gradient(VARIANTS[name](), labels, logits, weights)[1]
        assert not gradient[weights == 0].any()
        if name not in FLAT_PIXELS:
            assert gradient[(weights == 1) & (labels != 255)].any(axis=-1).all()

    def test_the_order_of_classes_does_not_matter(self, name):
        labels, logits = draw()
        make = partial(VARIANTS[name], multi_label=False)
        weights = [1.0, 4.0, 0.5]
        value = float(make(class_weights=weights)(labels, logits))
        order = [2, 0, 1]  # new class c was order[c]
        renamed = np.where(labels == 255, 255, np.argsort(order)[np.minimum(labels, 2)])
        loss = make(class_weights=[10 * weights[c] for c in order])  # only ratios matter
        assert float(loss(renamed, logits[..., order])) == pytest.approx(value, rel=1e-5)
        assert float(make()(labels, logits)) != pytest.approx(value, rel=1e-3)

    def test_adding_a_constant_to_the_logits_of_a_softmax_changes_nothing(self, name):
        labels, logits = draw()
        logits = np.round(8 * logits) / 8  # exact in float32, also with 2048 added
        loss = VARIANTS[name](multi_label=False)
        value, gradient = value_and_gradient(loss, labels, logits)
        shifted = value_and_gradient(loss, labels, logits + 2048)
        assert shifted[0] == pytest.approx(value, rel=1e-5, abs=1e-7)
        assert shifted[1] == pytest.approx(gradient, rel=1e-5, abs=1e-7)


@every_loss
class TestLoss:
    @pytest.mark.parametrize(
        ("class_weights", "multi_label"),
        [((0, 0, 5), False), ((1e-6, 1, 1e6), True)],
    )
    def test_perfect_prediction_has_loss_0_under_any_class_weights(
        self, name, multi_label, class_weights
    ):
        labels, logits = draw()
        loss = VARIANTS[name](class_weights=class_weights, multi_label=multi_label)
        assert float(loss(labels, certain(labels, 3, 100))) == pytest.approx(0, abs=1e-6)
        assert float(loss(labels, logits)) > 0.1

    @settings(max_examples=2, deadline=None, derandomize=True)
    @given(
        head=st.sampled_from(sorted(HEADS)),
        seed=st.integers(0, 2**16),
        scale=st.floats(0.01, 60),
        keep=st.sets(st.sampled_from([0, 1, 2, 255]), min_size=1),
        weights=st.sampled_from([None, (1, 2, 3), (0, 1, 0.1)]),
        weigh=st.booleans(),
    )
    def test_values_are_in_range(self, name, head, seed, scale, keep, weights, weigh):
        channels, _, options = HEADS[head]
        rng = np.random.default_rng(seed)
        labels = rng.choice(sorted(keep), SHAPE)
        labels[labels >= max(channels, 2)] = 255
        logits = (scale * rng.normal(size=(*SHAPE, channels))).astype("float32")
        loss = VARIANTS[name](class_weights=weights and weights[-max(channels, 2) :], **options)
        sample_weight = rng.random(labels.shape).astype("float32") if weigh else None
        value, gradient = value_and_gradient(loss, labels, logits, sample_weight)
        assert -1e-5 <= value <= AT_MOST.get(name, np.inf) * (1 + 1e-6)
        assert_finite(value, gradient)

    def test_serialization_keeps_the_arguments(self, name):
        labels, logits = draw()
        labels %= 3
        loss = VARIANTS[name](
            ignore_index=1, class_weights=(1, 2, 5), multi_label=True, from_logits=True, name="mine"
        )
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
    def test_a_target_of_another_shape_is_an_error(self, name, shape):
        with pytest.raises(
            ValueError, match=r"y_true of shape .* does not fit y_pred of shape \(2, 4, 5, 3\)"
        ):
            VARIANTS[name]()(np.zeros(shape, "uint8"), draw()[1])

    def test_invalid_class_weights_are_an_error(self, name):
        labels, logits = draw()
        with pytest.raises(ValueError, match=r"class_weights=.* must be 3 finite numbers"):
            VARIANTS[name](class_weights=(1, 2))(labels, logits)
        with pytest.raises(ValueError, match=r"class_weights=5 must be a list of numbers"):
            VARIANTS[name](class_weights=5)

    def test_fractional_labels_are_an_error(self, name):
        labels, logits = draw()
        with pytest.raises(
            ValueError, match="has 40 pixels with invalid values. Expected whole numbers"
        ):
            VARIANTS[name]()(labels + np.float32(0.5), logits)

    @pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 4, 6), (5, 4, 2), (2, 4, 5, 3)])
    def test_sample_weights_of_another_shape_are_an_error(self, name, shape):
        with pytest.raises(
            ValueError, match=r"sample_weight has shape .*, expected one weight per image \(2,\)"
        ):
            VARIANTS[name]()(*draw(), np.ones(shape))

    @pytest.mark.parametrize(
        ("class_weights", "remedy"),
        [
            ({1: 5.0, 0: 0.3, 2: 1.0}, r"is a dictionary. .* such as \[0.3, 5.0, 1.0\]"),
            ({"sky": 0.3}, "is a dictionary. Pass a list of numbers in the order of the ids."),
            ({0.3, 5.0}, "must be a list of numbers"),
            ("15", "must be a list of numbers"),
        ],
    )
    def test_class_weights_that_are_not_a_list_are_an_error(self, name, class_weights, remedy):
        with pytest.raises(ValueError, match=f"class_weights=.*{remedy}"):
            VARIANTS[name](class_weights=class_weights)

    @pytest.mark.parametrize("ignore_index", [[0, 255], True, "255", 0.5])
    def test_an_ignore_index_that_is_not_a_label_is_an_error(self, name, ignore_index):
        with pytest.raises(ValueError, match="ignore_index=.* must be one class id"):
            VARIANTS[name](ignore_index=ignore_index)

    def test_text_for_a_flag_is_an_error(self, name):
        with pytest.raises(ValueError, match="from_logits='False' must be True or False"):
            VARIANTS[name](from_logits="False")

    def test_an_unknown_reduction_is_an_error(self, name):
        with pytest.raises(ValueError, match="Did you mean 'sum'"):
            VARIANTS[name](reduction="summ")


@pytest.mark.parametrize("class_weights", [(1, -1, 1), (0, 0, 0), (1, 1, float("nan"))])
@pytest.mark.parametrize("cls", [CrossEntropy, Dice])
def test_class_weights_must_be_finite_and_not_negative(cls, class_weights):
    with pytest.raises(ValueError, match=r"class_weights=.* must be 3 finite numbers"):
        cls(class_weights=class_weights)(*draw())


def toy():
    """Return images (8, 6, 6, 2) whose channels determine the labels; the first row is ignored."""
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    labels = np.where(images[..., 0] > 0, 1, 2 * (images[..., 1] > 0)).astype("uint8")
    labels[:, 0] = 255
    return images, labels


class SideBySide(keras.losses.Loss):
    """The sum of all losses, each on three channels of its own: faster than a model per loss."""

    def __init__(self, names=VARIANTS, **options):
        super().__init__()
        options["class_weights"] = (1, 2, 3)
        self.losses = {name: VARIANTS[name](**options) for name in names}

    def parts(self, y_true, y_pred, sample_weight=None):
        return {
            name: loss(y_true, y_pred[..., 3 * i : 3 * i + 3], sample_weight)
            for i, (name, loss) in enumerate(self.losses.items())
        }

    def __call__(self, y_true, y_pred, sample_weight=None):
        return sum(self.parts(y_true, y_pred).values())


@pytest.mark.slow
def test_all_train_under_xla_and_mixed_precision():
    images, labels = toy()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = keras.layers.Conv2D(3 * len(VARIANTS), 1)
        model = keras.Sequential([keras.Input((6, 6, 2)), layer])
        loss = SideBySide()
        # Lion uses only the sign of the gradient, so one learning rate fits all losses
        model.compile(keras.optimizers.Lion(0.1), loss, jit_compile=True)
    finally:
        keras.config.set_dtype_policy(policy)
    logits = model(images)
    assert ops.dtype(logits) == "float16"
    before = loss.parts(labels, logits)
    model.fit(images, labels, batch_size=8, epochs=9, verbose=0)
    for name, value in loss.parts(labels, model(images)).items():
        assert float(value) < 0.8 * float(before[name]), name


def compiled(step):
    """Return `step`, compiled by XLA."""
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function(step, jit_compile=True)
    import jax

    return jax.jit(step)


@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
def test_invalid_targets_give_nan_and_finite_gradients_under_xla(dense):
    labels, logits = draw()
    # All treat invalid pixels alike, and compiling them takes a minute. The sum is of CrossEntropy
    # and Dice; sorting takes long to compile.
    names = ["sum"] if dense else ["lovasz", "sum"]
    loss = SideBySide(names, multi_label=False)
    logits = ops.convert_to_tensor(np.tile(logits, len(names)))
    weights = np.array([1, 0], "float32")  # a weight of 0 does not make a label valid
    step = compiled(lambda y, x: parts_and_gradient(loss, y, x, weights))
    valid = one_hot(labels, 3) if dense else labels.astype("float32")
    wrong = (0.5, np.nan, 3, -1, np.inf)
    if dense:
        wrong = [(1, 1, 0), (-0.5, 1, 0), (np.nan, 1, 0), (0, 255, 0), (0, 2, 255)]
    for value in wrong:
        invalid = valid.copy()
        invalid[1, 2, 3] = value
        parts, gradient = step(ops.convert_to_tensor(invalid), logits)
        assert_finite(ops.convert_to_numpy(gradient))
        assert ops.convert_to_numpy(gradient)[0].any()
        assert np.isnan(list(parts.values())).all(), (value, parts)
    assert_finite(list(step(ops.convert_to_tensor(valid), logits)[0].values()))


@pytest.mark.skipif(not TENSORFLOW, reason="check_numerics is TensorFlow's")
def test_check_numerics_reports_only_invalid_targets():
    import tensorflow as tf

    labels, logits = draw()
    names = ["cross_entropy", "dice", "hausdorff_distance"]
    loss = SideBySide(names)
    logits = tf.constant(np.tile(logits, len(names)))
    tf.debugging.enable_check_numerics()
    try:
        parts_and_gradient(loss, tf.constant(labels), logits, None)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Infinity or NaN"):
            parts_and_gradient(loss, tf.constant(np.minimum(labels, 3)), logits, None)
    finally:
        tf.debugging.disable_check_numerics()


def test_all_are_saved_and_loaded_with_their_model(tmp_path):
    images, labels = toy()
    image = keras.Input((None, None, 2))
    outputs = {name: keras.layers.Conv2D(3, 1, name=name)(image) for name in VARIANTS}
    model = keras.Model(image, outputs)
    losses = {name: make(class_weights=(1, 2, 3)) for name, make in VARIANTS.items()}
    model.compile("sgd", losses, run_eagerly=TENSORFLOW)
    targets = dict.fromkeys(VARIANTS, labels)
    values = model.evaluate(images, targets, verbose=0, return_dict=True)
    assert len(values) == len(VARIANTS) + 1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(images, targets, verbose=0, return_dict=True) == values
    for name in VARIANTS:
        assert again.loss[name].get_config() == model.loss[name].get_config()


@pytest.mark.parametrize("name", LOSSES)
def test_reductions_agree(name):
    labels, logits = draw()
    single = ops.convert_to_numpy(LOSSES[name](reduction="none")(labels, logits))
    same = ops.convert_to_numpy(LOSSES[name](reduction=None)(labels, logits))
    assert np.array_equal(single, same)
    total = float(LOSSES[name](reduction="sum")(labels, logits))
    assert single.sum() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in REGION if name in OWN_CODE])
class TestGroupsOfClasses:
    def test_excluding_the_background_equals_weight_0(self, name):
        labels, logits = draw()
        for multi_label in (False, True):
            make = partial(LOSSES[name], multi_label=multi_label)
            value = float(make(include_background=False)(labels, logits))
            weighted = make(include_background=True, class_weights=(0, 1, 1))
            assert value == pytest.approx(float(weighted(labels, logits)), rel=1e-6)
            with_background = float(make(include_background=True)(labels, logits))
            assert value != pytest.approx(with_background, rel=1e-4)
        labels, logits = draw(1, 1)
        value = float(LOSSES[name](include_background=False)(labels, logits))
        assert value == float(LOSSES[name](include_background=True)(labels, logits)) > 0.01

    def test_per_image_differs_from_the_batch(self, name):
        labels, logits = draw()
        per_image = float(LOSSES[name](per_image=True)(labels, logits))
        assert float(LOSSES[name]()(labels, logits)) != pytest.approx(per_image, rel=1e-4)


@every_region_loss
class TestRegionLoss:
    def test_average_over_all_includes_absent_classes(self, name):
        present = LOSSES[name](average_over="present", multi_label=True)
        every = LOSSES[name](average_over="all", multi_label=True)
        labels, logits = draw()
        value = float(present(labels, logits))
        assert float(every(labels, logits)) == pytest.approx(value, rel=1e-6)
        labels = np.where(labels == 2, 0, labels)
        correct = certain(labels, 3, 100)
        wrong = correct.copy()
        wrong[0, 1:3, 1:3, 2] = 100  # class 2 is predicted, but absent
        assert float(present(labels, wrong)) == pytest.approx(0, abs=1e-6)
        if name not in PRESENT_CLASSES_ONLY:
            assert float(every(labels, correct)) == pytest.approx(0, abs=1e-6)
            assert float(every(labels, wrong)) > 0.01
            assert not value_and_gradient(present, labels, logits)[1][..., 2].any()
            assert value_and_gradient(every, labels, logits)[1][..., 2].any()

    def test_average_over_all_of_one_channel_without_foreground(self, name):
        labels = np.zeros(SHAPE, "uint8")
        logits = np.full((*SHAPE, 1), -3, "float32")
        logits[0, 1:3, 1:3] = 3
        assert float(LOSSES[name]()(labels, logits)) == 0
        loss = LOSSES[name](average_over="all")
        value, gradient = value_and_gradient(loss, labels, logits)
        assert_finite(value, gradient)
        if name not in PRESENT_CLASSES_ONLY:
            assert value > 0.01
            assert (gradient[0, 1:3, 1:3] > 0).any()
            assert float(loss(labels, np.full_like(logits, -100))) == pytest.approx(0, abs=1e-6)

    def test_an_unknown_average_over_is_an_error(self, name):
        with pytest.raises(ValueError, match="Did you mean 'present'"):
            LOSSES[name](average_over="presence")


SMOOTH = [name for name in REGION if hasattr(LOSSES[name](), "smooth")]


@with_heads(["softmax", "one sigmoid"], SMOOTH)
def test_zero_by_zero_without_smoothing_is_finite(name, channels, top, options):
    for average_over in ("present", "all"):
        loss = LOSSES[name](smooth=0, average_over=average_over, **options)
        for labels in (np.zeros(SHAPE, "uint8"), np.ones(SHAPE, "uint8")):
            prediction = certain(np.zeros_like(labels), channels)
            assert_finite(*value_and_gradient(loss, labels, prediction))
        assert_finite(*value_and_gradient(loss, labels, draw(channels, top)[1]))
