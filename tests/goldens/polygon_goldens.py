"""Write polygon_goldens.npz beside this file: suppression and rendering by StarDist.

Candidates are the samples inside of cells, with their true distances and some noise; those of
objects that are concave, touch each other or the border, or are a single pixel; and 20,000 of
10,000 objects, see `many_polygons`. Made with stardist 0.9.2, on a CPU by the C++ code:
    pip install stardist==0.9.2 numpy
    python tests/goldens/polygon_goldens.py
"""

from pathlib import Path

import numpy as np
from many_polygons import SIDE as MANY_SIDE
from many_polygons import many_polygons
from stardist.geometry import polygons_to_label, star_dist
from stardist.nms import non_maximum_suppression_inds
from stardist.utils import edt_prob

SIDE, GRID, RAYS = 320, 2, 16
SHAPES_RAYS, SHAPES_OVERLAPS = 32, (0.3, 0.5)
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


def draw_shapes():
    """Return a U, a crescent, touching blocks, a pixel, a line, and two objects at the border."""
    y, x = np.mgrid[:48, :64]
    labels = np.zeros((48, 64), np.int32)
    labels[4:22, 26:46] = 1
    labels[4:15, 32:40] = 0
    labels[(np.hypot(y - 12, x - 12) < 10) & (np.hypot(y - 8, x - 15) > 7)] = 2
    labels[26:36, 4:14], labels[26:36, 14:20] = 3, 4
    labels[30, 26] = 5
    labels[40, 10:30] = 6
    labels[np.hypot(y - 47, x - 50) < 9] = 7
    labels[:9, 57:] = 8
    return labels


def shapes():
    """Return points, distances and scores of all pixels near the middle of an object."""
    labels = draw_shapes()
    probability = edt_prob(labels)
    points = np.argwhere(probability > 0.4)
    scores = probability[tuple(points.T)]
    order = np.argsort(-scores, kind="stable")
    points = points[order]
    return points, star_dist(labels, SHAPES_RAYS)[tuple(points.T)], scores[order]


def suppress(points, distances, scores, overlap):
    """Return the indices of the polygons that StarDist keeps."""
    points, scores = points.astype("float32"), scores.astype("float32")
    kept = non_maximum_suppression_inds(distances, points, scores, thresh=overlap, verbose=False)
    return np.flatnonzero(kept)


def main():
    rng = np.random.default_rng(12)
    points, distances, scores = candidates(rng, draw_cells(rng, 300))
    scores = scores.astype("float32")
    found = {"points": points.astype("int16"), "scores": scores}
    found["distances"] = distances.astype("float16")  # as they are, without loss
    for overlap in OVERLAPS:
        found[f"kept_{overlap}"] = suppress(points, distances, scores, overlap)
    kept = found["kept_0.4"]
    found["labels"] = polygons_to_label(
        distances[kept], points[kept], (SIDE, SIDE), prob=scores[kept]
    )
    points, distances, scores = shapes()
    found |= {"shapes_points": points, "shapes_distances": distances, "shapes_scores": scores}
    for overlap in SHAPES_OVERLAPS:
        kept = found[f"shapes_kept_{overlap}"] = suppress(points, distances, scores, overlap)
    found["shapes_labels"] = polygons_to_label(
        distances[kept], points[kept], draw_shapes().shape, prob=scores[kept]
    )
    points, distances, scores = many_polygons()
    kept = suppress(points, distances, scores, 0.4)
    found["many_kept"] = kept.astype("uint16")
    labels = polygons_to_label(
        distances[kept], points[kept], (MANY_SIDE, MANY_SIDE), prob=scores[kept]
    )
    areas = np.bincount(labels.ravel(), minlength=len(kept) + 1)[1:]
    found["many_areas"] = areas.astype("uint16")
    print(len(points), {overlap: len(found[f"kept_{overlap}"]) for overlap in OVERLAPS})
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
