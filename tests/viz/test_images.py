import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from conftest import draw_sample
from tfseg import viz
from tfseg.viz.error_maps import ERROR_COLORS, IGNORED_COLOR

NAMES = ["ground", "disc", "band"]


def legend_names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shown(axis):
    return np.asarray(axis.images[0].get_array())


def draw_overlay(sample, names):
    return viz.overlay(sample["image"], sample["mask"], names)


def draw_samples(sample, names):
    return viz.samples([sample["image"]], [sample["mask"]], [sample["mask"]], names)


def draw_labeled(sample, names):
    return viz.labeled([sample], names)


@pytest.mark.parametrize("draw", [draw_overlay, draw_samples, draw_labeled])
def test_a_single_class_name_is_class_1(draw):
    mask = np.zeros((8, 8), np.uint8)
    mask[4:] = 1
    sample = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "mask": mask,
        "boxes": np.array([[0, 4, 8, 8]]),
        "classes": np.array([0]),
    }
    single, both = draw(sample, ["leaf"]), draw(sample, ["background", "leaf"])
    assert legend_names(single) == legend_names(both) == ["background", "leaf"]
    assert len(single.axes) == len(both.axes)
    for first, second in zip(single.axes, both.axes, strict=True):
        assert np.array_equal(shown(first), shown(second))
        assert [p.get_edgecolor() for p in first.patches] == [
            p.get_edgecolor() for p in second.patches
        ]


def test_an_overlay_shows_the_blended_image():
    image, mask = draw_sample(0)
    figure = viz.overlay(image, mask, NAMES, alpha=0.3)
    assert np.array_equal(shown(figure.axes[0]), viz.blend(image, mask, 3, alpha=0.3))
    assert legend_names(figure) == NAMES


def test_the_legend_names_the_classes_that_occur():
    image, mask = draw_sample(0)
    figure = viz.overlay(image, np.where(mask == 1, 255, mask), NAMES)
    assert legend_names(figure) == ["ground", "band", "ignored"]


def test_samples_show_image_ground_truth_prediction_and_errors():
    images = [np.full((2, 3, 3), value, np.uint8) for value in (10, 200)]
    masks = [np.array([[0, 0, 1], [255, 1, 1]]), np.zeros((2, 3), int)]
    predictions = [np.array([[0, 1, 1], [0, 1, 0]]), np.zeros((2, 3), int)]
    figure = viz.samples(images, masks, predictions, NAMES)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["image", "ground truth", "prediction", "errors", "", "", "", ""]
    image, truth, prediction, errors = figure.axes[:4]
    assert np.array_equal(shown(image), images[0])
    assert np.array_equal(shown(truth), viz.color_labels(masks[0], 3))
    assert np.array_equal(shown(prediction), viz.color_labels(predictions[0], 3))
    assert np.array_equal(shown(errors), viz.errors(images[0], masks[0], predictions[0], 255, None))
    wrong = (shown(errors) == ERROR_COLORS["wrong class"]).all(-1)
    assert wrong.tolist() == [[False, True, False], [False, False, True]]
    assert np.array_equal(shown(figure.axes[4]), images[1])
    assert (shown(figure.axes[7]) == 100).all()
    assert legend_names(figure) == ["ground", "disc", "ignored"]


def test_samples_without_predictions_have_two_columns():
    image, mask = draw_sample(0)
    figure = viz.samples([image], [np.where(mask == 1, 255, mask)], None, NAMES)
    assert [axis.get_title() for axis in figure.axes] == ["image", "ground truth"]
    assert legend_names(figure) == ["ground", "band", "ignored"]


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["leaf"], ["missed", "false alarm"]),
        (["dry", "leaf"], ["missed", "false alarm"]),
        (["background", "leaf", "stem"], ["missed", "false alarm", "wrong class"]),
        (NAMES, ["wrong class"]),
    ],
)
def test_errors_have_a_legend_of_the_kinds_that_are_possible(names, kinds):
    image, mask = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), int)
    figure = viz.samples([image], [mask], [mask], names)
    _, errors = figure.legends
    assert [text.get_text() for text in errors.get_texts()] == kinds
    mask[0] = 255
    errors = viz.samples([image], [mask], [mask], names).legends[1]
    assert [text.get_text() for text in errors.get_texts()] == [*kinds, "ignored"]
    colors = [patch.get_facecolor()[:3] for patch in errors.get_patches()]
    expected = [ERROR_COLORS[kind] for kind in kinds] + [IGNORED_COLOR]
    assert np.allclose(colors, np.array(expected) / 255)


