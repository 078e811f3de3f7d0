import keras
import numpy as np
import pytest
from conftest import draw_sample

from tfseg.data import Augment
from tfseg.losses import CompositeLoss, CrossEntropy
from tfseg.metrics import ConfusionMetrics
from tfseg.models import cnn_classifier, unet
from tfseg.training import Run, augmented, compile_for, find_learning_rate, rate_finder
from tfseg.viz import rate_search


def batches(size=4):
    import tensorflow as tf

    images, masks = (
        np.stack(part) for part in zip(*(draw_sample(i, 32, 32) for i in range(8)), strict=True)
    )
    return tf.data.Dataset.from_tensor_slices((images, masks)).batch(size)


def model():
    keras.utils.set_random_seed(0)
    return unet(3, filters=(4, 8))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "poly"])
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
    assert (net.optimizer.global_clipnorm, net.optimizer.momentum, net.optimizer.nesterov) == (
        1.0,
        0.9,
        True,
    )
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


def test_what_is_measured_and_kept_are_the_averaged_weights(tmp_path):
    raw = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raw.append([variable.numpy() for variable in self.model.trainable_variables])

    net, run = model(), Run(tmp_path)
    run.create({})
    compile_for(net, "adam", steps=10, average=0.5)
    logs = net.fit(
        batches(),
        validation_data=batches(),
        epochs=2,
        verbose=0,
        callbacks=[Note(), *run.callbacks()],
    ).history
    # the first mean is the first value; an epoch has two steps
    means = [raw[0]]
    for values in raw[1:]:
        means.append(
            [0.5 * mean + 0.5 * value for mean, value in zip(means[-1], values, strict=True)]
        )
    best = int(np.argmax(logs["val_mean_iou"]))
    kept = run.model()
    for variable, mean in zip(kept.trainable_variables, means[2 * best + 1], strict=True):
        assert variable.numpy() == pytest.approx(mean, abs=1e-5)
    kept.compile(loss=CrossEntropy(), metrics=[ConfusionMetrics(3)])
    found = kept.evaluate(batches(), verbose=0, return_dict=True)
    assert found["mean_iou"] == pytest.approx(logs["val_mean_iou"][best], abs=1e-6)
    for variable, mean in zip(
        net.trainable_variables, means[-1], strict=True
    ):  # Keras', when `fit` has ended
        assert variable.numpy() == pytest.approx(mean, abs=1e-5)
    again = model()  # training goes on with the weights themselves
    compile_for(again, "adam", steps=10, average=0.5)
    assert run.restore(again) == 2
    for variable, value in zip(again.trainable_variables, raw[-1], strict=True):
        assert variable.numpy() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("classes", "names"), [(1, {"accuracy"}), (4, {"accuracy"}), (6, {"accuracy", "top5_accuracy"})]
)
def test_classifiers_have_their_own_loss_and_metrics(classes, names, tmp_path):
    keras.utils.set_random_seed(0)
    labels = np.arange(48) % max(classes, 2)
    images = (
        labels[:, None, None, None] * 30 + np.random.default_rng(0).uniform(0, 20, (48, 16, 16, 1))
    ).astype("uint8")
    net, run = cnn_classifier(classes, (None, None, 1), (8, 16), dropout=0.0), Run(tmp_path)
    run.create({})
    compile_for(net, "adam", 1e-2, steps=90, jit_compile=classes == 1)  # XLA takes long to compile
    net.fit(
        *(images, labels),
        validation_data=(images, labels),
        epochs=15,
        batch_size=8,
        verbose=0,
        callbacks=run.callbacks(monitor="val_accuracy"),
    )
    figures = run.model().evaluate(images, labels, verbose=0, return_dict=True)
    assert figures.keys() == {"loss"} | names
    assert figures["accuracy"] > 0.9
    with pytest.raises(
        ValueError, match=r"came with the classifier 'cnn_classifier'. Pass them to `fit`"
    ):
        compile_for(net, class_weights=[1, 2])


def test_a_single_logit_above_zero_is_the_class():
    image = keras.Input((2, 2, 1))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    net = keras.Model(image, keras.layers.Dense(1, kernel_initializer="ones")(mean))
    compile_for(net)
    images = np.array([0.25, -0.25])[:, None, None, None] * np.ones((2, 2, 2, 1))
    assert net.evaluate(images, np.array([1, 0]), verbose=0, return_dict=True)["accuracy"] == 1


def test_deep_supervision_is_compiled_and_augmented_and_kept(tmp_path):
    keras.utils.set_random_seed(0)
    net, run = (
        augmented(unet(3, filters=(4, 8, 16), deep_supervision=True), Augment(32, flip="both")),
        Run(tmp_path),
    )
    run.create({})
    compile_for(net, "adam", 1e-2, steps=40)
    outputs = len(net.outputs)
    data = batches().map(lambda image, mask: (image, (mask,) * outputs))
    logs = net.fit(
        data, validation_data=data, epochs=8, verbose=0, callbacks=run.callbacks(), shuffle=False
    ).history
    assert logs["loss"][-1] < 0.95 * logs["loss"][0]
    weights = [loss.weights[0] for loss in net.loss]
    assert weights == pytest.approx([2 / 3, 1 / 3])
    assert run.model().output_names == net.output_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"warmup": 1.0}, "warmup=1.0 must be at least 0 and below 1"),
        ({"steps": 0}, "steps=0 must be a whole number"),
        ({"average": 1.5}, "average=1.5 must be at least 0 and below 1"),
        ({"learning_rate": 0}, "learning_rate=0 must be"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0 must be"),
        ({"accumulate": 0}, "accumulate=0 must be a whole number"),
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


def test_a_search_under_half_precision_leaves_the_states_of_random_layers_alone():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        net = unet(3, filters=(4, 8), dropout=0.5)
        compile_for(net, "adam", steps=10)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert isinstance(net.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(rate_finder._like(net.optimizer, 0.1), keras.optimizers.LossScaleOptimizer)
    states = [variable.numpy() for variable in net.non_trainable_variables]
    optimizer = net.optimizer
    find_learning_rate(net, batches(), low=1e-5, high=1e-2, steps=6)
    assert net.optimizer is optimizer
    assert all(
        np.array_equal(a, v.numpy())
        for a, v in zip(states, net.non_trainable_variables, strict=True)
    )
    net.fit(batches(), verbose=0)  # and it trains


def test_a_search_without_a_finite_loss_is_an_error():
    net = model()
    net.compile("sgd", loss=lambda y, x: keras.ops.mean(x) * float("nan"))
    with pytest.raises(
        ValueError, match=r"not finite, or grows fourfold, from a rate of 0.1 on. Choose a lower"
    ):
        find_learning_rate(net, batches(), low=0.1)
    with pytest.raises(ValueError, match="steps=2 must be a finite number of at least 3"):
        find_learning_rate(net, batches(), steps=2)
    with pytest.raises(ValueError, match="low=1 and high=0.1 must be above 0, the first the lower"):
        find_learning_rate(net, batches(), low=1, high=0.1)
