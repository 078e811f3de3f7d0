import numpy as np
import pytest
from PIL import Image

from tfseg.data.readers.orientation import stored_part, upright, valid_orientation

STORED = np.arange(35, dtype=np.uint8).reshape(5, 7)
PILLOW = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", PILLOW)
def test_images_are_turned_as_pillow_turns_them(orientation):
    expected = np.asarray(Image.fromarray(STORED).transpose(PILLOW[orientation]))
    assert np.array_equal(upright(STORED, orientation), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_part_of_the_upright_image_is_found_in_the_stored_one(orientation):
    whole = upright(STORED, orientation)
    rows, columns = stored_part((1, 3), (2, 5), whole.shape, orientation)
    part = upright(STORED[rows[0] : rows[1], columns[0] : columns[1]], orientation)
    assert np.array_equal(part, whole[1:3, 2:5])


@pytest.mark.parametrize("value", [0, 9, 255, -1, None, "6", b"\x06", (6, 6), 6.0, True])
def test_what_is_not_an_orientation_counts_as_upright(value):
    assert valid_orientation(value) == 1
