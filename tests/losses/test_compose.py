import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import (
    MCC,
    AtOutputSize,
    BinaryCrossEntropy,
    CompositeLoss,
    CrossEntropy,
    Dice,
    Focal,
    HausdorffDistance,
    Jaccard,
    Lovasz,
    deep_supervision,
)

TENSORFLOW = keras.backend.backend() == "tensorflow"


def draw():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (2, 4, 5), p=[0.3, 0.3, 0.3, 0.1])
    return labels, rng.normal(size=(2, 4, 5, 3)).astype("float32")


def value_and_gradient(loss, y_true, logits, sample_weight=None):
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
    return float(value), ops.convert_to_numpy(gradient)


def test_losses_add_and_scale():
    labels, logits = draw()
    weights = np.array([0.3, 2.0])
    entropy, region = CrossEntropy(), Dice()
    a, b = float(entropy(labels, logits, weights)), float(region(labels, logits, weights))
    assert float((entropy + 0.5 * region)(labels, logits, weights)) == pytest.approx(a + 0.5 * b)
    assert float((2 * (entropy + region * 3) + region)(labels, logits, weights)) == pytest.approx(
        2 * a + 7 * b
    )


def test_a_sum_of_sums_is_flat():
    total = 2 * (CrossEntropy() + 0.5 * Dice()) + Dice(per_image=True)
    assert [type(loss) for loss in total.losses] == [CrossEntropy, Dice, Dice]
    assert total.weights == (2, 1, 1)


def test_weights_cannot_be_changed():
    loss = CrossEntropy() + 0.5 * Dice()
    with pytest.raises(TypeError, match=r"weights cannot be changed.* compile again"):
        loss.weights[1] = 2.0
    with pytest.raises(AttributeError, match=r"weights cannot be changed.* compile again"):
        loss.weights = [1.0, 2.0]


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 2.0}, {1.0, 2.0}, "12"])
def test_weights_must_be_a_list_of_numbers(weights):
    with pytest.raises(ValueError, match="CompositeLoss: weights=.* of numbers"):
        CompositeLoss([CrossEntropy(), Dice()], weights)
    with pytest.raises(ValueError, match="deep_supervision: weights=.* of numbers"):
        deep_supervision(CrossEntropy(), weights)


def test_a_keras_loss_can_be_a_part():
    labels, logits = draw()
    labels = labels % 5
    dense = np.eye(3, dtype="float32")[labels]
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True)
    total = Dice() + theirs
    assert float(total(dense, logits)) == pytest.approx(
        float(Dice()(dense, logits)) + float(theirs(dense, logits))
    )


def test_parts_are_the_weighted_losses():
    labels, logits = draw()
    total = (
        CrossEntropy(name="entropy")
        + 0.5 * Dice(name="region")
        + Dice(name="region", per_image=True)
    )
    parts = {name: float(value) for name, value in total.parts(labels, logits).items()}
    assert list(parts) == ["entropy", "region", "region_2"]
    assert parts["region"] == pytest.approx(0.5 * float(Dice()(labels, logits)))
    assert sum(parts.values()) == pytest.approx(float(total(labels, logits)))


def test_parts_with_equal_names_are_all_counted():
    labels, logits = draw()
    total = (
        Dice(name="a") + Jaccard(name="a_2") + MCC(name="a") + Lovasz(name="a_2") + Focal(name="a")
    )
    parts = total.parts(labels, logits)
    assert len(parts) == 5
    expected = sum(float(loss(labels, logits)) for loss in total.losses)
    assert float(total(labels, logits)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dense", [False, True], ids=["labels", "one-hot"])
def test_parts_that_share_a_target_equal_the_single_losses(dense):
    labels, logits = draw()
    weights = np.random.default_rng(1).random(labels.shape).astype("float32")
    factors = (1.0, 0.5, 2.0, 0.25, 3.0, 0.1, 0.2, 0.7)
    losses = [
        CrossEntropy(class_weights=(1, 2, 3)),
        Dice(per_image=True),
        Focal(),
        MCC(),
        BinaryCrossEntropy(multi_label=False),
        HausdorffDistance(),
        Dice(multi_label=True),  # another target: sigmoids
        Jaccard(ignore_index=1),  # another target: labels
    ]
    if dense:
        labels = np.where(labels[..., None] == 255, 0, np.eye(3)[np.minimum(labels, 2)]).astype(
            "float32"
        )
    else:
        labels = np.minimum(labels, 2)  # 255 is invalid for ignore_index=1
    value, gradient = value_and_gradient(CompositeLoss(losses, factors), labels, logits, weights)
    each = [value_and_gradient(loss, labels, logits, weights) for loss in losses]
    assert value == pytest.approx(
        sum(f * v for f, (v, _) in zip(factors, each, strict=True)), rel=1e-5
    )
    expected = sum(f * g for f, (_, g) in zip(factors, each, strict=True))
    assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_compiled_model_is_saved_and_loaded_with_its_loss(tmp_path):
    labels, images = draw()
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    loss = CrossEntropy(class_weights=(1, 2, 3)) + 0.5 * Dice(smooth=0.1) + theirs
    model.compile("sgd", loss, run_eagerly=TENSORFLOW)
    value = model.evaluate(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == model.loss.get_config()
    assert again.evaluate(images, labels, verbose=0) == value


def test_evaluate_passes_sample_weights():
    labels, images = draw()
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Conv2D(3, 1)])
    logits = model.predict(images, verbose=0)
    for weights in (np.array([0.5, 3]), np.random.default_rng(1).random(labels.shape)):
        loss = CrossEntropy() + 0.5 * Dice()
        model.compile("sgd", loss, run_eagerly=TENSORFLOW)
        value = model.evaluate(images, labels, sample_weight=weights, verbose=0)
        assert value == pytest.approx(float(loss(labels, logits, weights)), rel=1e-5)
        assert value != pytest.approx(float(loss(labels, logits)), rel=1e-2)


