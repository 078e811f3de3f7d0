"""Masks in which colors stand for classes: from RGB to class ids."""

import numpy as np

from tfseg.checks import ignore_index_for
from tfseg.data.readers.base import mask_dtype_for

COLORS_SHOWN = 4  # in one error message


class ColorTable:
    """The colors of the classes.

    Args:
        colors: {class name: (red, green, blue)}, or a list of such triples in the order of
            `names`; integers in 0..255.
        names: names of the class ids 0, 1, ...
        ignore_value: color of pixels without a label, or None. It takes precedence over a class of
            the same color.

    Attributes:
        palette: (C, 3) uint8 colors of the class ids.

    Raises:
        ValueError: a class without a color, a color without a class, two classes of one color, or
            an invalid color.

    Example:
        >>> import numpy as np
        >>> table = ColorTable({"road": (128, 64, 128), "sky": (70, 130, 180)}, ["road", "sky"])
        >>> mask = np.array([[[70, 130, 180], [128, 64, 128]]], np.uint8)
        >>> table.class_ids(mask, "a.png").tolist()
        [[1, 0]]
    """

    def __init__(self, colors, names, ignore_value=None):
        self.palette = _palette(colors, names)
        self._names = [*names, "ignored"]
        self._colors = self.palette
        ids = np.arange(1, len(names) + 1)
        if ignore_value is not None:
            ignored = _color(ignore_value, "ignore_value")
            self._colors = np.concatenate([self.palette, ignored[None]])
            ids = np.append(ids, ignore_index_for(len(names)) + 1)
        self._dtype = mask_dtype_for(len(names))
        # Class id + 1 of all 2**24 colors, 0 for unknown ones. The operating system allocates only
        # the memory pages that contain colors in use.
        self._ids = np.zeros(2**24, np.uint16 if self._dtype == np.uint8 else np.int32)
        self._ids[_packed(self._colors)] = ids

    def table(self) -> dict[tuple, int]:
        """Return {(red, green, blue): class id}."""
        ids = self._ids[_packed(self._colors)].astype(int) - 1
        return dict(zip(map(tuple, self._colors.tolist()), ids.tolist(), strict=True))

    def class_ids(self, mask, where):
        """Translate colors to class ids.

        Args:
            mask: (H, W, 3) uint8.
            where: the mask's file, for errors.

        Returns:
            (H, W) uint8, or int32 with more than 255 classes.

        Raises:
            ValueError: unknown colors. The message counts their pixels and names the nearest known
                color.
        """
        packed = _packed(mask)
        ids = self._ids[packed]
        if not ids.all():
            raise ValueError(self._unknown_colors(packed[ids == 0], where))
        return (ids - 1).astype(self._dtype)

    def _unknown_colors(self, packed, where):
        """Word the error about the pixels of unknown colors."""
        colors, counts = np.unique(packed, return_counts=True)
        most_frequent = np.argsort(-counts, kind="stable")[:COLORS_SHOWN]
        listed = "; ".join(
            self._with_nearest(int(colors[i]), int(counts[i])) for i in most_frequent
        )
        remedy = "Add the color to `colors`, name it as `ignore_value`, or correct the mask."
        if len(colors) > COLORS_SHOWN:
            listed += f"; and {len(colors) - COLORS_SHOWN} more colors"
            remedy = (
                "That many colors are typical of a mask that was resized with interpolation or "
                "drawn with soft edges: create it again with neither."
            )
        return f"{where} contains colors that map to no class: {listed}. {remedy}"

    def _with_nearest(self, packed, count):
        """Describe an unknown color: "(0, 0, 9) on 5 pixels (nearest: (0, 0, 0), 'road')"."""
        color = np.array([packed >> 16, packed >> 8 & 255, packed & 255])
        nearest = int(np.argmin(((self._colors.astype(int) - color) ** 2).sum(axis=1)))
        pixels = "1 pixel" if count == 1 else f"{count} pixels"
        known = tuple(self._colors[nearest].tolist())
        return f"{tuple(color.tolist())} on {pixels} (nearest: {known}, {self._names[nearest]!r})"


def _packed(colors):
    """Pack (..., 3) uint8 colors into (...) int32: red * 65536 + green * 256 + blue."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _palette(colors, names):
    """Return the (C, 3) uint8 colors of the classes; raise a ValueError if they are incomplete."""
    if isinstance(colors, dict):
        colors = _in_order(colors, names)
    if len(colors) != len(names):
        raise ValueError(
            f"colors: got {len(colors)} colors for {len(names)} classes ({', '.join(names)}). "
            "Give one color per class."
        )
    palette = [_color(color, f"colors: {name}") for color, name in zip(colors, names, strict=True)]
    owner = {}
    for color, name in zip(palette, names, strict=True):
        key = tuple(color.tolist())
        if key in owner:
            raise ValueError(
                f"colors: {owner[key]!r} and {name!r} both have {key}. Give them different colors."
            )
        owner[key] = name
    return np.stack(palette)


def _in_order(colors, names):
    """Return the colors of a {name: color} in the order of the names."""
    missing = [name for name in names if name not in colors]
    unknown = [str(name) for name in colors if name not in names]
    if missing or unknown:
        raise ValueError(
            f"colors: the classes are {', '.join(names)}. Classes without a color: "
            f"{', '.join(missing) or 'none'}; colors of unknown classes: "
            f"{', '.join(unknown) or 'none'}. Give every class one color."
        )
    return [colors[name] for name in names]


def _color(color, where):
    """Return a color as (3,) uint8."""
    values = np.asarray(color)
    is_triple = values.shape == (3,) and values.dtype.kind in "iu"
    if not is_triple or values.min() < 0 or values.max() > 255:
        raise ValueError(
            f"{where}: {color!r} is not a color: expected three integers (red, green, blue) in "
            "0..255."
        )
    return values.astype(np.uint8)
