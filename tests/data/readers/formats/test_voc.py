import unicodedata
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tfseg.data.readers.formats import Voc
from tfseg.data.readers.formats.voc import NAMES, colormap
from tfseg.data.readers.objects import BOX_FIELDS, OBJECT_FIELDS
from tfseg.doctor import check

HEIGHT, WIDTH = 40, 60


def element(parent, name, text=None):
    child = ElementTree.SubElement(parent, name)
    child.text = None if text is None else str(text)
    return child


def write_xml(root, stem, objects, size=(WIDTH, HEIGHT)):
    """Write objects (name, xmin, ymin, xmax, ymax, difficult) in VOC's format, with body parts."""
    annotation = ElementTree.Element("annotation")
    element(annotation, "filename", f"{stem}.jpg")
    node = element(annotation, "size")
    for name, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        element(node, name, value)
    for name, *box, difficult in objects:
        node = element(annotation, "object")
        element(node, "name", name)
        element(node, "difficult", difficult)
        box_node = element(node, "bndbox")
        for side, value in zip(
            ("xmax", "xmin", "ymax", "ymin"), (box[2], box[0], box[3], box[1]), strict=True
        ):
            element(box_node, side, value)
        element(element(node, "part"), "name", "head")
    ElementTree.ElementTree(annotation).write(root / "Annotations" / f"{stem}.xml")


def write_root(root, stems, folder):
    for name in ("JPEGImages", "Annotations", f"ImageSets/{folder}"):
        (root / name).mkdir(parents=True)
    for stem in stems:
        Image.new("RGB", (WIDTH, HEIGHT), (90, 20, 7)).save(root / "JPEGImages" / f"{stem}.jpg")
    (root / "ImageSets" / folder / "train.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return root


@pytest.fixture
def boxes(tmp_path):
    """Image "one" has a dog, a difficult cat and two invalid boxes, image "two" has no objects."""
    root = write_root(tmp_path, ["one", "two"], "Main")
    invalid = [("dog", 7, 9, 7, 20, 0), ("cat", 61, 1, 70, 9, 0)]
    write_xml(root, "one", [("dog", 1, 3, 60, 9, 0), *invalid, ("cat", 11.5, 21, 65, 30, 1)])
    write_xml(root, "two", [])
    return root


def test_boxes_count_from_zero_to_the_end_of_the_last_pixel(boxes):
    reader = Voc(boxes, "train", "detection")
    assert (reader.fields, len(reader), reader.name(1)) == (("image", *BOX_FIELDS), 2, "two")
    assert (reader.sizes.tolist(), reader.channels, reader.dtype) == ([[40, 60]] * 2, 3, np.uint8)
    sample = reader[0]
    assert tuple(sample) == reader.fields
    assert sample["boxes"].tolist() == [[0, 2, 60, 9], [10.5, 20, 60, 30]]
    assert [reader.object_names[i] for i in sample["classes"]] == ["dog", "cat"]
    assert (sample["boxes"].dtype, sample["classes"].dtype) == (np.float32, np.int32)
    assert sample["image"].shape == (40, 60, 3)
    assert (reader[1]["boxes"].shape, reader[1]["classes"].shape) == ((0, 4), (0,))


def test_boxes_without_area_are_dropped_with_a_reason(boxes):
    assert Voc(boxes, "train", "detection").dropped == [
        ("one", "dog (7, 9, 7, 20) has no area"),
        ("one", "cat (61, 1, 70, 9) is outside the image of 60 x 40"),
    ]


def test_boxes_of_nan_are_dropped_with_a_reason(boxes):
    write_xml(boxes, "one", [("dog", "nan", 9, 7, 20, 0), ("dog", 1, 3, 60, 9, 0)])
    reader = Voc(boxes, "train", "detection")
    assert reader.dropped == [("one", "dog (nan, 9, 7, 20) contains NaN or infinity")]
    assert len(reader[0]["boxes"]) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_lists_may_have_any_unicode_encoding_and_suffixes(boxes, encoding):
    names = "one.jpg\ntwo.JPG\n".encode(encoding)
    (boxes / "ImageSets" / "Main" / "train.txt").write_bytes(names)
    reader = Voc(boxes, "train", "detection")
    assert [reader.name(0), reader.name(1)] == ["one", "two"]
    assert len(reader[0]["boxes"]) == 2


def test_a_suffix_that_belongs_to_the_name_is_kept(boxes):
    (boxes / "JPEGImages" / "one.jpg").rename(boxes / "JPEGImages" / "one.png.jpg")
    (boxes / "Annotations" / "one.xml").rename(boxes / "Annotations" / "one.png.xml")
    (boxes / "ImageSets" / "Main" / "train.txt").write_text("one.png\n")
    assert Voc(boxes, "train", "detection").name(0) == "one.png"


def test_upper_case_suffixes_are_read(boxes):
    for folder, old, new in (("JPEGImages", "jpg", "JPG"), ("Annotations", "xml", "XML")):
        (boxes / folder / f"one.{old}").rename(boxes / folder / f"one.{new}")
    reader = Voc(boxes, "train", "detection")
    assert len(reader[0]["boxes"]) == 2
    assert reader.image_path(0) == boxes / "JPEGImages" / "one.JPG"
    assert Voc(boxes, "train", "detection").class_names == list(NAMES)


def test_accents_may_be_decomposed(boxes):
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        decomposed = unicodedata.normalize("NFD", f"m\xfcller.{suffix}")
        (boxes / folder / f"one.{suffix}").rename(boxes / folder / decomposed)
    path = boxes / "ImageSets" / "Main" / "train.txt"
    path.write_text("m\xfcller\n", encoding="utf-8")
    assert len(Voc(boxes, "train", "detection")[0]["boxes"]) == 2


XML = "<annotation><object><name>\u72d7</name><bndbox>{}</bndbox></object></annotation>".format(
    "".join(f"<{side}>{i + 1}</{side}>" for i, side in enumerate(("xmin", "ymin", "xmax", "ymax")))
)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("gb2312", "gb2312"),
        ("GBK", "gbk"),
        ("big5", "big5"),
        ("shift_jis", "shift_jis"),
        ("utf-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16", "utf-8"),  # .NET declares what its strings have
        (None, "utf-8"),
    ],
)
def test_xml_files_may_have_any_declared_encoding(boxes, declared, encoding):
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    (boxes / "Annotations" / "two.xml").write_bytes((declaration + XML).encode(encoding))
    reader = Voc(boxes, "train", "detection")
    assert reader.class_names == ["cat", "dog", "\u72d7"]
    assert reader[1]["boxes"].tolist() == [[0, 1, 3, 4]]


