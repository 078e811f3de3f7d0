from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tfseg import viz

# four bins, the first empty
CURVE = {
    "confidence": np.array([np.nan, 0.4, 0.7, 0.9]),
    "accuracy": np.array([np.nan, 0.5, 0.7, 0.6]),
    "count": np.array([0, 10, 30, 60]),
}
HISTORY = {
    "epoch": [0, 1],
    "seconds": [9, 8],
    "learning_rate": [1e-3, 1e-4],
    "loss": [2.0, 1.0],
    "val_loss": [2.5, 2.0],
    "mean_iou": [0.1, 0.4],
    "val_mean_iou": [0.1, 0.3],
    "accuracy": [0.5, 0.6],
}


def lines_of(axis):
    return {line.get_label(): line for line in axis.lines}


def test_curves_plot_losses_on_the_left_and_scores_on_the_right():
    losses, scores = viz.curves(HISTORY).axes
    assert (losses.get_title(), scores.get_title()) == ("loss", "score")
    assert list(lines_of(losses)) == ["loss", "val_loss"]
    assert list(lines_of(scores)) == ["mean_iou", "val_mean_iou", "accuracy"]
    assert lines_of(scores)["mean_iou"].get_xydata().tolist() == [[1, 0.1], [2, 0.4]]
    assert lines_of(losses)["val_loss"].get_xydata().tolist() == [[1, 2.5], [2, 2]]


def test_a_validation_curve_is_thick_and_has_the_color_of_its_training_curve():
    lines = lines_of(viz.curves(HISTORY).axes[1])
    training, validation = lines["mean_iou"], lines["val_mean_iou"]
    assert np.array_equal(training.get_color(), validation.get_color())
    assert not np.array_equal(training.get_color(), lines["accuracy"].get_color())
    assert validation.get_linewidth() > training.get_linewidth()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("--", "-")


def test_scores_of_validations_only_are_plotted():
    # those of objects are not computed in training
    scores = viz.curves({"loss": [2.0], "val_ap": [0.1], "val_pq": [0.2]}).axes[1]
    assert list(lines_of(scores)) == ["val_ap", "val_pq"]
    assert scores.get_legend() is not None


def test_every_loss_is_on_the_left():
    losses, scores = viz.curves({"head_loss": [1.0], "loss": [2.0], "dice": [0.5]}).axes
    assert list(lines_of(losses)) == ["head_loss", "loss"]
    assert list(lines_of(scores)) == ["dice"]


def test_a_history_without_scores_has_an_empty_chart():
    losses, scores = viz.curves({"loss": [1.0]}).axes
    assert losses.get_legend() is not None
    assert (list(scores.lines), scores.get_legend()) == ([], None)


@pytest.mark.parametrize(
    ("monitor", "label"),
    [
        ("val_mean_iou", "best: epoch 2, val_mean_iou 0.3000"),
        ("val_loss", "best: epoch 2, val_loss 2.0000"),  # the lowest
        ("mean_iou", "best: epoch 2, mean_iou 0.4000"),
    ],
)
def test_the_best_epoch_is_marked_in_both_charts(monitor, label):
    for axis in viz.curves(HISTORY, monitor).axes:
        mark = axis.lines[-1]
        assert (mark.get_label(), list(mark.get_xdata())) == (label, [2, 2])
        assert label in [text.get_text() for text in axis.get_legend().get_texts()]


def test_the_first_of_equal_epochs_is_the_best_and_epochs_without_a_score_are_not():
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "val_ap": [float("nan"), 0.5, 0.5, None]}
    for axis in viz.curves(history, "val_ap").axes:
        assert list(axis.lines[-1].get_xdata()) == [2, 2]


@pytest.mark.parametrize("scores", [{}, {"val_ap": [None, float("nan")]}])
def test_without_a_score_no_epoch_is_marked(scores):
    losses, _ = viz.curves({"loss": [2.0, 1.0], **scores}, "val_ap").axes
    assert list(lines_of(losses)) == ["loss"]


def test_scores_in_a_narrow_range_fill_the_axis_without_the_first_ones():
    history = {"loss": [9.0, 3, 2, 2, 2, 2], "val_ap": [0.1, 0.6, 0.7, 0.8, 0.79, 0.84]}
    losses, scores = viz.curves(history, "val_ap").axes
    # 0.79 to 0.84, with a tenth of 0.05 on both sides
    assert scores.get_ylim() == pytest.approx((0.785, 0.845))
    assert losses.get_ylim()[1] > 9


