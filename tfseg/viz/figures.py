"""What all figures have in common: the legend of classes and the release from pyplot."""

import functools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from tfseg.checks import IGNORE_INDEX
from tfseg.viz.class_colors import palette


def add_legend(figure, label_maps, class_names: list[str], loc: str = "outside lower center"):
    """Add a legend of the classes that occur in the label maps."""
    present = functools.reduce(np.union1d, [np.unique(labels) for labels in label_maps])
    colors = palette(len(class_names)) / 255
    patches = [
        Patch(facecolor=colors[i], edgecolor="gray", label=name)
        for i, name in enumerate(class_names)
        if i in present
    ]
    if IGNORE_INDEX in present:
        patches.append(Patch(facecolor="white", edgecolor="gray", label="ignored"))
    labels = [patch.get_label() for patch in patches]
    columns = min(max(1, len(patches)), legend_columns(figure.get_figwidth(), labels))
    figure.legend(handles=patches, loc=loc, ncols=columns, frameon=False)


def legend_columns(width: float, names) -> int:
    """Return how many legend entries fit side by side into a width in inches."""
    longest = max((len(name) for name in names), default=0)
    return max(1, int(width / (0.75 + 0.1 * longest)))


def finish_figure(figure):
    """Remove a figure from pyplot and return it.

    Otherwise a notebook would show it twice, and pyplot would keep it in memory.
    """
    plt.close(figure)
    return figure
