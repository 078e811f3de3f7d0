import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models.encoders import ReducedAttention, mit

# Parameters of a block of width C at reduction R:
#   two norms 4 C; query C^2 + C; key and value 2 C^2 + 2 C; projection C^2 + C;
#   R > 1: a convolution R^2 C^2 + C and a norm 2 C;
#   Mix-FFN: C > 4 C, 4 C^2 + 4 C; 3 x 3 depthwise 36 C + 4 C; 4 C > C, 4 C^2 + C.
#   Together 12 C^2 + 53 C, and R^2 C^2 + 3 C where R > 1.
# A stage also has its patch embedding k^2 a C + C, a norm of it 2 C, and a norm at the end 2 C.
#   MiT-B0, C = 32 64 160 256, R = 8 4 2 1, two blocks each:
#   32:  49 * 3 * 32 + 5 * 32 = 4,864;    2 * (12,288 + 1,696 + 65,536 + 96) = 159,232
#   64:  9 * 32 * 64 + 320 = 18,752;      2 * (49,152 + 3,392 + 65,536 + 192) = 236,544
#   160: 9 * 64 * 160 + 800 = 92,960;     2 * (307,200 + 8,480 + 102,400 + 480) = 837,120
#   256: 9 * 160 * 256 + 1,280 = 369,920; 2 * (786,432 + 13,568) = 1,600,000
#   together 3,319,392. The paper's table 6 gives 3.7 M with the classifier on top (256 * 1000 +
#   1000 more: 3.58 M).
COUNTS = {"mit_b0": 3_319_392, "mit_b1": 13_151_424, "mit_b2": 24_196_288}


@pytest.fixture(scope="module")
def network():
    """A MiT-B0. Tests must not change it."""
    return mit("mit_b0")


def by_formula(widths, depths):
    count, before = 0, 3
    for width, depth, reduction, kernel in zip(
        widths, depths, (8, 4, 2, 1), (7, 3, 3, 3), strict=True
    ):
        reduced = reduction**2 * width**2 + 3 * width if reduction > 1 else 0
        count += (
            kernel**2 * before * width + 5 * width + depth * (12 * width**2 + 53 * width + reduced)
        )
        before = width
    return count


def test_the_number_of_parameters_is_that_of_the_paper(network):
    assert by_formula((32, 64, 160, 256), (2, 2, 2, 2)) == COUNTS["mit_b0"]
    assert network.count_params() == COUNTS["mit_b0"]
    # `test_larger_sizes` counts those of the networks
    assert by_formula((64, 128, 320, 512), (2, 2, 2, 2)) == COUNTS["mit_b1"]
    assert by_formula((64, 128, 320, 512), (3, 4, 6, 3)) == COUNTS["mit_b2"]


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("reduction", [1, 2])
def test_attention_follows_the_formula(reduction):
    keras.utils.set_random_seed(4)
    layer = ReducedAttention(heads=2, reduction=reduction)
    x = np.random.default_rng(0).normal(size=(3, 4, 6, 8)).astype("float32")
    ours = ops.convert_to_numpy(layer(x))
    rng = np.random.default_rng(5)
    for variable in layer.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    ours = ops.convert_to_numpy(layer(x))
    weights = {
        variable.path.split("/", 1)[1]: ops.convert_to_numpy(variable) for variable in layer.weights
    }

    for image in range(3):
        read = x[image]
        if reduction == 2:  # each 2 x 2 patch times a matrix, then normalized
            patches = read.reshape(2, 2, 3, 2, 8).transpose(0, 2, 1, 3, 4).reshape(2, 3, 32)
            read = patches @ weights["reduce/kernel"].reshape(32, 8) + weights["reduce/bias"]
            read = (read - read.mean(-1, keepdims=True)) / np.sqrt(
                read.var(-1, keepdims=True) + 1e-5
            )
            read = read * weights["norm/gamma"] + weights["norm/beta"]
        query = x[image].reshape(24, 8) @ weights["query/kernel"] + weights["query/bias"]
        both = read.reshape(-1, 8) @ weights["key_value/kernel"] + weights["key_value/bias"]
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            key, value = both[:, :8][:, head], both[:, 8:][:, head]
            heads.append(softmax(query[:, head] @ key.T / 2) @ value)  # sqrt(4)
        expected = np.concatenate(heads, -1) @ weights["project/kernel"] + weights["project/bias"]
        assert ours[image] == pytest.approx(expected.reshape(4, 6, 8), abs=1e-4)


def test_attention_is_restored_from_a_keras_file(tmp_path):
    image = keras.Input((4, 6, 8))
    model = keras.Model(image, ReducedAttention(heads=2, reduction=2)(image))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 8)).astype("float32")
    assert np.array_equal(ops.convert_to_numpy(again(x)), ops.convert_to_numpy(model(x)))


def test_a_branch_is_dropped_for_a_whole_image_and_only_in_training(network):
    drops = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    # blocks 1 to 7 of 0 to 7 have two branches each, with rate 0.1 * block / 7
    assert [round(70 * layer.rate, 6) for layer in drops] == [
        n for block in range(1, 8) for n in (block, block)
    ]
    assert {layer.noise_shape for layer in drops} == {(None, 1, 1, 1)}
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    first, second = network(images, training=False), network(images, training=False)
    assert np.array_equal(ops.convert_to_numpy(first), ops.convert_to_numpy(second))


def test_static_and_dynamic_sizes_agree(network):
    image = keras.Input((64, 96, 3))
    static = keras.Model(image, network(image))
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    assert static.output.shape == (None, 2, 3, 256)
    assert np.array_equal(
        ops.convert_to_numpy(static(images)), ops.convert_to_numpy(network(images))
    )


def test_own_weights_are_restored(network, tmp_path):
    network.save_weights(tmp_path / "own.weights.h5")
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    again = mit("mit_b0", tmp_path / "own.weights.h5")
    assert np.array_equal(
        ops.convert_to_numpy(again(images)), ops.convert_to_numpy(network(images))
    )
