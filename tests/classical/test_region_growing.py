import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfseg.classical.region_growing import (
    NEIGHBOR_OFFSETS,
    SIMILARITIES,
    flood_fill,
    region_growing,
)

IMAGE = np.array(
    [
        [10, 10, 90, 90, 10],
        [10, 15, 90, 95, 10],
        [20, 25, 30, 90, 10],
    ],
    np.uint8,
)


def slow_growing(image, seeds, tolerance, similarity, connectivity):
    """Grow regions pixel by pixel, as defined."""
    image = image.reshape(*image.shape[:2], -1).astype(float)
    height, width, _ = image.shape
    labels = np.zeros((height, width), int)
    for number, (x, y) in enumerate(seeds, 1):
        labels[y, x] = number
    while True:
        before = labels.copy()
        means = {n: image[labels == n].mean(0) for n in range(1, len(seeds) + 1)}
        for y, x in np.argwhere(before == 0):
            found = []
            for dy, dx in NEIGHBOR_OFFSETS[:connectivity]:
                v, u = y + dy, x + dx
                if 0 <= v < height and 0 <= u < width and before[v, u]:
                    n = before[v, u]
                    sx, sy = seeds[n - 1]
                    references = {"mean": means[n], "seed": image[sy, sx], "neighbor": image[v, u]}
                    found.append((np.abs(image[y, x] - references[similarity]).max(), n))
            found = [pair for pair in found if pair[0] <= tolerance]
            if found:
                labels[y, x] = min(found)[1]
        if np.array_equal(labels, before):
            return labels


def test_similarity_to_seed_neighbor_and_mean():
    # The seed at the top left is 10: up to 20 is similar to it. Neighbors lead to 10, 15, 25, 30.
    seed = region_growing(IMAGE, [(0, 0)], tolerance=10, similarity="seed")
    assert seed.tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    neighbor = region_growing(IMAGE, [(0, 0)], tolerance=10, similarity="neighbor")
    assert neighbor.tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    # The mean is 10, then 10 (of 10, 10, 10), then 13 (with 15 and 20); 25 differs from it by 12.
    mean = region_growing(IMAGE, [(0, 0)], tolerance=10, similarity="mean")
    assert mean.tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    mean = region_growing(IMAGE, [(0, 0)], tolerance=12, similarity="mean")
    assert mean[2].tolist() == [1, 1, 0, 0, 0]


def test_rejected_pixels_are_added_once_the_mean_is_close():
    # 20 differs from the seed by 10. With 14 and 14 the mean is 12.67: 20 differs by less than 8.
    line = np.array([[20, 10, 14, 14]], np.uint8)
    assert region_growing(line, [(1, 0)], tolerance=8).tolist() == [[1, 1, 1, 1]]
    assert region_growing(line[:, :3], [(1, 0)], tolerance=7.9).tolist() == [[0, 1, 1]]


def test_a_single_seed():
    assert np.array_equal(region_growing(IMAGE, (2, 0)), region_growing(IMAGE, [(2, 0)]))
    with pytest.raises(
        ValueError, match="flood_fill: got 2 seeds, expected one. `region_growing` takes several"
    ):
        flood_fill(IMAGE, [(0, 0), (1, 0)])


def test_a_diagonal_is_connected_by_8_neighbors_only():
    image = np.where(np.eye(3, dtype=bool), 200, 0).astype(np.uint8)
    assert flood_fill(image, (0, 0)).sum() == 1
    assert np.array_equal(flood_fill(image, (0, 0), connectivity=8), np.eye(3, dtype=int))


def test_regions_have_the_numbers_of_their_seeds():
    labels = region_growing(IMAGE, [(4, 0), (2, 0), (0, 0)], tolerance=10)
    assert labels.dtype == np.int32
    assert labels.tolist() == [[3, 3, 2, 2, 1], [3, 3, 2, 2, 1], [3, 0, 0, 2, 1]]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_region_growing_equals_a_slow_reference(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    channels = data.draw(st.sampled_from([(), (3,)]))
    image = data.draw(
        arrays(np.uint8, shape + channels, elements=st.sampled_from([0, 4, 8, 12, 40, 255]))
    )
    pixels = [(x, y) for y in range(shape[0]) for x in range(shape[1])]
    seeds = data.draw(st.lists(st.sampled_from(pixels), min_size=1, max_size=4, unique=True))
    options = {
        "tolerance": data.draw(st.sampled_from([0, 4, 7.5, 12])),
        "similarity": data.draw(st.sampled_from(SIMILARITIES)),
        "connectivity": data.draw(st.sampled_from([4, 8])),
    }
    assert np.array_equal(
        region_growing(image, seeds, **options), slow_growing(image, seeds, **options)
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rotation_and_brightness_do_not_matter(similarity):
    image = np.random.default_rng(0).integers(0, 60, (24, 31)).astype(np.uint8)
    seeds = [(3, 4), (20, 11)]
    labels = region_growing(image, seeds, 20, similarity)
    assert len(np.unique(labels)) == 3
    rotated = [(y, 31 - 1 - x) for x, y in seeds]
    assert np.array_equal(
        region_growing(np.rot90(image), rotated, 20, similarity), np.rot90(labels)
    )
    assert np.array_equal(region_growing(image + np.uint8(100), seeds, 20, similarity), labels)


def test_flood_fill_equals_scikit_image():
    segmentation = pytest.importorskip("skimage.segmentation")
    image = np.random.default_rng(0).integers(0, 60, (50, 61)).astype(np.float32) + 100
    for connectivity in (4, 8):
        expected = segmentation.flood(image, (20, 30), connectivity=connectivity // 4, tolerance=25)
        assert 1 < expected.sum() < image.size
        assert np.array_equal(flood_fill(image, (30, 20), 25, connectivity), expected)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (None, "got seeds=None, expected integers x and y, such as .*80"),
        ([], "got seeds=.*, expected integers x and y"),
        ([(0.5, 1)], "expected integers"),
        ([(1, 2, 3)], "expected integers"),
        (
            [(0, 0), (5, 0)],
            r"the seed \(5, 0\) is outside the image, which is 5 pixels wide and 3 high",
        ),
        ([(0, -1)], r"the seed \(0, -1\) is outside"),
        ([(0, 0), (0, 0)], "two of the 2 seeds are the same pixel"),
    ],
)
def test_invalid_seeds_are_refused(seeds, message):
    with pytest.raises(ValueError, match=f"region_growing: .*{message}"):
        region_growing(IMAGE, seeds)


def test_invalid_options_are_refused():
    with pytest.raises(ValueError, match="similarity='means' is unknown.* Did you mean 'mean'"):
        region_growing(IMAGE, [(0, 0)], similarity="means")
    with pytest.raises(ValueError, match="tolerance=-1 must be a finite number of at least 0"):
        region_growing(IMAGE, [(0, 0)], tolerance=-1)
    with pytest.raises(ValueError, match="connectivity=6 is unknown"):
        flood_fill(IMAGE, (0, 0), connectivity=6)
    with pytest.raises(
        ValueError,
        match=r"flood_fill: got seed=None, expected integers x and y, such as \(20, 35\)",
    ):
        flood_fill(IMAGE)
