import numpy as np
import pytest
from conftest import draw_sample
from PIL import Image

from tfseg.data import Arrays, Folder
from tfseg.data.readers.base import class_ids
from tfseg.doctor import diagnose

NAMES = ["ground", "disc", "band"]


def reader_of(folder, names=NAMES, **options):
    return Folder(folder / "images", folder / "masks", names, **options)


def test_a_folder_gives_images_and_class_ids(folder):
    reader = reader_of(folder)
    assert (len(reader), reader.num_classes, reader.channels, reader.dtype) == (6, 3, 3, np.uint8)
    assert reader.sizes.tolist() == [[48, 56]] * 6
    assert reader.name(2) == "p2"
    image, mask = draw_sample(2)
    assert np.array_equal(reader[2]["mask"], mask)
    assert np.abs(reader[2]["image"].astype(int) - image).mean() < 10  # JPEG


def test_the_ignored_value_becomes_255(folder):
    reader = reader_of(folder, ["ground", "disc"], ignore=2)
    mask = draw_sample(0)[1]
    assert np.array_equal(reader[0]["mask"], np.where(mask == 2, 255, mask))


def test_an_ignored_value_among_the_ids_is_no_class(folder):
    mask = draw_sample(0)[1]
    assert np.array_equal(reader_of(folder, ignore=0)[0]["mask"], np.where(mask == 0, 255, mask))
    assert np.array_equal(reader_of(folder, ignore=-1)[0]["mask"], mask)


def test_values_are_mapped_to_ids(folder):
    # Cityscapes-like: id 0 is void, classes are 1 and 2
    reader = reader_of(folder, NAMES, mask_values={1: 0, 2: 1}, ignore=0)
    mask = draw_sample(0)[1]
    assert np.array_equal(reader[0]["mask"], np.array([255, 0, 1], np.uint8)[mask])


def rewrite(folder, change):
    for path in (folder / "masks").iterdir():
        Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


@pytest.mark.parametrize("names", [["ground", "disc"], ["disc"]])
def test_black_and_white_masks_are_two_classes(folder, names):
    rewrite(folder, lambda mask: np.where(mask == 1, 255, 0).astype(np.uint8))
    reader = reader_of(folder, names)
    assert reader.mask_values == {0: 0, 255: 1}
    assert np.array_equal(reader[3]["mask"], draw_sample(3)[1] == 1)
    assert reader.label_names[1] == "disc"


def test_black_and_white_is_seen_though_the_first_masks_are_black(folder):
    rewrite(folder, lambda mask: np.zeros_like(mask))
    last = folder / "masks" / "p5.png"
    Image.fromarray(np.where(draw_sample(5)[1] == 1, 255, 0).astype(np.uint8)).save(last)
    assert reader_of(folder, ["ground", "disc"]).mask_values == {0: 0, 255: 1}


def test_255_stays_ignored_where_both_classes_occur(folder):
    rewrite(folder, lambda mask: np.where(mask == 2, 255, mask).astype(np.uint8))
    reader = reader_of(folder, ["ground", "disc"])
    assert reader.mask_values == {0: 0, 1: 1}
    assert np.array_equal(np.unique(reader[3]["mask"]), [0, 1, 255])


def test_values_of_no_class_are_named(folder):
    with pytest.raises(
        ValueError,
        match=r"p4\.png holds the value 2, which stand.* \(classes: 0, 1; ignored: 255\)",
    ):
        reader_of(folder, ["ground", "disc"])[4]


def test_images_and_masks_must_pair(folder):
    (folder / "masks" / "p1.png").unlink()
    (folder / "masks" / "spare.png").write_bytes((folder / "masks" / "p2.png").read_bytes())
    with pytest.raises(
        ValueError, match=r"(?s)2 problems.*p1\.jpg has no mask.*spare\.png has no image.*rename"
    ):
        reader_of(folder)


def test_two_files_of_one_name_are_refused(folder):
    (folder / "images" / "p1.png").write_bytes((folder / "masks" / "p1.png").read_bytes())
    with pytest.raises(ValueError, match="bear the same name"):
        reader_of(folder)


