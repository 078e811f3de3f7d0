import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import (
    AtOutputSize,
    BinaryCrossEntropy,
    CrossEntropy,
    Dice,
    Focal,
    Target,
    TopK,
)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 255], (2, 3, 4))
    return labels, rng.normal(0, 2, (2, 3, 4, 3)).astype("float32")


def test_labels():
    labels, logits = draw()
    target = Target(labels, logits)
    valid = (labels >= 0) & (labels < 3)
    assert np.array_equal(array(target.valid), valid.astype("float32"))
    assert np.array_equal(array(target.weight), valid.astype("float32"))
    assert np.array_equal(array(target.labels), np.where(valid, labels, 0))
    assert np.array_equal(array(target.logits), logits)
    assert target.classes == 3
    assert not target.sigmoid
    assert np.array_equal(
        array(target.dense), np.eye(3)[np.where(valid, labels, 0)] * valid[..., None]
    )


def test_per_class_values():
    dense = np.random.default_rng(0).dirichlet([1, 1, 1], (2, 3, 4)).astype("float32")
    dense[0, 0, 0] = 255
    target = Target(dense, draw()[1])
    assert target.labels is None
    assert np.array_equal(array(target.valid), (dense[..., 0] != 255).astype("float32"))
    assert np.array_equal(array(target.dense), np.where(dense == 255, 0, dense))


def test_weights_of_ignored_pixels_are_0():
    labels, logits = draw()
    valid = (labels >= 0) & (labels < 3)
    for weight in (np.array([0.5, 3]), np.array([0.5, 3])[:, None, None] * np.ones((2, 3, 4))):
        target = Target(labels, logits, weight)
        assert array(target.weight) == pytest.approx(valid * np.array([0.5, 3])[:, None, None])
        assert np.array_equal(array(target.valid), valid)


@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"squared": True}], ids=str)
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
def test_sums(options, dense):
    labels, logits = draw()
    weight = np.random.default_rng(1).random((2, 3, 4)).astype("float32")
    squared = options.get("squared", False)
    sigmoid = "multi_label" in options
    valid = (labels >= 0) & (labels < 3)
    t = np.eye(3)[np.where(valid, labels, 0)] * valid[..., None]
    y_true = np.where(valid[..., None], t, 255).astype("float32") if dense else labels
    p = (
        1 / (1 + np.exp(-logits))
        if sigmoid
        else np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    )
    target = Target(y_true, logits, weight, multi_label=sigmoid)
    w = (weight * valid)[..., None]
    expected = (w * p * t, w * p**2, w * t**2) if squared else (w * p * t, w * p, w * t)
    for sums, terms in zip(target.sums(squared), expected, strict=True):
        assert array(sums) == pytest.approx(terms.sum((1, 2)), rel=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_no_one_hot_labels_are_created(multi_label):
    labels, logits = draw()
    target = Target(labels, logits, multi_label=multi_label)
    for loss in (CrossEntropy, BinaryCrossEntropy, Focal, TopK, Dice):
        loss(multi_label=multi_label, class_weights=(1, 2, 3)).from_target(target)
    Dice(squared=True, multi_label=multi_label).from_target(target)
    assert "dense" not in vars(target)


def test_one_vs_rest_logits():
    # probabilities 1/2, 1/3, 1/6: odds 1, 1/2, 1/5
    target = Target([[[0]]], np.log([[[[1 / 2, 1 / 3, 1 / 6]]]]).astype("float32"))
    assert array(target.one_vs_rest_logits()).ravel() == pytest.approx(
        np.log([1, 1 / 2, 1 / 5]), abs=1e-6
    )
    # the odds are exact also for p close to 1: e**30 / 2
    target = Target([[[0]]], np.array([[[[0.0, -30.0, -30.0]]]], "float32"))
    odds = 30 - np.log(2)
    assert array(target.one_vs_rest_logits()).ravel() == pytest.approx([odds, -30, -30], rel=1e-6)
    # two equally likely classes, and an unlikely one
    target = Target([[[0]]], np.array([[[[1e4, 1e4, -1e4]]]], "float32"))
    assert array(target.one_vs_rest_logits()).ravel() == pytest.approx(
        [0, 0, -2e4 - np.log(2)], abs=0.01
    )


@pytest.mark.parametrize("multi_label", [False, True])
def test_probabilities_of_0_and_1_have_finite_logits(multi_label):
    probabilities = np.array([[[[0.0, 1.0], [1.0, 0.0]]]], "float32")
    target = Target([[[0, 0]]], probabilities, from_logits=False, multi_label=multi_label)
    assert np.isfinite(array(target.logits)).all()
    assert array(target.probabilities) == pytest.approx(probabilities, abs=2e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_half_precision_is_converted_to_float32(dtype):
    labels, logits = draw()
    target = Target(labels, ops.cast(logits, dtype))
    parts = (
        target.logits,
        target.valid,
        target.weight,
        target.probabilities,
        target.nll,
        target.dense,
    )
    assert {ops.dtype(part) for part in parts} == {"float32"}


def test_errors_name_the_owner():
    with pytest.raises(
        ValueError,
        match=r"my loss: y_true of shape \(2, 5\) does not fit y_pred of shape \(2, 4, 3\)",
    ):
        Target(np.zeros((2, 5)), np.zeros((2, 4, 3)), owner="my loss")
    with pytest.raises(
        ValueError,
        match=r"my loss: sample_weight has shape \(3,\), expected one weight per image \(2,\)",
    ):
        Target(np.zeros((2, 4)), np.zeros((2, 4, 3)), np.ones(3), owner="my loss")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.Variable is TensorFlow's")
@pytest.mark.parametrize("multi_label", [False, True])
def test_variables_are_read_like_tensors(multi_label):
    import tensorflow as tf

    labels, logits = draw()
    weight = np.random.default_rng(1).random((2, 3, 4)).astype("float32")
    arguments = (labels, logits, weight)
    for cls in (CrossEntropy, Dice):  # the others read the same target
        loss = cls(multi_label=multi_label)
        expected = float(loss(*arguments))
        assert float(loss(*(tf.Variable(value) for value in arguments))) == expected
        assert float(loss(*(keras.Variable(value) for value in arguments))) == expected


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows every rank")
def test_an_unknown_rank_that_cannot_be_guessed_is_an_error():
    import tensorflow as tf

    labels, logits = draw()

    @tf.function(input_signature=[tf.TensorSpec(None)])
    def weighted(weight):
        return CrossEntropy()(labels, logits, weight)

    @tf.function(input_signature=[tf.TensorSpec(None)])
    def coarse(labels):
        return AtOutputSize(CrossEntropy())(labels, logits)

    for loss, name in ((weighted, "sample_weight"), (coarse, "y_true")):
        with pytest.raises(ValueError, match=f"the rank of {name} is unknown. Call its set_shape"):
            loss(np.ones(2, "float32"))
