import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_runs import small_detector
from keras import layers
from object_scenes import SIDE, Scenes

from conftest import draw_sample
from tfseg.data import Arrays, Augment, pipeline
from tfseg.losses import CrossEntropy
from tfseg.training import AugmentedDetector, AugmentedModel, augmented, compile_for

NAMES = ["ground", "disc", "band"]
AUGMENT = Augment(
    24,
    scale=(0.75, 1.5),
    rotate=[-20, 20],
    flip="both",
    crop="classes",
    brightness=0.2,
    noise=0.02,
    mosaic=0.3,
    probability={"noise": 0.5},
    fill=(1.0, 2.0, 3.0),
    normalization=([120.0, 110.0, 100.0], np.array([60.0, 50.0, 40.0])),
)
# Compiled only as a part of a compiled train step: compiling it alone takes longer than the tests.
AUGMENT.__dict__["_compiled"] = AUGMENT.kernel
SAMPLES = [draw_sample(index) for index in range(4)]
READER = Arrays(*zip(*SAMPLES, strict=True), NAMES)
IMAGES = np.stack([image for image, _ in SAMPLES])
MASKS = np.stack([mask for _, mask in SAMPLES])


def network(outputs="single"):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 50)(image)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(3, 3, padding="same", name="logits")(x)
    outputs = {"single": x, "named": {"mask": x}, "two": [x, x]}[outputs]
    return keras.Model(image, outputs, name="network")


def compiled(model, loss=None, jit_compile=False, **options):
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, loss or CrossEntropy(), jit_compile=jit_compile, **options)
    return model


def losses(model, batches, epochs):
    return model.fit(batches, epochs=epochs, verbose=0, shuffle=False).history["loss"]


def whole_images(first_step=0):
    return pipeline(READER, 2, shuffle=True, seed=5, first_step=first_step)


@pytest.fixture(scope="module")
def expected():
    """Losses of three epochs of two steps on the augmented batches of the pipeline."""
    return losses(compiled(network()), pipeline(READER, 2, AUGMENT, seed=5), epochs=3)


def test_training_matches_the_pipeline(expected):
    model = compiled(augmented(network(), AUGMENT, seed=5), jit_compile=True)
    assert losses(model, whole_images(), epochs=3) == pytest.approx(expected, rel=1e-3)
    assert len({round(loss, 3) for loss in expected}) == 3  # the batches differ


def test_the_seed_changes_the_augmentation(expected, eager):
    model = compiled(augmented(network(), AUGMENT, seed=6))
    assert losses(model, whole_images(), epochs=1)[0] != pytest.approx(expected[0], rel=1e-3)


def test_arrays_in_memory_can_be_trained_on(eager):
    model = compiled(augmented(network(), AUGMENT, seed=5))
    (loss,) = model.fit(IMAGES, MASKS, batch_size=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(loss)


def test_a_saved_model_continues_where_it_stopped(expected, tmp_path, eager):
    model = compiled(augmented(network(), AUGMENT, seed=5))
    losses(model, whole_images(), epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, AugmentedModel)
    assert loaded.augment == AUGMENT
    assert loaded.seed == 5
    image = IMAGES[:1].astype("float32")
    assert np.array_equal(loaded(image), model(image))
    assert loaded.optimizer.iterations == 2
    continued = losses(loaded, whole_images(first_step=2), epochs=2)
    assert continued == pytest.approx(expected[1:], rel=1e-3)


def test_models_that_are_not_compiled_keep_their_augmentation(tmp_path):
    model = augmented(network(), AUGMENT, seed=5)
    copy = AugmentedModel.from_config(model.get_config())
    assert (copy.augment, copy.seed) == (AUGMENT, 5)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").augment == AUGMENT


def test_layers_weights_and_predictions_are_those_of_the_model():
    original = network()
    model = augmented(original, AUGMENT)
    assert model.layers == original.layers
    assert all(a is b for a, b in zip(model.weights, original.weights, strict=True))
    image = IMAGES[:1].astype("float32")
    assert np.array_equal(model(image), original(image))
    assert np.array_equal(model(image, training=True), original(image, training=True))
    assert model.name == original.name
    assert model.output_shape == original.output_shape == (None, None, None, 3)
    # evaluation uses whole images, not augmented ones
    val = pipeline(READER, 2)
    score = compiled(model).evaluate(val, verbose=0)
    assert score == compiled(original).evaluate(val, verbose=0)


def test_the_step_advances_while_gradients_accumulate(without_xla):
    masks = []

    class Recorder(keras.losses.Loss):
        def call(self, y_true, y_pred):
            masks.append(np.array(y_true))
            return CrossEntropy()(y_true, y_pred)

    model = augmented(network(), Augment(32, flip="both"), seed=5)
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    model.compile(optimizer, Recorder(), run_eagerly=True)
    losses(model, pipeline(READER.subset([0]), 1, shuffle=True), epochs=4)  # one image in each step
    assert len(masks) == 4
    for number, mask in enumerate(masks):
        assert np.array_equal(mask[0], model.augment.sample(READER[0], 5, number)["mask"])
    assert not np.array_equal(masks[0], masks[1])


def test_the_step_of_a_loss_scale_optimizer(eager):
    model = augmented(network(), Augment(32), seed=5)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))
    model.compile(optimizer, CrossEntropy())
    losses(model, whole_images(), epochs=2)
    assert int(model._step(())) == 4


