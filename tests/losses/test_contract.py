"""What every loss of `tfseg.losses.LOSSES`, and a sum and a multiple of them, keeps."""

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
# What some losses are excused from:
EXCUSED = {
    # they see where a pixel lies
    "a volume is a long image": {"boundary", "cl_dice", "hausdorff_distance"},
    # Boundary is flat on the innermost pixels; minima and maxima pass a slope to one pixel each; Lovász' steps end with
    # the last pixel of the class; TopK leaves the easy ones alone
    "every pixel has a slope": {"boundary", "cl_dice", "lovasz", "topk"},
    # a class of no pixels has no boundary to be far from, and no correlation
    "all classes count": {"boundary", "mcc"},
    # it picks its pixels from the whole batch
    "a batch is its images": {"topk"},
}
# The upper end of the values, of all others infinite; the lower one is 0.
AT_MOST = dict.fromkeys(
    ["cl_dice", "dice", "focal_tversky", "generalized_dice", "jaccard", "lovasz", "tversky"], 1
) | {"mcc": 2}
# name: (channels, highest label, options); the ways to read the channels
HEADS = {
    "softmax": (3, 2, {"multi_label": False}),
    "one sigmoid": (1, 1, {"multi_label": False}),
    "sigmoids": (3, 2, {"multi_label": True}),
}
REGION = [name for name, make in LOSSES.items() if hasattr(make(), "over")]
PIXEL = [name for name in LOSSES if name not in REGION]
every_loss = pytest.mark.parametrize("name", VARIANTS)
every_region_loss = pytest.mark.parametrize("name", REGION)
every_head = pytest.mark.parametrize(("channels", "top", "options"), HEADS.values(), ids=HEADS)
# where several sigmoids are read as one is
two_heads = pytest.mark.parametrize(
    ("channels", "top", "options"), list(HEADS.values())[:2], ids=list(HEADS)[:2]
)
TENSORFLOW = keras.backend.backend() == "tensorflow"
tensorflow_only = pytest.mark.skipif(not TENSORFLOW, reason="JAX has no float64 by default")


@pytest.fixture(autouse=True)
def _spare_time_under_jax(request):
    case = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    slow = case.get("name") in ("boundary", "hausdorff_distance") and case.get(
        "options", HEADS["softmax"][2]
    )
    if slow and not TENSORFLOW and (case.get("channels", 3), slow) != HEADS["softmax"][::2]:
        pytest.skip("JAX compiles the distance transform anew at each call: one head is enough")


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
    """Loss and its gradient by the logits, as NumPy arrays, of float64 where the logits are, else float32."""
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


def assert_finite(*arrays):
    for array in arrays:
        assert np.isfinite(array).all()


SITUATIONS = {
    "all outside the classes": lambda labels: np.where(labels == 0, 77, 255),
    "only class 0": np.zeros_like,
    "only class 1": np.ones_like,
}


