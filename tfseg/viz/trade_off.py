"""Chart of models by cost and score: which model for which budget."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogFormatter
from matplotlib.transforms import Bbox

from tfseg.viz.class_colors import palette
from tfseg.viz.figures import finish_figure
from tfseg.viz.fonts import families_for

LARGEST_DISC = 1500  # area in square points
# Where a name may be placed around its disc, in order of preference. The line of the best models
# runs from a disc to the right and from below, so these sides come last.
SIDES = ((-1, 0), (0, 1), (-0.7, 0.7), (0, -1), (0.7, -0.7), (-0.7, -0.7), (1, 0), (0.7, 0.7))


def trade_off(names: list[str], costs, scores, sizes, cost: str = "cost", score: str = "score"):
    """Plot models by cost and score, to see the best model for each budget.

    Each model is a dot on a disc whose area is proportional to the model's size. A blue model is
    Pareto-optimal: no other model is at least as good in both cost and score and better in one.
    The steps between blue models show the best score for every budget. Other models are orange.

    Args:
        names: one label per model; may contain line breaks.
        costs: cost per model, above 0, drawn on a logarithmic axis; lower is better. Example:
            milliseconds.
        scores: score per model; higher is better. Example: mean Dice.
        sizes: size per model, above 0. Example: parameters or bytes.
        cost, score: axis labels.

    Returns:
        matplotlib Figure.

    Raises:
        ValueError: the lengths differ, or a cost or size is not above 0.

    Example:
        >>> import tfseg
        >>> figure = tfseg.viz.trade_off(["small", "large"], [5, 20], [0.8, 0.9], [1e6, 8e6])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['small', 'large']
    """
    costs = np.asarray(costs, float)
    scores = np.asarray(scores, float)
    sizes = np.asarray(sizes, float)
    _check_models(names, costs, scores, sizes)
    optimal = _pareto_optimal(costs, scores)
    blue, orange = palette(7)[[5, 3]] / 255
    colors = np.where(optimal[:, None], blue, orange)
    areas = LARGEST_DISC * sizes / sizes.max()
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    front = np.flatnonzero(optimal)[np.argsort(costs[optimal])]
    line = {"color": blue, "lw": 1, "alpha": 0.6, "drawstyle": "steps-post", "zorder": 1}
    axis.plot(costs[front], scores[front], **line)
    axis.scatter(costs, scores, s=areas, c=colors, alpha=0.3, lw=0)
    axis.scatter(costs, scores, s=12, c=colors)
    axis.set(xscale="log", xlabel=cost, ylabel=score)
    # writes 20 instead of 2 x 10^1
    axis.xaxis.set(major_formatter=LogFormatter(), minor_formatter=LogFormatter())
    axis.margins(0.2)
    axis.grid(alpha=0.3)
    # the other models are below the line: prefer the opposite sides for their names
    sides = np.where(optimal[:, None, None], SIDES, -np.array(SIDES))
    offsets = sides * (np.sqrt(areas) / 2 + 3)[:, None, None]
    _place_names(axis, names, np.column_stack([costs, scores]), offsets, colors)
    return finish_figure(figure)


def _check_models(names, costs, scores, sizes):
    if not len(names) == len(costs) == len(scores) == len(sizes) > 0:
        raise ValueError(
            f"trade_off: got {len(names)} names, {len(costs)} costs, {len(scores)} scores and "
            f"{len(sizes)} sizes, expected one of each per model."
        )
    for name, cost, score, size in zip(names, costs, scores, sizes, strict=True):
        if not (cost > 0 and size > 0 and np.isfinite([cost, score, size]).all()):
            raise ValueError(
                f"trade_off: {name!r} has cost {cost:g}, score {score:g} and size {size:g}. All "
                "must be finite; cost and size must be above 0."
            )


def _pareto_optimal(costs, scores):
    """Return (N,) bool: whether no other model is as good in both and better in one."""
    as_good = (costs[:, None] <= costs) & (scores[:, None] >= scores)
    better = (costs[:, None] < costs) | (scores[:, None] > scores)
    return ~(as_good & better).any(axis=0)


def _place_names(axis, names, points, offsets, colors):
    """Write each name at the candidate position where it covers the fewest names and dots.

    Args:
        axis: of the figure.
        names: N texts.
        points: (N, 2) data coordinates.
        offsets: (N, S, 2) candidate positions relative to the points, in points (1/72 inch).
        colors: (N, 3).
    """
    axis.figure.draw_without_rendering()  # sets the position of the axes
    dots = axis.transData.transform(points)
    taken = [Bbox.from_extents(*dot - 4, *dot + 4) for dot in dots]
    style = {"fontsize": 9, "fontfamily": families_for(names)}
    for name, point, candidates, color in zip(names, points, offsets, colors, strict=True):
        text = axis.annotate(
            name, point, (0, 0), textcoords="offset points", color=color * 0.7, **style
        )
        costs = [_overlaps(axis, _move(text, offset), taken) for offset in candidates]
        taken.append(_move(text, candidates[np.argmin(costs)]))


def _overlaps(axis, box, taken):
    """Return how many boxes a text overlaps, plus 1 if it leaves the axes."""
    inside = axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max)
    return sum(box.overlaps(other) for other in taken) + (not inside)


def _move(text, offset):
    """Move a text to an offset from its point, aligned away from the point; return its box."""
    horizontal, vertical = np.sign(offset).astype(int)
    text.set(
        position=offset,
        ha=("center", "left", "right")[horizontal],  # index -1 is "right"
        va=("center", "bottom", "top")[vertical],
    )
    return text.get_window_extent()
