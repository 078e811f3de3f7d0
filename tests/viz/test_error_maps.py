import numpy as np
import pytest

from tfseg import viz
from tfseg.viz.class_colors import perceived_colors
from tfseg.viz.error_maps import ERROR_COLORS, IGNORED_COLOR, background_id

RIGHT = (25, 25, 25)  # half of the image
MISSED, FALSE_ALARM, WRONG_CLASS = ERROR_COLORS.values()


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        (0, [RIGHT, MISSED, FALSE_ALARM, WRONG_CLASS, IGNORED_COLOR]),
        (1, [RIGHT, FALSE_ALARM, MISSED, FALSE_ALARM, IGNORED_COLOR]),
        (None, [RIGHT, WRONG_CLASS, WRONG_CLASS, WRONG_CLASS, IGNORED_COLOR]),
    ],
)
def test_the_color_of_a_wrong_pixel_is_the_kind_of_its_error(background, expected):
    mask, prediction = np.array([[0, 1, 0, 1, 255]]), np.array([[0, 0, 1, 2, 1]])
    image = np.full((1, 5, 3), 50, np.uint8)
    found = viz.errors(image, mask, prediction, background=background)
    assert list(map(tuple, found[0].tolist())) == expected
    assert (image == 50).all()


def test_color_blind_people_can_distinguish_the_colors():
    grays = [(value,) * 3 for value in (0, 64, 127)]  # darkened images
    views = perceived_colors([*ERROR_COLORS.values(), IGNORED_COLOR, *grays])
    for view in views:
        distances = np.linalg.norm(view[:, None] - view[None], axis=-1)
        first, second = np.triu_indices(len(view), 1)
        assert distances[first, second][first < 4].min() > 12


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sky", "_Background_", "car"], 1),
        (["leaf", "background"], 1),
        (["dry", "leaf"], 0),
        (["sky", "road", "car"], None),
    ],
)
def test_the_background_is_named_so_or_the_first_of_two_classes(names, expected):
    assert background_id(names) == expected
