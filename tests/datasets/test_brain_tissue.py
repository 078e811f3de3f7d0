import sys

import numpy as np

from tfseg.datasets import brain_tissue
from tfseg.doctor import check

module = sys.modules["tfseg.datasets.brain_tissue"]  # the function of the same name hides it


def test_slabs_are_disjoint_and_contain_every_class():
    train, val, test = brain_tissue()
    assert (len(train), len(val), len(test)) == (114, 11, 11)
    for part in (train, val, test):
        assert part.channels == 1
        assert part.sizes.tolist() == [[233, 197]] * len(part)
        assert check(part).class_pixels.min() > 0
    held_out = [reader[i]["image"] for reader in (val, test) for i in range(len(reader))]
    assert not any(
        np.array_equal(train[i]["image"], image) for i in range(len(train)) for image in held_out
    )


def test_fractions_of_the_tissues_in_the_whole_volume():
    # counted by a script in all 189 slices; those that the reader leaves out are background
    labels = module._slices()[1]
    pixels = np.bincount(labels.ravel())
    pixels[0] += (189 - len(labels)) * labels[0].size
    assert (100 * pixels / pixels.sum()).round(1).tolist() == [78.3, 12.4, 7.3, 2.0]
