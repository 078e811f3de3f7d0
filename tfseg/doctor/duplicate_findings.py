"""Findings about repeated images: exact copies, near-duplicates, leakage into validation."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from tfseg.doctor.duplicates import NEAR, groups, nearest
from tfseg.doctor.findings import Finding, image_names, plural, semicolon_list

EXAMPLES = 3  # quoted in one message


def duplicate_findings(samples):
    """Return the findings about repeated images.

    Args:
        samples: list of `Sample`.
    """
    readable = [sample for sample in samples if sample.digest is not None]
    train = [sample for sample in readable if not sample.val]
    val = [sample for sample in readable if sample.val]
    return [
        *duplicates(train, "image"),
        *duplicates(val, "validation image"),
        *leakage(train, val),
    ]


def duplicates(samples, noun):
    """Find images that occur more than once in one part of the dataset, exactly or nearly."""
    by_content = defaultdict(list)
    for sample in samples:
        by_content[sample.digest].append(sample)
    repeated = [copies for copies in by_content.values() if len(copies) > 1]
    if repeated:
        examples = semicolon_list([_equal_names(copies) for copies in repeated], EXAMPLES)
        message = f"{plural(len(repeated), noun)} with identical copies: {examples}."
        conflicts = sum(len({copy.mask_digest for copy in copies}) > 1 for copies in repeated)
        if conflicts:
            message += f" The masks of {conflicts} of them contradict each other."
        names = image_names([copy for copies in repeated for copy in copies])
        yield Finding("duplicates", "warning", names, message, "Keep one copy of each image.")
    distinct = [copies[0] for copies in by_content.values() if copies[0].hash is not None]
    yield from _near_duplicates(distinct, noun)


def _near_duplicates(samples, noun):
    earlier, distances = nearest([sample.hash for sample in samples])
    links = [(i, earlier[i]) for i in np.flatnonzero(distances <= NEAR).tolist()]
    similar = [[samples[i] for i in group] for group in groups(links)]
    if similar:
        found = [sample for group in similar for sample in group]
        examples = semicolon_list([_equal_names(group[:2]) for group in similar], EXAMPLES)
        message = (
            f"{len(found)} of {plural(len(samples), noun)} are nearly identical, in "
            f"{plural(len(similar), 'group')}: {examples}. Typical causes are video frames and "
            "re-saved copies."
        )
        fix = (
            "Keep each group on one side of the split: use separate folders with --val-images and "
            "--val-masks, or reader.split(0.2, groups=lambda name: name[:6])."
        )
        yield Finding("near_duplicates", "warning", image_names(found), message, fix)


def leakage(train, val):
    """Find validation images that are also training images."""
    by_content = {sample.digest: sample for sample in train}
    exact = [(by_content[s.digest], s) for s in val if s.digest in by_content]
    near = _near_pairs(
        [sample for sample in train if sample.hash is not None],
        [s for s in val if s.hash is not None],
        by_content,
    )
    if exact or near:
        examples = [_equal_names(pair) for pair in exact]
        examples += [f"{_equal_names(pair)} (nearly)" for pair in near]
        message = (
            f"{len(exact) + len(near)} of {plural(len(val), 'validation image')} are also training "
            f"images ({len(exact)} identical, {len(near)} nearly identical): "
            f"{semicolon_list(examples, EXAMPLES)}. Validation scores would be too optimistic."
        )
        names = image_names([sample for pair in exact + near for sample in pair])
        fix = "Remove them from one side. Split videos by sequence."
        yield Finding("leakage", "warning", names, message, fix)


def _near_pairs(train, val, identical):
    """Return (training sample, validation sample) of near-duplicates that are not `identical`."""
    indices, distances = nearest([s.hash for s in val], [s.hash for s in train])
    return [
        (train[index], sample)
        for sample, index, distance in zip(val, indices, distances, strict=True)
        if distance <= NEAR and sample.digest not in identical
    ]


def _equal_names(samples):
    return " = ".join(Path(sample.name).name for sample in samples)