@every_loss
class TestLoss:
    @every_head
    @pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
    def test_value_and_gradient_are_finite(self, name, channels, top, options, situation):
        labels, logits = draw(channels, top)
        labels = situation(labels)
        for x in (logits, -certain(labels, channels)):
            value, gradient = value_and_gradient(VARIANTS[name](**options), labels, x)
            assert_finite(value, gradient)
            if (labels > top).all():
                assert value == 0
                assert not gradient.any()

    @every_head
    def test_right_and_wrong_beyond_doubt_is_finite(self, name, channels, top, options):
        labels, _ = draw(channels, top)
        # the last but one number of float16
        for dtype, size in (
            ("float16", 65472),
            ("bfloat16", -1e4),
            ("float32", 1e4),
            ("float32", -1e4),
        ):
            logits = ops.cast(certain(labels, channels, size), dtype)
            assert_finite(*value_and_gradient(VARIANTS[name](**options), labels, logits))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_is_computed_in_float32(self, name, dtype):
        labels, logits = draw()
        half = ops.cast(logits, dtype)
        value, gradient = value_and_gradient(VARIANTS[name](), labels, half)
        expected = value_and_gradient(VARIANTS[name](), labels, ops.cast(half, "float32"))
        assert value == expected[0]
        assert gradient == pytest.approx(expected[1], rel=0.01, abs=1e-6)  # rounded once

    def test_a_large_image_in_half_precision(self, name):
        # a sum over 66 564 pixels overflows in float16
        labels, logits = draw(shape=(1, 258, 258))
        half = ops.cast(logits, "float16")
        value, gradient = value_and_gradient(VARIANTS[name](), labels, half)
        assert value == float(VARIANTS[name]()(labels, ops.cast(half, "float32")))
        assert_finite(gradient)
        assert gradient.any()

    @every_head
    def test_a_perfect_prediction_scores_0(self, name, channels, top, options):
        labels, _ = draw(channels, top)
        for target in (labels, one_hot(labels, channels)):
            loss = VARIANTS[name](**options)
            assert float(loss(target, certain(labels, channels, 100))) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("multi_label", [False, True])
    @pytest.mark.parametrize("class_weights", [(0, 0, 5), (1e-6, 1, 1e6)])
    def test_a_perfect_prediction_scores_0_under_any_weights(
        self, name, multi_label, class_weights
    ):
        labels, logits = draw()
        loss = VARIANTS[name](class_weights=class_weights, multi_label=multi_label)
        assert float(loss(labels, certain(labels, 3, 100))) == pytest.approx(0, abs=1e-6)
        assert float(loss(labels, logits)) > 0.1

    @every_head
    def test_ignored_pixels_carry_exactly_no_gradient(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        labels = labels.astype("int32")
        labels[0, 0], labels[1, 1] = -1, 9
        ignored = (labels < 0) | (labels > top)
        loss = VARIANTS[name](**options)
        value, gradient = value_and_gradient(loss, labels, logits)
        assert not gradient[ignored].any()
        if name not in EXCUSED["every pixel has a slope"]:
            assert gradient[~ignored].any(axis=-1).all()
        huge = np.random.default_rng(1).normal(0, 1e4, logits.shape).astype("float32")
        for other in (np.float32(-1e4), huge, np.float32(3e38) * np.sign(huge)):
            again = value_and_gradient(loss, labels, np.where(ignored[..., None], other, logits))
            assert again[0] == value
            assert np.array_equal(again[1], gradient)

    @two_heads
    @pytest.mark.parametrize("ignore_index", [0, 1, None])
    def test_an_ignored_class_is_ignored_in_labels_and_one_hot(
        self, name, channels, top, options, ignore_index
    ):
        labels = draw(channels, top)[0] % (top + 1)
        loss = VARIANTS[name](ignore_index=ignore_index, **options)
        logits = draw(channels, top)[1]
        value = float(loss(labels, logits))
        assert (
            value > 0.01 or channels == 1
        )  # where no foreground, or no ground, is left to compare
        assert float(loss(one_hot(labels, channels), logits)) == pytest.approx(value, rel=1e-5)
        if ignore_index is not None:
            away = VARIANTS[name](ignore_index=None, **options)
            assert float(away(np.where(labels == ignore_index, 99, labels), logits)) == value

    @every_head
    def test_labels_and_one_hot_agree(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        weights = np.random.default_rng(1).random(labels.shape).astype("float32")
        loss = VARIANTS[name](class_weights=(1, 4, 0.5)[-max(channels, 2) :], **options)
        value, gradient = value_and_gradient(loss, labels, logits, weights)
        dense = value_and_gradient(loss, one_hot(labels, channels), logits, weights)
        assert dense[0] == pytest.approx(value, rel=1e-5)
        assert dense[1] == pytest.approx(gradient, rel=1e-4, abs=1e-6)
        assert float(loss(labels[..., None], logits, weights)) == value
        if channels > 1:
            assert (
                float(loss(one_hot(labels, channels).astype("uint8"), logits, weights)) == dense[0]
            )

    @every_head
    def test_probabilities_are_read_as_their_logits(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        sigmoid = channels == 1 or options["multi_label"]
        probabilities = ops.convert_to_numpy(
            ops.sigmoid(logits) if sigmoid else ops.softmax(logits)
        )
        value = float(VARIANTS[name](from_logits=False, **options)(labels, probabilities))
        assert value == pytest.approx(float(VARIANTS[name](**options)(labels, logits)), rel=1e-4)
        extremes = ops.convert_to_numpy(ops.cast(certain(labels, channels) < 0, "float32"))
        assert_finite(
            *value_and_gradient(VARIANTS[name](from_logits=False, **options), labels, extremes)
        )

    @two_heads
    def test_a_volume_is_a_long_image(self, name, channels, top, options):
        labels, logits = draw(channels, top, (2, 3, 4, 5))
        loss = VARIANTS[name](**options)
        value, gradient = value_and_gradient(loss, labels, logits)
        assert float(loss(one_hot(labels, channels), logits)) == pytest.approx(
            float(value), rel=1e-5
        )
        assert_finite(value, gradient)
        if name not in EXCUSED["a volume is a long image"]:
            flat = labels.reshape(2, 12, 5), logits.reshape(2, 12, 5, channels)
            assert value == pytest.approx(float(loss(*flat)), rel=1e-5)

    @two_heads
    def test_a_weight_an_image_equals_one_a_pixel(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        loss = VARIANTS[name](**options)
        image_weights = np.array([0.5, 2], "float32")
        pixel_weights = image_weights[:, None, None] * np.ones(labels.shape, "float32")
        value = float(loss(labels, logits, image_weights))
        assert value != pytest.approx(float(loss(labels, logits)), rel=1e-3)
        for weights in (pixel_weights, pixel_weights[..., None], image_weights.tolist()):
            assert float(loss(labels, logits, weights)) == pytest.approx(value, rel=1e-6)

    @two_heads
    def test_a_constant_weight_is_a_factor(self, name, channels, top, options):
        labels, logits = draw(channels, top)
        loss = VARIANTS[name](**options)
        value, gradient = value_and_gradient(loss, labels, logits)
        for factor, weights in (
            (2, np.full(2, 2)),
            (0.5, np.full(labels.shape, 0.5)),
            (0, np.zeros(2)),
        ):
            scaled = value_and_gradient(loss, labels, logits, weights)
            assert scaled[0] == pytest.approx(factor * value, rel=1e-6)
            assert scaled[1] == pytest.approx(factor * gradient, rel=1e-4, abs=1e-7)

    def test_a_weight_of_0_takes_a_pixel_s_gradient(self, name):
        labels, logits = draw()
        weights = np.random.default_rng(1).integers(0, 2, labels.shape).astype("float32")
        gradient = value_and_gradient(VARIANTS[name](), labels, logits, weights)[1]
        assert not gradient[weights == 0].any()
        if name not in EXCUSED["every pixel has a slope"]:
            assert gradient[(weights == 1) & (labels != 255)].any(axis=-1).all()

    @pytest.mark.parametrize("multi_label", [False, True])
    def test_renaming_the_classes_changes_nothing(self, name, multi_label):
        labels, logits = draw()
        make = partial(VARIANTS[name], multi_label=multi_label)
        weights = [1.0, 4.0, 0.5]
        value = float(make(class_weights=weights)(labels, logits))
        order = [2, 0, 1]  # new class c was order[c]
        renamed = np.where(labels == 255, 255, np.argsort(order)[np.minimum(labels, 2)])
        loss = make(class_weights=[weights[c] for c in order])
        assert float(loss(renamed, logits[..., order])) == pytest.approx(value, rel=1e-5)
        assert float(
            make(class_weights=[10 * w for w in weights])(labels, logits)
        ) == pytest.approx(value, rel=1e-5)
        assert float(make()(labels, logits)) != pytest.approx(value, rel=1e-3)

    @every_head
    def test_a_constant_added_to_all_logits_of_a_softmax_changes_nothing(
        self, name, channels, top, options
    ):
        labels, logits = draw(channels, top)
        logits = np.round(8 * logits) / 8  # exact in float32, also when 2048 is added
        if channels > 1 and not options["multi_label"]:
            loss = VARIANTS[name](**options)
            for found, expected in zip(
                value_and_gradient(loss, labels, logits + 2048),
                value_and_gradient(loss, labels, logits),
                strict=True,
            ):
                assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)

    @tensorflow_only
    @every_head
    def test_the_gradient_is_that_of_finite_differences(self, name, channels, top, options):
        labels, logits = draw(channels, top, (2, 3, 4), seed=3)
        rng = np.random.default_rng(4)
        weights = rng.uniform(0.5, 2, labels.shape)
        loss = VARIANTS[name](class_weights=(1, 4, 0.5)[-max(channels, 2) :], **options)
        logits = logits.astype("float64")
        value, gradient = value_and_gradient(loss, labels, logits, weights)
        assert ops.dtype(loss(labels, ops.convert_to_tensor(logits), weights)) == "float64"
        assert value == pytest.approx(
            float(loss(labels, logits.astype("float32"), weights)), rel=1e-5
        )
        for _ in range(2):
            step = 1e-5 * rng.normal(size=logits.shape)
            change = [
                float(loss(labels, ops.convert_to_tensor(logits + sign * step), weights))
                for sign in (1, -1)
            ]
            assert 2 * (gradient * step).sum() == pytest.approx(
                change[0] - change[1], rel=1e-5, abs=1e-12
            )

    @settings(max_examples=10, deadline=None, derandomize=True)
    @given(
        head=st.sampled_from(sorted(HEADS)),
        seed=st.integers(0, 2**16),
        scale=st.floats(0.01, 60),
        keep=st.sets(st.sampled_from([0, 1, 2, 255]), min_size=1),
        weights=st.sampled_from([None, (1, 2, 3), (0, 1, 0.1)]),
        weigh=st.booleans(),
    )
    def test_values_keep_to_their_range(self, name, head, seed, scale, keep, weights, weigh):
        channels, _, options = HEADS[head]
        rng = np.random.default_rng(seed)
        labels = rng.choice(sorted(keep), (2, 3, 4))
        logits = (scale * rng.normal(size=(2, 3, 4, channels))).astype("float32")
        loss = VARIANTS[name](class_weights=weights and weights[-max(channels, 2) :], **options)
        sample_weight = rng.random(labels.shape).astype("float32") if weigh else None
        value, gradient = value_and_gradient(loss, labels, logits, sample_weight)
        assert -1e-5 <= value <= AT_MOST.get(name, np.inf) * (1 + 1e-6)
        assert_finite(value, gradient)

    def test_it_is_saved_and_read_with_its_arguments(self, name):
        labels, logits = draw()
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

    @pytest.mark.parametrize("class_weights", [(1, 2), (1, -1, 1), (0, 0, 0), (1, 1, float("nan"))])
    def test_class_weights_that_do_not_fit_are_an_error(self, name, class_weights):
        with pytest.raises(ValueError, match=r"class_weights=.* must be 3 finite numbers"):
            VARIANTS[name](class_weights=class_weights)(*draw())

    def test_a_class_weight_that_is_no_list_is_an_error(self, name):
        with pytest.raises(ValueError, match=r"class_weights=5 must be a list of numbers"):
            VARIANTS[name](class_weights=5)

    def test_values_that_are_no_labels_are_an_error(self, name):
        labels, logits = draw()
        with pytest.raises(
            ValueError, match="has 40 pixels with other values than expected: whole numbers"
        ):
            VARIANTS[name]()(labels + np.float32(0.5), logits)

    @pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 4, 6), (5, 4, 2), (2, 4, 5, 3)])
    def test_sample_weights_that_do_not_fit_are_an_error(self, name, shape):
        with pytest.raises(
            ValueError, match=r"sample_weight of shape .* must be one weight an image \(2,\)"
        ):
            VARIANTS[name]()(*draw(), np.ones(shape))

    def test_an_unknown_reduction_is_an_error(self, name):
        with pytest.raises(ValueError, match="Did you mean 'sum'"):
            VARIANTS[name](reduction="summ")


