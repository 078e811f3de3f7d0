import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_runs import small_detector

from conftest import draw_sample
from tfseg.data import Augment
from tfseg.losses import CompositeLoss, CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import cnn_classifier, tiny_unet, unet
from tfseg.training import Run, augmented, compile_for
from tfseg.training.presets import _classification


def batches(size=4, side=16):
    images, masks = zip(*(draw_sample(i, 32, 32) for i in range(8)), strict=True)
    images = np.stack([image[-side:, -side:] for image in images])
    masks = np.stack([mask[-side:, -side:] for mask in masks])
    return tf.data.Dataset.from_tensor_slices((images, masks)).batch(size)


def network():
    keras.utils.set_random_seed(0)
    return tiny_unet(3, filters=4, normalization=(110, 60))


# every optimizer and every schedule; they do not depend on each other
@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("adam", "cosine"), ("adamw", "one_cycle"), ("sgd", "poly")]
)
def test_every_preset_learns(optimizer, schedule):
    model = network()
    rate = 0.02 if optimizer == "sgd" else 0.01
    compile_for(model, optimizer, rate, steps=24, schedule=schedule)
    losses = model.fit(batches(), epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.85 * losses[0]


def test_the_presets_are_what_they_are_called():
    model = network()
    compile_for(model, "sgd", steps=100, schedule="poly", class_weights=[1, 2, 3], clip_norm=1.0)
    assert isinstance(model.loss, CompositeLoss)
    assert model.loss.losses[0].class_weights == [1, 2, 3]
    optimizer = model.optimizer
    assert (optimizer.global_clipnorm, optimizer.momentum, optimizer.nesterov) == (1.0, 0.9, True)
    assert optimizer._learning_rate.peak == 5e-2
    assert optimizer._learning_rate.warmup == 5
    loss = Dice(smooth=2.0)
    compile_for(model, steps=100, loss=loss)
    assert model.loss is loss
    assert model.optimizer._learning_rate.peak == 1e-3
    compile_for(model, schedule="constant")  # has no end, so it needs no steps
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)


def test_weight_decay_leaves_biases_and_norms_alone_also_in_a_loaded_model(tmp_path):
    model = unet(3, filters=(4, 8))
    compile_for(model, "adamw", learning_rate=1e-3, schedule="constant")
    model.save(tmp_path / "model.keras")
    for trained in (model, keras.saving.load_model(tmp_path / "model.keras")):
        optimizer, variables = trained.optimizer, trained.trainable_variables
        optimizer.build(variables)
        assert {v.name for v in variables} == {"kernel", "bias", "beta", "gamma"}
        assert {v.name for v in variables if optimizer._use_weight_decay(v)} == {"kernel"}


def test_a_schedule_spans_all_batches_while_gradients_accumulate():
    compile_for(model := network(), "sgd", 0.5, steps=20, accumulate=2, schedule="poly", warmup=0)
    rates = []
    variables = model.trainable_variables
    for _ in range(20):
        rates.append(float(model.optimizer.learning_rate))
        model.optimizer.apply([np.zeros(v.shape, np.float32) for v in variables], variables)
    # half of the peak's decay after half of the batches: (1 - 9/19)**0.9
    assert rates[10] == pytest.approx(0.5 * (10 / 19) ** 0.9)
    assert rates[19] == pytest.approx(0.5 * (1 / 19) ** 0.9)


def test_accumulated_gradients_update_every_other_step(eager):
    model = network()
    compile_for(model, "adam", steps=20, accumulate=2, schedule="poly", warmup=0.1)
    before = model.get_weights()
    kernels = [i for i, variable in enumerate(model.weights) if variable.name == "kernel"]
    model.train_on_batch(*next(iter(batches())))
    assert all(np.array_equal(model.get_weights()[i], before[i]) for i in kernels)
    model.train_on_batch(*next(iter(batches())))
    assert not any(np.array_equal(model.get_weights()[i], before[i]) for i in kernels)


def test_averaged_weights_are_measured_and_kept(tmp_path, eager):
    raw = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raw.append([variable.numpy() for variable in self.model.trainable_variables])

    model, run = network(), Run(tmp_path)
    compile_for(model, "adam", steps=10, average=0.5)
    logs = model.fit(
        batches(),
        validation_data=batches(),
        epochs=2,
        verbose=0,
        callbacks=[Note(), *run.callbacks()],
    ).history
    # the first mean is the first value; an epoch has two steps
    means = [raw[0]]
    for step, values in enumerate(raw[1:], start=1):
        momentum = min(0.5, (1 + step) / (10 + step))
        means.append(
            [
                momentum * mean + (1 - momentum) * value
                for mean, value in zip(means[-1], values, strict=True)
            ]
        )
    best = int(np.argmax(logs["val_mean_iou"]))
    kept = run.model()
    for variable, mean in zip(kept.trainable_variables, means[2 * best + 1], strict=True):
        assert variable.numpy() == pytest.approx(mean, abs=1e-5)
    kept.compile(loss=CrossEntropy(), metrics=[ConfusionMetrics(3)])
    found = kept.evaluate(batches(), verbose=0, return_dict=True)
    assert found["mean_iou"] == pytest.approx(logs["val_mean_iou"][best], abs=1e-6)
    # those of Keras, when `fit` has ended
    for variable, mean in zip(model.trainable_variables, means[-1], strict=True):
        assert variable.numpy() == pytest.approx(mean, abs=1e-5)
    again = network()  # training continues with the weights themselves
    compile_for(again, "adam", steps=10, average=0.5)
    assert run.restore(again) == 2
    for variable, value in zip(again.trainable_variables, raw[-1], strict=True):
        assert variable.numpy() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("classes", "metrics"),
    [
        (1, ["accuracy"]),
        (5, ["accuracy"]),  # top-5 accuracy would always be 1
        (6, ["accuracy", "top5_accuracy"]),
    ],
)
def test_metrics_of_classifiers(classes, metrics):
    found = _classification(cnn_classifier(classes, (8, 8, 1), (4,)))["metrics"]
    assert [metric.name for metric in found] == metrics


