"""What `tfseg.models.instances` guarantees, over networks and heads."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.losses import (
    CenterHeatmap,
    CenterOffset,
    CrossEntropy,
    ObjectProbability,
    StarDistance,
)
from tfseg.models import (
    MODELS,
    InstanceSettings,
    describe,
    instance_settings,
    instances,
    is_instance_model,
    split_standardize,
    unet,
)

pytestmark = pytest.mark.usefixtures("plain_encoders")

PLAIN = {"encoder": "plain"}
# The smallest network of each name.
SMALL = {
    "unet": {"filters": (2, 4, 8)},
    "unetpp": PLAIN | {"filters": (2, 4, 6, 8)},
    "linknet": PLAIN | {"width": 8},
    "fpn": PLAIN | {"pyramid_width": 8, "width": 8},
    "pspnet": PLAIN | {"width": 8},
    "deeplab_v3": PLAIN | {"width": 8},
    "deeplab_v3_plus": PLAIN | {"width": 8, "low_width": 4},
    "lraspp": PLAIN | {"width": 8},
    "upernet": PLAIN | {"width": 8},
    "segformer": PLAIN | {"width": 8},
    "tiny_unet": {"filters": 4},
}
# The heads sit on features at strides 1, 2 and 4, and behind dropout; the others repeat these.
QUICK = ("unet", "tiny_unet", "fpn", "segformer")
JAX = keras.backend.backend() == "jax"
SIZES = [(1, 1), (17, 30)]
if JAX:  # compiles each operation of a network by itself, for every size
    SMALL, SIZES = {"unet": SMALL["unet"]}, [(9, 14)]
NETWORKS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
STAR = {"head": "star", "rays": 5}
CENTER = {"head": "center"}
CENTER_THRESHOLDS = {"object_threshold": 0.1, "nms_overlap": None}
LOSSES = {
    "star": {
        "object_logits": ObjectProbability(),
        "distances": 0.2 * StarDistance(),
        "class_logits": CrossEntropy(),
    },
    "center": {
        "class_logits": CrossEntropy(),
        "center_logits": 200 * CenterHeatmap(),
        "offsets": 0.01 * CenterOffset(),
    },
}


@functools.cache
def built(network, num_classes=3, head_width=4, **options):
    """A small model with the same random weights in every run. Tests must not change it."""
    keras.utils.set_random_seed(1)
    options = SMALL[network] | options
    return instances(num_classes, network=network, head_width=head_width, **options)


@pytest.fixture(scope="module", autouse=True)
def _forget_models():
    yield
    built.cache_clear()


def draw(height=9, width=14, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)


def outputs_of(model, images):
    outputs = model(images, training=False)
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


def shapes(outputs):
    return {name: value.shape for name, value in outputs.items()}


@pytest.mark.skipif(JAX, reason="one network is tested")
def test_every_network_is_tested():
    assert MODELS.keys() == SMALL.keys()


@pytest.mark.parametrize("network", NETWORKS)
class TestNetwork:
    def test_the_star_head_predicts_samples_of_a_grid(self, network):
        for height, width in SIZES:
            outputs = outputs_of(built(network, **STAR), draw(height, width, 1))
            size = (1, -(-height // 2), -(-width // 2))
            assert shapes(outputs) == {
                "object_logits": (*size, 1),
                "distances": (*size, 5),
                "class_logits": (*size, 3),
            }
            assert (outputs["distances"] > 0).all()

    def test_the_center_head_predicts_every_pixel(self, network):
        for height, width in SIZES:
            outputs = outputs_of(built(network, **CENTER), draw(height, width, 1))
            size = (1, height, width)
            assert shapes(outputs) == {
                "class_logits": (*size, 4),
                "center_logits": (*size, 1),
                "offsets": (*size, 2),
            }

    def test_keras_files_are_restored(self, network, tmp_path):
        # each network with one head
        head = CENTER if network in ("fpn", "tiny_unet") else STAR
        model, images = built(network, **head), draw()
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        outputs, expected = outputs_of(again, images), outputs_of(model, images)
        assert outputs.keys() == expected.keys()
        for name, value in expected.items():
            assert value.dtype == np.float32
            assert np.isfinite(value).all()
            assert value.std() > 0
            assert np.array_equal(outputs[name], value)
        assert instance_settings(again) == instance_settings(model)
        assert is_instance_model(again)

    def test_the_weights_are_those_of_the_network_without_its_segmentation_head(self, network):
        """Nothing is left of the layer "classes" or of what the head does not need."""
        options = SMALL[network]
        complete = MODELS[network](3, **options)
        own = {weight.path for weight in complete.weights if "classes" not in weight.path}
        # The star head of a U-Net does not need its last level; other networks are not built again.
        head = {"grid": 1} if network == "unet" else {}
        found = {weight.path for weight in built(network, **STAR, **head).weights}
        assert own < found
        added = {path.partition("/")[0] for path in found - own}
        assert added == {"head_conv", "head_bn", "object", "rays", "classes"}


@pytest.mark.skipif(JAX, reason="JAX compiles once per size")
# The other tests have a grid of 2. `tiny_unet` has features at strides 1 and 2, `fpn` only at 4.
@pytest.mark.parametrize(
    ("network", "grid"), [("unet", 1), ("unet", 4), ("tiny_unet", 4), ("fpn", 1)]
)
def test_grids(network, grid):
    model = built(network, grid=grid, **STAR)
    assert instance_settings(model) == InstanceSettings("star", 3, grid, 5)
    outputs = outputs_of(model, draw(11, 18))
    assert outputs["distances"].shape == (2, -(-11 // grid), -(-18 // grid), 5)


def test_a_unet_has_no_levels_finer_than_the_grid():
    coarse, fine = (built("unet", grid=grid, **STAR) for grid in (2, 1))
    assert not any(layer.name == "merge0_conv1" for layer in coarse.layers)
    assert any(layer.name == "merge0_conv1" for layer in fine.layers)
    assert describe(coarse).gflops < 0.75 * describe(fine).gflops


def test_features_are_those_of_the_network():
    keras.utils.set_random_seed(1)
    network = unet(3, filters=(2, 4, 8))
    keras.utils.set_random_seed(1)
    model = instances(filters=(2, 4, 8), grid=1, rays=5)
    for mine in (x for x in network.layers if x.weights and x.name != "classes"):
        model.get_layer(mine.name).set_weights(mine.get_weights())
    for layer in (network, model):
        layer.features = keras.Model(layer.input, layer.get_layer("merge0_relu2").output)
    images = draw()
    expected = ops.convert_to_numpy(network.features(images))
    assert np.array_equal(ops.convert_to_numpy(model.features(images)), expected)


def test_settings_are_read_from_the_layers():
    assert instance_settings(built("unet", 1, **STAR)) == InstanceSettings("star", 1, 2, 5)
    center = instance_settings(built("unet", 2, **CENTER))
    assert center == InstanceSettings("center", 2, thing_ids=(1, 2), **CENTER_THRESHOLDS)
    stuff = instances(4, thing_ids=np.array([3, 1]), filters=(2, 4), **CENTER)
    assert instance_settings(stuff) == InstanceSettings(
        "center", 2, thing_ids=(3, 1), **CENTER_THRESHOLDS
    )
    assert stuff.output["class_logits"].shape[-1] == 4
    other = MODELS["tiny_unet"](2, filters=4)
    assert not is_instance_model(other)
    with pytest.raises(ValueError, match="instance_settings: the model 'tiny_unet' has no head"):
        instance_settings(other)


def test_a_single_category_has_no_class_logits():
    assert built("unet", 1, **STAR).output.keys() == {"object_logits", "distances"}


@pytest.mark.parametrize(
    ("policy", "head"),
    [("mixed_float16", STAR), ("mixed_bfloat16", CENTER)],
    ids=["star", "center"],
)
def test_outputs_are_float32_under_mixed_precision(policy, head):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        model = instances(3, head_width=4, filters=(2, 4, 8), **head)
        outputs = outputs_of(model, draw())
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert model.get_layer("head_conv").compute_dtype == policy.removeprefix("mixed_")
    for name, expected in outputs_of(built("unet", **head), draw()).items():
        assert outputs[name].dtype == np.float32
        assert np.abs(outputs[name] - expected).max() < 0.05 * np.abs(expected).max() + 0.05


def test_the_first_predictions_are_plausible():
    """Probabilities near 0.1 and distances of a few pixels, whatever the image."""
    outputs = outputs_of(built("unet", **STAR), draw())
    assert 0.02 < (1 / (1 + np.exp(-outputs["object_logits"]))).mean() < 0.4
    assert 2 < outputs["distances"].mean() < 15


def disc(rays=5, grid=2):
    """An image of a bright disc of radius 9, and its targets."""
    y, x = np.mgrid[:32, :32] - 15.5
    inside = np.hypot(y, x) < 9
    image = np.where(inside[..., None], 200, 30).repeat(3, -1).astype("uint8")
    angles = 2 * np.pi * np.arange(rays) / rays
    along = y[..., None] * np.sin(angles) + x[..., None] * np.cos(angles)
    across = (y**2 + x**2)[..., None] - along**2
    distances = np.where(inside[..., None], np.sqrt(np.maximum(81 - across, 0)) - along, 0)
    probability = np.maximum(1 - np.hypot(y, x)[..., None] / 9, 0)
    star = {
        "object_logits": probability[::grid, ::grid],
        "distances": np.concatenate([distances, probability], -1)[::grid, ::grid],
    }
    center = {
        "class_logits": inside,
        "center_logits": np.exp(-(y**2 + x**2) / 32)[..., None],
        "offsets": np.stack([-y, -x, inside], -1),
    }
    targets = {"star": star, "center": center}
    for each in targets.values():
        for name, value in each.items():
            each[name] = value[None].astype("int32" if name == "class_logits" else "float32")
    return image[None], targets


@pytest.mark.parametrize("head", ["star", pytest.param("center", marks=pytest.mark.slow)])
def test_a_disc_is_learned(head):
    # tests/losses/test_instance_heads.py compiles all losses with XLA
    image, targets = disc()
    model = instances(1, head, filters=(4, 8), rays=5, head_width=8)
    losses = {name: LOSSES[head][name] for name in targets[head]}
    # Lion uses only the sign of the gradient, so one learning rate fits both
    model.compile(keras.optimizers.Lion(0.01), losses, jit_compile=JAX)
    history = model.fit(image, targets[head], epochs=50, verbose=0).history
    for name in ("loss", *(f"{name}_loss" for name in losses)):
        assert min(history[name]) < 0.7 * history[name][0], name


def test_the_normalization_of_each_image_can_be_split_off():
    model = instances(normalization="image", **SMALL["unet"] | STAR | {"head_width": 4})
    images = draw().astype("float32")
    parts = split_standardize(model)
    outputs = parts.rest(parts.standardize(images))
    for name, expected in outputs_of(model, images).items():
        assert ops.convert_to_numpy(outputs[name]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes=0 must be a whole number of at least 1"),
        ({"head": "stars"}, "head='stars' is unknown. .* Did you mean 'star'"),
        ({"network": "unets"}, "network='unets' is unknown. .* Did you mean 'unet'"),
        ({"grid": 3}, "grid=3 is unknown. Choose from 1, 2, 4"),
        ({"rays": 2}, "rays=2 must be at least 3"),
        ({"head_width": 0}, "head_width=0 must be a whole number of at least 1"),
        ({"filter": (4, 8)}, "unet: option='filter' is unknown. .* Did you mean 'filters'"),
        ({"deep_supervision": True}, "deep_supervision is for segmentation masks"),
        ({"thing_ids": [0]}, "must be different ids in .* for head='center'"),
        ({"thing_ids": [1, 1], "head": "center", "num_classes": 3}, "must be different ids"),
        ({"thing_ids": [3], "head": "center", "num_classes": 3}, r"different ids in \[0, 3\)"),
        ({"thing_ids": [], "head": "center"}, "must be different ids"),
    ],
)
def test_invalid_arguments_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        instances(**options)
