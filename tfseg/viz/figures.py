"""What all figures have in common."""

import functools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from tfseg.checks import IGNORE_INDEX
from tfseg.viz.class_colors import palette


def add_legend(figure, label_maps, class_names, loc="outside lower center"):
    """Add the colors of those classes that the label maps hold."""
    present = functools.reduce(np.union1d, [np.unique(labels) for labels in label_maps])
    colors = palette(len(class_names)) / 255
    patches = [
        Patch(facecolor=colors[i], edgecolor="gray", label=name)
        for i, name in enumerate(class_names)
        if i in present
    ]
    if IGNORE_INDEX in present:
        patches.append(Patch(facecolor="white", edgecolor="gray", label="ignored"))
    columns = min(
        max(1, len(patches)),
        legend_columns(figure.get_figwidth(), [patch.get_label() for patch in patches]),
    )
    figure.legend(handles=patches, loc=loc, ncols=columns, frameon=False)


def legend_columns(width, names):
    """How many legend entries fit side by side into `width` inches."""
    return max(1, int(width / (0.75 + 0.1 * max((len(name) for name in names), default=0))))


def done(figure):
    """Return a figure that is ready."""
    plt.close(
        figure
    )  # out of pyplot's list: a notebook shows the returned figure once, and memory is freed
    return figure
