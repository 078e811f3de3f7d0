from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from objects_sample import objects_sample

from tfseg.data import Arrays, Folder, Reader
from tfseg.data.cache import cached
from tfseg.data.readers.extract import extract
from tfseg.data.readers.tiles import partition


class Objects(Reader):
    """The sample with objects, and a smaller image without objects."""

    fields = ("image", "mask", "instances", "boxes", "classes")
    dropped = (("large", "a crowd"),)

    def __init__(self):
        super().__init__(["background", "a", "b"], [(20, 30), (6, 9)], 1, np.uint16)

    def __getitem__(self, index):
        corner, size = [((0, 0), (20, 30)), ((12, 0), (6, 9))][index]
        return extract(objects_sample(), corner, size)

    def name(self, index):
        return ["large", "small"][index]

    def image_path(self, index):
        return Path(f"{self.name(index)}.png")


def test_tiles_are_a_reader():
    reader = Objects()
    tiles = reader.tiles((12, 16), overlap=0.25)
    large = ["large/0_0", "large/0_7", "large/0_14", "large/8_0", "large/8_7", "large/8_14"]
    assert [tiles.name(i) for i in range(len(tiles))] == [*large, "small/0_0"]
    assert tiles.sizes.tolist() == [[12, 16]] * 6 + [[6, 9]]
    assert (tiles.fields, tiles.channels, tiles.dtype) == (reader.fields, 1, np.uint16)
    assert [str(tiles.image_path(i)) for i in (5, 6)] == ["large.png", "small.png"]
    assert tiles.dropped == [("large", "a crowd")]
    assert tiles.class_names == ["background", "a", "b"]
    for i in range(len(tiles)):
        assert tiles[i]["image"].shape[:2] == tiles[i]["mask"].shape == tuple(tiles.sizes[i])
    assert tiles[5]["image"][0, 0, 0] == 8 * 30 + 14
    assert tiles[5]["classes"].tolist() == [1, 2]
    assert np.unique(tiles[5]["instances"]).tolist() == [0, 1, 2]
    assert tiles.subset([5]).name(0) == "large/8_14"
    assert tiles.read(5, 2)["boxes"].tolist() == [[0, 0, 7.5, 1], [7.5, 5.5, 8, 6]]


def test_an_image_is_decoded_once_for_all_its_tiles():
    decoded = []

    class Counting(Arrays):
        def __getitem__(self, index):
            decoded.append(index)
            return super().__getitem__(index)

    images, masks = [np.zeros((40, 40))] * 2, [np.zeros((40, 40), int)] * 2
    tiles = Counting(images, masks, ["a", "b"]).tiles(10)
    assert len([tiles[i] for i in range(len(tiles))]) == 32
    assert decoded == [0, 1]


def test_a_cached_tile_does_not_keep_its_image_in_memory():
    tiles = cached(Objects().tiles((5, 5)), "memory")
    for name in ("image", "mask"):
        assert tiles[0][name].base is None


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 30))
def test_disjoint_tiles_cover_each_pixel_once(height, width, size):
    covered = np.zeros((height, width), int)
    for index, (top, left), (rows, columns) in partition([(height, width)], size):
        assert index == 0
        assert min(rows, columns) >= 1
        assert max(rows, columns) <= size
        covered[top : top + rows, left : left + columns] += 1
    assert (covered == 1).all()


def test_disjoint_tiles_are_a_reader():
    images = [np.arange(15 * 7).reshape(15, 7), np.arange(4).reshape(2, 2)]
    pixels = [image.astype("uint8") for image in images]
    reader = Arrays(pixels, [image % 2 for image in images], ["a", "b"]).disjoint_tiles(8)
    assert reader.sizes.tolist() == [[8, 7], [7, 7], [2, 2]]
    assert [reader.name(i) for i in range(3)] == ["0/0_0", "0/8_0", "1/0_0"]
    assert np.array_equal(reader[1]["image"][..., 0], pixels[0][8:])
    assert np.array_equal(reader[1]["mask"], images[0][8:] % 2)


def test_tiles_keep_the_attributes_of_a_folder(folder):
    reader = Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])
    tiles = reader.subset([2, 0]).tiles((32, 30), overlap=0.1)
    assert [tiles.name(i) for i in range(4)] == ["p2/0_0", "p2/0_26", "p2/16_0", "p2/16_26"]
    assert (len(tiles), tiles.mask_values) == (8, reader.mask_values)
    assert tiles.label_names == reader.label_names
    whole = reader[0]
    assert np.array_equal(tiles[7]["image"], whole["image"][16:, 26:])
    assert np.array_equal(tiles[7]["mask"], whole["mask"][16:, 26:])
    assert np.array_equal(tiles.read(7, 2)["mask"], whole["mask"][17::2, 27::2])
