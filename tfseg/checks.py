"""Argument checks. Each error names the owner, the argument received and what was expected."""

import difflib
import importlib
from collections.abc import Collection, Mapping, Sequence, Set
from numbers import Real

# Mask value of unlabeled pixels, from the readers to the losses, metrics and plots.
IGNORE_INDEX = 255
# The same with more than 255 classes: then 255 is a class, and masks are int32.
IGNORE_INDEX_INT32 = 65535
BACKGROUND = "background"
# Ends of the names of metrics that are best when low; Keras' names and ours.
LOW_IS_BEST = ("loss", "error", "distance", "crossentropy", "divergence", "mse", "mae")


def label_names(class_names: Sequence[str]) -> list[str]:
    """Return the names of mask ids 0, 1, ...; a single class is preceded by "background"."""
    if len(class_names) > 1:
        return list(class_names)
    return [BACKGROUND, *class_names]


def is_background(name: str) -> bool:
    """Return whether a class name stands for the background, to which no object belongs.

    Example:
        >>> is_background("_Background_"), is_background("backgrounds")
        (True, False)
    """
    return name.strip("_ ").casefold() == BACKGROUND


def low_is_best(metric: str) -> bool:
    """Return whether a metric is a loss, an error or a distance, by its name.

    Example:
        >>> low_is_best("val_loss"), low_is_best("val_mean_iou")
        (True, False)
    """
    return metric.endswith(LOW_IS_BEST)


def ignore_index_for(num_classes: int) -> int:
    """Return the mask value of unlabeled pixels: 255, or 65535 with more than 255 classes."""
    return IGNORE_INDEX if num_classes <= IGNORE_INDEX else IGNORE_INDEX_INT32


def one_of(owner: str, argument: str, value, allowed: Collection):
    """Return `value` if it is in `allowed`; otherwise raise a ValueError with the closest match."""
    if value in allowed:
        return value
    near = difflib.get_close_matches(str(value), [str(name) for name in allowed], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choices = ", ".join(map(repr, allowed))
    raise ValueError(f"{owner}: {argument}={value!r} is unknown. Choose from {choices}.{hint}")


def positive_int(owner: str, argument: str, value) -> int:
    """Return `value` as an int if it is a whole number above 0; otherwise raise a ValueError."""
    if isinstance(value, bool) or not isinstance(value, Real) or value < 1 or value % 1:
        raise ValueError(f"{owner}: {argument}={value!r} must be a whole number of at least 1.")
    return int(value)


def positive_ints(owner: str, argument: str, values) -> list[int]:
    """Return `values` as a list of ints if all are at least 1; otherwise raise a ValueError."""
    if not hasattr(values, "__iter__"):
        raise ValueError(
            f"{owner}: {argument}={values!r} must be several whole numbers, such as ({values!r},)."
        )
    return [positive_int(owner, argument, value) for value in values]


def ignore_index(owner: str, value) -> int | None:
    """Return an `ignore_index` as an int, or None; raise a ValueError if it is anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or value % 1 != 0:
        raise ValueError(
            f"{owner}: ignore_index={value!r} must be one class id, such as 255, or None. To "
            "ignore several values, let the reader map them to 255: mask_values={128: 255}."
        )
    return int(value)


def fraction(owner: str, argument: str, value) -> float:
    """Return `value` as a float if it is in [0, 1); otherwise raise a ValueError."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{owner}: {argument}={value!r} must be at least 0 and below 1.")
    return float(value)


def at_least(owner: str, argument: str, value, bound: float) -> float:
    """Return `value` as a float if finite and at least `bound`; otherwise raise a ValueError."""
    if not _is_number(value) or not bound <= value < float("inf"):
        raise ValueError(
            f"{owner}: {argument}={value!r} must be a finite number of at least {bound}."
        )
    return float(value)


def above_zero(owner: str, argument: str, value) -> float:
    """Return `value` as a float if it is finite and above 0; otherwise raise a ValueError."""
    if not _is_number(value) or not 0 < value < float("inf"):
        raise ValueError(f"{owner}: {argument}={value!r} must be a finite number above 0.")
    return float(value)


def _is_number(value) -> bool:
    """Whether `value` is a Python number or a 0-dimensional array of numbers."""
    if isinstance(value, Real):
        return True
    return getattr(value, "ndim", None) == 0 and getattr(value, "dtype", "").kind in "iuf"


def in_order(owner: str, argument: str, values, expected: str) -> list:
    """Return `values` as a list; raise a ValueError if they are text or have no order of their own.

    A dict would give its keys, and text its characters.

    Args:
        owner, argument: names for the error message.
        values: the argument received.
        expected: what a list of them contains, such as "one name per class".
    """
    if isinstance(values, (str, bytes, Mapping, Set)) or not hasattr(values, "__iter__"):
        raise ValueError(
            f"{owner}: {argument}={values!r} is a {type(values).__name__}; expected a list of "
            f"{expected}."
        )
    return list(values)


def boolean(owner: str, argument: str, value) -> bool:
    """Return `value` as a bool if it is True or False; otherwise raise a ValueError."""
    # `bool("False")` is True.
    if not _is_number(value) or value not in (0, 1):
        raise ValueError(f"{owner}: {argument}={value!r} must be True or False.")
    return bool(value)


def numbers(owner: str, argument: str, values) -> list[float]:
    """Return `values` as a list of floats; raise a ValueError if they are not numbers.

    Dictionaries, sets and text are refused: their iteration gives keys, any order, characters.
    """
    if isinstance(values, Mapping):
        in_order = [values[key] for key in range(len(values)) if key in values]
        example = f", such as {in_order}" if len(in_order) == len(values) > 0 else ""
        raise ValueError(
            f"{owner}: {argument}={values!r} is a dictionary. Pass a list of numbers in the order "
            f"of the ids{example}."
        )
    if isinstance(values, Set | str | bytes):
        raise ValueError(f"{owner}: {argument}={values!r} must be a list of numbers.")
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{owner}: {argument}={values!r} must be a list of numbers.") from error


def require_package(module: str, extra: str):
    """Import and return an optional `module`; if it is missing, name the extra to install.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs the package '{module}', which is not installed. "
            f"Run: pip install 'tfseg-keras[{extra}]'"
        ) from error
