"""From the values in mask files to class ids."""

import numpy as np

from tfseg.checks import IGNORE_INDEX, IGNORE_INDEX_INT32, ignore_index_for
from tfseg.data.readers.problems import IMAGE_REMEDY, MOST, NUMBER_REMEDY, VALUE_REMEDY, first_few


def identity_table(names) -> dict[int, int]:
    """Return {value on disk: class id} of masks that contain class ids."""
    return {class_id: class_id for class_id in range(len(names))}


def check_ids(owner: str, names, mask_values: dict[int, int]):
    """Raise a ValueError if `mask_values` contains ids that are not those of classes."""
    ignore_index = ignore_index_for(len(names))
    unknown = set(mask_values.values()) - {*range(len(names)), ignore_index}
    if unknown:
        raise ValueError(
            f"{owner}: mask_values={mask_values} contains the ids {first_few(sorted(unknown))}. "
            f"Expected 0 to {len(names) - 1} for {len(names)} classes, and {ignore_index} for "
            "pixels without a label."
        )


def single_class_warning(owner: str, masks, names) -> str | None:
    """Return a warning if masks contain a single class and ignored pixels, else None.

    Masks of 0 and 255 are legal, since 255 is ignored, but usually 255 is meant to be a class.

    Args:
        owner: who warns.
        masks: iterable of integer arrays. The iteration ends where a second class occurs.
        names: names of the class ids 0, 1, ...
    """
    ignore_index = ignore_index_for(len(names))
    found = set()
    for mask in masks:
        found.update(distinct_values(mask))
        if len(found - {ignore_index}) > 1:
            return None
    classes = found - {ignore_index}
    if ignore_index not in found or not classes <= set(range(len(names))):
        return None
    only = f"the class {names[min(classes)]!r} ({min(classes)}) and" if classes else "only"
    return (
        f"{owner}: the masks contain {only} pixels of {ignore_index}, which is ignored, so there "
        f"is nothing to learn. If {ignore_index} is a class, pass "
        f"mask_values={{{min(classes, default=0)}: 0, {ignore_index}: 1}}."
    )


def are_black_and_white(values) -> bool:
    """Return whether masks contain only 0 and 255, and at least one of them 255.

    With two classes, 255 must then be the second class: a dataset in which only the first class is
    ever drawn makes no sense. All masks are read, since the first ones may be empty; any other
    value, such as the id 1, ends the search.

    Args:
        values: iterable of the set of values of each mask.
    """
    seen = set()
    for found in values:
        seen |= found
        if not seen <= {0, 255}:
            return False
    return 255 in seen


def distinct_values(mask) -> set[int]:
    """Return the set of the values of an integer array."""
    if mask.dtype == np.uint8:  # several times as fast as sorting
        return set(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())
    return set(np.unique(mask).tolist())


def ignored_value(names, ignore_value: int) -> int:
    """Return the ignored value on disk: with more than 255 classes 255 is a class, and means 65535.

    Args:
        names: names of the class ids 0, 1, ...
        ignore_value: as the user passed it.
    """
    return ignore_index_for(len(names)) if ignore_value == IGNORE_INDEX else ignore_value


def value_tables(owner: str, names, ignore_value: int, mask_values: dict[int, int] | None):
    """Return what the values in masks mean.

    Args:
        owner: the reader, for errors.
        names: names of the class ids 0, 1, ...
        ignore_value: the value on disk of pixels without a label; -1 for none. With more than 255
            classes 255 is a class, and means 65535 here.
        mask_values: {value on disk: class id}, takes precedence over `ignore_value`; None if
            the values are ids.

    Returns:
        mask_values: {value on disk: class id}, without the ignored value.
        table: the same with the ignored value, which maps to 255, or 65535 with more than 255
            classes.

    Raises:
        ValueError: `mask_values` contains ids that are not those of classes.
    """
    ignore_value = ignored_value(names, ignore_value)
    if mask_values:
        check_ids(owner, names, mask_values)
    else:
        mask_values = identity_table(names)
        mask_values.pop(ignore_value, None)
    return mask_values, {ignore_value: ignore_index_for(len(names)), **mask_values}


