"""From the values in mask files to class ids."""

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.problems import IMAGE_REMEDY, MOST, VALUE_REMEDY, first_few


def identity_table(names) -> dict[int, int]:
    """Return {value on disk: class id} of masks that contain class ids."""
    return {class_id: class_id for class_id in range(len(names))}


def value_tables(names, ignore_value: int, mask_values: dict[int, int] | None):
    """Return what the values in masks mean.

    Args:
        names: names of the class ids 0, 1, ...
        ignore_value: the value on disk of pixels without a label; -1 for none.
        mask_values: {value on disk: class id}, takes precedence over `ignore_value`; None if
            the values are ids.

    Returns:
        mask_values: {value on disk: class id}, without the ignored value.
        table: the same with the ignored value, which maps to 255.
    """
    if not mask_values:
        mask_values = identity_table(names)
        mask_values.pop(ignore_value, None)
    return mask_values, {ignore_value: IGNORE_INDEX, **mask_values}


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
        table: {value: class id}; 255 for ignored pixels.
        where: the mask's file or name, for errors.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: values that are not in the table.

    Example:
        >>> import numpy as np
        >>> to_class_ids(np.array([[0, 7, 9]]), {0: 0, 7: 1, 9: 255}, "a.png").tolist()
        [[0, 1, 255]]
    """
    if values.dtype == np.uint8:
        return _translate_bytes(values, table, where)
    _check_known(np.unique(values), table, where)
    on_disk = np.array(sorted(table))
    ids = np.array([table[value] for value in on_disk.tolist()], np.uint8)
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
    classes = [value for value in sorted(table) if table[value] != IGNORE_INDEX]
    ignored = [value for value in sorted(table) if table[value] == IGNORE_INDEX and value >= 0]
    remedy = IMAGE_REMEDY if len(unknown) > MOST else VALUE_REMEDY
    raise ValueError(
        f"{where} contains values that map to no class: {first_few(unknown)} "
        f"(classes: {', '.join(map(str, classes))}; "
        f"ignored: {', '.join(map(str, ignored)) or 'none'}). {remedy}"
    )