def test_losses_with_different_shapes_are_an_error():
    labels, logits = draw()
    with pytest.raises(
        ValueError, match=r"different shapes .*'a': \(1,\), 'b': \(\).* cannot be added"
    ):
        (Dice(reduction="none", name="a") + CrossEntropy(name="b"))(labels, logits)
    with pytest.raises(ValueError, match="cannot be added"):
        (Dice(reduction="none", per_image=True) + Dice(reduction="none"))(labels, logits)
    each = Dice(reduction="none", per_image=True) + 2 * Jaccard(reduction="none", per_image=True)
    assert each(labels, logits).shape == (2,)


def test_a_coarse_output_gets_the_labels_at_its_pixel_centers():
    # 6 x 4 to 3 x 2: rows 1, 3, 5 and columns 1, 3; 5 columns to 2: 1 and 3
    labels = np.arange(24).reshape(1, 6, 4)
    seen = []

    class Spy(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            seen.append((ops.convert_to_numpy(y_true), sample_weight))
            return ops.sum(y_pred)

    AtOutputSize(Spy())(labels, np.zeros((1, 3, 2, 2)), sample_weight=labels / 2)
    assert seen[-1][0].tolist() == [[[5, 7], [13, 15], [21, 23]]]
    assert ops.convert_to_numpy(seen[-1][1]).tolist() == [[[2.5, 3.5], [6.5, 7.5], [10.5, 11.5]]]
    AtOutputSize(Spy())(np.arange(5).reshape(1, 1, 5), np.zeros((1, 1, 2, 2)))
    assert seen[-1][0].tolist() == [[[1, 3]]]
    # per-class values, a weight per image, and an output of the same size
    dense = np.stack([labels, -labels], -1)
    AtOutputSize(Spy())(dense, np.zeros((1, 3, 2, 2)), sample_weight=np.array([3.0]))
    assert seen[-1][0].tolist() == dense[:, 1::2, 1::2].tolist()
    assert ops.convert_to_numpy(seen[-1][1]).tolist() == [3.0]
    AtOutputSize(Spy())(labels, np.zeros((1, 6, 4, 2)))
    assert np.array_equal(seen[-1][0], labels)
    # a volume
    AtOutputSize(Spy())(np.arange(8).reshape(1, 2, 2, 2), np.zeros((1, 1, 1, 1, 2)))
    assert seen[-1][0].tolist() == [[[[7]]]]


def test_a_coarse_output_trains_under_xla():
    labels, images = draw()
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 2, strides=2)])
    model.compile("sgd", AtOutputSize(0.5 * CrossEntropy()), jit_compile=True)
    losses = model.fit(images, labels, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("weights", [(), (0, 0), (1, -1)])
def test_invalid_weights_of_outputs_are_an_error(weights):
    with pytest.raises(ValueError, match="weights"):
        deep_supervision(CrossEntropy(), weights)


def test_deep_supervision_trains_saves_and_loads(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    labels = np.where(images[..., 0] > 0, 1, 0)
    labels[:, 0] = 255
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 1))
    outputs = [
        keras.layers.Conv2D(2, size, strides=size, name=f"at_{size}")(image) for size in (1, 2, 4)
    ]
    model = keras.Model(image, outputs)
    part = CrossEntropy() + Dice()
    model.compile(
        keras.optimizers.SGD(0.1), deep_supervision(part, weights=(4, 2, 2)), run_eagerly=TENSORFLOW
    )
    masks = (labels,) * 3
    history = model.fit(images, masks, batch_size=4, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    # 1/2, 1/4 and 1/4 of the losses of the outputs, for the labels at the pixel centers
    logits = model.predict(images, verbose=0)
    small = [labels, labels[:, 1::2, 1::2], labels[:, 2::4, 2::4]]
    expected = sum(
        w * float(part(m, x)) for w, m, x in zip((0.5, 0.25, 0.25), small, logits, strict=True)
    )
    value = model.evaluate(images, masks, verbose=0, return_dict=True)["loss"]
    assert value == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(images, masks, verbose=0, return_dict=True)["loss"] == value


def test_only_losses_can_be_added():
    with pytest.raises(
        ValueError, match="can only be added to another loss, got 'dice' of type str"
    ):
        CrossEntropy() + "dice"


@pytest.mark.parametrize(("losses", "weights"), [([Dice()], [1, 2]), ([], [])])
def test_a_sum_needs_one_weight_per_loss(losses, weights):
    with pytest.raises(ValueError, match="expected one weight per loss"):
        CompositeLoss(losses, weights)


def test_python_sum_and_a_keras_loss_on_the_left():
    labels, logits = [[[0, 1]]], [[[[2.0, 1.0], [0.0, 3.0]]]]
    ours, keras_loss = Dice(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = float(ours(labels, logits)) + float(CrossEntropy()(labels, logits))
    assert float(sum([Dice(), CrossEntropy()])(labels, logits)) == pytest.approx(expected)
    assert float((keras_loss + ours)(ops.array(labels), ops.array(logits))) == pytest.approx(
        expected
    )