def test_xml_of_an_undeclared_encoding_is_named(boxes):
    (boxes / "Annotations" / "two.xml").write_bytes(XML.encode("gb2312"))
    with pytest.raises(ValueError, match=r"two\.xml is not an XML file \(.*save it as UTF-8"):
        Voc(boxes, "train", "detection")


def test_hidden_files_do_not_count(boxes):
    (boxes / "Annotations" / "._one.xml").write_bytes(b"\0\5\x16\7" + "\u72d7".encode("gbk"))
    assert Voc(boxes, "train", "detection").class_names == list(NAMES)


def test_difficult_objects_can_be_left_out(boxes):
    assert Voc(boxes, "train", "detection", difficult=False)[0]["boxes"].tolist() == [[0, 2, 60, 9]]


def test_names_default_to_vocs_or_to_all_names_in_the_xml_files(boxes):
    reader = Voc(boxes, "train", "detection")
    assert reader.class_names == list(NAMES)
    assert reader.palette[reader.class_names.index("person")].tolist() == [192, 128, 128]
    write_xml(boxes, "of_another_split", [("axolotl", 1, 1, 9, 9, 0)])
    found = Voc(boxes, "train", "detection")
    assert (found.class_names, found.palette) == (["axolotl", "cat", "dog"], None)
    assert found[0]["classes"].tolist() == [2, 1]
    assert Voc(boxes, "train", "detection", ["dog", "cat"])[0]["classes"].tolist() == [0, 1]
    write_xml(boxes, "one", [("dog", 1, 3, 60, 9, 0)])
    alone = Voc(boxes, "train", "detection", ["dog"])
    assert [alone.object_names[i] for i in alone[0]["classes"]] == ["dog"]


def test_a_reader_returns_copies(boxes):
    reader = Voc(boxes, "train", "detection")
    reader[0]["boxes"][:] = 0
    assert reader[0]["boxes"].max() == 60