def test_sizes_must_agree(folder):
    Image.fromarray(np.zeros((48, 55), np.uint8)).save(folder / "masks" / "p5.png")
    with pytest.raises(
        ValueError, match=r"p5\.jpg is 56 x 48, but its mask .*p5\.png is 55 x 48 pixels.*nearest"
    ):
        reader_of(folder)


def test_gray_among_color_is_read_as_color(folder):
    gray = Image.open(folder / "images" / "p0.jpg").convert("L")
    gray.save(folder / "images" / "p0.jpg")
    reader = reader_of(folder)
    assert reader.channels == 3
    assert reader[0]["image"].shape == (48, 56, 3)


def test_the_same_seed_gives_the_same_split_without_overlap(folder):
    reader = reader_of(folder)
    names = lambda part: [part.name(i) for i in range(len(part))]  # noqa: E731
    train, val = reader.split(0.34, seed=4)
    assert (len(train), len(val)) == (4, 2)
    assert set(names(train)) | set(names(val)) == {f"p{i}" for i in range(6)}
    assert names(val) == names(reader.split(0.34, seed=4)[1])
    assert any(names(val) != names(reader.split(0.34, seed=s)[1]) for s in range(5))
    assert np.array_equal(train[0]["mask"], draw_sample(int(train.name(0)[1:]))[1])


def test_a_split_leaves_neither_part_empty(folder):
    two = reader_of(folder).subset([0, 1])
    assert [len(part) for part in two.split(0.01)] == [1, 1]
    assert [len(part) for part in two.split(0.9)] == [1, 1]
    for reader, share in ((two, 0.0), (two, 1.0), (two.subset([0]), 0.5)):
        with pytest.raises(ValueError, match="At least two samples are needed"):
            reader.split(share)


def test_class_names_are_checked(folder):
    with pytest.raises(ValueError, match="twice"):
        reader_of(folder, ["a", "a"])
    with pytest.raises(ValueError, match="0 names"):
        reader_of(folder, [])
    with pytest.raises(ValueError, match="an empty name"):
        reader_of(folder, ["a", "b", ""])
    with pytest.raises(ValueError, match="only 'background' came. Name the object"):
        reader_of(folder, ["background"])
    for names in (["background"], ["a", "a"]):  # the doctor refuses what a reader does
        with pytest.raises(ValueError, match="class_names"):
            diagnose((folder / "images", folder / "masks"), names)


def test_a_reader_says_what_it_is():
    images, masks = zip(*(draw_sample(i) for i in range(3)), strict=True)
    reader = Arrays(images, masks, NAMES)
    assert (
        repr(reader)
        == "<Arrays: 3 samples of image, mask; 3 channels of uint8; 3 classes: ground, disc, band>"
    )
    assert repr(Arrays(images, masks, [str(i) for i in range(12)])).endswith(
        "12 classes: 0, 1, 2, 3, 4, 5, 6, 7, ...>"
    )


def test_arrays_are_samples():
    images, masks = zip(*(draw_sample(i) for i in range(3)), strict=True)
    reader = Arrays([image[..., 0] for image in images], masks, NAMES)
    assert reader[1]["image"].shape == (48, 56, 1)
    assert np.array_equal(reader[1]["mask"], masks[1])
    with pytest.raises(ValueError, match="2 images and 3 masks"):
        Arrays(images[:2], masks, NAMES)
    with pytest.raises(ValueError, match=r"image 0 is \(48, 56\), its mask \(47, 56\)"):
        Arrays(images, [masks[0][1:], *masks[1:]], NAMES)
    with pytest.raises(ValueError, match=r"image 1 has 1 channels of uint8, image 0 has 3"):
        Arrays([images[0], images[1][..., 0]], masks[:2], NAMES)
    with pytest.raises(ValueError, match="mask 1 holds float64"):
        Arrays(images, [masks[0], masks[1] * 1.0, masks[2]], NAMES)
    deep = Arrays(images, [mask[..., None].astype(np.int64) for mask in masks], NAMES)
    assert np.array_equal(deep[1]["mask"], masks[1])
    with pytest.raises(ValueError, match="mask 2 holds the value 2"):
        Arrays(images, masks, ["a", "b"])[2]


CAMVID = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
]


