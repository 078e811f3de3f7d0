"""The pointer to the training of instances."""

import numpy as np
import pytest

from tfseg.cli.object_hint import say_if_objects
from tfseg.data import Arrays


def reader_of(counts, names):
    """Return a reader whose masks show as many separate squares."""
    masks = []
    for count in counts:
        mask = np.zeros((8, 64), np.uint8)
        for number in range(count):
            mask[2:5, 6 * number : 6 * number + 3] = 1
        masks.append(mask)
    return Arrays([mask[..., None] for mask in masks], masks, names)


@pytest.mark.parametrize(
    ("counts", "names", "hint"),
    [
        ([1, 5, 9], ["background", "nucleus"], "has 5 separate regions of nucleus"),
        ([9, 4, 4], ["background", "nucleus"], ""),
        ([9, 9], ["background", "nucleus", "cell"], ""),
    ],
)
def test_many_regions_of_one_class_are_probably_objects(counts, names, hint, capsys):
    say_if_objects(reader_of(counts, names))
    printed = " ".join(capsys.readouterr().out.split())
    assert hint in printed
    assert bool(hint) == ("--task instances" in printed)
