import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfseg.inference import outlines
from tfseg.inference.outlines import outlines_geojson


def draw(text):
    """Return a label map from rows of digits; '.' is background."""
    rows = text.replace(".", "0").split()
    return np.array([[int(pixel) for pixel in row] for row in rows])


def area(ring):
    """Return the area inside a ring, by the shoelace formula."""
    x, y = np.transpose(ring)
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def inside(rings, x, y):
    """Return whether a point is inside an odd number of rings, by a ray to the right."""
    crossings = 0
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            crossings += x1 == x2 and x1 > x and min(y1, y2) < y < max(y1, y2)
    return crossings % 2 == 1


def corners(ring):
    return sorted(map(tuple, ring.tolist()))


def test_rings_of_an_l_and_of_a_frame():
    ((ring,),), ((outer, hole),) = outlines(draw("1.222 11222 ..2.2 ..222"))
    assert corners(ring) == sorted([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)])
    assert corners(outer) == sorted([(2, 0), (5, 0), (5, 4), (2, 4)])
    assert corners(hole) == sorted([(3, 2), (4, 2), (4, 3), (3, 3)])


def test_pixels_that_touch_at_a_corner_are_two_pieces():
    ((first, second),) = outlines(draw("7. .7"))
    assert [corners(first[0])[0], corners(second[0])[0]] == [(0, 0), (1, 1)]


@given(arrays("uint8", (5, 7), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=80)
def test_rings_enclose_exactly_the_pixels_of_each_object(instances):
    numbers = sorted(set(instances.flat) - {0})
    found = outlines(instances)
    assert len(found) == len(numbers)
    for number, pieces in zip(numbers, found, strict=True):
        covered = np.zeros(instances.shape, int)
        for rings in pieces:
            for y, x in np.ndindex(instances.shape):
                covered[y, x] += inside(rings, x + 0.5, y + 0.5)
            holes = sum(area(ring) for ring in rings[1:])
            assert area(rings[0]) > holes
        assert (covered == (instances == number)).all()
        total = sum(area(r[0]) - sum(area(hole) for hole in r[1:]) for r in pieces)
        assert total == (instances == number).sum()


def test_geojson_has_closed_rings_names_and_scores():
    instances = draw("1.2 .12")
    found = outlines_geojson(
        instances, np.array([1, 0]), np.array([0.9, 0.5], np.float32), ["a", "b"], [[1, 2, 3]] * 2
    )
    first, second = json.loads(json.dumps(found))["features"]
    assert first["geometry"]["type"] == "MultiPolygon"
    assert second["geometry"]["type"] == "Polygon"
    (ring,) = second["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    assert sorted(map(tuple, ring[:-1])) == [(2, 0), (2, 2), (3, 0), (3, 2)]
    assert first["properties"]["classification"] == {"name": "b", "color": [1, 2, 3]}
    assert first["properties"]["measurements"]["score"] == pytest.approx(0.9)
    assert second["properties"]["objectType"] == "detection"


def test_an_empty_label_map_has_no_outlines():
    assert outlines(np.zeros((3, 4), int)) == []
    with pytest.raises(ValueError, match="outlines: instances has shape"):
        outlines(np.zeros(3, int))
