"""Charts of training histories and scores."""

import matplotlib.pyplot as plt
import numpy as np

from tfseg.checks import low_is_best
from tfseg.viz.class_colors import palette
from tfseg.viz.figures import finish_figure
from tfseg.viz.fonts import readable_names

MOST_CELLS_WITH_TEXT = 40  # per side of a confusion matrix; larger ones do not grow further
MIN_EPOCHS = 6  # with fewer, all scores are shown
NARROW = 1 / 3  # of the range of all scores: with less in the later half, low first scores are cut
MARGIN, MIN_MARGIN = 0.1, 0.001  # around the scores: a fraction of their range, but at least this
MIN_TEXT = 0.005  # smaller fractions of a confusion matrix are not printed


def curves(history: dict, monitor: str | None = None):
    """Plot a training history: losses on the left, scores on the right.

    If the scores of the later half of the epochs are in a narrow range, it fills the axis: lower
    scores of the first epochs are cut off.

    Args:
        history: {name: one value per epoch}, such as `model.fit(...).history`. A validation curve
            ("val_" + name) is drawn as a thick line in the color of its training curve, if there is
            one.
        monitor: name of the values that select the best epoch, which is marked by a vertical line:
            the highest, or the lowest of a loss, an error or a distance. None for no mark.

    Returns:
        matplotlib Figure.

    Example:
        >>> import tfseg
        >>> history = {"loss": [0.9, 0.4], "val_loss": [0.5, 0.6]}
        >>> figure = tfseg.viz.curves(history, monitor="val_loss")
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['loss', 'val_loss', 'best: epoch 1, val_loss 0.5000']
    """
    names = dict.fromkeys(name.removeprefix("val_") for name in history)
    names = [name for name in names if name not in ("epoch", "seconds")]
    losses = [name for name in names if "loss" in name]
    scores = [name for name in names if "loss" not in name and "learning_rate" not in name]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    mark = _best_epoch(history, monitor)
    _plot_curves(axes[0], history, losses, "loss", mark)
    _plot_curves(axes[1], history, scores, "score", mark)
    keys = [key for name in scores for key in (name, f"val_{name}") if key in history]
    _fit_scores(axes[1], [np.array(history[key], float) for key in keys])
    return finish_figure(figure)


def _best_epoch(history, monitor):
    """Return (number of the best epoch, label of its mark), or None if no epoch has a score."""
    values = np.array(history.get(monitor, []), float)  # None becomes NaN
    if not np.isfinite(values).any():
        return None
    best = np.nanargmin(values) if low_is_best(monitor) else np.nanargmax(values)
    return best + 1, f"best: epoch {best + 1}, {monitor} {values[best]:.4f}"


def _fit_scores(axis, rows):
    """Let the axis begin near the lowest score of the later half of the epochs, if that helps.

    Args:
        axis: of the scores.
        rows: list of arrays of scores by epoch.
    """
    later = [row[len(row) // 2 :] for row in rows if len(row) >= MIN_EPOCHS]
    if not np.isfinite(np.concatenate([*later, []])).any():
        return
    scores = np.concatenate(rows)
    low, high = np.nanmin(np.concatenate(later)), np.nanmax(scores)
    if high - low < NARROW * (high - np.nanmin(scores)):
        margin = max(MARGIN * (high - low), MIN_MARGIN)
        axis.set_ylim(low - margin, high + margin)


def _plot_curves(axis, history, names, title, mark):
    colors = palette(max(len(names), 1)) / 255
    for name, color in zip(names, colors, strict=False):
        _plot_curve(axis, history, name, color=color, lw=1, ls="--")
        _plot_curve(axis, history, f"val_{name}", color=color, lw=2)
    if names and mark is not None:
        epoch, label = mark
        axis.axvline(epoch, color="gray", lw=1, ls=":", label=label)
    axis.set(xlabel="epoch", title=title)
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.grid(alpha=0.3)
    if names:
        axis.legend(fontsize="small")


def _plot_curve(axis, history, name, **style):
    if name in history:
        epochs = np.arange(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], marker=".", label=name, **style)


def rate_search(search):
    """Plot the loss by learning rate, and the proposed rate.

    Args:
        search: the result of `tfseg.training.find_learning_rate`.

    Returns:
        matplotlib Figure.

    Example:
        >>> from types import SimpleNamespace
        >>> import tfseg
        >>> search = SimpleNamespace(rates=[1e-4, 1e-3, 1e-2], losses=[1.0, 0.7, 0.9], best=5e-4)
        >>> figure = tfseg.viz.rate_search(search)
        >>> figure.axes[0].lines[1].get_label()
        'steepest descent at 0.0005'
    """
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    axis.plot(search.rates, search.losses)
    label = f"steepest descent at {search.best:.2g}"
    axis.axvline(search.best, color="gray", linestyle="--", label=label)
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    axis.legend(frameon=False)
    return finish_figure(figure)


def confusion_matrix(matrix, class_names: list[str]):
    """Plot a confusion matrix as a heat map, normalized per true class (row).

    Up to 40 classes, the cells contain their percentage.

    Args:
        matrix: (C, C) counts; rows are true classes, columns predicted classes.
        class_names: C names.

    Returns:
        matplotlib Figure.

    Example:
        >>> import tfseg
        >>> figure = tfseg.viz.confusion_matrix([[9, 1], [0, 4]], ["background", "leaf"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['90%', '10%', '100%']
    """
    fractions = row_fractions(matrix)
    texts = np.vectorize("{:.0%}".format, otypes=[object])(fractions)
    return plot_matrix(fractions, class_names, texts, "fraction of the true class")


def row_fractions(matrix):
    """Return the entries of a matrix of counts as fractions of their row; 0 in empty rows."""
    matrix = np.asarray(matrix, float)
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)


