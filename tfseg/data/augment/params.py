"""The parameters of an augmentation: one value per operation and sample, from random numbers."""

import math

import numpy as np
from keras import ops

from tfseg import checks
from tfseg.ops import uniform

# The range that a single number v stands for: "signed" is (-v, v), "factor" is (1 / (1 + v), 1 + v)
# sampled log-uniformly, "amount" is (0, v) and "quality" is (v, 100).
KINDS = {
    "scale": "factor",
    "rotate": "signed",
    "shear": "signed",
    "translate": "signed",
    "perspective": "signed",
    "elastic": "amount",
    "brightness": "signed",
    "contrast": "factor",
    "saturation": "factor",
    "hue": "signed",
    "gamma": "factor",
    "blur": "amount",
    "noise": "amount",
    "jpeg": "quality",
    "cutout": "amount",
}
IDENTITY = {"signed": 0.0, "factor": 1.0, "amount": 0.0, "quality": 101.0}
# (lowest, highest, description) of the values allowed, per operation or else per kind.
LIMITS = {
    "signed": (-math.inf, math.inf, "finite"),
    "factor": (1e-6, math.inf, "positive"),
    "amount": (0.0, math.inf, "at least 0"),
    "quality": (1.0, 100.0, "in [1, 100]"),
    "shear": (-60.0, 60.0, "in [-60, 60]"),  # at 90 degrees a crop would be infinitely wide
    "cutout": (0.0, 1.0, "in [0, 1]"),
}
# Parameters that are random numbers in [0, 1) themselves.
UNIFORM = (
    "flip_x",
    "flip_y",
    "crop_x",
    "crop_y",
    "hole_x",
    "hole_y",
    "mix",
    "mix_x",
    "mix_y",
    "class",
    "pixel",
)
PER_AXIS = ("translate", "perspective", "cutout")  # sampled separately for x and y
# Each random number has a fixed position, so that one more operation leaves the others unchanged.
STREAMS = {
    name: i
    for i, name in enumerate(
        (*KINDS, *(f"{n}_y" for n in PER_AXIS), *(f"if {n}" for n in KINDS), *UNIFORM)
    )
}
ELASTIC_GRID = 8  # rows and columns of the random grid of the elastic deformation


def read_range(name, value):
    """Return the range (low, high) of an operation.

    Args:
        name: one of `KINDS`.
        value: a pair (low, high), or a single number, which `KINDS` turns into a range.

    Raises:
        ValueError: the value is neither, low is above high, or a bound is outside `LIMITS`.
    """
    kind = KINDS[name]
    try:
        low, high = value if np.ndim(value) else _range_around(kind, float(value))
        low, high = float(low), float(high)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"Augment: {name}={value!r} must be a number or a pair (low, high)."
        ) from error
    lowest, highest, description = LIMITS.get(name, LIMITS[kind])
    if not lowest <= low <= high <= highest or math.inf in (-low, high):
        raise ValueError(
            f"Augment: {name}={value!r} must be (low, high) with low <= high, both {description}."
        )
    return low, high


def _range_around(kind, value):
    if kind == "factor":
        return 1 / (1 + value), 1 + value
    return {"signed": (-value, value), "amount": (0.0, value), "quality": (value, 100.0)}[kind]


def read_probabilities(probability):
    """Return {operation: probability} of all operations; 1 for those that `probability` leaves out.

    Raises:
        ValueError: a name is not an operation, or a probability is outside [0, 1].
    """
    for name, value in probability.items():
        checks.one_of("Augment", "probability of", name, tuple(KINDS))
        if not 0 <= value <= 1:
            raise ValueError(f"Augment: probability of {name} is {value!r}, but must be in [0, 1].")
    return {name: probability.get(name, 1.0) for name in KINDS}


def draw(keys):
    """Draw the random numbers of every sample.

    Args:
        keys: (B, 2) integers, the seed and the number of each sample.

    Returns:
        (B, len(STREAMS)) float32 in [0, 1): a NumPy array for NumPy keys, else a tensor. The values
        are equal to the bit.
    """
    return uniform(keys, len(STREAMS))


def random_numbers(batch, keys):
    """Return the random numbers that travel with a batch, or draw them from its keys."""
    return batch["random"] if "random" in batch else draw(keys)


def to_params(random, ranges, probabilities):
    """Compute the parameters of every sample from its random numbers.

    With rotate=(-10, 10) and probability 0.5, the random numbers "if rotate" = 0.3 and "rotate" =
    0.75 give -10 + 20 * 0.75 = 5 degrees; "if rotate" = 0.6 gives the identity, 0 degrees.

    Args:
        random: (B, len(STREAMS)) float32 array or tensor from `draw`.
        ranges: {operation: (low, high)}; an operation that is left out gets its identity.
        probabilities: {operation: probability}.

    Returns:
        {name: (B,) float32} of all `KINDS`, of NAME_y for the operations in `PER_AXIS`, and of
        `UNIFORM`.
    """
    xp = np if isinstance(random, np.ndarray) else ops
    number = {name: random[..., i] for name, i in STREAMS.items()}
    params = {name: number[name] for name in UNIFORM}
    for operation, kind in KINDS.items():
        for name in param_names(operation):
            value = xp.zeros_like(number[name]) + IDENTITY[kind]
            if operation in ranges:
                applied = number[f"if {operation}"] < probabilities[operation]
                sampled = _interpolate(*ranges[operation], number[name], kind, xp)
                value = xp.where(applied, sampled, value)
            params[name] = value
    return params


def param_names(operation):
    """Return the names of an operation's parameters: NAME, or NAME and NAME_y."""
    return (operation, f"{operation}_y") if operation in PER_AXIS else (operation,)


def _interpolate(low, high, fraction, kind, xp):
    """Return the value at a fraction of a range; of factors on a logarithmic scale.

    Of the factors (0.5, 2) the middle is exp(0) = 1: half of the crops shrink, half grow.
    """
    if kind == "factor":
        low, high = math.log(low), math.log(high)
        return xp.exp(low + (high - low) * fraction)
    return low + (high - low) * fraction
