"""At every second (fourth) position, a dilated copy gives what the strided network gives."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfseg.models.encoders.rebuild import dilated_copy, read_nodes


def network():
    """Strides 2 to 32, built like the networks of keras.applications; every kernel random."""
    image = x = keras.Input((None, None, 3), name="input")
    for stage in (1, 2, 3):
        x = layers.Conv2D(
            4, 3, strides=2, padding="same", activation="tanh", name=f"stage{stage}_conv"
        )(x)
    # stride 16: padded on all sides, then valid; 5 x 5 depthwise at stride 16
    x = layers.ZeroPadding2D(1, name="stage4_pad")(x)
    x = layers.Conv2D(5, 3, strides=2, activation="tanh", name="stage4_conv")(x)
    x = layers.DepthwiseConv2D(5, padding="same", name="stage4_depthwise")(x)
    # stride 32: padded at the bottom and right, then valid; a shortcut; separable and 1 x 1 at
    # stride 32
    y = layers.ZeroPadding2D(((0, 1), (0, 1)), name="stage5_pad")(x)
    y = layers.DepthwiseConv2D(3, strides=2, name="stage5_depthwise")(y)
    z = layers.SeparableConv2D(6, 3, padding="same", name="stage5_separable")(y)
    z = layers.Conv2D(5, 1, activation="tanh", name="stage5_narrow")(z)
    x = layers.Add()([y, z])
    return keras.Model(image, x)


FEATURE_LAYERS = tuple(f"stage{stage}_" for stage in (1, 2, 3, 4, 5))


def copy(source, output_stride, size=None):
    image = keras.Input((size, size, 3))
    features, pairs = dilated_copy(source, image, FEATURE_LAYERS, output_stride)
    for layer, twin in pairs:
        twin.set_weights(layer.get_weights())
    return keras.Model(image, features)


def run(model, images):
    return [ops.convert_to_numpy(x)[0] for x in model(images)]


@pytest.fixture
def source():
    keras.utils.set_random_seed(3)
    return network()


IMAGES = np.random.default_rng(0).uniform(-1, 1, (1, 640, 640, 3)).astype("float32")


def test_nothing_changes_at_stride_32(source):
    expected = keras.Model(
        source.input, [source.get_layer(f"stage{k}_conv").output for k in (1, 2, 3)]
    )
    *shallow, _, deepest = run(copy(source, 32), IMAGES)
    for ours, theirs in zip(shallow, run(expected, IMAGES), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(deepest, ops.convert_to_numpy(source(IMAGES))[0])


def test_output_stride_16_contains_the_coarse_features(source):
    *before, coarse = run(copy(source, 32), IMAGES)
    *after, fine = run(copy(source, 16), IMAGES)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert (coarse.shape, fine.shape) == ((20, 20, 5), (40, 40, 5))
    # stage 5 pads ((0, 1), (0, 1)): output i is centered on position 2 i + 1. Borders differ, since
    # they are padded differently.
    assert fine[1::2, 1::2][3:-3, 3:-3] == pytest.approx(coarse[3:-3, 3:-3], abs=1e-5)
    assert coarse.std() > 0.1
    assert np.abs(fine[0::2, 0::2][3:-3, 3:-3] - coarse[3:-3, 3:-3]).max() > 0.1


def test_output_stride_8_contains_the_coarse_features(source):
    *_, middle, coarse = run(copy(source, 32), IMAGES)
    *_, fine_middle, fine = run(copy(source, 8), IMAGES)
    assert fine_middle.shape == fine.shape == (80, 80, 5)
    # stage 4 pads 1 on all sides: output i is centered on 2 i, so that of stage 5 on 2 (2 i + 1)
    assert fine_middle[0::2, 0::2][3:-3, 3:-3] == pytest.approx(middle[3:-3, 3:-3], abs=1e-5)
    assert fine[2::4, 2::4][4:-4, 4:-4] == pytest.approx(coarse[4:-4, 4:-4], abs=1e-5)


def test_layers_are_named_by_stage_and_unnamed_ones_after_their_source(source):
    names = [node.name for node in read_nodes(source)]
    assert names[-1] == "stage5_narrow_add"
    assert [node.name for node in read_nodes(network())] == names
    ours = [layer.name for layer in copy(source, 8).layers[1:]]
    assert ours[0] == "encoder1_stage1_conv"
    assert ours[-1] == "encoder5_stage5_narrow_add"
    assert not any("pad" in name for name in ours)  # the padding of strided layers is left out


def test_a_nested_sequential_is_flattened():
    image = keras.Input((None, None, 3))
    inner = keras.Sequential([layers.Conv2D(2, 1, name="a"), layers.Conv2D(2, 2, 2, name="b")])
    source = keras.Model(image, layers.ReLU(name="c")(inner(image)) + 1.0)
    assert [node.name for node in read_nodes(source)] == ["a", "b", "c", "c_add"]
    target = keras.Input((None, None, 3))
    features, pairs = dilated_copy(source, target, ("c_add", None, None, None, None))
    assert features[0].shape == (None, None, None, 2)
    assert [layer.name for _, layer in pairs] == ["encoder1_a", "encoder1_b"]


def test_preprocessing_layers_are_left_out():
    image = keras.Input((None, None, 3))
    x = layers.Normalization(mean=5.0, variance=4.0)(layers.Rescaling(1 / 255)(image))
    source = keras.Model(image, layers.ReLU(name="only")(x))
    target = keras.Input((None, None, 3))
    features, _ = dilated_copy(source, target, ("only", None, None, None, None))
    pixels = np.full((1, 2, 2, 3), 7.0, "float32")
    assert np.array_equal(keras.Model(target, features[0])(pixels), pixels)
