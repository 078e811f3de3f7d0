import keras
import numpy as np
import pytest
from keras import ops

from tfseg.ops import random_bits, uniform

WORD = 2**32
# pairs of seed and number: small, negative, and above 31 and 32 bits, of which the lower 32 count
KEYS = np.array(
    [[0, 0], [0, 1], [1, 0], [-1, 7], [7, -1], [2**31 + 5, 3], [2**32 + 5, 3], [12345, 2**40 - 1]]
)


def pcg(x):
    """pcg_hash of Jarzynski and Olano (2020), listing in section 4, in Python integers."""
    state = (x * 747796405 + 2891336453) % WORD
    word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737 % WORD
    return (word >> 22) ^ word


def slow_bits(key, stream):
    state = pcg(stream % WORD)
    for number in key:
        state = pcg((state + int(number)) % WORD)
    return state


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def as_int32(keys):
    """Return the lower 32 bits as a tensor."""
    return ops.convert_to_tensor(keys.astype("uint32").view("int32"))


EXPECTED = np.array([[slow_bits(key, stream) for stream in range(5)] for key in KEYS])


def test_golden_bits():
    assert pcg(0) == 129708002
    # keys (0, 0), (-1, 7) and (2**31 + 5, 3): computed by `slow_bits`, so that a change of both
    # would be noticed
    assert EXPECTED[0, :3].tolist() == [2145236065, 594548367, 2433305931]
    assert EXPECTED[3, :3].tolist() == [2382663152, 2309221934, 3351517207]
    assert EXPECTED[5, :2].tolist() == [1941553525, 4210341079]


@pytest.mark.parametrize("streams", [[0, 1, 2, 3, 4], [-1, -2, 2**31 - 1]])
def test_bits_match_the_slow_hash(streams):
    expected = [[slow_bits(key, stream) for stream in streams] for key in KEYS]
    streams = ops.convert_to_tensor(np.array(streams, "int32"))
    for draw in (random_bits, compiled(random_bits)):
        found = ops.convert_to_numpy(draw(as_int32(KEYS), streams))
        assert found.dtype == "uint32"
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("way", ["numpy", "eager", "compiled"])
def test_uniform_numbers_are_the_upper_24_bits(way):
    if way == "numpy":
        found = uniform(KEYS, 5)
        assert isinstance(found, np.ndarray)
    else:
        draw = (
            compiled(lambda keys: uniform(keys, 5))
            if way == "compiled"
            else lambda keys: uniform(keys, 5)
        )
        found = ops.convert_to_numpy(draw(as_int32(KEYS)))
    assert found.dtype == "float32"
    assert np.array_equal(found, np.array(EXPECTED >> 8, "float64") / 2**24)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64"])
def test_the_lower_32_bits_of_keys_of_any_dtype_are_used(dtype):
    if dtype == "int64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no int64")
    keys = ops.convert_to_tensor(KEYS if dtype == "int64" else KEYS.astype("uint32").view(dtype))
    assert np.array_equal(
        ops.convert_to_numpy(compiled(lambda k: uniform(k, 5))(keys)), uniform(KEYS, 5)
    )
    assert np.array_equal(ops.convert_to_numpy(uniform(keys, 5)), uniform(KEYS, 5))


def test_keys_can_have_any_number_of_axes_and_parts():
    keys = np.arange(24).reshape(2, 4, 3)
    found = uniform(keys, 2)
    assert found.shape == (2, 4, 2)
    assert found[1, 2, 1] == np.float32((slow_bits(keys[1, 2], 1) >> 8) / 2**24)
    assert np.array_equal(uniform(keys[1, 2], 2), found[1, 2])


def test_more_streams_do_not_change_the_first_ones():
    assert np.array_equal(uniform(KEYS, 40)[:, :5], uniform(KEYS, 5))


def test_the_order_of_the_parts_of_a_key_matters():
    assert (uniform(KEYS[:, ::-1], 5)[1] != uniform(KEYS, 5)[1]).all()


def chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2).sum() / expected


def numbers(seed, count=20_000, streams=4):
    """Return (count, streams) numbers of the keys (seed, 0), (seed, 1), ..., as in training."""
    return uniform(np.stack([np.full(count, seed), np.arange(count)], 1), streams).astype("float64")


@pytest.mark.parametrize("seed", [0, 1, -1, 123456789])
def test_numbers_are_uniform(seed):
    u = numbers(seed)
    assert u.min() >= 0
    assert u.max() < 1
    # of 20000 numbers, the std of the mean is 0.00204, that of the variance 0.00053: four stds
    assert np.abs(u.mean(0) - 1 / 2).max() < 4 * 0.00204
    assert np.abs(u.var(0) - 1 / 12).max() < 4 * 0.00053
    # 63 degrees of freedom: above 116 with probability 5e-5, and the same below 28
    for stream in u.T:
        assert 28 < chi_square(np.bincount((stream * 64).astype(int), minlength=64)) < 116


def pair_counts(a, b):
    return np.bincount((a * 8).astype(int) * 8 + (b * 8).astype(int), minlength=64)


@pytest.mark.parametrize("seed", [0, 5])
def test_streams_neighboring_keys_and_seeds_are_independent(seed):
    u, other = numbers(seed), numbers(seed + 1)
    pairs = {
        "streams": (u[:, 0], u[:, 1]),
        "distant streams": (u[:, 0], u[:, 3]),
        "neighboring keys": (u[:-1, 0], u[1:, 0]),
        "neighboring streams of neighboring keys": (u[:-1, 1], u[1:, 0]),
        "neighboring seeds": (u[:, 0], other[:, 0]),
        "diagonals of seed and key": (u[1:, 2], other[:-1, 2]),
    }
    for name, (a, b) in pairs.items():
        assert 28 < chi_square(pair_counts(a, b)) < 116, name
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a)), name


def test_one_bit_of_a_key_flips_half_of_the_bits():
    keys = np.stack([np.zeros(4096, int), np.arange(4096)], 1)
    bits = ops.convert_to_numpy(random_bits(as_int32(keys), ops.arange(1)))[:, 0]
    for position in range(12):
        flipped = keys ^ np.array([0, 1 << position])
        changed = bits ^ ops.convert_to_numpy(random_bits(as_int32(flipped), ops.arange(1)))[:, 0]
        fraction = np.unpackbits(changed.view("uint8")).reshape(-1, 32).mean(0)
        assert np.abs(fraction - 0.5).max() < 0.05, position
