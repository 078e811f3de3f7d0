import numpy as np
import pytest

from tfseg import viz
from tfseg.viz.region_outlines import borders


def test_regions_have_colors_and_borders_and_0_has_none():
    labels = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [13, 13, 2, 2]])
    painted = viz.regions(np.full((3, 4), 200, np.uint8), labels, alpha=0.5)
    colors = viz.palette(12)
    assert painted[0, 0].tolist() == (100 + colors[0] * 0.5).astype(int).tolist()
    assert painted[2, 0].tolist() == painted[0, 0].tolist()  # color 13 is color 1 again
    assert painted[0, 2].tolist() == [200, 200, 200]
    black = (painted == 0).all(-1)
    assert black.tolist() == [[False, True, False, False], [True] * 4, [False, True, False, False]]


def test_neighboring_regions_have_their_own_colors():
    labels = np.repeat([[1, 2, 12]], 3, axis=1)
    painted = viz.regions(np.zeros((1, 9), np.uint8), labels, alpha=1.0)
    assert painted[0, [0, 3, 6]].tolist() == viz.palette(12)[[0, 1, 11]].tolist()


def test_borders_are_left_of_and_above_a_change():
    labels = np.array([[1, 1, 2], [1, 3, 2]])
    assert borders(labels).tolist() == [[False, True, False], [True, True, False]]


def test_equal_labels_have_no_borders():
    assert not borders(np.full((3, 4), 7)).any()
    assert borders(np.array([[0, 5]])).tolist() == [[True, False]]


@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_alpha_is_the_opacity_of_the_regions(alpha):
    image = np.full((2, 2, 3), 80, np.uint8)
    painted = viz.regions(image, np.full((2, 2), 3), alpha)
    color = viz.palette(12)[2].astype(float)
    assert painted.dtype == np.uint8
    assert painted[1, 1].tolist() == (80 * (1 - alpha) + color * alpha).astype(int).tolist()


def test_the_image_of_regions_is_not_changed():
    image = np.full((1, 2, 3), 80, np.uint8)
    viz.regions(image, np.array([[1, 2]]))
    assert (image == 80).all()


def test_labels_of_another_shape_are_refused():
    message = r"regions: got labels of shape \(3, 4\), expected class ids of shape \(4, 3\)"
    with pytest.raises(ValueError, match=message):
        viz.regions(np.zeros((4, 3)), np.ones((3, 4), int))
