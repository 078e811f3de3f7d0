"""Which samples train and which validate: at random, by groups, by classes or by name."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.data.groups import group_keys
from tfseg.data.readers.file_names import same_form, without_suffix
from tfseg.data.readers.problems import first_few
from tfseg.data.readers.text_files import read_lines


def split(reader, val_fraction: float, seed: int = 0, groups=None, stratify: bool = False):
    """Return (train, val), two ascending arrays of indices. Neither is empty.

    See `Reader.split` for the arguments.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"])
        >>> train, val = split(reader, 0.5, groups=["a", "a", "b", "b"])
        >>> train.tolist() in ([0, 1], [2, 3])
        True
    """
    if not 0 < val_fraction < 1 or len(reader) < 2:
        raise ValueError(
            f"split: got val_fraction={val_fraction} and {len(reader)} samples. Expected a "
            "fraction above 0 and below 1, and at least two samples."
        )
    group = _group_numbers("split", reader, groups, 2)
    rng = np.random.default_rng(seed)
    if stratify:
        fractions = [1 - val_fraction, val_fraction]
        is_val = _stratify(_presence(reader), group, fractions, rng)[group] == 1
    elif groups is None:
        count = min(max(1, round(val_fraction * len(reader))), len(reader) - 1)
        is_val = np.isin(np.arange(len(reader)), rng.permutation(len(reader))[:count])
    else:
        is_val = _draw_groups(np.bincount(group), val_fraction * len(reader), rng)[group]
    return np.flatnonzero(~is_val), np.flatnonzero(is_val)


def k_fold(reader, k: int, seed: int = 0, groups=None, stratify: bool = False):
    """Return a list of k (train, val), two ascending arrays of indices each.

    See `Reader.k_fold` for the arguments.
    """
    k = checks.positive_int("k_fold", "k", k)
    if k < 2:
        raise ValueError("k_fold: k=1 leaves nothing to train on. Pass at least 2 folds.")
    group = _group_numbers("k_fold", reader, groups, k)
    rng = np.random.default_rng(seed)
    if stratify:
        fold = _stratify(_presence(reader), group, [1 / k] * k, rng)[group]
    else:
        fold = _deal_evenly(np.bincount(group), k, rng)[group]
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def indices_of(reader, names) -> list[int]:
    """Return the indices of the samples with these names. See `Reader.select`."""
    where = "select"
    if isinstance(names, (str, os.PathLike)):
        where, names = f"select: {names}", read_names(names)
    names = list(names)
    if not names:
        raise ValueError(f"{where}: got no names. Pass at least one.")
    index = {reader.name(i): i for i in range(len(reader))}
    # Lists may have the suffixes of the files, and names in another Unicode form than on disk.
    index = {same_form(name): i for name, i in index.items()} | index
    names = [name if name in index else without_suffix(same_form(name)) for name in names]
    unknown = [name for name in names if name not in index]
    if unknown:
        raise ValueError(
            f"{where}: {len(unknown)} of {len(names)} names are unknown: {first_few(unknown)}. "
            f"Samples have names such as {reader.name(0)!r}: correct the names, or add the "
            "samples."
        )
    return [index[name] for name in names]


def read_names(path) -> list[str]:
    """Return the lines of a text file, stripped and without empty lines.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not text in a Unicode encoding.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no list of names '{path}'. Check the path.")
    return [line.strip() for line in read_lines(path) if line.strip()]


def _group_numbers(owner, reader, groups, minimum):
    """Return the (N,) group number of each sample; each is its own group if `groups` is None."""
    count = len(reader)
    if groups is None:
        keys = range(count)
    elif isinstance(groups, str):
        keys = group_keys([reader.name(i) for i in range(count)], groups)
    elif callable(groups):
        keys = [groups(reader.name(i)) for i in range(count)]
    else:
        keys = list(groups)
        if len(keys) != count:
            raise ValueError(
                f"groups: got {len(keys)} keys for {count} samples. Pass one key per sample."
            )
    numbers = {}
    group = np.array([numbers.setdefault(key, len(numbers)) for key in keys], int)
    if len(numbers) < minimum:
        found = "samples" if groups is None else f"groups ({', '.join(map(str, numbers))})"
        raise ValueError(
            f"{owner}: got {len(numbers)} {found}, expected at least {minimum}. Add samples, or "
            "make more and smaller groups."
        )
    return group