def as_integers(mask, where: str):
    """Return a mask in memory, (H, W) or (H, W, 1) integers or booleans, as (H, W) integers.

    Raises:
        ValueError: the mask has another dtype.
    """
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if mask.dtype.kind not in "iu":
        raise ValueError(
            f"{where} has dtype {mask.dtype}, expected integer class ids. Convert it to integers."
        )
    return mask


def whole_numbers(values, where):
    """Return a mask's values as integers. Files may store them as floating point numbers.

    Raises:
        ValueError: values that are not whole numbers; the message lists some.
    """
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    with np.errstate(invalid="ignore"):  # NaN
        whole = values.astype(np.int64)
    wrong = values[whole != values]
    if wrong.size:
        raise ValueError(
            f"{where} contains values that are not whole numbers, expected class ids: "
            f"{first_few(np.unique(wrong)[: MOST + 1].tolist())}. Save one class id per pixel."
        )
    return whole


def to_class_ids(values, table: dict[int, int], where):
    """Translate the values of a mask to class ids.

    Args:
        values: (H, W) integers.
        table: {value: class id}; 255 for ignored pixels, or 65535 with more than 255 classes.
        where: the mask's file or name, for errors.

    Returns:
        (H, W) uint8, or int32 if the table contains ids above 255.

    Raises:
        ValueError: values that are not in the table.

    Example:
        >>> import numpy as np
        >>> to_class_ids(np.array([[0, 7, 9]]), {0: 0, 7: 1, 9: 255}, "a.png").tolist()
        [[0, 1, 255]]
    """
    has_bytes = max(table.values()) <= IGNORE_INDEX
    if values.dtype == np.uint8 and has_bytes:
        return _translate_bytes(values, table, where)
    _check_known(np.unique(values), table, where)
    on_disk = np.array(sorted(table))
    ids = np.array([table[value] for value in on_disk.tolist()])
    ids = ids.astype(np.uint8 if has_bytes else np.int32)
    return ids[np.searchsorted(on_disk, values)]


def _translate_bytes(values, table, where):
    # bytes.translate is ten times as fast as counting and indexing, which take longer than
    # decoding the file.
    raw = bytearray(np.ascontiguousarray(values))
    known = [value for value in table if 0 <= value <= 255]
    unknown = raw.translate(None, bytes(known))  # deletes all known values
    if unknown:
        _check_known(np.unique(values), table, where)
    lookup = bytearray(256)
    for value in known:
        lookup[value] = table[value]
    return np.frombuffer(raw.translate(lookup), np.uint8).reshape(values.shape)


def _check_known(found, table, where):
    """Raise a ValueError if values are not in the table."""
    unknown = [value for value in found.tolist() if value not in table]
    if not unknown:
        return
    # 255 is a class in a table with ids above it.
    ignore_index = IGNORE_INDEX if max(table.values()) <= IGNORE_INDEX else IGNORE_INDEX_INT32
    classes = [value for value in sorted(table) if table[value] != ignore_index]
    ignored = [value for value in sorted(table) if table[value] == ignore_index and value >= 0]
    drawn = [value for value in found.tolist() if value not in (0, *ignored)]
    remedy = VALUE_REMEDY
    if len(unknown) > MOST:
        remedy = IMAGE_REMEDY
    elif len(unknown) > 1 and drawn == list(range(1, len(drawn) + 1)):
        remedy = NUMBER_REMEDY
    raise ValueError(
        f"{where} contains values that map to no class: {first_few(unknown)} "
        f"(classes: {_listed(classes)}; "
        f"ignored: {', '.join(map(str, ignored)) or 'none'}). {remedy}"
    )


def _listed(values):
    """Return values as text, and long runs as a range: "0, 1, 5", or "0 to 299"."""
    if len(values) > MOST and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))
