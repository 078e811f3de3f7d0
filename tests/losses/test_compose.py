import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import CompositeLoss, CrossEntropy, Dice


def draw():
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3)).astype("float32")


def test_losses_add_and_scale():
    labels, logits = draw()
    weights = np.array([0.3, 2.0])
    entropy, region = CrossEntropy(), Dice()
    a, b = float(entropy(labels, logits, weights)), float(region(labels, logits, weights))
    assert float((entropy + 0.5 * region)(labels, logits, weights)) == pytest.approx(a + 0.5 * b)
    assert float((2 * (entropy + region * 3) + region)(labels, logits, weights)) == pytest.approx(2 * a + 7 * b)


def test_a_sum_of_sums_is_flat():
    total = 2 * (CrossEntropy() + 0.5 * Dice()) + Dice(per_image=True)
    assert [type(loss) for loss in total.losses] == [CrossEntropy, Dice, Dice]
    assert total.weights == [2, 1, 1]


def test_a_keras_loss_may_be_a_part():
    labels, logits = draw()
    dense = np.eye(3, dtype="float32")[labels]
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True)
    total = Dice() + theirs
    assert float(total(dense, logits)) == pytest.approx(float(Dice()(dense, logits)) + float(theirs(dense, logits)))


def test_parts_tell_what_each_loss_adds():
    labels, logits = draw()
    total = CrossEntropy(name="entropy") + 0.5 * Dice(name="region") + Dice(name="region", per_image=True)
    parts = {name: float(value) for name, value in total.parts(labels, logits).items()}
    assert list(parts) == ["entropy", "region", "region_2"]
    assert parts["region"] == pytest.approx(0.5 * float(Dice()(labels, logits)))
    assert sum(parts.values()) == pytest.approx(float(total(labels, logits)))


def test_a_compiled_model_comes_back_with_its_loss(tmp_path):
    labels, images = draw()
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", CrossEntropy(class_weights=(1, 2, 3)) + 0.5 * Dice(smooth=0.1))
    value = model.evaluate(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == model.loss.get_config()
    assert again.evaluate(images, labels, verbose=0) == value


def test_only_losses_add():
    with pytest.raises(ValueError, match="can be added to a loss, not to 'dice' of type str"):
        CrossEntropy() + "dice"


@pytest.mark.parametrize(("losses", "weights"), [([Dice()], [1, 2]), ([], [])])
def test_a_sum_takes_one_weight_a_loss(losses, weights):
    with pytest.raises(ValueError, match="give one weight a loss"):
        CompositeLoss(losses, weights)


def test_python_sum_and_a_keras_loss_at_the_left_compose():
    labels, logits = [[[0, 1]]], [[[[2.0, 1.0], [0.0, 3.0]]]]
    ours, keras_loss = Dice(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = float(ours(labels, logits)) + float(CrossEntropy()(labels, logits))
    assert float(sum([Dice(), CrossEntropy()])(labels, logits)) == pytest.approx(expected)
    assert float((keras_loss + ours)(ops.array(labels), ops.array(logits))) == pytest.approx(expected)
