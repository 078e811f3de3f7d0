"""Outlines of objects as polygons along the edges of their pixels, and as GeoJSON."""

import cv2
import numpy as np

from tfseg.data.readers.objects import boxes_around, relabel
from tfseg.metrics.overlaps import check_label_map


def outlines(instances) -> list[list[list[np.ndarray]]]:
    """Return the outlines of the objects of a label map, exactly along the edges of their pixels.

    Args:
        instances: (H, W) integers: 0 for no object, any other number in [1, 2**31) for an object.

    Returns:
        list with one entry per object, in ascending order of its number: a list of its pieces, of
        which each is a list of rings: the outline, then its holes. A ring is a (V, 2) int array of
        x, y in pixels; the last vertex is connected with the first. Pieces are connected by edges:
        pixels that touch at a corner only are two pieces.

    Raises:
        ValueError: the instances are not such a label map.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> ((ring,),), = tfseg.inference.outlines(np.array([[0, 1, 1]]))
        >>> ring.tolist()
        [[1, 0], [1, 1], [3, 1], [3, 0]]
    """
    instances, _ = relabel(check_label_map("outlines", "instances", instances))
    boxes = boxes_around(instances).astype(int)
    return [
        _pieces(instances[top:bottom, left:right] == number, (left, top))
        for number, (left, top, right, bottom) in enumerate(boxes.tolist(), 1)
    ]


def _pieces(mask, corner):
    """Return the pieces of a mask, of which `corner` is the upper left one."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [_rings(parts == part, corner) for part in range(1, count)]


def _rings(part, corner):
    """Return the rings of a piece.

    OpenCV's outlines go through the centers of pixels. On the mask enlarged twofold these are the
    two sides of every edge: the columns 2 x and 2 x + 1 of pixel x become its edges x and x + 1.
    """
    enlarged = part.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
    found, tree = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    # OpenCV lists the parent of each ring, -1 for the outline
    order = sorted(range(len(found)), key=lambda i: tree[0, i, 3] >= 0)
    return [_ring(found[i][:, 0]) + np.array(corner) for i in order]


def _ring(points):
    """Return the edges of the pixels for an outline through their centers, without repetitions."""
    vertices = (points + 1) // 2
    vertices = vertices[(vertices != np.roll(vertices, 1, axis=0)).any(axis=1)]
    before = vertices - np.roll(vertices, 1, axis=0)
    after = np.roll(vertices, -1, axis=0) - vertices
    is_corner = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return vertices[is_corner]


def outlines_geojson(instances, classes, scores, class_names: list[str], colors) -> dict:
    """Return the outlines of objects as GeoJSON (RFC 7946), as QuPath opens it.

    Args:
        instances: (H, W) integers numbered 1..N.
        classes: (N,) categories from 0.
        scores: (N,) floats.
        class_names: names of the categories.
        colors: (C, 3) RGB of the categories.
    """
    features = []
    for number, pieces in enumerate(outlines(instances), 1):
        category = int(classes[number - 1])
        classification = {"name": class_names[category], "color": np.asarray(colors)[category]}
        classification["color"] = classification["color"].tolist()
        properties = {
            "objectType": "detection",
            "name": str(number),
            "classification": classification,
            "measurements": {"score": float(scores[number - 1])},
        }
        geometry = _geometry(pieces)
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _geometry(pieces):
    polygons = [[[*ring.tolist(), ring[0].tolist()] for ring in rings] for rings in pieces]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
