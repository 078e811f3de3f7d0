import numpy as np
import pytest

from tfseg.viz import draw_instances, draw_panoptic, instance_samples, palette, panoptic_samples
from tfseg.viz.drawn_instances import NUM_COLORS


def draw(text):
    rows = text.replace(".", "0").split()
    return np.array([[int(pixel) for pixel in row] for row in rows])


INSTANCES = draw("....... .11122. .11122. .11122. .......")


def test_outlines_are_inside_the_objects_and_the_middle_is_tinted():
    image = np.full((5, 7, 3), 100, np.uint8)
    drawn = draw_instances(image, INSTANCES, alpha=0.5)
    first, second = palette(NUM_COLORS)[:2].astype(int)
    assert (drawn[INSTANCES == 0] == 100).all()
    assert drawn[1, 1].tolist() == drawn[2, 3].tolist() == first.tolist()
    assert drawn[2, 2].tolist() == ((100 + first) // 2).tolist()  # the only pixel off the edge
    assert (drawn[INSTANCES == 2] == second).all()
    assert (image == 100).all()


def test_objects_at_the_border_of_the_image_are_outlined():
    drawn = draw_instances(np.zeros((3, 3)), np.ones((3, 3), int), alpha=0)
    assert (drawn.any(-1) == draw("111 1.1 111")).all()


def test_outlines_of_all_numbers_are_seen_on_black():
    numbers = np.arange(1, NUM_COLORS + 1)[None]
    drawn = draw_instances(np.zeros((1, NUM_COLORS)), numbers)[0]
    assert len(np.unique(drawn, axis=0)) == NUM_COLORS
    assert drawn.max(axis=1).min() > 100


def test_colors_of_classes_and_of_numbers():
    image = np.zeros((5, 7), np.uint8)
    by_class = draw_instances(image, INSTANCES, classes=[4, 4])
    assert (by_class[INSTANCES == 2] == palette(5)[4]).all()
    assert by_class[1, 1].tolist() == palette(5)[4].tolist()
    repeated = draw_instances(image, np.where(INSTANCES == 2, NUM_COLORS + 1, 0))
    assert (repeated[INSTANCES == 2] == palette(NUM_COLORS)[0]).all()
    with pytest.raises(ValueError, match="numbered up to 2, but there are 1 classes"):
        draw_instances(image, INSTANCES, classes=[0])
    with pytest.raises(ValueError, match="draw_instances: got labels of shape"):
        draw_instances(image, INSTANCES.T)


def test_a_figure_has_both_label_maps():
    image = np.zeros((5, 7, 3), np.uint8)
    figure = instance_samples([image], [INSTANCES], [0 * INSTANCES], ["cells"])
    assert [axis.get_title() for axis in figure.axes] == ["cells: ground truth", "predicted"]
    target, found = (axis.get_images()[0].get_array() for axis in figure.axes)
    assert (target == draw_instances(image, INSTANCES)).all()
    assert not found.any()


NAMES = ["cat", "background", "grass", "dog"]
MASK = draw("2222222 2333001 2333001 2333001 1111111")


def test_things_and_stuff_have_the_colors_of_their_classes():
    image = np.full((5, 7, 3), 100, np.uint8)
    drawn = draw_panoptic(image, INSTANCES, MASK, NAMES)
    cat, _, grass, dog = palette(4).astype(int)
    assert (drawn[MASK == 2] == (100 + grass) // 2).all()
    assert (drawn[MASK == 1] == 100).all()  # background
    assert (drawn[INSTANCES == 2] == cat).all()  # all on the outline
    assert drawn[1, 1].tolist() == dog.tolist()
    assert drawn[2, 2].tolist() == ((100 + dog) // 2).tolist()
    unlabeled = draw_panoptic(image, 0 * INSTANCES, np.full((5, 7), 255), NAMES)
    assert (unlabeled == image).all()
    with pytest.raises(ValueError, match="draw_panoptic: got labels of shape"):
        draw_panoptic(image, INSTANCES, MASK.T, NAMES)


def test_a_figure_has_labels_and_predictions_with_a_legend():
    image, labels = np.zeros((5, 7, 3), np.uint8), {"instances": INSTANCES, "mask": MASK}
    found = {"instances": 0 * INSTANCES, "mask": 0 * MASK + 2}
    figure = panoptic_samples([image], [labels], [found], ["a"], NAMES)
    for axis, sample in zip(figure.axes, (labels, found), strict=True):
        expected = draw_panoptic(image, sample["instances"], sample["mask"], NAMES)
        assert (axis.get_images()[0].get_array() == expected).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "grass", "dog"]
