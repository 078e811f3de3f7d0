"""Write star_goldens.npz beside this file: distances along rays and object probabilities.

Made with stardist 0.9.2 and scipy 1.17.1, on a CPU by the C++ code:
    pip install stardist==0.9.2 numpy
    python tests/goldens/star_goldens.py
"""

from pathlib import Path

import numpy as np
from stardist.geometry import star_dist
from stardist.utils import edt_prob

# (rays, grid)
SETTINGS = ((32, 1), (32, 2), (7, 2), (16, 4))


def draw_cells(rng, height, width, count):
    """Return touching cells of different sizes; some are cut by the border."""
    seeds = rng.uniform(0, (height, width), (count, 2))
    radii = rng.uniform(2, 11, count)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1]) / radii
    return np.where(distance.min(-1) < 1, distance.argmin(-1) + 1, 0).astype(np.int32)


def draw_shapes():
    """Return a ring, a U, a single pixel, a line, a thin diagonal and a block at a corner."""
    y, x = np.mgrid[:40, :56]
    labels = np.zeros((40, 56), np.int32)
    radius = np.hypot(y - 12, x - 12)
    labels[(radius < 10) & (radius > 4)] = 1
    labels[4:24, 28:48] = 2
    labels[4:18, 34:42] = 0
    labels[30, 5] = 3
    labels[33, 10:30] = 4
    labels[(abs(y - x + 8) < 1) & (y > 25)] = 5
    labels[32:, 48:] = 7  # no object is 6
    return labels


def main():
    rng = np.random.default_rng(20)
    images = {
        "cells": draw_cells(rng, 48, 63, 30),
        "shapes": draw_shapes(),
        "full": np.ones((5, 9), np.int32),
        "empty": np.zeros((6, 4), np.int32),
    }
    found = {}
    for name, labels in images.items():
        found[name] = labels
        found[f"{name}_probability"] = edt_prob(labels)
        for rays, grid in SETTINGS:
            found[f"{name}_{rays}_{grid}"] = star_dist(labels, rays, grid=(grid, grid))
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
