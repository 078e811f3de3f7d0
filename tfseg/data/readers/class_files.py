"""Files beside a dataset that list the names of its classes, and often their colors."""

import re
from pathlib import Path

from tfseg.data.readers.base import check_class_names
from tfseg.data.readers.text_files import read_lines

# In the order of preference: those with colors suit masks of colors, too.
CLASS_FILES = (
    "class_dict.csv",
    "label_colors.txt",
    "labelmap.txt",
    "classes.txt",
    "class_names.txt",
    "labels.txt",
    "codes.txt",
)
NOT_A_CLASS = "__ignore__"  # first line of LabelMe's labels.txt
NAME_FIRST = re.compile(r"([^:,]+)[:,]\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?::.*)?")
COLOR_FIRST = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(.+)")


def find_class_file(*folders: str | Path) -> Path | None:
    """Return the file with class names in the first folder that has one, or None."""
    for folder in folders:
        for name in CLASS_FILES:
            if (Path(folder) / name).is_file():
                return Path(folder) / name
    return None


def read_class_file(path: str | Path) -> dict:
    """Read a file of `CLASS_FILES`: a class per line, in the order of the ids.

    A line is a name, or a name and a color: "sky,70,130,180" (class_dict.csv),
    "70 130 180 sky" (label_colors.txt) or "sky:70,130,180::" (labelmap.txt).

    Returns:
        {name: (red, green, blue), or None if the line has no color}.

    Raises:
        ValueError: the file names no class, or one twice, or is not text.
    """
    path = Path(path)
    lines = [line.strip() for line in read_lines(path)]
    rows = [_parse(line) for line in lines if line and not line.startswith("#")]
    if path.suffix.lower() == ".csv":
        rows = [(name, color) for name, color in rows if color is not None]  # without the header
    rows = [(name, color) for name, color in rows if name != NOT_A_CLASS]
    try:
        check_class_names([name for name, _ in rows])
    except ValueError as error:
        raise ValueError(f"{path}: {error} Or pass class_names (`--class-names`).") from error
    return dict(rows)


def _parse(line):
    """Return the name and the color of a line; None for no color."""
    match = NAME_FIRST.fullmatch(line)
    if match:
        return match[1].strip(), tuple(map(int, match.groups()[1:]))
    match = COLOR_FIRST.fullmatch(line)
    if match:
        return match[4].strip(), tuple(map(int, match.groups()[:3]))
    return line, None
