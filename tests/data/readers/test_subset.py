import numpy as np
import pytest

from tfseg.data import Folder


@pytest.fixture
def reader(folder):
    return Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])


def test_a_subset_of_a_subset(reader):
    subset = reader.subset([4, 1]).subset([1])
    assert (len(subset), subset.name(0)) == (1, "p1")
    assert subset.version_key(0) == reader.version_key(1)
    assert subset.sizes.tolist() == [[48, 56]]
    assert subset.mask_values == reader.mask_values
    assert np.array_equal(subset[0]["mask"], reader[1]["mask"])


def test_a_subset_is_read_smaller_like_the_whole(reader):
    subset = reader.subset([4, 1])
    assert np.array_equal(subset.read(1, 2)["image"], reader.read(1, 2)["image"])
