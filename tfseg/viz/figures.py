"""What all figures have in common: the legend of classes, the release from pyplot, saving."""

import functools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from tfseg.checks import ignore_index_for
from tfseg.files import SOFTWARE, atomic_write
from tfseg.viz.class_colors import palette
from tfseg.viz.fonts import readable_names

ROW_HEIGHT = 0.25  # of a legend, in inches
FREE_ROWS = 3  # of a legend, for which every figure has space
DPI = 120


def add_legend(
    figure,
    label_maps,
    class_names: list[str],
    loc: str = "outside lower center",
    width: float | None = None,
):
    """Add a legend of the classes that occur in the label maps.

    A legend outside of the axes with many rows makes the figure higher, so that it never covers
    the images.

    Args:
        figure: matplotlib Figure.
        label_maps: sequence of class ids.
        class_names: names in the order of their ids.
        loc: place of the legend, as in matplotlib.
        width: of the legend in inches; None for the width of the figure.
    """
    present = functools.reduce(np.union1d, [np.unique(labels) for labels in label_maps])
    colors = palette(len(class_names)) / 255
    names, families = readable_names(class_names)
    patches = [
        Patch(facecolor=colors[i], edgecolor="gray", label=name)
        for i, name in enumerate(names)
        if i in present
    ]
    if ignore_index_for(len(class_names)) in present:
        patches.append(Patch(facecolor="white", edgecolor="gray", label="ignored"))
    labels = [patch.get_label() for patch in patches]
    columns = min(max(1, len(patches)), legend_columns(width or figure.get_figwidth(), labels))
    rows = -(-len(patches) // columns)  # rounds up
    if loc.startswith("outside") and rows > FREE_ROWS:
        figure.set_figheight(figure.get_figheight() + ROW_HEIGHT * (rows - FREE_ROWS))
    figure.legend(handles=patches, loc=loc, ncols=columns, frameon=False, prop={"family": families})


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


def save_figure(figure, file, dpi: int = DPI) -> None:
    """Write a figure as a PNG that is recognized as a result of tfseg, whole or not at all.

    Args:
        figure: matplotlib Figure.
        file: path that ends in .png.
        dpi: pixels per inch.

    Example:
        >>> import tfseg
        >>> tfseg.viz.save_figure(tfseg.viz.legend(["background", "leaf"]), "scores/legend.png")
    """
    with atomic_write(file) as path:
        figure.savefig(path, dpi=dpi, metadata={"Software": SOFTWARE})