@pytest.mark.slow
def test_a_classifier_learns_and_its_run_selects_by_accuracy(tmp_path):
    keras.utils.set_random_seed(0)
    labels = np.arange(48) % 6
    noise = np.random.default_rng(0).uniform(0, 20, (48, 8, 8, 1))
    images = (labels[:, None, None, None] * 30 + noise).astype("uint8")
    model, run = cnn_classifier(6, (None, None, 1), (8,), dropout=0.0), Run(tmp_path)
    compile_for(model, "adam", 3e-2, steps=120, jit_compile=False)
    model.fit(
        *(images, labels),
        validation_data=(images, labels),
        epochs=20,
        batch_size=8,
        verbose=0,
        callbacks=run.callbacks(monitor="val_accuracy"),
    )
    scores = run.model().evaluate(images, labels, verbose=0, return_dict=True)
    assert scores.keys() == {"loss", "accuracy", "top5_accuracy"}
    assert scores["accuracy"] > 0.9
    with pytest.raises(ValueError, match=r"the classifier 'cnn_classifier'. Pass them to `fit`"):
        compile_for(model, steps=10, class_weights=[1, 2])
    with pytest.raises(ValueError, match=r"loss=.* is not supported for the classifier"):
        compile_for(model, steps=10, loss=Dice())


def test_a_classifier_with_one_logit_predicts_its_class_above_zero():
    image = keras.Input((2, 2, 1))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(1, kernel_initializer="ones")(mean))
    compile_for(model, steps=10)
    images = np.array([0.25, -0.25])[:, None, None, None] * np.ones((2, 2, 2, 1))
    scores = model.evaluate(images, np.array([1, 0]), verbose=0, return_dict=True)
    assert scores["accuracy"] == 1


@pytest.mark.slow
def test_deep_supervision_is_compiled_augmented_and_kept(tmp_path):
    keras.utils.set_random_seed(0)
    network = unet(3, filters=(4, 6, 8), deep_supervision=True, normalization=(110, 60))
    model, run = augmented(network, Augment(16, flip="both")), Run(tmp_path)
    compile_for(model, "adam", 1e-2, steps=20, jit_compile=False)
    outputs = len(model.outputs)
    data = batches().map(lambda image, mask: (image, (mask,) * outputs))
    options = {"verbose": 0, "callbacks": run.callbacks(), "shuffle": False}
    logs = model.fit(data, validation_data=data, epochs=8, **options).history
    assert logs["loss"][-1] < 0.95 * logs["loss"][0]
    weights = [loss.weights[0] for loss in model.loss]
    assert weights == pytest.approx([2 / 3, 1 / 3])
    assert run.model().output_names == model.output_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"warmup": 1.0}, "warmup=1.0 must be at least 0 and below 1"),
        ({"steps": 0}, "steps=0 must be a whole number"),
        ({"steps": None}, r"steps=None, but schedule='cosine' ends after .* steps=epochs [*] len"),
        ({"average": 1.5}, "average=1.5 must be at least 0 and below 1"),
        ({"learning_rate": 0}, "learning_rate=0 must be"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0 must be"),
        ({"accumulate": 0}, "accumulate=0 must be a whole number"),
        ({"loss": Dice(), "class_weights": [1, 2, 3]}, "class_weights=.* have no effect with loss"),
    ],
)
def test_unknown_presets_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        compile_for(network(), **{"steps": 10, **options})


class Around(keras.Model):
    """A subclass of `keras.Model` around a network, whose outputs Keras does not know."""

    def __init__(self):
        super().__init__()
        self.network = keras.layers.Conv2D(2, 1)

    def call(self, image):
        return self.network(image)


def test_models_around_a_network_are_compiled_or_refused(eager):
    flip = keras.layers.RandomFlip("horizontal")
    model = keras.Sequential([keras.Input((None, None, 3)), flip, network()])
    compile_for(model, "adam", 1e-2, steps=4, jit_compile=False)
    assert set(model.fit(batches(), verbose=0).history) >= {"loss", "mean_iou"}
    wrapped = augmented(model, Augment(16, flip="both"))
    assert [variable.shape for variable in wrapped.weights] == [v.shape for v in model.weights]
    compile_for(wrapped, steps=4, jit_compile=False)
    wrapped.train_on_batch(*next(iter(batches())))
    message = r"are unknown. Pass a functional model, such as keras.Model\(image, model\(image\)\)"
    for wrong in (Around(), keras.Sequential([keras.layers.Conv2D(2, 1)])):
        with pytest.raises(ValueError, match=message):
            compile_for(wrong, steps=4)
        with pytest.raises(ValueError, match=f"augmented: .*{message}"):
            augmented(wrong, Augment(16))
    functional = keras.Model(image := keras.Input((16, 16, 3)), Around()(image))
    compile_for(functional, steps=4)


def test_a_detector_keeps_its_own_losses():
    model = small_detector(masks=False)
    compile_for(model, "sgd", 0.1, schedule="constant", clip_norm=2.0)
    assert model.loss is None
    assert (model.optimizer.momentum, model.optimizer.global_clipnorm) == (0.9, 2.0)
    for name, value in (("class_weights", [1, 2]), ("loss", Dice())):
        with pytest.raises(ValueError, match=f"{name}=.* not supported for the model 'faster_"):
            compile_for(model, schedule="constant", **{name: value})
