"""Write polygon_goldens.npz beside this file: suppression and rendering by StarDist.

Candidates are the samples inside of cells, with their true distances and some noise. Made with
stardist 0.9.2, on a CPU by the C++ code:
    pip install stardist==0.9.2 numpy
    python tests/goldens/polygon_goldens.py
"""

from pathlib import Path

import numpy as np
from stardist.geometry import polygons_to_label, star_dist
from stardist.nms import non_maximum_suppression_inds
from stardist.utils import edt_prob

SIDE, GRID, RAYS = 320, 2, 16
OVERLAPS = (0.3, 0.4, 0.5)


def draw_cells(rng, count):
    """Return touching cells of different sizes and shapes; some are cut by the border."""
    seeds = rng.uniform(0, SIDE, (count, 2))
    radii = rng.uniform(5, 16, count)
    stretch = np.exp(rng.normal(0, 0.2, count))
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot((y[..., None] - seeds[:, 0]) * stretch, x[..., None] - seeds[:, 1]) / radii
    return np.where(distance.min(-1) < 1, distance.argmin(-1) + 1, 0).astype(np.int32)


def candidates(rng, labels):
    """Return points (N, 2) row and column, distances and scores, by descending score."""
    grid = np.s_[::GRID, ::GRID]
    scores = edt_prob(labels)[grid] * rng.uniform(0.8, 1, labels[grid].shape)
    distances = star_dist(labels, RAYS)[grid] * np.exp(rng.normal(0, 0.05, (*scores.shape, RAYS)))
    distances = distances.astype("float16").astype("float32")
    wanted = scores > 0.5
    order = np.argsort(-scores[wanted], kind="stable")
    points = GRID * np.argwhere(wanted)[order]
    return points, distances[wanted][order], scores[wanted][order]


def main():
    rng = np.random.default_rng(12)
    points, distances, scores = candidates(rng, draw_cells(rng, 300))
    scores = scores.astype("float32")
    found = {"points": points.astype("int16"), "scores": scores}
    found["distances"] = distances.astype("float16")  # as they are, without loss
    for overlap in OVERLAPS:
        kept = non_maximum_suppression_inds(
            distances, points.astype("float32"), scores, thresh=overlap, verbose=False
        )
        found[f"kept_{overlap}"] = np.flatnonzero(kept)
    kept = found["kept_0.4"]
    found["labels"] = polygons_to_label(
        distances[kept], points[kept], (SIDE, SIDE), prob=scores[kept]
    )
    print(len(points), {overlap: len(found[f"kept_{overlap}"]) for overlap in OVERLAPS})
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
