"""Which samples belong together, such as the images of one patient: by name, or by a table."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tfseg.data.readers.file_names import same_form, with_slashes, without_suffix
from tfseg.data.readers.problems import first_few
from tfseg.data.readers.text_files import read_text

TABLE = re.compile(r"(.+\.csv)(?::(.+))?", re.IGNORECASE)
DELIMITERS = ",;\t"
NAME_COLUMN, GROUP_COLUMN = 0, 1


def group_keys(names: Sequence[str], groups: str) -> list[str]:
    r"""Return the group of each sample.

    Args:
        names: names of the samples.
        groups: a regular expression that is searched in each name: its first group in parentheses,
            or without one the whole match, is the sample's group. Or a CSV file with the name of a
            sample and its group in each row: "FILE.csv" for the second column, "FILE.csv:COLUMN"
            for the one with this header.

    Raises:
        FileNotFoundError: the CSV file is missing.
        ValueError: a name does not match, is not in the table, or is in it more than once; or the
            expression or the table is invalid.

    Example:
        >>> group_keys(["patient1_a", "patient1_b", "patient2_a"], r"(patient\d+)_.*")
        ['patient1', 'patient1', 'patient2']
    """
    file, column = table_of(groups)
    if file is None:
        return _keys_by_pattern(names, groups)
    return _keys_by_table(names, Path(file), column)


def group_sizes(keys: Sequence[str]) -> str:
    """Return a phrase about the groups of samples.

    Example:
        >>> group_sizes(["a", "b", "b"])
        '2 groups of 1 to 2 images'
    """
    sizes = Counter(keys).values()
    low, high = min(sizes), max(sizes)
    if low < high:
        return f"{len(sizes)} groups of {low} to {high} images"
    return f"{len(sizes)} groups of {high} {'image' if high == 1 else 'images'}"


def table_of(groups: str) -> tuple[str | None, str | None]:
    r"""Return the CSV file and the column that `groups` names; None for what it does not name.

    Example:
        >>> table_of("slides.csv:patient"), table_of(r"patient\d+")
        (('slides.csv', 'patient'), (None, None))
    """
    match = TABLE.fullmatch(groups)
    return match.groups() if match else (None, None)


def compile_pattern(groups: str) -> re.Pattern:
    """Return the regular expression; raise a ValueError if it is invalid."""
    try:
        return re.compile(groups)
    except re.error as error:
        raise ValueError(
            f"groups: '{groups}' is not a regular expression ({error}), and not a file *.csv. "
            r"Expected a pattern such as '(patient\d+)_.*'."
        ) from error


def _keys_by_pattern(names, groups):
    pattern = compile_pattern(groups)
    part = min(pattern.groups, 1)  # 0 is the whole match
    matches = {name: pattern.search(name) for name in names}
    keys = {name: match and match[part] for name, match in matches.items()}
    unmatched = [name for name, key in keys.items() if not key]
    if unmatched:
        raise ValueError(
            f"groups: the pattern '{groups}' gives no group for {len(unmatched)} of {len(names)} "
            f"names: {first_few(unmatched)}. Change the pattern, or pass a CSV file of names and "
            "groups."
        )
    return [keys[name] for name in names]


def _keys_by_table(names, file, column):
    rows = _read_rows(file)
    position = GROUP_COLUMN if column is None else _find_column(file, rows[0], column)
    known = {same_form(name): name for name in names} | {name: name for name in names}
    pairs = [(_sample_name(row[NAME_COLUMN], known), row) for row in rows]
    pairs = [(name, row) for name, row in pairs if name is not None]  # not the header
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(
            f"groups: {file} has more than one row for {first_few(twice)}. Keep one for each image."
        )
    keys = {name: row[position].strip() for name, row in pairs if len(row) > position}
    missing = [name for name in names if not keys.get(name)]
    if missing:
        raise ValueError(
            f"groups: {file} has no group for {len(missing)} of {len(names)} names: "
            f"{first_few(missing)}. Expected a row for each, with the name in the first column and "
            f"the group in {'the second' if column is None else repr(column)}."
        )
    return [keys[name] for name in names]


def _read_rows(file):
    """Return the rows of a CSV file with commas, semicolons or tabs, without empty ones."""
    if not file.is_file():
        raise FileNotFoundError(f"There is no table of groups '{file}'. Check the path.")
    text = read_text(file).removeprefix("\ufeff")
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    if not rows:
        raise ValueError(f"groups: {file} is empty. Expected rows of a name and its group.")
    return rows


def _find_column(file, header, column):
    names = [name.strip() for name in header]
    if column not in names:
        raise ValueError(
            f"groups: {file} has the columns {', '.join(names)}, but no {column!r}. Choose one of "
            "them."
        )
    return names.index(column)


def _sample_name(cell, known):
    """Return the sample that a cell names, maybe with a suffix or in another Unicode form; or None.

    Args:
        cell: text in the table.
        known: {name as it may be written: name of the sample}.
    """
    name = with_slashes(cell.strip())
    composed = same_form(name)
    for candidate in (name, composed, without_suffix(composed)):
        if candidate in known:
            return known[candidate]
    return None
