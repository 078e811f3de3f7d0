"""Charts of detections: precision by recall, and what is taken for what."""

import matplotlib.pyplot as plt
import numpy as np

from tfseg.checks import BACKGROUND
from tfseg.viz.charts import plot_matrix, row_fractions
from tfseg.viz.class_colors import palette
from tfseg.viz.figures import finish_figure
from tfseg.viz.fonts import readable_names

MOST_COLORS = 10  # of curves that can be distinguished


def precision_recall(curves: dict, class_names: list[str]):
    """Plot precision by recall, one curve per class; the legend is in the order of their AP.

    The mean over the classes is a thick black line. With more than ten classes, the five with the
    highest AP and the five with the lowest are in color, and the others in gray. Classes without
    objects have no curve.

    Args:
        curves: dict of "recall" (R,), "precision" (C, R) and "ap" (C,), as returned by
            `tfseg.metrics.CocoAP.precision_recall`.
        class_names: C names of object classes, without background.

    Returns:
        matplotlib Figure.

    Raises:
        ValueError: the numbers of curves and names differ.

    Example:
        >>> import tfseg
        >>> curves = {"recall": [0, 1], "precision": [[1, 0.5], [1, 0]], "ap": [0.75, 0.5]}
        >>> figure = tfseg.viz.precision_recall(curves, ["cat", "dog"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['all classes 0.625', 'cat 0.750', 'dog 0.500']
    """
    precision, ap = np.asarray(curves["precision"], float), np.asarray(curves["ap"], float)
    if len(precision) != len(class_names):
        raise ValueError(
            f"precision_recall: got curves of {len(precision)} classes and {len(class_names)} "
            "names, expected one name per class, without background."
        )
    names, families = readable_names(class_names)
    colors = palette(len(names)) / 255
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    best_first = np.argsort(-ap, kind="stable")[: np.count_nonzero(~np.isnan(ap))]  # NaN is last
    in_color = [
        *best_first[: MOST_COLORS // 2],
        *best_first[MOST_COLORS // 2 :][-MOST_COLORS // 2 :],
    ]
    for index in best_first:
        style = {"color": "lightgray"}
        if index in in_color:
            style = {"color": colors[index], "label": f"{names[index]} {ap[index]:.3f}"}
        axis.plot(curves["recall"], precision[index], **style)
    if len(best_first):
        mean = f"all classes {ap[best_first].mean():.3f}"
        axis.plot(curves["recall"], precision[best_first].mean(0), color="black", lw=3, label=mean)
        _add_legend(figure, axis, families)
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axis.grid(alpha=0.3)
    return finish_figure(figure)


def _add_legend(figure, axis, families):
    """Add a legend on the right, the mean first."""
    handles, _ = axis.get_legend_handles_labels()
    handles = [handles[-1], *handles[:-1]]
    figure.legend(
        handles=handles,
        loc="outside right upper",
        frameon=False,
        title="average precision",
        prop={"family": families},
    )


def detection_confusion(matrix, class_names: list[str]):
    """Plot the confusion table of detections as a heat map, normalized per row.

    Up to 40 classes, the cells contain their percentage of the row and their count. The last row
    contains detections without an object, the last column objects that are not found.

    Args:
        matrix: (C + 1, C + 1) counts of `tfseg.metrics.DetectionConfusion`; the last row and column
            are the background.
        class_names: C names of object classes, without background.

    Returns:
        matplotlib Figure.

    Raises:
        ValueError: the matrix does not fit the names.

    Example:
        >>> import tfseg
        >>> figure = tfseg.viz.detection_confusion([[9, 3], [2, 0]], ["leaf"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['75%\\n9', '25%\\n3', '100%\\n2']
    """
    matrix, count = np.asarray(matrix), len(class_names) + 1
    if matrix.shape != (count, count):
        raise ValueError(
            f"detection_confusion: got a matrix of shape {matrix.shape} for {count - 1} names, "
            f"expected ({count}, {count}) with the background last, as `DetectionConfusion` "
            "returns it."
        )
    fractions = row_fractions(matrix)
    texts = np.vectorize("{:.0%}\n{}".format, otypes=[object])(fractions, matrix)
    return plot_matrix(fractions, [*class_names, BACKGROUND], texts, "fraction of the row")