def test_all_invalid_annotations_are_named(boxes):
    (boxes / "Annotations" / "two.xml").write_text("<annotation><object>")
    with pytest.raises(
        ValueError,
        match=r"(?s)2 problems.*one\.xml: it contains an object 'cat', but .*dog",
    ):
        Voc(boxes, "train", "detection", ["dog"])
    with pytest.raises(ValueError, match=r"two\.xml is not an XML file \(.*Copy it again"):
        Voc(boxes, "train", "detection")
    (boxes / "Annotations" / "two.xml").unlink()
    with pytest.raises(ValueError, match=r"There is no file '.*two\.xml'"):
        Voc(boxes, "train", "detection")
    write_xml(boxes, "two", [("dog", 1, "", 60, "x", 0)])
    with pytest.raises(
        ValueError, match=r"two\.xml: an object's bndbox has .* = 1, nothing, 60, x\. Expected four"
    ):
        Voc(boxes, "train", "detection")
    write_xml(boxes, "two", [("dog", 0.1, 0.2, 0.5, 0.75, 0)])
    with pytest.raises(
        ValueError, match=r"two\.xml: dog \(0\.1, .*\) is in fractions of the image"
    ):
        Voc(boxes, "train", "detection")
    write_xml(boxes, "two", [], size=(WIDTH, HEIGHT + 1))
    with pytest.raises(
        ValueError,
        match=r"two\.xml: the image is 60 x 40 pixels, but .* for 60 x 41",
    ):
        Voc(boxes, "train", "detection")
    write_xml(boxes, "two", [], size=(HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="may have been labeled without its EXIF orientation"):
        Voc(boxes, "train", "detection")
    write_xml(boxes, "two", [], size=(0, 0))  # some tools write 0 for an unknown size
    assert len(Voc(boxes, "train", "detection")) == 2


def test_missing_files_are_named(boxes):
    with pytest.raises(FileNotFoundError, match=r"no list of names '.*Main/val\.txt'"):
        Voc(boxes, "val", "detection")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*gone'"):
        Voc(boxes / "gone")
    with pytest.raises(ValueError, match=r"task='boxes' is unknown.*'detection', 'segmentation'"):
        Voc(boxes, task="boxes")
    (boxes / "JPEGImages" / "two.jpg").unlink()
    with pytest.raises(ValueError, match=r"no file '.*two\.jpg'"):
        Voc(boxes, "train", "detection")
    (boxes / "ImageSets" / "Main" / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt contains no name"):
        Voc(boxes, "train", "detection")
    (boxes / "ImageSets" / "Main" / "train.txt").write_text("one\ntwo\none.jpg\n")
    with pytest.raises(ValueError, match=r"train\.txt lists images twice: one\. Keep"):
        Voc(boxes, "train", "detection")
    (boxes / "ImageSets" / "Main" / "train.txt").write_text("one\n")
    (boxes / "JPEGImages").rename(boxes / "images")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*JPEGImages'"):
        Voc(boxes, "train", "detection")


def test_images_of_other_formats_are_found(boxes):
    Image.open(boxes / "JPEGImages" / "two.jpg").save(boxes / "JPEGImages" / "two.png")
    (boxes / "JPEGImages" / "two.jpg").unlink()
    assert Voc(boxes, "train", "detection")[1]["image"][0, 0].tolist() == pytest.approx(
        [90, 20, 7], abs=3
    )


MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[4:10, 5:12] = 255
MASK[5:9, 6:11] = 15  # a person
MASK[20:31, 30:60] = 8  # a cat
MASK[20:31, 45:50] = 8
OBJECTS = np.where(MASK == 15, 2, np.where(MASK == 8, 7, MASK)).astype(np.uint8)
OBJECTS[20:31, 45:50] = 1  # a second cat in front of the first


def write_mask(root, folder, stem, mask):
    (root / folder).mkdir(exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette(colormap(256).ravel().tolist())
    image.save(root / folder / f"{stem}.png")


@pytest.fixture
def masks(tmp_path):
    root = write_root(tmp_path, ["a", "b"], "Segmentation")
    for stem in "ab":
        write_mask(root, "SegmentationClass", stem, MASK if stem == "a" else MASK * 0)
    return root


def test_masks_are_ids_with_an_ignored_border(masks):
    reader = Voc(masks)
    assert reader.fields == tuple(reader[0]) == ("image", "mask")
    assert reader.label_names == ["background", *NAMES]
    assert np.array_equal(reader[0]["mask"], MASK)
    assert reader.palette.shape == (21, 3)
    assert check(reader).ignored_pixels == 6 * 7 - 4 * 5


def test_the_colormap_is_that_of_the_devkit():
    # VOC 2012 devkit, VOClabelcolormap: aeroplane, bicycle, person, potted plant, tv, border
    expected = [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 0],
        [0, 64, 128],
        [224, 224, 192],
    ]
    assert colormap(256)[[0, 1, 2, 15, 16, 20, 255]].tolist() == expected


def test_objects_have_boxes_and_the_class_of_their_pixels(masks):
    for stem in "ab":
        write_mask(masks, "SegmentationObject", stem, OBJECTS if stem == "a" else OBJECTS * 0)
    reader = Voc(masks)
    sample = reader[0]
    assert reader.fields == tuple(sample) == ("image", *OBJECT_FIELDS)
    assert np.array_equal(
        sample["instances"], np.select([OBJECTS == 1, OBJECTS == 2, OBJECTS == 7], [1, 2, 3])
    )
    assert sample["boxes"].tolist() == [[45, 20, 50, 31], [6, 5, 11, 9], [30, 20, 60, 31]]
    assert [reader.object_names[i] for i in sample["classes"]] == ["cat", "person", "cat"]
    assert (sample["classes"].dtype, sample["instances"].dtype) == (np.int32, np.int32)
    assert [reader[1][name].shape for name in ("boxes", "classes")] == [(0, 4), (0,)]


def test_the_border_does_not_count_for_the_class_of_an_object(masks):
    # in the class mask, most pixels of the object are border
    bordered = np.where(OBJECTS == 2, 255, MASK)
    bordered[8, 6:11] = 15
    write_mask(masks, "SegmentationClass", "a", bordered)
    for stem in "ab":
        write_mask(masks, "SegmentationObject", stem, OBJECTS if stem == "a" else OBJECTS * 0)
    assert Voc(masks)[0]["classes"].tolist() == [7, 14, 7]


def test_more_than_255_classes_are_16_bit_files(masks):
    names = [f"class {i}" for i in range(300)]
    wide = MASK.astype(np.uint16)
    wide[MASK == 15], wide[MASK == 255] = 300, 65535
    for stem in "ab":
        Image.fromarray(wide).save(masks / "SegmentationClass" / f"{stem}.png")
        write_mask(masks, "SegmentationObject", stem, OBJECTS)
    reader = Voc(masks, class_names=names)
    sample = reader[0]
    assert (reader.ignore_index, sample["mask"].dtype) == (65535, np.int32)
    assert np.array_equal(sample["mask"], wide)
    assert sample["classes"].tolist() == [7, 299, 7]


def test_custom_classes_have_no_palette(masks):
    write_mask(masks, "SegmentationClass", "a", np.minimum(MASK, 2))
    reader = Voc(masks, class_names=["cell", "fiber"])
    assert (reader.label_names, reader.palette) == (["background", "cell", "fiber"], None)
    assert Voc(masks, class_names=reader.class_names).class_names == reader.class_names
    with pytest.raises(ValueError, match=r"a\.png contains .* map to no class: 2 \(classes: 0, 1;"):
        Voc(masks, class_names=["cell"])[0]


def test_an_object_without_a_class_in_the_mask_is_named(masks):
    for stem in "ab":
        write_mask(masks, "SegmentationObject", stem, OBJECTS)
    with pytest.raises(
        ValueError,
        match=r"SegmentationObject/b\.png contains objects \(1, 2, 3, .*Correct one",
    ):
        Voc(masks)[1]


def test_masks_must_have_the_size_of_their_image(masks):
    write_mask(masks, "SegmentationClass", "b", MASK[1:])
    with pytest.raises(
        ValueError, match=r"b\.jpg is 60 x 40, but its mask .*SegmentationClass/b\.png is 60 x 39"
    ):
        Voc(masks)
    (masks / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"no file '.*SegmentationClass/b\.png'"):
        Voc(masks)
