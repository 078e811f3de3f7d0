"""Charts of a training and of its figures."""

import matplotlib.pyplot as plt
import numpy as np

from tfseg.viz.figures import done
from tfseg.viz.class_colors import palette


def curves(history):
    """Figure of the training: losses at the left, scores at the right.

    Args:
        history: {name: list of one value an epoch}, as in `model.fit(...).history`; "val_" names are drawn
            in the color of their partner, thicker.
    """
    base = [
        name for name in history if not name.startswith("val_") and name not in ("epoch", "seconds")
    ]
    groups = [
        [n for n in base if "loss" in n],
        [n for n in base if "loss" not in n and "learning_rate" not in n],
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, names, title in zip(axes, groups, ("loss", "score"), strict=True):
        for name, color in zip(names, palette(max(len(names), 1)) / 255, strict=False):
            for key, style in ((name, {"lw": 1, "ls": "--"}), (f"val_{name}", {"lw": 2})):
                if key in history:
                    epochs = np.arange(1, len(history[key]) + 1)
                    axis.plot(epochs, history[key], color=color, marker=".", label=key, **style)
        axis.set(xlabel="epoch", title=title)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)
        if names:
            axis.legend()
    return done(figure)


def rate_search(search):
    """Figure of a search for the learning rate: the loss by the rate, and the rate proposed.

    Args:
        search: what `tfseg.training.find_learning_rate` returned.
    """
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(search.rates, search.losses)
    axes.axvline(
        search.best, color="gray", linestyle="--", label=f"falls fastest at {search.best:.2g}"
    )
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    axes.legend(frameon=False)
    return done(figure)


def confusion_matrix(matrix, class_names):
    """Figure of a confusion matrix as a heat map, each true class (row) as shares of its pixels."""
    matrix = np.asarray(matrix, float)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 2.5 + 0.55 * len(class_names)
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    shown = axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(shown, label="share of the true class")
    ticks = range(len(class_names))
    axis.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, class_names)
    axis.set(xlabel="predicted", ylabel="true")
    for row in ticks:
        for column in ticks:
            value = shares[row, column]
            if value >= 0.005:
                color = "black" if value > 0.5 else "white"
                axis.text(
                    column, row, f"{value:.0%}", ha="center", va="center", color=color, fontsize=8
                )
    return done(figure)


def reliability(curve):
    """Figure of how often a model is right by how sure it is: bars below the diagonal are overconfident.

    Args:
        curve: dict of "confidence", "accuracy" and "count", one number a bin, the bins of equal width over [0, 1]:
            what `tfseg.metrics.CalibrationError.reliability_curve` returns.
    """
    confidence, accuracy, count = (
        np.asarray(curve[name], float) for name in ("confidence", "accuracy", "count")
    )
    filled = count > 0
    share = count / max(count.sum(), 1)
    error = np.sum((share * np.abs(accuracy - confidence))[filled])
    left, width = np.arange(len(count)) / len(count), 1 / len(count)
    figure, (top, below) = plt.subplots(
        2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    bar = {"width": width, "align": "edge", "edgecolor": "white"}
    top.bar(
        left[filled],
        accuracy[filled],
        color=palette(1)[0] / 255,
        label="share of right pixels",
        **bar,
    )
    top.plot([0, 1], [0, 1], color="gray", ls="--", label="perfectly calibrated")
    top.plot(
        confidence[filled],
        accuracy[filled],
        color="black",
        marker="o",
        ms=4,
        lw=1,
        label="at the mean confidence",
    )
    top.set(ylim=(0, 1), ylabel="accuracy", title=f"expected calibration error {error:.3f}")
    top.legend(loc="upper left")
    below.bar(left, share, color="gray", **bar)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="share of pixels")
    return done(figure)
