import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import draw_sample
from matplotlib.figure import Figure

from tfseg import viz
from tfseg.viz import class_colors

NAMES = ["ground", "disc", "band"]
# four bins, the first empty
CURVE = {
    "confidence": np.array([np.nan, 0.4, 0.7, 0.9]),
    "accuracy": np.array([np.nan, 0.5, 0.7, 0.6]),
    "count": np.array([0, 10, 30, 60]),
}


def png_of(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return plt.imread(buffer)


def test_a_single_name_is_that_of_the_ones():
    image, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    mask[4:] = 1
    sample = {
        "image": image,
        "mask": mask,
        "boxes": np.array([[0, 4, 8, 8]]),
        "classes": np.array([1]),
    }
    for draw in (
        lambda names: viz.overlay(image, mask, names),
        lambda names: viz.samples([image], [mask], [mask], names),
        lambda names: viz.labeled([sample], names),
    ):
        one, two = draw(["leaf"]), draw(["background", "leaf"])
        assert [text.get_text() for text in one.legends[0].get_texts()] == ["background", "leaf"]
        assert np.array_equal(png_of(one), png_of(two))


@pytest.mark.parametrize("count", [2, 7, 20])
def test_colors_can_be_told_apart_by_the_color_blind(count):
    views = class_colors.seen(viz.palette(count))
    distances = np.linalg.norm(views[:, :, None] - views[:, None], axis=-1)
    distances[:, np.eye(count, dtype=bool)] = np.inf
    # a difference of 2.3 in CIELAB is just noticeable
    assert distances.min() > {2: 30, 7: 8, 20: 8}[count]


def test_a_palette_begins_like_every_shorter_one():
    assert np.array_equal(viz.palette(30)[:11], viz.palette(11))
    assert len(np.unique(viz.palette(255), axis=0)) == 255


def test_blend_colors_classes_and_leaves_ignored_pixels_bare():
    image, labels = np.full((2, 2, 3), 100, np.uint8), np.array([[0, 1], [255, 1]])
    mixed = viz.blend(image, labels, 2, alpha=0.5)
    expected = (100 + viz.palette(2).astype(int)) // 2
    assert np.array_equal(mixed[0, 0], expected[0])
    assert np.array_equal(mixed[[0, 1], [1, 1]], expected[[1, 1]])
    assert np.array_equal(mixed[1, 0], image[1, 0])
    assert np.array_equal(viz.blend(image, labels, 2, alpha=0), image)


@pytest.mark.parametrize(
    ("image", "brightest"),
    [
        (np.array([[0, 65535]], np.uint16), 255),
        (np.array([[0.0, 1.0]]), 255),
        (np.array([[-3.0, 5.0]]), 255),
        (np.array([[0.0, 200.0]]), 200),
        (np.zeros((1, 2, 1), np.uint8), 0),
        (np.full((1, 2, 5), 9, np.uint8), 9),
        (np.full((1, 2, 2), 9, np.uint8), 9),
    ],
)
def test_any_range_and_channels_become_rgb(image, brightest):
    rgb = viz.as_rgb(image)
    assert rgb.shape == (1, 2, 3)
    assert rgb.dtype == np.uint8
    assert rgb.max() == brightest


def test_errors_mark_wrong_pixels_only():
    mask, prediction = np.array([[0, 1, 255]]), np.array([[0, 0, 1]])
    marked = viz.errors(np.full((1, 3, 3), 50, np.uint8), mask, prediction)
    assert marked[0].tolist() == [[25] * 3, [213, 94, 0], [25] * 3]


def test_every_figure_can_be_drawn_and_is_left_to_the_caller():
    image, mask = draw_sample(0)
    wrong = np.roll(mask, 5, 1)
    history = {
        "loss": [2, 1],
        "val_loss": [2.5, 2],
        "mean_iou": [0.1, 0.4],
        "val_mean_iou": [0.1, 0.3],
        "epoch": [1, 2],
    }
    figures = [
        viz.overlay(image, mask, NAMES),
        viz.samples([image, image], [mask, mask], [wrong, mask], NAMES),
        viz.samples([image], [np.where(mask == 1, 255, mask)], None, NAMES),
        viz.curves(history),
        viz.curves({"loss": [1.0]}),
        viz.confusion_matrix([[5, 1, 0], [0, 3, 2], [0, 0, 0]], NAMES),
        viz.reliability(CURVE),
        viz.legend(NAMES),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert png_of(figure)[..., :3].std() > 0.01
    assert plt.get_fignums() == []


def test_the_legend_names_the_classes_that_occur():
    image, mask = draw_sample(0)
    figure = viz.overlay(image, np.where(mask == 1, 255, mask), NAMES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "ground",
        "band",
        "ignored",
    ]


def test_a_legend_of_overlays_leaves_out_the_background_that_they_leave_bare():
    names = ["leaf", "background", "stem"]
    assert [text.get_text() for text in viz.legend(names).legends[0].get_texts()] == [
        "leaf",
        "stem",
    ]
    assert viz.legend(["background"]).legends[0].get_texts() == []
    labels = np.array([[0, 1], [2, 255]])
    assert np.array_equal(viz.without_background(labels, names), [[0, 255], [2, 255]])
    assert np.array_equal(viz.without_background(labels, ["a", "b", "c"]), labels)


@pytest.mark.parametrize("history", [[1], [1, 2], [1, 2, 3, 4]])
def test_epochs_are_whole_numbers(history):
    axis = viz.curves({"loss": history}).axes[0]
    assert all(float(tick).is_integer() for tick in axis.get_xticks())


@pytest.mark.parametrize(
    "draw",
    [
        viz.legend,
        lambda names: viz.overlay(np.zeros((9, 16)), np.arange(144).reshape(9, 16) % 20, names),
    ],
)
def test_a_legend_of_many_long_names_stays_inside_the_figure(draw):
    figure = draw([f"a rather long class name {i}" for i in range(20)])
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_the_heat_map_shows_shares_of_the_true_class():
    figure = viz.confusion_matrix([[9, 1], [0, 4]], ["a", "b"])
    shown = {(t.get_position(), t.get_text()) for t in figure.axes[0].texts}
    assert shown == {((0, 0), "90%"), ((1, 0), "10%"), ((1, 1), "100%")}


def test_the_reliability_diagram_shows_accuracy_by_bin():
    figure = viz.reliability(CURVE)
    bars = {(bar.get_x(), bar.get_width()): bar.get_height() for bar in figure.axes[0].patches}
    assert bars == {
        (0.25, 0.25): 0.5,
        (0.5, 0.25): 0.7,
        (0.75, 0.25): 0.6,
    }  # none for the empty bin
    shares = [bar.get_height() for bar in figure.axes[1].patches]
    assert shares == pytest.approx([0, 0.1, 0.3, 0.6])
    # 0.1 * 0.1 + 0.3 * 0 + 0.6 * 0.3
    assert figure.axes[0].get_title() == "expected calibration error 0.190"


def test_a_reliability_diagram_of_nothing_is_empty():
    nothing = {
        "confidence": np.full(4, np.nan),
        "accuracy": np.full(4, np.nan),
        "count": np.zeros(4, int),
    }
    assert len(viz.reliability(nothing).axes[0].patches) == 0


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
    figure = viz.labeled([sample, {"image": image}], NAMES, titles=["all", "bare"])
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("all", "bare")
    painted = first.images[0].get_array()
    assert np.array_equal(
        painted[4, 5], (100 + viz.palette(3)[1].astype(int)) // 2
    )  # half the image, half its class
    assert {tuple(pixel) for pixel in painted[9:].reshape(-1, 3)} == {
        (100,) * 3,
        (255,) * 3,
    }  # stripes
    assert (painted[2, 3:9] == 0).all()  # an outline
    assert [patch.get_bbox().bounds for patch in first.patches] == [
        (2.5, 1.5, 6, 4)
    ]  # the object of class -1 is none
    assert np.array_equal(second.images[0].get_array(), image)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "ground",
        "disc",
        "ignored",
    ]
    assert png_of(figure).shape[0] > 100


def test_samples_without_masks_show_their_boxes():
    sample = {
        "image": np.zeros((8, 8, 1), np.uint8),
        "boxes": np.float32([[1, 2, 5, 6]]),
        "classes": np.array([2]),
    }
    figure = viz.labeled([sample], NAMES)
    assert len(figure.axes[0].patches) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["band"]


def test_the_trade_off_marks_the_models_that_no_other_beats():
    # "c" is slower and worse than "b", "e" as fast as "d" but worse; "b" and "f" are equal, so neither beats the other
    figure = viz.trade_off(
        "dbcaef",
        [8, 2, 4, 1, 8, 2],
        [0.9, 0.6, 0.5, 0.3, 0.7, 0.6],
        [4, 2, 2, 1, 4, 2],
        "ms",
        "Dice",
    )
    axis = figure.axes[0]
    discs, dots = axis.collections
    assert dots.get_offsets().tolist() == [
        [8, 0.9],
        [2, 0.6],
        [4, 0.5],
        [1, 0.3],
        [8, 0.7],
        [2, 0.6],
    ]
    blue, orange = viz.palette(7)[[5, 3]] / 255
    assert dots.get_facecolors()[:, :3].tolist() == [
        list(c) for c in (blue, blue, orange, blue, orange, blue)
    ]
    assert (discs.get_sizes() / discs.get_sizes().min()).tolist() == [4, 2, 2, 1, 4, 2]  # areas
    assert axis.lines[0].get_xydata().tolist() == [[1, 0.3], [2, 0.6], [2, 0.6], [8, 0.9]]
    assert axis.lines[0].get_drawstyle() == "steps-post"  # a budget buys what is left of it
    assert (axis.get_xscale(), axis.get_xlabel(), axis.get_ylabel()) == ("log", "ms", "Dice")
    assert png_of(figure)[..., :3].std() > 0.01


def test_names_in_a_trade_off_stand_apart_and_inside():
    names = [f"a network of\nlong name {i}" for i in range(6)]
    figure = viz.trade_off(
        names, [20, 21, 30, 31, 3, 3], [0.8, 0.81, 0.85, 0.84, 0.6, 0.7], [5, 4, 3, 5, 0.01, 1]
    )
    figure.canvas.draw()
    axis = figure.axes[0]
    boxes = [text.get_window_extent() for text in axis.texts]
    assert [text.get_text() for text in axis.texts] == names
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    dots = axis.transData.transform(axis.collections[1].get_offsets())
    assert not any(box.contains(*dot) for box in boxes for dot in dots)
    assert all(axis.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))