def test_samples_tell_missed_objects_from_false_alarms():
    image, names = np.zeros((1, 2, 3), np.uint8), ["stem", "background", "leaf"]
    figure = viz.samples([image], [[[0, 1]]], [[[1, 2]]], names)
    expected = [ERROR_COLORS["missed"], ERROR_COLORS["false alarm"]]
    assert shown(figure.axes[3])[0].tolist() == list(map(list, expected))


@pytest.mark.parametrize(("rows", "count"), [(1, 3), (4, 12), (2, 40)])
def test_titles_and_legends_are_inside_the_figure(rows, count):
    image, mask = np.zeros((36, 48, 3), np.uint8), np.arange(36 * 48).reshape(36, 48) % count
    names, titles = [f"class_{i}" for i in range(count)], ["name\nbest: mean IoU 0.5"] * rows
    figure = viz.samples([image] * rows, [mask] * rows, [mask] * rows, names, titles)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    artists = [*(axis.title for axis in figure.axes), *figure.legends]
    boxes = [artist.get_window_extent(canvas.get_renderer()) for artist in artists]
    assert min(box.y0 for box in boxes) > 0
    assert max(box.y1 for box in boxes) < figure.bbox.y1


def test_samples_have_titles_not_wider_than_their_images():
    image, mask = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), int)
    name = "a" * 30 + "b" * 30
    titles = [f"{name}\nbest", "second"]
    figure = viz.samples([image] * 2, [mask] * 2, [mask] * 2, NAMES, titles)
    first, second = (figure.axes[index].get_title() for index in (0, 4))
    assert first == "a" * 15 + "..." + "b" * 16 + "\nbest"
    assert second == "second"
    assert figure.axes[1].get_title() == "ground truth"


def test_the_legends_of_classes_and_errors_do_not_overlap():
    names = ["background", *(f"a class with a long name {index}" for index in range(9))]
    image, mask = np.zeros((20, 30, 3), np.uint8), np.arange(600).reshape(20, 30) % 10
    figure = viz.samples([image], [mask], [mask], names)
    figure.draw_without_rendering()
    boxes = [legend.get_window_extent() for legend in figure.legends]
    assert boxes[0].x1 < boxes[1].x0
    lowest = min(axis.get_window_extent().y0 for axis in figure.axes)
    assert all(0 <= box.y0 < box.y1 <= lowest for box in boxes)


def test_a_legend_of_overlays_leaves_out_the_background():
    assert legend_names(viz.legend(["leaf", "background", "stem"])) == ["leaf", "stem"]
    assert legend_names(viz.legend(["background"])) == []


def test_labeled_samples_show_classes_objects_and_ignored_pixels():
    image = np.full((12, 16, 3), 100, np.uint8)
    mask = np.zeros((12, 16), np.uint8)
    mask[2:6, 3:9], mask[9:] = 1, 255
    sample = {
        "image": image,
        "mask": mask,
        "instances": (mask == 1).astype("int32"),
        "boxes": np.array([[3, 2, 9, 6], [0, 0, 0, 0]], "float32"),
        "classes": np.array([1, -1]),
    }
    figure = viz.labeled([sample, {"image": image}], NAMES, titles=["all", "plain"])
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("all", "plain")
    painted = shown(first)
    half_class = (100 + viz.palette(3)[1].astype(int)) // 2
    assert np.array_equal(painted[4, 5], half_class)
    stripes = {tuple(pixel) for pixel in painted[9:].reshape(-1, 3).tolist()}
    assert stripes == {(100,) * 3, (255,) * 3}
    assert (painted[2, 3:9] == 0).all()  # the outline of the object
    # the object of class -1 is padding
    assert [patch.get_bbox().bounds for patch in first.patches] == [(2.5, 1.5, 6, 4)]
    assert np.array_equal(shown(second), image)
    assert legend_names(figure) == ["ground", "disc", "ignored"]


def test_outlines_separate_touching_objects():
    instances = np.array([[1, 1, 2], [1, 1, 2], [0, 0, 0]])
    sample = {"image": np.full((3, 3), 9, np.uint8), "instances": instances}
    black = (shown(viz.labeled([sample], NAMES).axes[0]) == 0).all(-1)
    assert black.tolist() == [[False, False, True], [False, False, True], [True] * 3]


