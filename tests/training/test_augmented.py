import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_sample
from keras import layers

from tfseg.data import Arrays, Augment, pipeline
from tfseg.losses import CrossEntropy
from tfseg.training import AugmentedModel, augmented

NAMES = ["ground", "disc", "band"]
AUGMENT = Augment(
    32,
    scale=(0.6, 1.5),
    rotate=[-20, 20],
    flip="both",
    elastic=2,
    crop="classes",
    brightness=0.2,
    contrast=0.3,
    noise=0.02,
    mosaic=0.3,
    probability={"noise": 0.5},
    fill=(1.0, 2.0, 3.0),
    normalize=([120.0, 110.0, 100.0], np.array([60.0, 50.0, 40.0])),
)


def reader(count=4):
    return Arrays(*zip(*(draw_sample(i) for i in range(count)), strict=True), NAMES)


def network(named=False):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(
        layers.Rescaling(1 / 50)(image)
    )
    x = layers.Conv2D(3, 3, padding="same", name="logits")(x)
    return keras.Model(image, {"mask": x} if named else x, name="network")


def compiled(model, jit_compile=True, **options):
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9, **options), CrossEntropy(), jit_compile=jit_compile
    )
    return model


def losses(model, batches, epochs=2):
    return model.fit(batches, epochs=epochs, verbose=0, shuffle=False).history["loss"]


def whole(first_step=0):
    return pipeline(reader(), 2, shuffle=True, seed=5, first_step=first_step)


@pytest.fixture(scope="module")
def expected():
    """Losses of three epochs of two steps on what the pipeline augments."""
    return losses(compiled(network()), pipeline(reader(), 2, AUGMENT, seed=5), epochs=3)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_it_trains_on_what_the_pipeline_gives(expected, jit_compile):
    model = compiled(augmented(network(), AUGMENT, seed=5), jit_compile)
    assert losses(model, whole(), epochs=3) == pytest.approx(expected, rel=1e-3)
    assert len({round(loss, 3) for loss in expected}) == 3  # one batch is not like the next
    other = compiled(augmented(network(), AUGMENT, seed=6), jit_compile)
    assert losses(other, whole(), epochs=1)[0] != pytest.approx(expected[0], rel=1e-3)


def test_images_in_memory_may_be_trained_on():
    samples = [draw_sample(i) for i in range(4)]
    x, y = (np.stack(part) for part in zip(*samples, strict=True))
    model = compiled(augmented(network(), AUGMENT, seed=5), jit_compile=False)
    (loss,) = model.fit(x, y, batch_size=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(loss)


def test_a_saved_model_goes_on_where_it_stopped(expected, tmp_path):
    model = compiled(augmented(network(), AUGMENT, seed=5))
    losses(model, whole(), epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, AugmentedModel)
    assert loaded.augment == AUGMENT
    assert loaded.seed == 5
    image = reader()[0]["image"][None].astype("float32")
    assert np.array_equal(loaded(image), model(image))
    assert loaded.optimizer.iterations == 2
    assert losses(loaded, whole(first_step=2), epochs=2) == pytest.approx(expected[1:], rel=1e-3)


def test_models_without_compiling_and_copies_keep_it(tmp_path):
    model = augmented(network(), AUGMENT, seed=5)
    again = AugmentedModel.from_config(model.get_config())
    assert (again.augment, again.seed) == (AUGMENT, 5)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").augment == AUGMENT


def test_layers_weights_and_predictions_are_the_model_s_own():
    inner = network()
    model = augmented(inner, AUGMENT)
    assert model.layers == inner.layers
    assert all(a is b for a, b in zip(model.weights, inner.weights, strict=True))
    image = reader()[0]["image"][None].astype("float32")
    assert np.array_equal(model(image), inner(image))
    assert np.array_equal(model(image, training=True), inner(image, training=True))
    assert model.name == inner.name
    assert model.output_shape == inner.output_shape == (None, None, None, 3)
    # whole images, as they are
    first, second = (
        compiled(m, False).evaluate(pipeline(reader(), 2), verbose=0) for m in (model, inner)
    )
    assert first == second


def test_the_step_counts_while_gradients_accumulate():
    masks = []

    class Spy(keras.losses.Loss):
        def call(self, y_true, y_pred):
            masks.append(np.array(y_true))
            return CrossEntropy()(y_true, y_pred)

    model = augmented(network(), Augment(32, flip="both"), seed=5)
    model.compile(
        keras.optimizers.SGD(0.01, gradient_accumulation_steps=2), Spy(), run_eagerly=True
    )
    one = pipeline(reader(1), 1, shuffle=True)  # the same image in every step
    losses(model, one, epochs=4)
    assert len(masks) == 4
    theirs = [model.augment.sample(reader(1)[0], 5, number)["mask"] for number in range(4)]
    assert all(np.array_equal(mask[0], other) for mask, other in zip(masks, theirs, strict=True))
    assert not np.array_equal(masks[0], masks[1])


def test_a_scaled_loss_counts_the_same():
    model = augmented(network(), Augment(32), seed=5)
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01)), CrossEntropy())
    losses(model, whole(), epochs=2)
    assert int(model._step(())) == 4


