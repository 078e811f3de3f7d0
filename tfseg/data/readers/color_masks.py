"""Masks in which colors stand for classes: from RGB to class ids."""

import numpy as np

from tfseg.checks import IGNORE_INDEX

MOST = 4  # colors told of in one message


class ColorTable:
    """The colors of classes.

    Args:
        colors: {class name: (red, green, blue)}, or a list of such triples in the order of `names`; 0..255.
        names: the names of the class ids 0, 1, ...
        ignore: the color of pixels without a label, or None; it goes before a class of the same color.

    Attributes:
        palette: (C, 3) uint8 colors of the class ids.

    Raises:
        ValueError: a class has no color, a color no class, two classes have one, or a color is none.
    """

    def __init__(self, colors, names, ignore=None):
        self.palette = _palette(colors, names)
        self._names = [*names, "ignored"]
        self._colors = self.palette
        ids = np.arange(1, len(names) + 1)
        if ignore is not None:
            self._colors = np.concatenate([self.palette, _color(ignore, "ignore")[None]])
            ids = np.append(ids, IGNORE_INDEX + 1)
        # Id + 1 of every color there is, 0 for none: memory is only spent on the pages that hold a color in use.
        self._ids = np.zeros(2**24, np.uint16)
        self._ids[_packed(self._colors)] = ids

    def class_ids(self, mask, where):
        """Translate (H, W, 3) uint8 colors to (H, W) uint8 class ids.

        Raises:
            ValueError: a color stands for no class; told with its pixels and the nearest color that does.
        """
        packed = _packed(mask)
        ids = self._ids[packed]
        if not ids.all():
            raise ValueError(self._unknown(packed[ids == 0], where))
        return (ids - 1).astype(np.uint8)

    def _unknown(self, packed, where):
        colors, counts = np.unique(packed, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:MOST]
        told = "; ".join(self._nearest(int(colors[i]), int(counts[i])) for i in most)
        more = f"; and {len(colors) - MOST} more colors" if len(colors) > MOST else ""
        several = len(colors) > 1
        remedy = (
            "So many come of a mask that was resized smoothly or drawn with soft edges: make it again with neither."
            if len(colors) > MOST
            else "Add the color to `colors`, name it as `ignore`, or correct the mask."
        )
        return (
            f"{where} holds {'colors' if several else 'a color'} that stand{'' if several else 's'} for no class: "
            f"{told}{more}. {remedy}"
        )

    def _nearest(self, packed, count):
        color = np.array([packed >> 16, packed >> 8 & 255, packed & 255])
        nearest = int(np.argmin(((self._colors.astype(int) - color) ** 2).sum(axis=1)))
        pixels = "1 pixel" if count == 1 else f"{count} pixels"
        known = tuple(self._colors[nearest].tolist())
        return f"{tuple(color.tolist())} on {pixels} (nearest: {known}, {self._names[nearest]!r})"


def _packed(colors):
    """Return (...) int32 of (..., 3) uint8: red * 65536 + green * 256 + blue."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _palette(colors, names):
    if isinstance(colors, dict):
        if set(colors) != set(names):
            lacking, strange = (
                [n for n in names if n not in colors],
                [n for n in colors if n not in names],
            )
            raise ValueError(
                f"colors: the classes are {', '.join(names)}. Without a color: {', '.join(lacking) or 'none'}; "
                f"colors of no class: {', '.join(map(str, strange)) or 'none'}. Give every class its color."
            )
        colors = [colors[name] for name in names]
    if len(colors) != len(names):
        raise ValueError(
            f"colors: {len(colors)} came for {len(names)} classes ({', '.join(names)}). Give one a class."
        )
    palette = np.stack(
        [_color(color, f"colors: {name}") for color, name in zip(colors, names, strict=True)]
    )
    owner = {}
    for color, name in zip(map(tuple, palette.tolist()), names, strict=True):
        if color in owner:
            raise ValueError(
                f"colors: {owner[color]!r} and {name!r} both have {color}. Give them different colors."
            )
        owner[color] = name
    return palette


def _color(color, where):
    values = np.asarray(color)
    if (
        values.shape != (3,)
        or values.dtype.kind not in "iu"
        or values.min() < 0
        or values.max() > 255
    ):
        raise ValueError(
            f"{where}: {color!r} is no color. Expected red, green and blue in whole numbers 0..255."
        )
    return values.astype(np.uint8)
