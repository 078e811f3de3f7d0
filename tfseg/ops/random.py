"""Random numbers that depend only on their keys: equal on all backends and devices."""

import numpy as np
from keras import ops


def uniform(keys, streams: int):
    """Hash keys to numbers in [0, 1), multiples of 2**-24.

    The 32-bit PCG hash, nested over the keys (Jarzynski and Olano, Hash Functions for GPU
    Rendering, JCGT 9(3), 2020). TensorFlow's random generators differ between compiled and eager
    code, and from those of JAX.

    Args:
        keys: (..., K) integers, of which the lower 32 bits are used. NumPy arrays give a NumPy
            array.
        streams: how many independent numbers to draw per key.

    Returns:
        (..., streams) float32.
    """
    if isinstance(keys, np.ndarray):
        bits = (_hash(keys, np.arange(streams), np) >> 8).astype("float32")
    else:
        bits = random_bits(keys, ops.arange(streams, dtype="int32"))
        bits = ops.cast(ops.right_shift(bits, ops.cast(8, "uint32")), "float32")
    return bits * np.float32(2**-24)


def random_bits(keys, streams):
    """Hash (..., K) integer keys and (S,) integer stream numbers to (..., S) uint32."""
    return _hash(keys, streams, ops)


def _hash(keys, streams, xp):
    """Hash with `xp`, NumPy or `keras.ops`, which both wrap uint32 on overflow."""
    state = _pcg(_uint32(streams, xp), xp)
    for key in range(keys.shape[-1]):
        state = _pcg(state + _uint32(keys[..., key : key + 1], xp), xp)
    return state


def _pcg(x, xp):
    x = x * _uint32(747796405, xp) + _uint32(2891336453, xp)
    shift = xp.right_shift(x, _uint32(28, xp)) + _uint32(4, xp)
    x = xp.bitwise_xor(xp.right_shift(x, shift), x) * _uint32(277803737, xp)
    return xp.bitwise_xor(xp.right_shift(x, _uint32(22, xp)), x)


def _uint32(x, xp):
    if xp is np:
        return np.asarray(x).astype("uint32")
    return ops.cast(x, "uint32")