def test_one_weight_an_image():
    x, y = (np.stack(part) for part in zip(*(draw_sample(i) for i in range(2)), strict=True))
    rows = []
    for weight in ([1.0, 1.0], [1.0, 0.0], [0.0, 1.0]):
        model = compiled(augmented(network(), Augment(32, flip="both"), seed=5), jit_compile=False)
        history = model.fit(
            x, y, sample_weight=np.array(weight), batch_size=2, shuffle=False, verbose=0
        ).history
        rows.append(history["loss"][0])
    assert rows[0] == pytest.approx(rows[1] + rows[2], rel=1e-4)
    assert min(rows[1:]) > 0.01


def test_a_weight_a_pixel_is_refused():
    x, y = (np.stack(part) for part in zip(*(draw_sample(i) for i in range(2)), strict=True))
    model = compiled(augmented(network(), Augment(32)))
    with pytest.raises(
        ValueError, match=r"augmented: sample_weight of shape \(.*48, 56\) would have to be moved"
    ):
        model.fit(x, y, sample_weight=np.ones(y.shape), batch_size=2, verbose=0)


def test_targets_may_be_named(expected):
    model = augmented(network(named=True), AUGMENT, seed=5)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), {"mask": CrossEntropy()}, jit_compile=True
    )
    named = whole().map(lambda image, mask: (image, {"mask": mask}))
    assert losses(model, named, epochs=3) == pytest.approx(expected, rel=1e-3)


def test_several_outputs_learn_from_one_change(expected):
    net = network()
    model = augmented(keras.Model(net.input, [net.output, net.output]), AUGMENT, seed=5)
    options = {
        "loss": [CrossEntropy(), CrossEntropy()],
        "loss_weights": [0.5, 0.5],
        "jit_compile": True,
    }
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), **options)
    twice = whole().map(lambda image, mask: (image, (mask, mask)))
    assert losses(model, twice, epochs=3) == pytest.approx(expected, rel=1e-3)


def test_the_step_gives_what_a_sample_alone_becomes():
    samples = [draw_sample(i) for i in range(4)]
    x, mask = (np.stack(part) for part in zip(*samples, strict=True))
    boxes = np.tile(np.array([[[5, 5, 20, 20], [0, 0, 0, 0]]], "float32"), (4, 1, 1))
    labels = {
        "mask": mask,
        "boxes": boxes,
        "classes": np.tile(np.array([[1, -1]], "int32"), (4, 1)),
    }
    augment = Augment(
        32, scale=(0.6, 1.5), rotate=20, flip="both", elastic=2, crop="classes", blur=1
    )
    model = augmented(network(), augment, seed=5)
    for jit_compile in (True, False):
        step = tf.function(
            lambda: model._changed(x, labels, None, tf.constant(3)), jit_compile=jit_compile
        )
        image, changed = step()
        for i in range(4):
            sample = {"image": x[i], **{name: values[i] for name, values in labels.items()}}
            alone = augment.sample(sample, 5, 12 + i)
            assert np.mean(alone["mask"] == changed["mask"][i]) >= 0.999
            assert np.abs(alone["image"] - image[i]).max() < 1e-2
            assert alone["boxes"] == pytest.approx(changed["boxes"][i].numpy(), abs=1e-2)
            assert alone["classes"].tolist() == changed["classes"][i].numpy().tolist()
