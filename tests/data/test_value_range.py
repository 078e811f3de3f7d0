import numpy as np
import pytest

from tfseg.data.value_range import range_warning, value_range


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[3, 250]], np.uint8), (3.0, 250.0)),
        (np.array([-1024, 3071], np.int16), (-1024.0, 3071.0)),
        (np.array([np.nan, 0.5, np.inf, -2.0, -np.inf], np.float32), (-2.0, 0.5)),
        (np.array([np.nan, np.inf]), None),
        (np.zeros((0, 3)), None),
        (np.array([False, True]), (0.0, 1.0)),
    ],
)
def test_value_range_of_finite_values(values, expected):
    assert value_range(values) == expected


@pytest.mark.parametrize(
    ("images", "trained", "remedy"),
    [
        ((0, 1), None, "Do not divide images by 255"),
        ((0.2, 0.9), (0, 255), "Do not divide images by 255"),
        ((0, 1.0004), (12, 250), "Do not divide images by 255"),
        ((0, 1), (0, 4095), "Do not scale images to 0..1"),
        ((-1, 1), None, "Do not normalize images"),
        ((-2.1, 2.64), None, "Do not normalize images"),
        ((-2.1, 2.64), (0, 65535), "Do not normalize images"),
        ((0, 255), (0, 65535), "Convert"),
        ((0, 255), (0, 4095), "Convert"),
        ((0, 4095), (0, 65535), "Convert"),
        ((0, 4095), (0, 255), "Convert"),
        ((0, 65535), (0, 4095), "Convert"),
        ((0, 255), (0, 1), "Convert"),
        ((0, 255), (-1, 1), "Convert"),
        ((-1, 1), (0, 1), "Convert"),
        ((0, 1), (-1024, 3071), "Do not scale images to 0..1"),
        ((-1024, 1500), None, "Convert"),
        ((-1024, 1500), (0, 1500), "Convert"),
    ],
)
def test_other_ranges_are_reported(images, trained, remedy):
    warning = range_warning(*images, trained, "predict: a.tif")
    assert warning.startswith("predict: a.tif: the image values are in ")
    assert remedy in warning


@pytest.mark.parametrize(
    ("images", "trained"),
    [
        ((0, 0), None),  # blank
        ((0, 255), None),
        ((0, 20), None),  # at night
        ((0, 20), (0, 255)),
        ((0, 255), (20, 90)),  # trained on dark 8-bit images
        ((-3, 259), None),  # bicubic resampling
        ((0, 3500), (0, 4095)),
        ((0, 4095), (10, 2900)),
        ((0, 9000), (0, 40000)),
        ((-1024, 3071), (-1024, 1500)),
        ((-200, 300), (-1024, 1500)),
        ((0, 1), (0, 1)),
        ((0, 0.3), (0, 1)),
        ((-1, 1), (-1, 1)),
        ((0, 1), (-1, 1)),
    ],
)
def test_usual_images_are_not_reported(images, trained):
    assert range_warning(*images, trained, "predict") is None


def test_the_warning_names_both_ranges():
    assert range_warning(0, 255, (0, 65535), "predict") == (
        "predict: the image values are in 0..255, but the model was trained on 0..65535. "
        "Convert the images to the range of the training images."
    )
