
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfseg.data import Arrays, Reader, batch_for, window_for
from tfseg.data.cache import cached
from tfseg.data.readers.extract import block_means, block_middles, parts, reduced, window_of


def objects_sample():
    """20 x 30: one object on the left, a wide one across, a single pixel at the lower right."""
    instances = np.zeros((20, 30), np.int32)
    instances[1:5, 0:4], instances[8:10, 9:29], instances[19, 29] = 1, 2, 3
    image = np.arange(600, dtype=np.uint16).reshape(20, 30, 1)
    boxes = np.array([[0, 1, 4, 5], [9, 8, 29, 10], [29, 19, 30, 20]], np.float32)
    mask = np.array([0, 2, 1, 2], np.uint8)[instances]
    return {
        "image": image,
        "mask": mask,
        "instances": instances,
        "boxes": boxes,
        "classes": np.array([2, 1, 2], np.int32),
    }


def test_a_window_drops_objects_of_which_it_shows_less_than_a_tenth():
    whole = objects_sample()
    part = window_of(whole, (7, 10), (13, 20))  # 19 of 20 columns of the second
    assert np.array_equal(part["image"], whole["image"][7:, 10:])
    assert part["boxes"].tolist() == [[0, 1, 19, 3], [19, 12, 20, 13]]
    assert part["classes"].tolist() == [1, 2]
    assert np.array_equal(
        part["instances"], np.where(whole["instances"] > 0, whole["instances"] - 1, 0)[7:, 10:]
    )
    assert (part["instances"].dtype, part["boxes"].dtype, part["classes"].dtype) == (
        np.int32,
        np.float32,
        np.int32,
    )

    for columns, kept in ((11, 1), (10, 0)):  # 2 of 20 columns are a tenth, 1 is less
        part = window_of(whole, (7, 0), (5, columns))
        assert len(part["boxes"]) == len(part["classes"]) == part["instances"].max() == kept
        assert (part["mask"] == 1).any()  # what is seen keeps its class


def test_a_window_without_objects():
    part = window_of(objects_sample(), (12, 0), (4, 4))
    assert (part["boxes"].shape, part["classes"].shape) == ((0, 4), (0,))
    assert not part["instances"].any()


class Objects(Reader):
    """The sample above, and a smaller image without objects."""

    fields = ("image", "mask", "instances", "boxes", "classes")

    def __init__(self):
        super().__init__(["background", "a", "b"], [(20, 30), (6, 9)], 1, np.uint16)

    def __getitem__(self, index):
        return (
            window_of(objects_sample(), (0, 0), (20, 30))
            if index == 0
            else window_of(objects_sample(), (12, 0), (6, 9))
        )

    def name(self, index):
        return ["large", "small"][index]


def test_tiles_are_a_reader_of_windows():
    reader = Objects()
    tiles = reader.tiles((12, 16), overlap=0.25)
    assert [tiles.name(i) for i in range(len(tiles))] == [
        *(
            "large/0_0",
            "large/0_7",
            "large/0_14",
            "large/8_0",
            "large/8_7",
            "large/8_14",
            "small/0_0",
        )
    ]
    assert tiles.sizes.tolist() == [[12, 16]] * 6 + [[6, 9]]
    assert (tiles.fields, tiles.channels, tiles.dtype, tiles.class_names) == (
        *(reader.fields, 1, np.uint16, ["background", "a", "b"]),
    )
    for i in range(len(tiles)):
        assert tiles[i]["image"].shape[:2] == tiles[i]["mask"].shape == tuple(tiles.sizes[i])
    assert tiles[5]["image"][0, 0, 0] == 8 * 30 + 14
    assert tiles[5]["classes"].tolist() == [1, 2]
    assert np.unique(tiles[5]["instances"]).tolist() == [0, 1, 2]
    assert tiles.subset([5]).name(0) == "large/8_14"
    assert tiles.read(5, 2)["boxes"].tolist() == [[0, 0, 7.5, 1], [7.5, 5.5, 8, 6]]


