"""Which model for which budget."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogFormatter
from matplotlib.transforms import Bbox

from tfseg.viz.figures import done
from tfseg.viz.class_colors import palette

# area of the largest disc in square points, and on which side of it a name stands, the first that is
# free; the steps leave a disc to the right and below
LARGEST_DISC = 1500
SIDES = ((-1, 0), (0, 1), (-0.7, 0.7), (0, -1), (0.7, -0.7), (-0.7, -0.7), (1, 0), (0.7, 0.7))


def trade_off(names, costs, scores, sizes, cost="cost", score="score"):
    """Figure of models by what each costs and what it reaches: the best of a budget at a glance.

    A dot marks the model, the area of the disc around it is proportional to its size. Blue models are beaten by no
    other (at least as good in both, better in one); the steps that join them are the best score of every budget. The
    others are orange.

    Args:
        names: labels, one a model; they may have several lines.
        costs: above 0, on a logarithmic axis, the less the better: milliseconds, say.
        scores: the more the better: mean Dice, say.
        sizes: above 0: parameters or bytes.
        cost, score: labels of the axes.

    Raises:
        ValueError: not one of each a model, or a cost or size that is not above 0.
    """
    costs, scores, sizes = (np.asarray(values, float) for values in (costs, scores, sizes))
    _check_models(names, costs, scores, sizes)
    ahead = _unbeaten(costs, scores)
    blue, orange = palette(7)[[5, 3]] / 255
    colors = np.where(ahead[:, None], blue, orange)
    areas = LARGEST_DISC * sizes / sizes.max()
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    front = np.flatnonzero(ahead)[np.argsort(costs[ahead])]
    axis.plot(
        costs[front], scores[front], color=blue, lw=1, alpha=0.6, drawstyle="steps-post", zorder=1
    )
    axis.scatter(costs, scores, s=areas, c=colors, alpha=0.3, lw=0)
    axis.scatter(costs, scores, s=12, c=colors)
    axis.set(xscale="log", xlabel=cost, ylabel=score)
    axis.xaxis.set(
        major_formatter=LogFormatter(), minor_formatter=LogFormatter()
    )  # 20, not 2 x 10^1
    axis.margins(0.2)
    axis.grid(alpha=0.3)
    sides = np.where(
        ahead[:, None, None], SIDES, -np.array(SIDES)
    )  # what is beaten lies beyond the steps
    offsets = sides * (np.sqrt(areas) / 2 + 3)[:, None, None]
    _label(axis, names, np.column_stack([costs, scores]), offsets, colors)
    return done(figure)


def _check_models(names, costs, scores, sizes):
    if not len(names) == len(costs) == len(scores) == len(sizes) > 0:
        raise ValueError(
            f"trade_off: {len(names)} names, {len(costs)} costs, {len(scores)} scores and {len(sizes)} sizes came. "
            "Pass one of each for every model."
        )
    for name, cost, score, size in zip(names, costs, scores, sizes, strict=True):
        if not (cost > 0 and size > 0 and np.isfinite([cost, score, size]).all()):
            raise ValueError(
                f"trade_off: {name!r} has cost {cost:g}, score {score:g} and size {size:g}. All must be finite, cost "
                "and size above 0."
            )


def _unbeaten(costs, scores):
    """(N,) bool: whether no other model is as good in both cost and score and better in one."""
    as_good = (costs[:, None] <= costs) & (scores[:, None] >= scores)
    better = (costs[:, None] < costs) | (scores[:, None] > scores)
    return ~(as_good & better).any(axis=0)


def _label(axis, names, points, offsets, colors):
    """Write each name at that of its offsets (S, 2), in points, where it covers the fewest names and dots."""
    axis.figure.draw_without_rendering()  # places the axes
    taken = [Bbox.from_extents(*dot - 4, *dot + 4) for dot in axis.transData.transform(points)]
    for name, point, places, color in zip(names, points, offsets, colors, strict=True):
        text = axis.annotate(
            name, point, (0, 0), textcoords="offset points", fontsize=9, color=color * 0.7
        )
        boxes = [_put(text, place) for place in places]
        covered = [sum(box.overlaps(other) for other in taken) for box in boxes]
        outside = [
            not all(axis.bbox.contains(*corner) for corner in (box.min, box.max)) for box in boxes
        ]
        taken.append(_put(text, places[np.argmin(np.add(covered, outside))]))


def _put(text, place):
    """Move a text beside its point, to the side of `place`, and return its box."""
    across, along = np.sign(place).astype(int)
    text.set(
        position=place,
        ha=("center", "left", "right")[across],
        va=("center", "bottom", "top")[along],
    )
    return text.get_window_extent()
