"""Fonts that can draw the names of classes in any script."""

import functools

from matplotlib import font_manager

PLACEHOLDERS = "Last Resort"  # a font of matplotlib that draws the same box for whole scripts


def readable_names(names) -> tuple[list[str], list[str]]:
    """Return names of classes that can be drawn, and the font families to draw them with.

    A name that no installed font can draw is replaced by "class <id>", since matplotlib would draw
    empty boxes.

    Args:
        names: names in the order of their ids.
    """
    families, available = _fonts_for(names)
    drawn = [
        f"class {i}" if _code_points([name]) - available else name for i, name in enumerate(names)
    ]
    return drawn, families


def families_for(texts) -> list[str]:
    """Return the font families to draw texts with.

    If matplotlib's font lacks characters, such as Chinese ones, an installed font that has them is
    added.
    """
    return _fonts_for(texts)[0]


def font_file(text: str) -> str | None:
    """Return the file of an installed font that can draw all of a text; None if there is none."""
    characters = _code_points([text])
    default = font_manager.findfont(font_manager.FontProperties())
    if characters <= _characters(default):
        return default
    name, available = _best_font(frozenset(characters))
    if not characters <= available:
        return None
    return _file_of(name)


def _fonts_for(texts):
    """Return (font families, code points that they can draw)."""
    default = font_manager.FontProperties()
    families, available = default.get_family(), _characters(font_manager.findfont(default))
    missing = _code_points(texts) - available
    if not missing:
        return families, available
    name, characters = _best_font(frozenset(missing))
    return [*families, name], available | characters


def _code_points(names):
    return {ord(character) for name in names for character in name if not character.isspace()}


@functools.cache
def _characters(path):
    """Return the code points that a font file can draw; none if it cannot be opened."""
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@functools.cache
def _best_font(missing):
    """Return (family, code points) of the installed font that has the most missing characters."""
    fonts = [font for font in font_manager.fontManager.ttflist if PLACEHOLDERS not in font.name]
    # italic files may have characters that the upright file, which is drawn, lacks
    fonts = [font for font in fonts if font.style == "normal"]
    best = max(fonts, key=lambda font: len(missing & _characters(font.fname)))
    return best.name, _characters(_file_of(best.name))


def _file_of(family):
    return font_manager.findfont(font_manager.FontProperties(family=[family]))