def toy():
    """Images (8, 6, 6, 2) whose labels can be read off the channels, the first row ignored."""
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    labels = np.where(images[..., 0] > 0, 1, 2 * (images[..., 1] > 0)).astype("uint8")
    labels[:, 0] = 255
    return images, labels


def side_by_side(names, optimizer, **options):
    """One model with one output, of its own weights, a loss: far quicker to compile than one model a loss."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 2))
    model = keras.Model(
        image, {name: keras.layers.Conv2D(3, 1, name=name)(image) for name in names}
    )
    model.compile(
        optimizer, {name: VARIANTS[name](class_weights=(1, 2, 3)) for name in names}, **options
    )
    return model


def train(model, names, epochs):
    """{loss: its values}."""
    images, labels = toy()
    history = model.fit(
        images, dict.fromkeys(names, labels), batch_size=8, epochs=epochs, verbose=0
    ).history
    return {name: history[f"{name}_loss"] for name in names}


@pytest.mark.parametrize("part", range(3))
def test_all_train_under_xla(part):
    names = list(VARIANTS)[part::3]
    # Lion steps by the gradient's sign, so one rate fits all
    model = side_by_side(names, keras.optimizers.Lion(0.1), jit_compile=True)
    for name, values in train(model, names, epochs=9).items():
        assert values[-1] < 0.8 * values[0], name


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_all_train_under_mixed_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = side_by_side(VARIANTS, keras.optimizers.Lion(0.3), run_eagerly=TENSORFLOW)
    finally:
        keras.config.set_dtype_policy(before)
    assert ops.dtype(model(toy()[0])["dice"]) == policy.removeprefix("mixed_")
    for name, values in train(model, VARIANTS, epochs=5).items():
        assert np.isfinite(values).all(), name
        assert values[-1] < 0.9 * values[0], name


def test_all_come_back_with_their_model(tmp_path):
    images, labels = toy()
    model = side_by_side(VARIANTS, keras.optimizers.SGD(), run_eagerly=TENSORFLOW)
    targets = dict.fromkeys(VARIANTS, labels)
    values = model.evaluate(images, targets, verbose=0, return_dict=True)
    assert len(values) == len(VARIANTS) + 1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(images, targets, verbose=0, return_dict=True) == values
    for name in VARIANTS:
        assert again.loss[name].get_config() == model.loss[name].get_config()


@pytest.mark.parametrize("name", LOSSES)
def test_the_reductions_agree(name):
    labels, logits = draw()
    single = LOSSES[name](reduction="none")(labels, logits)
    assert np.array_equal(
        *(ops.convert_to_numpy(x) for x in (single, LOSSES[name](reduction=None)(labels, logits)))
    )
    assert float(ops.sum(single)) == pytest.approx(
        float(LOSSES[name](reduction="sum")(labels, logits)), rel=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
@every_head
def test_a_batch_is_its_images(name, channels, top, options):
    labels, logits = draw(channels, top, (3, 4, 5))
    weights = np.random.default_rng(1).random(labels.shape).astype("float32")
    if name in REGION:
        options = {**options, "per_image": True, "class_weights": (1, 4, 0.5)[-max(channels, 2) :]}
    elif name in EXCUSED["a batch is its images"]:
        options = {**options, "k": 1}
    loss = LOSSES[name](reduction="none", **options)
    together = ops.convert_to_numpy(loss(labels, logits, weights))
    images = [slice(i, i + 1) for i in range(3)]
    each = [ops.convert_to_numpy(loss(labels[i], logits[i], weights[i])) for i in images]
    assert together == pytest.approx(np.concatenate(each), rel=1e-5, abs=1e-7)
    assert together.shape == ((3,) if name in REGION else labels.shape)
    if name in REGION:
        assert float(LOSSES[name](**options)(labels, logits, weights)) == pytest.approx(
            together.mean(), rel=1e-5
        )
        assert float(LOSSES[name]()(labels, draw(3, top, (3, 4, 5))[1])) != pytest.approx(
            together.mean(), rel=1e-4
        )


@every_region_loss
class TestRegionLoss:
    def test_without_background_class_0_has_no_weight(self, name):
        labels, logits = draw()
        for multi_label in (False, True):
            make = partial(LOSSES[name], multi_label=multi_label)
            value = float(make(include_background=False)(labels, logits))
            weighed = make(include_background=True, class_weights=(0, 1, 1))
            assert value == pytest.approx(float(weighed(labels, logits)), rel=1e-6)
            assert value != pytest.approx(
                float(make(include_background=True)(labels, logits)), rel=1e-4
            )
        labels, logits = draw(1, 1)
        value = float(LOSSES[name](include_background=False)(labels, logits))
        assert value == float(LOSSES[name](include_background=True)(labels, logits)) > 0.01

    def test_over_all_also_counts_the_absent_classes(self, name):
        present, every = (
            LOSSES[name](average_over=over, multi_label=True) for over in ("present", "all")
        )
        labels, logits = draw()
        assert float(every(labels, logits)) == pytest.approx(
            float(present(labels, logits)), rel=1e-6
        )
        labels = np.where(labels == 2, 0, labels)
        right = certain(labels, 3, 100)
        wrong = right.copy()
        wrong[0, 1:3, 1:3, 2] = 100  # class 2 is found where it is not
        assert float(present(labels, wrong)) == pytest.approx(0, abs=1e-6)
        if name not in EXCUSED["all classes count"]:
            assert float(every(labels, right)) == pytest.approx(0, abs=1e-6)
            assert float(every(labels, wrong)) > 0.01
            assert not value_and_gradient(present, labels, logits)[1][..., 2].any()
            assert value_and_gradient(every, labels, logits)[1][..., 2].any()

    def test_over_all_a_lone_channel_without_foreground_costs_its_false_positives(self, name):
        labels = np.zeros((2, 4, 5), "uint8")
        logits = np.full((2, 4, 5, 1), -3, "float32")
        logits[0, 1:3, 1:3] = 3
        assert float(LOSSES[name]()(labels, logits)) == 0
        value, gradient = value_and_gradient(LOSSES[name](average_over="all"), labels, logits)
        assert_finite(value, gradient)
        if name not in EXCUSED["all classes count"]:
            assert value > 0.01
            assert (gradient[0, 1:3, 1:3] > 0).any()
            assert float(
                LOSSES[name](average_over="all")(labels, np.full_like(logits, -100))
            ) == pytest.approx(0, abs=1e-6)

    @every_head
    def test_nothing_by_nothing_is_no_nan(self, name, channels, top, options):
        if hasattr(LOSSES[name](), "smooth"):
            for over in ("present", "all"):
                loss = LOSSES[name](smooth=0, average_over=over, **options)
                for labels in (np.zeros((1, 3, 4), "uint8"), np.ones((1, 3, 4), "uint8")):
                    for guess in (
                        certain(np.zeros_like(labels), channels),
                        draw(channels, top, (1, 3, 4))[1],
                    ):
                        assert_finite(*value_and_gradient(loss, labels, guess))

    def test_an_unknown_over_is_an_error(self, name):
        with pytest.raises(ValueError, match="Did you mean 'present'"):
            LOSSES[name](average_over="presence")