@pytest.mark.parametrize(
    ("costs", "sizes", "message"),
    [
        (
            [1],
            [1, 1],
            "2 names, 1 costs, 2 scores and 2 sizes came. Pass one of each for every model",
        ),
        ([1, 0], [1, 1], "'b' has cost 0, score 0.6 and size 1"),
        ([1, 1], [-3, 1], "'a' has cost 1, score .* and size -3"),
    ],
)
def test_a_trade_off_of_nonsense_is_refused(costs, sizes, message):
    with pytest.raises(ValueError, match=message):
        viz.trade_off(["a", "b"], costs, [0.5, 0.6], sizes)


def test_regions_have_colors_and_lines_and_the_ground_none():
    labels = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [13, 13, 2, 2]])
    shown = viz.regions(np.full((3, 4), 200, np.uint8), labels, alpha=0.5)
    colors = viz.palette(12)
    assert shown[0, 0].tolist() == (100 + colors[0] * 0.5).astype(int).tolist()
    assert shown[2, 0].tolist() == shown[0, 0].tolist()  # the thirteenth has the first's color
    assert shown[0, 2].tolist() == [200, 200, 200]
    black = (shown == 0).all(-1)
    assert black.tolist() == [[False, True, False, False], [True] * 4, [False, True, False, False]]
    with pytest.raises(
        ValueError, match=r"regions: labels of shape \(3, 4\) came with an image \(4, 3\)"
    ):
        viz.regions(np.zeros((4, 3)), labels)