def _draw_groups(sizes, wanted, rng):
    """Draw groups that together contain about `wanted` samples.

    Groups are taken in random order as long as they fit, and one more if that comes closer.

    Args:
        sizes: (G,) number of samples per group.
        wanted: number of samples.
        rng: NumPy random generator.

    Returns:
        (G,) bool, neither all False nor all True.
    """
    is_drawn = np.zeros(len(sizes), bool)
    total = 0
    for index in rng.permutation(len(sizes)):
        if total + sizes[index] <= wanted:
            is_drawn[index] = True
            total += sizes[index]
    error = np.where(is_drawn, np.inf, np.abs(total + sizes - wanted))
    if error.min() < wanted - total:
        is_drawn[np.argmin(error)] = True
    if not is_drawn.any():  # every group has more than twice what is wanted
        is_drawn[np.argmin(sizes)] = True
    if is_drawn.all():
        is_drawn[np.argmin(sizes)] = False
    return is_drawn


def _deal_evenly(sizes, k, rng):
    """Deal groups to k folds, the largest first, each to the fold with the fewest samples.

    Returns:
        (G,) ints in [0, k).
    """
    fold = np.zeros(len(sizes), int)
    totals = np.zeros(k, int)
    for index in _largest_first(sizes, rng):
        fold[index] = np.argmin(totals)
        totals[fold[index]] += sizes[index]
    return fold


def _largest_first(sizes, rng):
    """Return the indices by descending size, equal sizes in random order."""
    return sorted(rng.permutation(len(sizes)), key=lambda index: -sizes[index])


def _stratify(presence, group, fractions, rng):
    """Iterative stratification of whole groups (Sechidis, Tsoumakas and Vlahavas 2011, figure 1).

    The class with the fewest remaining samples is dealt first, because it leaves the least choice.
    Each group goes to the side that still needs most samples of this class, on ties to the side
    that needs most samples. The samples of the paper are groups here: a group counts as many
    samples of a class as it contains, and large groups are dealt first.

    Args:
        presence: (N, C) bool, the classes that each sample contains.
        group: (N,) ints in [0, G).
        fractions: S fractions of the samples, one per side.
        rng: NumPy random generator, for ties.

    Returns:
        (G,) ints in [0, S): the side of each group.
    """
    sizes = np.bincount(group)
    class_counts = np.zeros((len(sizes), presence.shape[1]), int)  # samples per group and class
    np.add.at(class_counts, group, presence)
    class_needs = np.outer(fractions, class_counts.sum(axis=0))  # (S, C)
    needs = np.array(fractions) * len(group)
    side = np.full(len(sizes), -1)
    order = np.array(_largest_first(sizes, rng))
    while (side < 0).any():
        remaining = side < 0
        samples = class_counts[remaining].sum(axis=0)
        if samples.any():
            rarest = np.argmin(np.where(samples > 0, samples, np.iinfo(int).max))
            candidates = remaining & (class_counts[:, rarest] > 0)
            first_needs = class_needs[:, rarest]  # a view: the loop below updates it
        else:  # the remaining groups contain no class
            candidates = remaining
            first_needs = needs
        for index in order[candidates[order]]:
            chosen = _neediest_side(first_needs, needs, rng)
            side[index] = chosen
            class_needs[chosen] -= class_counts[index]
            needs[chosen] -= sizes[index]
    return _fill_empty_sides(side, sizes, len(fractions))


def _neediest_side(first_needs, needs, rng):
    """Return the side that needs most; on ties the one that needs most samples, then any."""
    best = np.flatnonzero(np.isclose(first_needs, first_needs.max()))
    best = best[np.isclose(needs[best], needs[best].max())]
    return best[0] if len(best) == 1 else rng.choice(best)


def _fill_empty_sides(side, sizes, count):
    """Move the smallest group of the side with most groups to each empty side."""
    for empty in np.setdiff1d(np.arange(count), side):
        largest = np.argmax(np.bincount(side, minlength=count))
        groups = np.flatnonzero(side == largest)
        side[groups[np.argmin(sizes[groups])]] = empty
    return side


def _presence(reader):
    """Return (N, C) bool: which classes occur in each sample's mask, or which categories."""
    count = len(reader.label_names)
    key = "mask" if "mask" in reader.fields else "classes"

    def present(index):
        return np.bincount(reader[index][key].ravel(), minlength=count)[:count] > 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding keeps a core busy
        return np.stack(list(pool.map(present, range(len(reader)))))