@pytest.mark.parametrize(
    "scores",
    [
        [0.1, 0.6, 0.7, 0.55, 0.79, 0.84],  # a fall in the later half
        [0.1, 0.8, 0.8, 0.8, 0.8],  # too few epochs
        [None, 0.2, 0.1, None, None, None],
        [0.5] * 6,
    ],
)
def test_other_scores_are_all_shown(scores):
    bottom, top = viz.curves({"loss": [1.0], "val_ap": scores}).axes[1].get_ylim()
    assert all(bottom < score < top for score in scores if score is not None)


@pytest.mark.parametrize("history", [[1], [1, 2], [1, 2, 3, 4]])
def test_epochs_are_whole_numbers(history):
    axis = viz.curves({"loss": history}).axes[0]
    assert all(float(tick).is_integer() for tick in axis.get_xticks())


def test_rate_search_marks_the_proposed_rate():
    search = SimpleNamespace(rates=[1e-4, 1e-3, 1e-2], losses=[1.0, 0.7, 0.9], best=5e-4)
    axis = viz.rate_search(search).axes[0]
    curve, mark = axis.lines
    assert curve.get_xydata().tolist() == [[1e-4, 1.0], [1e-3, 0.7], [1e-2, 0.9]]
    assert mark.get_xdata() == [5e-4, 5e-4]
    assert axis.get_xscale() == "log"
    assert [text.get_text() for text in axis.get_legend().get_texts()][-1].endswith("0.0005")


def test_the_heat_map_is_normalized_per_true_class():
    figure = viz.confusion_matrix([[9, 1], [0, 4]], ["a", "b"])
    axis = figure.axes[0]
    assert axis.images[0].get_array().tolist() == [[0.9, 0.1], [0, 1]]
    texts = {(text.get_position(), text.get_text()) for text in axis.texts}
    assert texts == {((0, 0), "90%"), ((1, 0), "10%"), ((1, 1), "100%")}
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a", "b"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")


def test_the_heat_map_leaves_out_small_fractions_and_absent_classes():
    figure = viz.confusion_matrix([[996, 4, 0], [6, 994, 0], [0, 0, 0]], list("abc"))
    texts = {text.get_position(): text for text in figure.axes[0].texts}
    assert list(texts) == [(0, 0), (0, 1), (1, 1)]  # 0.4 % is not printed, 0.6 % is
    assert texts[0, 1].get_text() == "1%"
    # black on light cells, white on dark cells
    assert to_rgb(texts[0, 0].get_color()) == (0, 0, 0)
    assert to_rgb(texts[0, 1].get_color()) == (1, 1, 1)


def test_the_reliability_diagram_shows_accuracy_by_bin():
    top, bottom = viz.reliability(CURVE).axes
    bars = {(bar.get_x(), bar.get_width()): bar.get_height() for bar in top.patches}
    # no bar for the empty bin
    assert bars == {(0.25, 0.25): 0.5, (0.5, 0.25): 0.7, (0.75, 0.25): 0.6}
    fractions = [bar.get_height() for bar in bottom.patches]
    assert fractions == pytest.approx([0, 0.1, 0.3, 0.6])
    # 0.1 * 0.1 + 0.3 * 0 + 0.6 * 0.3
    assert top.get_title() == "expected calibration error 0.190"
    diagonal, curve = top.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert curve.get_xydata().tolist() == [[0.4, 0.5], [0.7, 0.7], [0.9, 0.6]]


def test_a_reliability_diagram_without_pixels_is_empty():
    nothing = {
        "confidence": np.full(4, np.nan),
        "accuracy": np.full(4, np.nan),
        "count": np.zeros(4, int),
    }
    assert len(viz.reliability(nothing).axes[0].patches) == 0


def test_a_confusion_matrix_of_many_classes_has_a_limited_size():
    figure = viz.confusion_matrix(np.eye(150), [str(i) for i in range(150)])
    assert figure.get_size_inches().tolist() == [25.5, 24.5]
    assert not figure.axes[0].texts
    assert len(figure.axes[0].get_yticklabels()) == 150