def plot_matrix(fractions, names: list[str], texts, label: str):
    """Plot the fractions of a confusion matrix as a heat map with a text per cell.

    Args:
        fractions: (C, C) in [0, 1]; rows are true classes, columns predicted classes.
        names: C names.
        texts: (C, C) texts of the cells, left out in cells near 0 and with more than 40 classes.
        label: of the color bar.

    Returns:
        matplotlib Figure.
    """
    num_classes = len(names)
    is_large = num_classes > MOST_CELLS_WITH_TEXT
    side = 2.5 + 0.55 * min(num_classes, MOST_CELLS_WITH_TEXT)
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    heat_map = axis.imshow(fractions, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(heat_map, label=label)
    ticks = range(num_classes)
    names, families = readable_names(names)
    style = {"fontfamily": families}
    if is_large:
        style["fontsize"] = 10 * MOST_CELLS_WITH_TEXT / num_classes
    axis.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", **style)
    axis.set_yticks(ticks, names, **style)
    axis.set(xlabel="predicted", ylabel="true")
    if is_large:
        return finish_figure(figure)
    for row, column in np.argwhere(fractions >= MIN_TEXT).tolist():
        color = "black" if fractions[row, column] > 0.5 else "white"
        text = texts[row, column]
        axis.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    return finish_figure(figure)


def reliability(curve: dict):
    """Plot a reliability diagram: accuracy by confidence. Bars below the diagonal: overconfident.

    Args:
        curve: dict of "confidence", "accuracy" and "count" with one number per bin, as returned by
            `tfseg.metrics.CalibrationError.reliability_curve`. The bins divide [0, 1] evenly.

    Returns:
        matplotlib Figure; its title is the expected calibration error.

    Example:
        >>> import tfseg
        >>> curve = {"confidence": [0.25, 0.75], "accuracy": [0.25, 0.5], "count": [1, 3]}
        >>> tfseg.viz.reliability(curve).axes[0].get_title()
        'expected calibration error 0.188'
    """
    confidence = np.asarray(curve["confidence"], float)
    accuracy = np.asarray(curve["accuracy"], float)
    count = np.asarray(curve["count"], float)
    filled = count > 0
    fraction = count / max(count.sum(), 1)
    error = np.sum((fraction * np.abs(accuracy - confidence))[filled])
    left = np.arange(len(count)) / len(count)
    bar = {"width": 1 / len(count), "align": "edge", "edgecolor": "white"}
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    blue = palette(1)[0] / 255
    line = {"color": "black", "marker": "o", "ms": 4, "lw": 1, "label": "at the mean confidence"}
    top.bar(left[filled], accuracy[filled], color=blue, label="fraction of correct pixels", **bar)
    top.plot([0, 1], [0, 1], color="gray", ls="--", label="perfectly calibrated")
    top.plot(confidence[filled], accuracy[filled], **line)
    top.set(ylim=(0, 1), ylabel="accuracy", title=f"expected calibration error {error:.3f}")
    top.legend(loc="upper left")
    bottom.bar(left, fraction, color="gray", **bar)
    bottom.set(xlim=(0, 1), xlabel="confidence", ylabel="fraction of pixels")
    return finish_figure(figure)