def test_camvid_and_isbi_are_read_as_they_are(shared_data):
    camvid = Folder(
        shared_data / "camvid/train", shared_data / "camvid/trainannot", CAMVID, ignore=11
    )
    assert (len(camvid), camvid.channels) == (367, 3)
    assert camvid[0]["mask"].max() == 255
    isbi = Folder(
        shared_data / "isbi2012_em/image", shared_data / "isbi2012_em/label", ["membrane", "cell"]
    )
    assert (len(isbi), isbi.channels, isbi.mask_values) == (24, 1, {0: 0, 255: 1})


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_folder_is_read_smaller(folder, shrink):
    reader = reader_of(folder)
    whole, smaller = reader[1], reader.read(1, shrink)
    assert (
        smaller["image"].shape[:2] == smaller["mask"].shape == (-(-48 // shrink), -(-56 // shrink))
    )
    assert (smaller["image"].dtype, smaller["mask"].dtype) == (np.uint8, np.uint8)
    blocks = whole["image"].reshape(48 // shrink, shrink, 56 // shrink, shrink, 3).mean((1, 3))
    assert np.abs(smaller["image"] - blocks).mean() < 4  # of the noise's 12
    assert np.array_equal(
        smaller["mask"], whole["mask"][shrink // 2 :: shrink, shrink // 2 :: shrink]
    )
    assert np.array_equal(reader.read(1)["image"], whole["image"])


def test_numbered_objects_are_read_smaller(folder):
    rewrite(folder, lambda mask: mask.astype(np.uint16) * 300)
    reader = reader_of(folder, ["thing"], instances=True)
    whole, smaller = reader[0], reader.read(0, 4)
    assert np.array_equal(smaller["boxes"], whole["boxes"] / 4)
    assert np.array_equal(smaller["classes"], whole["classes"])
    assert np.array_equal(smaller["instances"], whole["instances"][2::4, 2::4])
    assert np.array_equal(smaller["mask"], smaller["instances"] > 0)


def test_a_part_reads_smaller_as_the_whole_does(folder):
    reader = reader_of(folder)
    part = reader.subset([4, 1]).subset([1])
    assert part.name(0) == "p1"
    assert np.array_equal(part.read(0, 2)["image"], reader.read(1, 2)["image"])


def test_arrays_are_read_smaller():
    image, mask = draw_sample(0, 45, 50)
    smaller = Arrays([image], [mask], NAMES).read(0, 4)
    assert smaller["image"].shape == (12, 13, 3)
    assert np.array_equal(smaller["image"][0, 0], np.rint(image[:4, :4].mean((0, 1))))
    assert np.array_equal(smaller["mask"][:11, :12], mask[2::4, 2::4])


def test_tiles_cover_a_folder(folder):
    reader = reader_of(folder)
    tiles = reader.subset([2, 0]).tiles((32, 30), overlap=0.1)
    assert [tiles.name(i) for i in range(4)] == ["p2/0_0", "p2/0_26", "p2/16_0", "p2/16_26"]
    assert (len(tiles), tiles.mask_values, tiles.label_names) == (8, reader.mask_values, NAMES)
    assert np.array_equal(tiles[7]["image"], reader[0]["image"][16:, 26:])
    assert np.array_equal(tiles[7]["mask"], reader[0]["mask"][16:, 26:])
    assert np.array_equal(tiles.read(7, 2)["mask"], reader[0]["mask"][17::2, 27::2])


def test_class_ids_of_wide_values_and_of_bytes():
    table = {0: 1, 7: 0, 300: 2, -1: 255}
    assert class_ids(np.array([[300, -1, 7]]), table, "m").tolist() == [[2, 255, 0]]
    assert class_ids(np.array([[7, 0]], np.uint8), table, "m").tolist() == [[0, 1]]
    for dtype in (np.int32, np.uint8):
        with pytest.raises(
            ValueError,
            match=r"m holds the values 5, 6, which .*\(classes: 0, 7, 300; ignored: none\)",
        ):
            class_ids(np.array([[5, 6, 7]], dtype), table, "m")
    assert class_ids(np.zeros((0, 4), np.uint16), table, "m").shape == (0, 4)
