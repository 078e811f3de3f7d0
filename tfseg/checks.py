"""Argument checks and the wording of errors: what was asked of, what came, what was expected, what to do."""

import difflib
import importlib
from numbers import Real

# The value of a mask's pixels without a label, from the readers to the images.
IGNORE_INDEX = 255
BACKGROUND = "background"  # the class of what is none of the objects


def label_names(class_names):
    """Return the names of the ids 0, 1, ... in masks: a single class has "background" before it."""
    return list(class_names) if len(class_names) > 1 else [BACKGROUND, *class_names]


def one_of(owner, argument, value, allowed):
    """Return `value` if it is among `allowed`, else raise a ValueError that offers the nearest."""
    if value in allowed:
        return value
    near = difflib.get_close_matches(str(value), [str(name) for name in allowed], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"{owner}: {argument}={value!r} is unknown. Choose from {', '.join(map(repr, allowed))}.{hint}"
    )


def positive_int(owner, argument, value):
    """Return `value` if it is a whole number above zero, else raise a ValueError."""
    if isinstance(value, bool) or not isinstance(value, Real) or value < 1 or value % 1:
        raise ValueError(f"{owner}: {argument}={value!r} must be a whole number of at least 1.")
    return int(value)


def positive_ints(owner, argument, values):
    """Return `values` as a list of whole numbers above zero, else raise a ValueError."""
    if not hasattr(values, "__iter__"):
        raise ValueError(
            f"{owner}: {argument}={values!r} must be several whole numbers, such as ({values!r},)."
        )
    return [positive_int(owner, argument, value) for value in values]


def fraction(owner, argument, value):
    """Return `value` if it is in [0, 1), else raise a ValueError."""
    if not _real(value) or not 0 <= value < 1:
        raise ValueError(f"{owner}: {argument}={value!r} must be at least 0 and below 1.")
    return float(value)


def at_least(owner, argument, value, bound):
    """Return `value` if it is a finite number of at least `bound`, else raise a ValueError."""
    if not _real(value) or not bound <= value < float("inf"):
        raise ValueError(
            f"{owner}: {argument}={value!r} must be a finite number of at least {bound}."
        )
    return float(value)


def above_zero(owner, argument, value):
    """Return `value` if it is a finite number above 0, else raise a ValueError."""
    if not _real(value) or not 0 < value < float("inf"):
        raise ValueError(f"{owner}: {argument}={value!r} must be a finite number above 0.")
    return float(value)


def _real(value):
    return isinstance(value, Real) or (
        getattr(value, "ndim", None) == 0 and getattr(value, "dtype", "").kind in "iuf"
    )


def numbers(owner, argument, values):
    """Return `values` as a list of floats if it is a sequence of numbers, else raise a ValueError."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{owner}: {argument}={values!r} must be a list of numbers.") from error


def require_package(module, extra):
    """Import and return the optional `module`, or raise an ImportError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs the package '{module}', which is not installed. Run: pip install 'tfseg-keras[{extra}]'"
        ) from error
