import keras
import numpy as np
import pytest
from conftest import draw_sample

from tfseg.losses import CompositeLoss
from tfseg.models import unet
from tfseg.training import compile_for, find_learning_rate
from tfseg.viz import rate_search


def batches(size=4):
    import tensorflow as tf

    images, masks = (np.stack(part) for part in zip(*(draw_sample(i, 32, 32) for i in range(8)), strict=True))
    return tf.data.Dataset.from_tensor_slices((images, masks)).batch(size)


def model():
    keras.utils.set_random_seed(0)
    return unet(3, filters=(4, 8))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_every_preset_learns(optimizer, schedule):
    net = model()
    compile_for(net, optimizer, steps=24, schedule=schedule)
    losses = net.fit(batches(), epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.85 * losses[0]


def test_the_presets_are_what_they_are_called():
    net = model()
    compile_for(net, "sgd", steps=100, schedule="poly", class_weights=[1, 2, 3], clip_norm=1.0)
    assert isinstance(net.loss, CompositeLoss)
    assert net.loss.losses[0].class_weights == [1, 2, 3]
    assert (net.optimizer.global_clipnorm, net.optimizer.momentum, net.optimizer.nesterov) == (1.0, 0.9, True)
    assert net.optimizer._learning_rate.peak == 5e-2
    assert net.optimizer._learning_rate.warmup == 5


def test_weight_decay_leaves_shifts_and_norms_alone():
    net = model()
    compile_for(net, "adamw", learning_rate=1e-3)
    net.optimizer.build(net.trainable_variables)
    decayed = {v.name for v in net.trainable_variables if net.optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}


def test_accumulated_gradients_change_the_weights_every_other_step_and_the_schedule_counts_the_changes():
    net = model()
    compile_for(net, "adam", steps=20, accumulate=2, schedule="poly", warmup=0.1)
    assert (net.optimizer._learning_rate.steps, net.optimizer._learning_rate.warmup) == (10, 1)
    before = net.get_weights()
    kernels = [i for i, v in enumerate(net.weights) if v.name == "kernel"]
    net.train_on_batch(*next(iter(batches())))
    assert all(np.array_equal(net.get_weights()[i], before[i]) for i in kernels)
    net.train_on_batch(*next(iter(batches())))
    assert not any(np.array_equal(net.get_weights()[i], before[i]) for i in kernels)


def test_averaged_weights_take_their_place_at_the_end():
    net = model()
    compile_for(net, "adam", steps=10, average=0.9)
    assert (net.optimizer.use_ema, net.optimizer.ema_momentum) == (True, 0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"warmup": 1.0}, "warmup=1.0 must be at least 0 and below 1"),
        ({"steps": 0}, "steps=0 must be a whole number"),
        ({"average": 1.5}, "average=1.5 must be at least 0 and below 1"),
    ],
)
def test_unknown_presets_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        compile_for(model(), **options)


def test_the_search_for_a_rate_finds_one_that_learns_and_leaves_no_trace():
    net = model()
    compile_for(net, "adam", steps=10)
    optimizer, weights = net.optimizer, net.get_weights()
    search = find_learning_rate(net, batches(), low=1e-5, high=10.0, steps=60)
    assert 1e-4 < search.best < 1
    assert len(search.rates) == len(search.losses) <= 60
    assert search.losses.min() < 0.8 * search.losses[0]
    assert net.optimizer is optimizer
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), weights, strict=True))
    assert int(net.optimizer.iterations) == 0
    net.fit(batches(), verbose=0)
    assert int(net.optimizer.iterations) == 2
    (axes,) = rate_search(search).axes
    assert axes.get_xscale() == "log"


def test_a_search_without_a_finite_loss_is_an_error():
    net = model()
    net.compile("sgd", loss=lambda y, x: keras.ops.mean(x) * float("nan"))
    with pytest.raises(ValueError, match=r"not finite from a rate of 0.1 on. Choose a lower `low`"):
        find_learning_rate(net, batches(), low=0.1)
    with pytest.raises(ValueError, match="low=1 and high=0.1 must be above 0, the first the lower"):
        find_learning_rate(net, batches(), low=1, high=0.1)
