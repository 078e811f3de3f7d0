import numpy as np
import pycocotools.mask as coco_mask
import pytest

from tfseg.data.readers.formats.drawing import decode_counts, polygon_area, validated_rle


@pytest.mark.parametrize("seed", range(20))
def test_strings_packed_by_pycocotools_are_decoded(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.random(rng.integers(1, 40, 2)) < rng.random()
    pixels = np.repeat(np.repeat(pixels, 1 + seed % 7, 0), 1 + seed % 9, 1)
    column = pixels.ravel(order="F")
    ends = np.flatnonzero(np.append(column[1:] != column[:-1], True)) + 1
    # The first run consists of zeros, and is empty if the first pixel is 1.
    runs = np.diff(np.concatenate([[0], [0] * int(column[0]), ends]))
    packed = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    assert decode_counts(packed["counts"]).tolist() == runs.tolist()
    assert np.array_equal(coco_mask.decode(validated_rle(packed, pixels.shape)), pixels)


def test_polygon_area():
    assert polygon_area([0, 0, 4, 0, 0, 3]) == 6
    assert polygon_area([0, 0, 0, 3, 4, 0]) == 6  # the other way round
    assert polygon_area([1, 1, 2, 2, 5, 5]) == 0
