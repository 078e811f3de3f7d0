import numpy as np
import pytest
from matplotlib import font_manager

from tfseg import viz
from tfseg.viz import fonts

NAMES = ["cat", "dog", "a rather long name"]
IMAGE = np.full((300, 440, 3), 120, np.uint8)
BLUE, ORANGE, GREEN = viz.palette(3)


def found(boxes, classes, scores=None, **masks):
    detections = {"boxes": np.array(boxes, "float32"), "classes": np.array(classes), **masks}
    return detections if scores is None else {**detections, "scores": np.array(scores)}


def is_color(image, color):
    return (image == color).all(-1)


def test_a_box_has_the_color_of_its_class_on_its_outer_pixels():
    drawn = viz.draw_detections(IMAGE, found([[100, 120, 160, 200]], [1], [0.9]), NAMES)
    assert drawn.shape == IMAGE.shape
    assert drawn.dtype == np.uint8
    orange = is_color(drawn, ORANGE)
    rows, columns = np.nonzero(orange[121:])  # below the name
    assert (rows.max() + 121, columns.min(), columns.max()) == (199, 100, 159)
    assert orange[120, 100:160].all()
    assert (drawn[119, 100:160] == 0).all()  # a line of contrast outside, for images in orange
    assert (drawn[140:180, 120:140] == 120).all()
    assert (IMAGE == 120).all()  # the caller's image is not changed


def test_a_dark_class_has_a_bright_contrast():
    names = [str(index) for index in range(80)]
    dark = int(viz.palette(80).astype(int).sum(1).argmin())
    drawn = viz.draw_detections(IMAGE, found([[100, 120, 160, 200]], [dark]), names)
    assert (drawn[200, 100:160] == 255).all()


def test_only_detections_above_the_threshold_are_drawn_and_no_padding():
    detections = found([[10, 10, 50, 50], [60, 60, 90, 90]], [0, -1], [0.4, 0.9])
    assert np.array_equal(viz.draw_detections(IMAGE, detections, NAMES), IMAGE)
    assert not np.array_equal(viz.draw_detections(IMAGE, detections, NAMES, 0.4), IMAGE)
    nothing = found(np.zeros((0, 4)), np.zeros(0, int), [])
    assert np.array_equal(viz.draw_detections(IMAGE, nothing, []), IMAGE)


def test_masks_are_blended_and_outlined():
    inside = np.zeros((1, 300, 440), bool)
    inside[0, 140:180, 120:140] = True
    detections = found([[100, 120, 160, 200]], [0], masks=inside)
    drawn = viz.draw_detections(IMAGE, detections, NAMES, alpha=0.5)
    assert np.array_equal(drawn[160, 130], (120 + BLUE.astype(int)) // 2)
    assert (drawn[140, 120:140] == 0).all()
    assert (drawn[139, 120:140] == 120).all()
    instances = 2 * inside[0].astype("int32")
    sample = found([[0, 0, 1, 1], [100, 120, 160, 200]], [-1, 0], instances=instances)
    assert np.array_equal(viz.draw_detections(IMAGE, sample, NAMES, alpha=0.5), drawn)


def test_model_masks_are_pasted_into_their_boxes():
    masks = np.zeros((1, 28, 28), "float32")
    masks[0, :, 14:] = 1
    detections = found([[100, 120, 156, 200]], [0], masks=masks)
    drawn = viz.draw_detections(IMAGE, detections, NAMES, alpha=0.5)
    blended = is_color(drawn, (120 + BLUE.astype(int)) // 2)
    assert blended[160, 130:152].all()
    assert not blended[160, :127].any()


def test_the_highest_score_is_on_top():
    boxes = [[100, 100, 200, 200], [100, 100, 200, 200]]
    lower = viz.draw_detections(IMAGE, found(boxes, [0, 1], [0.7, 0.8]), NAMES)
    upper = viz.draw_detections(IMAGE, found(boxes, [0, 1], [0.8, 0.7]), NAMES)
    assert is_color(lower, ORANGE)[150, 100]
    assert is_color(upper, BLUE)[150, 100]


def test_names_cover_neither_each_other_nor_leave_the_image():
    boxes = [[0, 0, 60, 40], [5, 2, 62, 44], [400, 250, 440, 300]]
    drawn = viz.draw_detections(IMAGE, found(boxes, [0, 1, 2], [0.9, 0.8, 0.7]), NAMES)
    for color in (BLUE, ORANGE, GREEN):
        # as many pixels as a whole patch has at least, behind its letters
        assert is_color(drawn, color).sum() > 700
    crowded = found([[200, 200, 210, 210]] * 40, [0] * 40, np.linspace(0.5, 0.9, 40))
    patches = is_color(viz.draw_detections(IMAGE, crowded, NAMES), BLUE)
    assert patches.sum() < 8 * 80 * 20  # eight places at most; further names are left out


def test_small_images_are_enlarged():
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    detections = found([[1, 2, 4, 5]], [0])
    drawn = viz.draw_detections(image, detections, NAMES)
    assert drawn.shape == (300, 400, 3)
    assert (drawn[275, 375] == 47).all()
    assert is_color(drawn, BLUE)[240, [50, 199]].all()  # 50 pixels for one
    empty = viz.draw_detections(image, found([[1, 2, 4, 5]], [-1]), NAMES)
    assert np.array_equal(empty[::50, ::50, 0], image)


def test_names_that_no_font_can_draw_become_ids(monkeypatch):
    fonts._best_font.cache_clear()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", font_manager.fontManager.ttflist[:1])
    detections = found([[100, 120, 160, 200]], [0], [0.9])
    drawn = viz.draw_detections(IMAGE, detections, ["猫"])
    fonts._best_font.cache_clear()
    assert np.array_equal(drawn, viz.draw_detections(IMAGE, detections, ["class 0"]))
    assert not np.array_equal(drawn, viz.draw_detections(IMAGE, detections, ["class 1"]))


def test_crowds_are_named():
    sample = found([[100, 120, 160, 200]], [0])
    crowd = viz.draw_detections(IMAGE, {**sample, "crowd": np.array([True])}, ["cat"])
    assert np.array_equal(crowd, viz.draw_detections(IMAGE, sample, ["cat (crowd)"]))


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="^draw_detections: got class 3 and 3 names"):
        viz.draw_detections(IMAGE, found([[0, 0, 9, 9]], [3]), NAMES)
    with pytest.raises(ValueError, match=r"a mask has the shape \(9, 9\), expected \(300, 440\)"):
        viz.draw_detections(IMAGE, found([[0, 0, 9, 9]], [0], masks=np.ones((1, 9, 9), int)), NAMES)
