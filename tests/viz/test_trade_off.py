import numpy as np
import pytest

from tfseg import viz


def test_pareto_optimal_models_are_blue_and_joined():
    # "c" is slower and worse than "b"; "e" is as fast as "d" but worse; "b" and "f" are equal, so
    # neither beats the other
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
    points = [[8, 0.9], [2, 0.6], [4, 0.5], [1, 0.3], [8, 0.7], [2, 0.6]]
    assert dots.get_offsets().tolist() == points
    blue, orange = (viz.palette(7)[[5, 3]] / 255).tolist()
    colors = dots.get_facecolors()[:, :3].tolist()
    assert colors == [blue, blue, orange, blue, orange, blue]
    # areas are proportional to sizes
    assert (discs.get_sizes() / discs.get_sizes().min()).tolist() == [4, 2, 2, 1, 4, 2]
    assert axis.lines[0].get_xydata().tolist() == [[1, 0.3], [2, 0.6], [2, 0.6], [8, 0.9]]
    # the best score stays the same until the next model is affordable
    assert axis.lines[0].get_drawstyle() == "steps-post"
    assert (axis.get_xscale(), axis.get_xlabel(), axis.get_ylabel()) == ("log", "ms", "Dice")


def test_names_overlap_neither_each_other_nor_dots_nor_the_border():
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


def test_a_single_model_is_optimal_and_costs_are_plain_numbers():
    axis = viz.trade_off(["only"], [20], [0.5], [3]).axes[0]
    assert axis.lines[0].get_xydata().tolist() == [[20, 0.5]]
    assert axis.xaxis.get_major_formatter()(100) == "100"


def test_a_name_is_left_of_an_optimal_model_and_right_of_another():
    figure = viz.trade_off(["fast", "slow"], [1, 10], [0.9, 0.5], [1, 1])
    fast, slow = figure.axes[0].texts
    assert (fast.get_ha(), slow.get_ha()) == ("right", "left")
    assert fast.xyann[0] < 0 < slow.xyann[0]
    # the darkened color of the dot
    blue, orange = viz.palette(7)[[5, 3]] / 255
    assert np.allclose(fast.get_color(), 0.7 * blue)
    assert np.allclose(slow.get_color(), 0.7 * orange)


@pytest.mark.parametrize(
    ("costs", "sizes", "message"),
    [
        ([1], [1, 1], "got 2 names, 1 costs, 2 scores and 2 sizes, expected one of each per model"),
        ([1, 0], [1, 1], "'b' has cost 0, score 0.6 and size 1"),
        ([1, np.inf], [1, 1], "'b' has cost inf, score 0.6 and size 1. All must be finite"),
        ([1, 1], [-3, 1], "'a' has cost 1, score .* and size -3"),
    ],
)
def test_invalid_models_are_refused(costs, sizes, message):
    with pytest.raises(ValueError, match=message):
        viz.trade_off(["a", "b"], costs, [0.5, 0.6], sizes)
