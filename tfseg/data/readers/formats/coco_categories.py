"""Which class ids the categories of a COCO file get."""

import difflib
import warnings
from collections import Counter
from pathlib import Path

from tfseg.checks import is_background
from tfseg.data.readers.base import check_class_names
from tfseg.data.readers.problems import first_few


def class_positions(data: dict, path: Path, class_names=None, keep_background: bool = False):
    """Return the names of the classes, and the position of each category's class in them.

    Without `class_names`, classes follow the order of the category ids. Left out are categories
    without annotations that only group others, as Roboflow writes them: they are the
    `supercategory` of another category, or have the name of one with annotations.

    Args:
        data: content of the file.
        path: the file, for errors.
        class_names: names in the order of their ids, with or without the background; or None.
        keep_background: whether a category "background" is a class like any other.

    Returns:
        names: list of str, without the background unless `keep_background`.
        positions: {category id: position in names}. Categories that are left out are missing.

    Raises:
        ValueError: categories share a name, or none is left.
    """
    categories = sorted(data["categories"], key=_numbers_first)
    named = {category["id"]: str(category["name"]) for category in categories}
    if not keep_background:
        named = {number: name for number, name in named.items() if not is_background(name)}
    if class_names is None:
        named = _without_groups(named, data)
        _check_unique(named, path)
        names = list(named.values())
    else:
        names = check_class_names(class_names)
        if is_background(names[0]) and not keep_background:
            names = names[1:]
        _check_listed(names, named, path)
    if not names:
        raise ValueError(f"{path} has no category besides the background. Name the objects.")
    position = {name: i for i, name in enumerate(names)}
    return names, {number: position[name] for number, name in named.items() if name in position}


def _numbers_first(category):
    return isinstance(category["id"], str), category["id"]


def _without_groups(named, data):
    """Remove categories without annotations that group others or repeat their name."""
    numbers = [entry.get("category_id") for entry in data["annotations"]]
    used = {number for number in numbers if isinstance(number, (int, float, str))}
    groups = {
        category.get("supercategory")
        for category in data["categories"]
        if isinstance(category.get("supercategory"), str)
        and category["supercategory"] != category["name"]
    }
    last = {name: number for number, name in named.items()}  # kept if all of a name are unused
    repeated = {name for name, count in Counter(named.values()).items() if count > 1}
    used_names = {name for number, name in named.items() if number in used}

    def is_kept(number, name):
        if number in used:
            return True
        if name in repeated:
            return name not in used_names and last[name] == number
        return name not in groups

    kept = {number: name for number, name in named.items() if is_kept(number, name)}
    return kept or named


def _check_unique(named, path):
    """Raise a ValueError if categories share a name."""
    for name, count in Counter(named.values()).items():
        if count > 1:
            ids = [number for number, other in named.items() if other == name]
            names = list(dict.fromkeys(named.values()))
            raise ValueError(
                f"{path}: the categories {first_few(ids)} have the same name {name!r}. Rename one, "
                f"or make them one class: class_names={names}."
            )


def _check_listed(names, named, path):
    """Compare the names that a user passes with those of the categories."""
    found = set(named.values())
    if not found & set(names):
        raise ValueError(
            f"class_names: {path} has none of {first_few(names)}. Its categories are "
            f"{first_few(dict.fromkeys(named.values()))}."
        )
    others = sorted(found - set(names))
    for name in names:
        near = [] if name in found else difflib.get_close_matches(name, others, n=1)
        if near:
            warnings.warn(
                f"class_names: {path} has no category {name!r}, and its category {near[0]!r} is "
                "left out. Correct the name if they are the same.",
                stacklevel=4,
            )
