import keras
import numpy as np
import pytest
from keras import ops

from tfseg.ops import squared_distance

TENSORFLOW = keras.backend.backend() == "tensorflow"
F, T = False, True


def distance(mask, axes, spacing=None):
    return ops.convert_to_numpy(squared_distance(ops.convert_to_tensor(mask), axes, spacing))


def compiled(function):
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    import jax

    return jax.jit(function)


def slow(mask, spacing=None):
    """Return squared distances by all pairs of a pixel and a True pixel, in float64."""
    sizes = np.ones(mask.ndim) if spacing is None else np.array(spacing)
    sites = np.argwhere(mask) * sizes
    result = np.full(mask.shape, np.inf)
    for position in np.ndindex(mask.shape):
        if len(sites):
            result[position] = ((sites - position * sizes) ** 2).sum(1).min()
    return result


def draw(shape, density, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def test_squared_distances_of_two_pixels():
    # True pixels (0, 0) and (2, 3). Pixel (2, 1): 4 + 1 and 4. Pixel (0, 2): 4 and 4 + 1.
    mask = [[T, F, F, F, F], [F, F, F, F, F], [F, F, F, T, F]]
    assert distance(mask, (0, 1)).tolist() == [[0, 1, 4, 4, 5], [1, 2, 2, 1, 2], [4, 4, 1, 0, 1]]


def test_spacing_is_per_axis():
    # Rows are 2 apart, columns 0.5: 1, 2, 3 columns are 0.25, 1, 2.25; the next row adds 4.
    mask = [[T, F, F, F], [F, F, F, F]]
    expected = [[0, 0.25, 1, 2.25], [4, 4.25, 5, 6.25]]
    assert distance(mask, (0, 1), (2, 0.5)).tolist() == expected
    assert (
        distance(np.transpose(mask), (0, 1), np.array([0.5, 2])).tolist()
        == np.transpose(expected).tolist()
    )
    assert distance(mask, (1, 0), (0.5, 2)).tolist() == expected  # in the order of `axes`


@pytest.mark.parametrize("density", [0.01, 0.3])
@pytest.mark.parametrize("shape", [(23, 40), (9, 14, 11), (17,)])
@pytest.mark.parametrize("spaced", [False, True])
def test_random_masks_match_scipy(shape, density, spaced):
    scipy = pytest.importorskip("scipy.ndimage")
    mask = draw(shape, density)
    mask.flat[5] = True
    spacing = (0.7, 2.5, 1.3)[: len(shape)] if spaced else None
    expected = scipy.distance_transform_edt(~mask, sampling=spacing) ** 2
    result = distance(mask, range(len(shape)), spacing)
    assert result.dtype == "float32"
    if spaced:
        assert result == pytest.approx(expected, rel=1e-6)
    else:
        assert result.tolist() == expected.round().tolist()


def test_the_order_of_axes_does_not_matter():
    mask = draw((6, 7, 8), 0.02)
    expected = slow(mask)
    for axes in ((2, 0, 1), (-2, -1, -3)):
        assert distance(mask, axes).tolist() == expected.tolist()


def test_all_other_axes_are_a_batch():
    # a low density, so that some images contain no True pixel, and one full image
    mask = draw((4, 9, 8, 3), 0.02)
    mask[1, ..., 1], mask[2, ..., 0] = True, False
    result = distance(mask, (1, 2))
    for image, channel in np.ndindex(4, 3):
        assert result[image, ..., channel].tolist() == slow(mask[image, ..., channel]).tolist()
    assert np.isinf(result[2, ..., 0]).all()
    finite = ops.convert_to_numpy(squared_distance(mask, (1, 2), empty=7.0))
    assert np.array_equal(finite, np.where(np.isinf(result), 7, result))
    assert not result[1, ..., 1].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (1, 5, 1), (3, 1, 4), (2, 2)])
def test_axes_of_one_pixel(shape):
    for mask in (draw(shape, 0.4), np.zeros(shape, bool), np.ones(shape, bool)):
        assert distance(mask, range(len(shape))).tolist() == slow(mask).tolist()


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_distances_to_a_single_pixel_in_a_corner(corner):
    mask = np.zeros((19, 34), bool)
    mask[corner] = True
    result = distance(mask, (0, 1))
    assert result.tolist() == slow(mask).tolist()
    assert result.max() == 18**2 + 33**2


def test_distances_of_large_images_are_exact():
    mask = np.zeros((4096, 5), bool)
    mask[1, 2] = True
    y, x = np.indices(mask.shape)
    expected = ((y - 1) ** 2 + (x - 2) ** 2).astype("float32")
    result = compiled(lambda m: squared_distance(m, (0, 1)))(ops.convert_to_tensor(mask))
    assert ops.convert_to_numpy(result).tolist() == expected.tolist()


def test_spacing_of_large_images_is_exact():
    # pixels of size 0.1 far from the origin: 0.1 * 4000 - 0.1 * 3999 is 0.10001 in float32
    mask = np.zeros((2, 4001), bool)
    mask[0, 4000] = True
    assert distance(mask, (1, 0), (0.1, 0.3))[1, 3999] == pytest.approx(0.1**2 + 0.3**2, rel=1e-6)
    # pixels of 30 meters, 100 kilometers away
    assert distance(mask, (1, 0), (30, 30))[1, 500] == pytest.approx(30**2 + 105000**2, rel=1e-6)


def test_compiled_equals_eager():
    mask = draw((2, 20, 13, 3), 0.03)
    mask[1, ..., 2] = False
    eager = distance(mask, (1, 2), (1, 0.4))
    assert np.isinf(eager[1, ..., 2]).all()
    result = compiled(lambda m: squared_distance(m, (1, 2), (1, 0.4)))(ops.convert_to_tensor(mask))
    assert ops.convert_to_numpy(result) == pytest.approx(eager, rel=1e-6)


@pytest.mark.skipif(not TENSORFLOW, reason="only TensorFlow graphs have unknown sizes")
def test_a_graph_with_unknown_sizes():
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None, 2), tf.bool)]
    graph = tf.function(
        lambda m: squared_distance(m, (1, 2)), input_signature=signature, jit_compile=True
    )
    for shape in ((1, 9, 5, 2), (2, 1, 11, 2)):
        mask = draw(shape, 0.1)
        assert graph(mask).numpy().tolist() == distance(mask, (1, 2)).tolist()


@pytest.mark.skipif(not TENSORFLOW, reason="a GradientTape is TensorFlow's")
def test_gradient_of_a_loss_that_contains_distances():
    # The comparison has no gradient, and the loops must not block the gradient of the product.
    import tensorflow as tf

    logits = tf.Variable(np.random.default_rng(0).normal(size=(1, 6, 6, 1)), dtype="float32")

    @tf.function(jit_compile=True)
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(logits * squared_distance(logits > 0, (1, 2)))
        return tape.gradient(loss, logits)

    assert gradient().numpy() == pytest.approx(distance(logits.numpy() > 0, (1, 2)))
