"""Random numbers that depend on nothing but their keys: the same on every backend and device, compiled or not."""

import numpy as np
from keras import ops


def uniform(keys, streams):
    """Hash keys to numbers in [0, 1): multiples of 2**-24.

    The PCG hash of 32 bits, nested over the keys (Jarzynski and Olano, Hash Functions for GPU Rendering, JCGT 9(3),
    2020). Generators of TensorFlow differ between compiled and uncompiled code, and from those of JAX.

    Args:
        keys: (..., K) integers, the lower 32 bits of which count. NumPy arrays give a NumPy array.
        streams: number of independent numbers to draw a key.

    Returns:
        (..., streams) float32.
    """
    if isinstance(keys, np.ndarray):
        bits = (_hash(keys, np.arange(streams), np) >> 8).astype("float32")
    else:
        shift = ops.cast(8, "uint32")
        bits = ops.cast(
            ops.right_shift(random_bits(keys, ops.arange(streams, dtype="int32")), shift), "float32"
        )
    return bits * np.float32(2**-24)


def random_bits(keys, streams):
    """Hash (..., K) integer keys and (S,) integer stream numbers to (..., S) uint32."""
    return _hash(keys, streams, ops)


def _hash(keys, streams, array):
    # NumPy's uint32 wraps as the backends' does
    cast = (lambda x: x.astype("uint32")) if array is np else (lambda x: ops.cast(x, "uint32"))
    state = _pcg(cast(streams), array)
    for key in range(keys.shape[-1]):
        state = _pcg(state + cast(keys[..., key : key + 1]), array)
    return state


def _pcg(x, array):
    number = (
        (lambda value: np.uint32(value))
        if array is np
        else (lambda value: ops.cast(value, "uint32"))
    )
    x = x * number(747796405) + number(2891336453)
    shifted = array.right_shift(x, array.right_shift(x, number(28)) + number(4))
    x = array.bitwise_xor(shifted, x) * number(277803737)
    return array.bitwise_xor(array.right_shift(x, number(22)), x)