def test_samples_without_masks_show_their_boxes():
    sample = {
        "image": np.zeros((8, 8, 1), np.uint8),
        "boxes": np.float32([[1, 2, 5, 6]]),
        "classes": np.array([2]),
    }
    figure = viz.labeled([sample], NAMES)
    (box,) = figure.axes[0].patches
    assert box.get_edgecolor()[:3] == pytest.approx(viz.palette(3)[2] / 255)
    assert legend_names(figure) == ["band"]


def test_each_box_has_the_color_of_its_class():
    sample = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "boxes": np.float32([[0, 0, 8, 8], [2, 3, 4, 7], [1, 1, 2, 2]]),
        "classes": np.array([2, -1, 0]),
    }
    outer, inner = viz.labeled([sample], NAMES).axes[0].patches
    # boxes are in pixel edges, the axis in pixel centers
    assert outer.get_bbox().bounds == (-0.5, -0.5, 8, 8)
    assert inner.get_bbox().bounds == (0.5, 0.5, 1, 1)
    colors = viz.palette(3) / 255
    assert outer.get_edgecolor()[:3] == pytest.approx(colors[2])
    assert inner.get_edgecolor()[:3] == pytest.approx(colors[0])


@pytest.mark.parametrize(
    ("names", "object_names", "label_id"),
    [(["background", "a", "b"], None, 2), (["a", "sky", "b"], ["a", "b"], 2), (NAMES, None, 1)],
)
def test_objects_have_the_color_that_their_class_has_in_masks(names, object_names, label_id):
    sample = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "boxes": np.float32([[0, 0, 8, 8]]),
        "classes": np.array([1]),
    }
    figure = viz.labeled([sample], names, object_names=object_names)
    (box,) = figure.axes[0].patches
    assert box.get_edgecolor()[:3] == pytest.approx(viz.palette(3)[label_id] / 255)
    assert legend_names(figure) == [names[label_id]]


def test_ignored_pixels_have_diagonal_stripes_of_3_pixels():
    sample = {"image": np.full((2, 8, 3), 90, np.uint8), "mask": np.full((2, 8), 255)}
    white = (shown(viz.labeled([sample], NAMES).axes[0]) == 255).all(-1)
    first = [True, True, True, False, False, False, True, True]
    assert white.tolist() == [first, [*first[1:], True]]


@pytest.mark.parametrize(("count", "size"), [(1, (6, 6 / 2 + 1)), (3, (9, 3 / 2 + 1))])
def test_few_labeled_samples_share_one_row(count, size):
    figure = viz.labeled([{"image": np.zeros((4, 8), np.uint8)}] * count, NAMES)
    assert len(figure.axes) == count
    assert tuple(figure.get_size_inches()) == size


def test_labeled_samples_fill_rows_of_columns():
    samples = [{"image": np.full((4, 8), value, np.uint8)} for value in range(5)]
    figure = viz.labeled(samples, NAMES, columns=2)
    assert len(figure.axes) == 6
    assert [int(shown(axis).max()) for axis in figure.axes[:5]] == [0, 1, 2, 3, 4]
    assert not figure.axes[5].images
    assert not figure.axes[5].axison
    # 2 columns and 3 rows of images twice as wide as high, and an inch for the legend
    assert tuple(figure.get_size_inches()) == (6, 3 * 3 / 2 + 1)


def test_255_is_a_class_of_more_than_255():
    names = ["background", *(f"class {i}" for i in range(1, 300))]
    image, mask = np.full((1, 3, 3), 50, np.uint8), np.array([[255, 65535, 0]], np.int32)
    figure = viz.samples([image], [mask], [np.zeros_like(mask)], names)
    assert legend_names(figure) == ["background", "class 255", "ignored"]
    missed, ignored, _ = shown(figure.axes[3])[0].tolist()
    assert missed == list(ERROR_COLORS["missed"])
    assert ignored == list(IGNORED_COLOR)
    ids = viz.without_background(mask, names)
    assert ids.tolist() == [[255, 65535, 65535]]
    assert np.array_equal(
        viz.color_labels(ids, 300)[0], [viz.palette(300)[255], [255] * 3, [255] * 3]
    )


def test_the_background_may_be_written_otherwise():
    assert legend_names(viz.legend(["_background_", "leaf"])) == ["leaf"]
    labels = np.array([[0, 1]], np.uint8)
    assert viz.without_background(labels, ["Background", "leaf"]).tolist() == [[255, 1]]
