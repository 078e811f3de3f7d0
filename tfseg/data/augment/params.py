"""What an augmentation draws for every image: a value an operation, or the operation's identity."""

import math

import numpy as np
from keras import ops

from tfseg import checks
from tfseg.ops import uniform

# How a single number is read. "signed": from -value to value; "factor": from 1 / (1 + value) to 1 + value, drawn
# log-uniformly; "amount": from 0 to value; "quality": from value to 100.
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
# By kind, or by name: within which an argument makes sense.
BOUNDS = {
    "signed": (-math.inf, math.inf, "finite"),
    "factor": (1e-6, math.inf, "above 0"),
    "amount": (0.0, math.inf, "not below 0"),
    "quality": (1.0, 100.0, "from 1 to 100"),
    "shear": (-60.0, 60.0, "from -60 to 60"),  # at 90 no window would be wide enough
    "cutout": (0.0, 1.0, "from 0 to 1"),
}
# Numbers in [0, 1) that are used as they are.
PLACES = (
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
SECOND = ("translate", "perspective", "cutout")  # drawn once for x and once for y
# Every number has its place in the stream, so that one more operation changes nothing about the others.
STREAMS = {
    name: i
    for i, name in enumerate(
        (*KINDS, *(f"{n}_y" for n in SECOND), *(f"if {n}" for n in KINDS), *PLACES)
    )
}
LATTICE = 8  # of the elastic field, rows and columns


def read_range(name, value):
    """Return (low, high) of an operation's argument: a pair as it is, a number as `KINDS` says.

    Raises:
        ValueError: it is neither, the bounds are in the wrong order, or lie where the operation makes no sense.
    """
    kind = KINDS[name]
    try:
        low, high = (
            (float(bound) for bound in value) if np.ndim(value) else _around(kind, float(value))
        )
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"Augment: {name}={value!r} must be a number or (smallest, largest)."
        ) from error
    least, most, said = BOUNDS.get(name, BOUNDS[kind])
    if not least <= low <= high <= most or math.inf in (-low, high):
        raise ValueError(f"Augment: {name}={value!r} must be (smallest, largest), both {said}.")
    return low, high


def _around(kind, value):
    if kind == "factor":
        return 1 / (1 + value), 1 + value
    return {"signed": (-value, value), "amount": (0.0, value), "quality": (value, 100.0)}[kind]


def read_probability(given):
    """Return {operation: probability}, 1 where none is given; flips are not among them."""
    for name, value in given.items():
        checks.one_of("Augment", "probability of", name, tuple(KINDS))
        if not 0 <= value <= 1:
            raise ValueError(f"Augment: the probability of {name}, {value!r}, must be from 0 to 1.")
    return {name: given.get(name, 1.0) for name in KINDS}


def draw(keys, ranges, probability):
    """Draw every operation's value for each image.

    Args:
        keys: (B, 2) integers: a seed and the sample's number. NumPy gives NumPy, a tensor tensors.
        ranges: {operation: (low, high)}; those left out keep their identity.
        probability: {operation: probability}.

    Returns:
        {name: (B,) float32} of all `KINDS`, the `_y` of those in `SECOND`, and `PLACES`.
    """
    array = np if isinstance(keys, np.ndarray) else ops
    u = uniform(keys, len(STREAMS))
    number = {name: u[..., i] for name, i in STREAMS.items()}
    drawn = {name: number[name] for name in PLACES}
    for name, kind in KINDS.items():
        for axis in ("", "_y") if name in SECOND else ("",):
            value = array.zeros_like(number[name]) + IDENTITY[kind]
            if name in ranges:
                shown = number[f"if {name}"] < probability[name]
                value = array.where(
                    shown, _between(*ranges[name], number[name + axis], kind, array), value
                )
            drawn[name + axis] = value
    return drawn


def _between(low, high, share, kind, array):
    if kind == "factor":
        low, high = math.log(low), math.log(high)
        return array.exp(low + (high - low) * share)
    return low + (high - low) * share