def test_one_weight_per_image(eager):
    model = augmented(network(), Augment(32, crop="center"))
    model.compile(keras.optimizers.SGD(0.0), CrossEntropy())  # keeps the model's weights
    both, first, second = (
        float(model.train_on_batch(IMAGES[:2], MASKS[:2], sample_weight=np.array(weights)))
        for weights in ([1.0, 1.0], [1.0, 0.0], [0.0, 1.0])
    )
    assert both == pytest.approx(first + second, rel=1e-4)
    assert min(first, second) > 0.01
    assert first != pytest.approx(second, rel=1e-3)


def test_one_weight_per_pixel_raises(eager):
    model = compiled(augmented(network(), Augment(32)))
    with pytest.raises(
        ValueError, match=r"augmented: sample_weight of shape \(.*48, 56\) would have to move with"
    ):
        model.fit(IMAGES, MASKS, sample_weight=np.ones(MASKS.shape), batch_size=2, verbose=0)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_colors_need_the_range_of_values(dtype, eager):
    images = IMAGES.astype(dtype)
    model = compiled(augmented(network(), Augment(24, brightness=0.1)))
    with pytest.raises(ValueError, match=f"Augment: brightness of {dtype} images .*value_range="):
        model.fit(images, MASKS, batch_size=2, verbose=0)
    model = compiled(augmented(network(), Augment(24, brightness=0.1, value_range=(0, 255))))
    loss = model.fit(images, MASKS, batch_size=4, shuffle=False, verbose=0).history["loss"]
    model = compiled(augmented(network(), Augment(24, brightness=0.1)))
    usual = model.fit(IMAGES, MASKS, batch_size=4, shuffle=False, verbose=0).history["loss"]
    assert loss == pytest.approx(usual)


def test_targets_can_be_named(expected, eager):
    model = compiled(augmented(network("named"), AUGMENT, seed=5), {"mask": CrossEntropy()})
    batches = whole_images().map(lambda image, mask: (image, {"mask": mask}))
    assert losses(model, batches, epochs=3) == pytest.approx(expected, rel=1e-3)


def test_models_can_have_several_outputs(expected, eager):
    model = augmented(network("two"), AUGMENT, seed=5)
    compiled(model, [CrossEntropy(), CrossEntropy()], loss_weights=[0.5, 0.5])
    batches = whole_images().map(lambda image, mask: (image, (mask, mask)))
    assert losses(model, batches, epochs=3) == pytest.approx(expected, rel=1e-3)


def test_the_step_augments_like_sample():
    labels = {
        "mask": MASKS,
        "boxes": np.tile(np.array([[[5, 5, 20, 20], [0, 0, 0, 0]]], "float32"), (4, 1, 1)),
        "classes": np.tile(np.array([[1, -1]], "int32"), (4, 1)),
    }
    options = {"scale": (0.75, 1.5), "rotate": 20, "flip": "both"}
    augment = Augment(24, crop="classes", **options)
    model = augmented(network(), augment, seed=5)

    @tf.function(jit_compile=True)
    def augment_batch():
        return model._augment_batch(IMAGES, labels, None, tf.constant(3))

    images, changed = augment_batch()
    augment.__dict__["_compiled"] = augment.kernel  # one sample is faster without XLA
    for i in range(4):
        sample = {"image": IMAGES[i], **{name: values[i] for name, values in labels.items()}}
        alone = augment.sample(sample, 5, 12 + i)
        assert np.mean(alone["mask"] == changed["mask"][i]) >= 0.999
        assert np.abs(alone["image"] - images[i]).max() < 1e-2
        assert alone["boxes"] == pytest.approx(changed["boxes"][i].numpy(), abs=1e-2)
        assert alone["classes"].tolist() == changed["classes"][i].numpy().tolist()


def detector_losses(model, batches):
    compile_for(model, "sgd", 1e-3, schedule="constant")
    model.run_eagerly = True
    history = model.fit(batches, epochs=1, verbose=0, shuffle=False).history
    return {name: loss for name, (loss,) in history.items()}


@pytest.mark.slow
def test_a_detector_trains_on_what_the_pipeline_yields():
    reader = Scenes(range(2), masks=False)
    augment = Augment(SIDE, scale=(0.8, 1.2), flip="horizontal")
    augment.__dict__["_compiled"] = augment.kernel
    found = []
    for is_augmented in (False, True):
        keras.utils.set_random_seed(0)
        model = small_detector(masks=False)
        if is_augmented:
            model = augmented(model, augment, seed=5)
        batches = pipeline(
            reader, 2, None if is_augmented else augment, seed=5, shuffle=True, max_objects=3
        )
        model.sampling_seed.state.assign([7, 8])
        found.append(detector_losses(model, batches))
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_an_augmented_detector_detects_the_same_and_is_saved(tmp_path, eager):
    original = small_detector(masks=False)
    model = augmented(original, Augment(SIDE, flip="horizontal"), seed=5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (type(loaded), loaded.augment, loaded.seed) == (AugmentedDetector, model.augment, 5)
    assert loaded.has_masks is False
    image = Scenes(range(1))[0]["image"][None]
    expected = original.predict_on_batch(image)
    for name, value in loaded.predict_on_batch(image).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)
