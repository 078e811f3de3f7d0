import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from skimage.measure import regionprops

from tfseg.inference import object_table


def test_measurements_by_hand():
    # object 4: three pixels of an L; object 9: one pixel
    instances = np.array([[4, 4, 0], [4, 0, 0], [0, 0, 9]])
    image = np.stack([10 * instances, np.arange(9).reshape(3, 3)], axis=-1)
    table = object_table(image, instances)
    assert table["number"].tolist() == [4, 9]
    assert table["area"].tolist() == [3, 1]
    # the means of the columns 0, 1, 0 and of the rows 0, 0, 1, plus half a pixel
    assert_allclose(table["centroid_x"], [1 / 3 + 0.5, 2.5])
    assert_allclose(table["centroid_y"], [1 / 3 + 0.5, 2.5])
    boxes = [table[name].tolist() for name in ("x_min", "y_min", "x_max", "y_max")]
    assert boxes == [[0, 2], [0, 2], [2, 3], [2, 3]]
    # means of the pixels: (40 + 0), (40 + 1), (40 + 3) over both channels; (90 + 8) / 2
    assert_allclose(table["mean_intensity"], [(40 + 41 + 43) / 6, 49])
    # second moments 2/9, 2/9 and -1/9: 3/9 along the long axis, 1/9 across
    assert_allclose(table["eccentricity"], [np.sqrt(1 - 1 / 3), 0])


label_maps = arrays("uint8", (6, 9), elements=st.integers(0, 3))


@given(label_maps, arrays("float32", (6, 9), elements=st.integers(0, 255)))
@settings(deadline=None, max_examples=30)
def test_measurements_match_scikit_image(instances, image):
    table = object_table(image, instances)
    regions = regionprops(instances, image)
    assert table["number"].tolist() == [region.label for region in regions]
    for row, region in enumerate(regions):
        y, x = region.centroid
        assert table["area"][row] == region.area
        assert table["centroid_x"][row] == pytest.approx(x + 0.5)
        assert table["centroid_y"][row] == pytest.approx(y + 0.5)
        top, left, bottom, right = region.bbox
        box = [table[name][row] for name in ("x_min", "y_min", "x_max", "y_max")]
        assert box == [left, top, right, bottom]
        assert table["eccentricity"][row] == pytest.approx(region.eccentricity, abs=1e-6)
        assert table["mean_intensity"][row] == pytest.approx(region.intensity_mean)


def test_images_without_objects_and_other_sizes():
    table = object_table(np.zeros((2, 3, 3)), np.zeros((2, 3), int))
    assert all(len(column) == 0 for column in table.values())
    with pytest.raises(ValueError, match=r"object_table: image of shape \(3, 2\) and instances"):
        object_table(np.zeros((3, 2)), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="object_table: instances is float64, expected integers"):
        object_table(np.zeros((2, 3)), np.zeros((2, 3)))


def test_ten_thousand_objects():
    # squares of 4 x 4 pixels, 2 pixels apart
    square = np.pad(np.ones((4, 4), int), (0, 2))
    instances = np.kron(np.arange(1, 10001).reshape(100, 100), square)
    begin = time.process_time()
    table = object_table(instances, instances)
    assert time.process_time() - begin < 2
    assert (table["area"] == 16).all()
    assert_allclose(table["mean_intensity"], np.arange(1, 10001))
    assert_allclose(table["centroid_x"], np.tile(6 * np.arange(100) + 2, 100))
