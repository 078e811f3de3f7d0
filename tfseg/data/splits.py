"""Which samples train and which validate: by chance, by groups that stay together, by classes, by name."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg import checks


def split(reader, val_fraction, seed=0, groups=None, stratify=False):
    """Return (train, val): ascending arrays of indices, neither empty. See `Reader.split`."""
    if not 0 < val_fraction < 1 or len(reader) < 2:
        raise ValueError(
            f"split: val_fraction={val_fraction} of {len(reader)} samples came. At least two samples are needed, "
            "and a share above 0 and below 1."
        )
    group = _group_numbers(reader, groups, 2, "split: two sides need")
    rng = np.random.default_rng(seed)
    if stratify:
        in_val = (
            _stratified(_presence(reader), group, [1 - val_fraction, val_fraction], rng)[group] == 1
        )
    elif groups is None:
        count = min(max(1, round(val_fraction * len(reader))), len(reader) - 1)
        in_val = np.isin(np.arange(len(reader)), rng.permutation(len(reader))[:count])
    else:
        in_val = _drawn(np.bincount(group), val_fraction * len(reader), rng)[group]
    return np.flatnonzero(~in_val), np.flatnonzero(in_val)


def k_fold(reader, k, seed=0, groups=None, stratify=False):
    """Return a list of k (train, val): ascending arrays of indices. See `Reader.k_fold`."""
    k = checks.positive_int("k_fold", "k", k)
    if k < 2:
        raise ValueError("k_fold: k=1 leaves nothing to train on. Give at least 2 folds.")
    group = _group_numbers(reader, groups, k, f"k_fold: {k} folds need")
    rng = np.random.default_rng(seed)
    if stratify:
        fold = _stratified(_presence(reader), group, [1 / k] * k, rng)[group]
    else:
        fold = _even(np.bincount(group), k, rng)[group]
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def positions(reader, names):
    """Return the indices of the samples with these names, or with those that a text file lists. See `Reader.named`."""
    where = "named"
    if isinstance(names, (str, os.PathLike)):
        where, names = f"named: {names}", read_names(names)
    names = list(names)
    if not names:
        raise ValueError(f"{where}: no name came. Give at least one.")
    index = {reader.name(i): i for i in range(len(reader))}
    unknown = [str(name) for name in names if name not in index]
    if unknown:
        raise ValueError(
            f"{where}: {len(unknown)} of {len(names)} names are of no sample: {', '.join(unknown[:8])}"
            f"{' ...' if len(unknown) > 8 else ''}. Samples have names such as {reader.name(0)!r}: correct the names, "
            "or add the samples."
        )
    return [index[name] for name in names]


def read_names(path):
    """Return the lines of a text file without spaces around them; empty ones are left out.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no list of names '{path}'. Check the path.")
    lines = path.read_text("utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _group_numbers(reader, groups, least, need):
    """Return the (N,) numbers of the samples' groups; every sample is one if `groups` is None."""
    count = len(reader)
    if groups is None:
        keys = range(count)
    elif callable(groups):
        keys = [groups(reader.name(i)) for i in range(count)]
    else:
        keys = list(groups)
        if len(keys) != count:
            raise ValueError(
                f"groups: {len(keys)} keys came for {count} samples. Give one a sample."
            )
    numbers = {}
    group = np.array([numbers.setdefault(key, len(numbers)) for key in keys], int)
    if len(numbers) < least:
        what = "samples" if groups is None else "groups"
        told = "" if groups is None else f" ({', '.join(map(str, numbers))})"
        raise ValueError(
            f"{need} at least {least} {what}; {len(numbers)} came{told}. Make fewer, or bring more."
        )
    return group


def _drawn(sizes, wanted, rng):
    """Return (G,) bool: groups in random order as long as they fit into `wanted`, and one more if that is nearer."""
    drawn, held = np.zeros(len(sizes), bool), 0
    for index in rng.permutation(len(sizes)):
        if held + sizes[index] <= wanted:
            drawn[index], held = True, held + sizes[index]
    off = np.where(drawn, np.inf, np.abs(held + sizes - wanted))
    if off.min() < wanted - held:
        drawn[np.argmin(off)] = True
    if not drawn.any():  # each is more than twice what is wanted
        drawn[np.argmin(sizes)] = True
    if drawn.all():
        drawn[np.argmin(sizes)] = False
    return drawn


def _even(sizes, k, rng):
    """Return (G,) ints in [0, k): the large groups first, each to the fold that holds least."""
    fold, held = np.zeros(len(sizes), int), np.zeros(k, int)
    for index in sorted(rng.permutation(len(sizes)), key=lambda i: -sizes[i]):
        fold[index] = np.argmin(held)
        held[fold[index]] += sizes[index]
    return fold


def _stratified(presence, group, shares, rng):
    """Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, figure 1) of whole groups.

    The class with the fewest samples left is dealt out first, for it leaves the least choice; each group goes to
    the side that still wants most of this class, then to the one that wants most samples. The paper's samples are
    groups here: one counts as many samples of a class as it holds, and large ones are dealt first.

    Args:
        presence: (N, C) bool: the classes that each sample holds.
        group: (N,) ints in [0, G).
        shares: the sides' shares of the whole, S of them.
        rng: of the ties.

    Returns:
        (G,) ints in [0, S): the side of each group.
    """
    sizes = np.bincount(group)
    held = np.zeros((len(sizes), presence.shape[1]), int)
    np.add.at(held, group, presence)
    wanted = np.outer(shares, held.sum(axis=0))  # (S, C) samples of each class
    room = np.array(shares) * len(group)
    side = np.full(len(sizes), -1)
    order = np.array(sorted(rng.permutation(len(sizes)), key=lambda i: -sizes[i]))
    while (left := side < 0).any():
        samples = held[left].sum(axis=0)
        rarest = (
            np.argmin(np.where(samples > 0, samples, np.iinfo(int).max)) if samples.any() else None
        )
        next_ones = (
            left if rarest is None else left & (held[:, rarest] > 0)
        )  # the last ones hold no class
        for index in order[next_ones[order]]:
            best = _best(room if rarest is None else wanted[:, rarest], room, rng)
            side[index] = best
            wanted[best] -= held[index]
            room[best] -= sizes[index]
    return _none_empty(side, sizes, len(shares))


def _best(wish, room, rng):
    """Return the side with the highest wish, among equals that with most room, among equals any."""
    best = np.flatnonzero(np.isclose(wish, wish.max()))
    best = best[np.isclose(room[best], room[best].max())]
    return best[0] if len(best) == 1 else rng.choice(best)


def _none_empty(side, sizes, count):
    """Give each empty side the smallest group of the side that has most groups."""
    for empty in np.setdiff1d(np.arange(count), side):
        rich = np.flatnonzero(side == np.argmax(np.bincount(side, minlength=count)))
        side[rich[np.argmin(sizes[rich])]] = empty
    return side


def _presence(reader):
    """Return (N, C) bool: which of `label_names` each sample holds, by its mask, or else by its objects' classes."""
    count = len(reader.label_names)
    key = "mask" if "mask" in reader.fields else "classes"

    def present(index):
        return np.bincount(reader[index][key].ravel(), minlength=count)[:count] > 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding keeps a core busy
        return np.stack(list(pool.map(present, range(len(reader)))))