def test_tiles_decode_a_image_once():
    class Counting(Arrays):
        read_ = 0

        def __getitem__(self, index):
            Counting.read_ += 1
            return super().__getitem__(index)

    reader = Counting([np.zeros((40, 40))] * 2, [np.zeros((40, 40), int)] * 2, ["a", "b"]).tiles(10)
    assert len([reader[i] for i in range(len(reader))]) == 32
    assert Counting.read_ == 2


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 30))
def test_parts_cover_each_pixel_once(height, width, size):
    covered = np.zeros((height, width), int)
    for (top, left), (rows, columns) in parts((height, width), size):
        assert min(rows, columns) >= 1
        assert max(rows, columns) <= size
        covered[top : top + rows, left : left + columns] += 1
    assert (covered == 1).all()


def test_parts_are_a_reader():
    images = [np.arange(15 * 7).reshape(15, 7), np.arange(4).reshape(2, 2)]
    reader = Arrays(
        [image.astype("uint8") for image in images], [image % 2 for image in images], ["a", "b"]
    ).parts(8)
    assert reader.sizes.tolist() == [[8, 7], [7, 7], [2, 2]]
    assert [reader.name(i) for i in range(3)] == ["0/0_0", "0/8_0", "1/0_0"]
    assert np.array_equal(reader[1]["image"][..., 0], images[0][8:].astype("uint8"))
    assert np.array_equal(reader[1]["mask"], images[0][8:] % 2)


def test_how_much_goes_through_a_network_at_once():
    assert (
        window_for([(1000, 2000), (1448, 1448)]) is None
    )  # 2.0 and 2.097 million, 2**21 = 2097152
    assert window_for([(10, 10), (3000, 4000)]) == 1024
    assert window_for(np.zeros((0, 2))) is None
    assert batch_for([(360, 480)], 8) == 8
    assert batch_for([(1024, 1024)], 8) == 4
    assert batch_for([(3000, 4000)], 8) == 1


def test_a_tile_in_memory_does_not_keep_its_image():
    tiles = cached(Objects().tiles((5, 5)), "memory")
    for name in ("image", "mask"):
        assert tiles[0][name].base is None


def test_block_means_of_what_is_there():
    image = np.array([[0, 4, 10, 30, 7], [8, 0, 10, 31, 8], [1, 2, 5, 5, 90]], np.uint8)[..., None]
    # 12/4; 81/4 = 20.25; 15/2 = 7.5, to even; 3/2 = 1.5, to even; 10/2; 90
    assert block_means(image, 2)[..., 0].tolist() == [[3, 20, 8], [2, 5, 90]]
    # (0 + 4 + 10 + 30 + 8 + 0 + 10 + 31 + 1 + 2 + 5 + 5) / 12 = 8.83; (7 + 8 + 90) / 3
    assert block_means(image, 4)[..., 0].tolist() == [[9, 35]]
    assert block_means(image, 1) is image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_block_means_keep_the_dtype(dtype):
    image = np.full((9, 8, 3), np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1e-3, dtype)
    means = block_means(image, 8)
    assert means.dtype == dtype
    assert np.allclose(means, image[:2, :1], rtol=1e-6)


def test_block_middles():
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert block_middles(mask, 2).tolist() == [[8, 10, 12, 13], [22, 24, 26, 27], [29, 31, 33, 34]]
    assert block_middles(mask, 4).tolist() == [[16, 20], [30, 34]]
    assert block_middles(mask, 8).tolist() == [[32]]  # row 4 and column 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 4, 8]))
def test_sizes_are_rounded_up(height, width, shrink):
    sample = {
        "image": np.zeros((height, width, 3), np.uint8),
        "mask": np.zeros((height, width), np.uint8),
    }
    smaller = reduced(sample, shrink)
    size = (-(-height // shrink), -(-width // shrink))
    assert smaller["image"].shape[:2] == smaller["mask"].shape == size


def test_objects_shrink_along():
    smaller = reduced(objects_sample(), 2)
    assert smaller["boxes"].tolist() == [[0, 0.5, 2, 2.5], [4.5, 4, 14.5, 5], [14.5, 9.5, 15, 10]]
    assert smaller["boxes"].dtype == np.float32
    assert smaller["classes"].tolist() == [2, 1, 2]
    ys, xs = np.nonzero(smaller["instances"] == 2)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (4, 5, 4, 14)
