import numpy as np
import pycocotools.mask as coco_mask
import pytest

from tfseg.data.readers.formats.drawing import polygon_area, runs_region, unpacked


@pytest.mark.parametrize("seed", range(20))
def test_packed_runs_are_unpacked_as_pycocotools_packs_them(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.random(rng.integers(1, 40, 2)) < rng.random()
    pixels = np.repeat(np.repeat(pixels, 1 + seed % 7, 0), 1 + seed % 9, 1)
    column = pixels.ravel(order="F")
    ends = np.flatnonzero(np.append(column[1:] != column[:-1], True)) + 1
    runs = np.diff(
        np.concatenate([[0], [0] * int(column[0]), ends])
    )  # the first run is one of zeros
    packed = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    assert unpacked(packed["counts"]).tolist() == runs.tolist()
    assert np.array_equal(coco_mask.decode(runs_region(packed, pixels.shape)), pixels)


def test_area_of_a_polygon():
    assert polygon_area([0, 0, 4, 0, 0, 3]) == 6
    assert polygon_area([0, 0, 0, 3, 4, 0]) == 6  # the other way round
    assert polygon_area([1, 1, 2, 2, 5, 5]) == 0
