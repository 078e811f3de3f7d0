"""Datasets and trainings that users of other libraries reported as broken, by what is right.

Each dataset is written by `case_files.py`. It is read as it was meant, refused with a remedy, or
reported by the doctor.
"""

import case_files as files
import numpy as np
import pytest
from case_files import IDS

from tfseg.data import Cityscapes, Coco, CocoPanoptic, Folder, GeoTiff, Nifti, Voc, Yolo
from tfseg.doctor import check, diagnose

NAMES = ["background", "leaf"]


def as_folder(folder, **options):
    return Folder(folder / "images", folder / "masks", NAMES, **options)


def as_geotiff(folder):
    return GeoTiff(folder / "images", folder / "masks", NAMES)


def as_coco(folder, **options):
    return Coco(folder / "images", folder / "a.json", **options)


def as_panoptic(folder):
    return CocoPanoptic(folder / "images", folder / "panoptic", folder / "a.json")


def as_voc(folder, **options):
    return Voc(folder, "train", task="detection", **options)


def as_yolo(folder, names=("leaf", "stem")):
    return Yolo(folder / "images", folder / "labels", list(names))


def as_nifti(folder):
    return Nifti(folder / "images", folder / "masks", NAMES)


def no_change(content):
    pass


def crowd(content):
    content["annotations"][1]["iscrowd"] = 1


def without(key, name):
    """Return a change of a COCO file that removes `name` from the first entry of `key`."""

    def change(content):
        del content[key][0][name]

    return change


def null_annotations(content):
    content["annotations"] = None


def same_image_ids(content):
    content["images"][1]["id"] = content["images"][0]["id"]


def windows_paths(content):
    for entry in content["annotations"]:
        entry["file_name"] = f"C:\\data\\panoptic\\{entry['file_name']}"


# ---- read as they were meant

MASKS = {
    "EXIF orientation 255": (files.exif_orientation(files.SHORT, b"\0\xff"), as_folder),
    "EXIF orientation 9": (files.exif_orientation(files.SHORT, b"\0\t"), as_folder),
    "EXIF orientation 0": (files.exif_orientation(files.SHORT, b"\0\0"), as_folder),
    "EXIF orientation as bytes": (files.exif_orientation(files.UNDEFINED, b"\6"), as_folder),
    "EXIF orientation as text": (files.exif_orientation(files.TEXT, b"6"), as_folder),
    "PNG with 3 MB of text": (files.big_text, as_folder),
    "PNG with 2 MB of color profile": (files.big_profile, as_folder),
    "PNG with a wrong checksum in a text": (files.wrong_checksum, as_folder),
    "TIFF with an overview": (files.tiff_pages(files.REDUCED), as_folder),
    "TIFF with an internal mask": (files.tiff_pages(files.TRANSPARENCY), as_folder),
    "gray TIFF with premultiplied alpha": (files.gray_alpha, as_folder),
    "TIFF of five bands": (files.five_bands, as_geotiff),
    "TIFF of 12 bits": (files.twelve_bit_images, as_folder),
    "sparse TIFF": (files.sparse_images, as_folder),
    "JFIF images": (files.jfif_images, as_folder),
    "2-bit TIFF masks": (files.two_bit_masks, as_folder),
    "2-bit TIFF masks as scenes": (files.two_bit_masks, as_geotiff),
    "TIFF masks whose white is zero": (files.white_is_zero_masks, as_folder),
    "TIFF masks of whole floats": (files.mask_tiffs(IDS.astype(np.float32)), as_folder),
    "TIFF masks of 64 bits": (files.mask_tiffs(IDS.astype(np.uint64)), as_folder),
    "4-bit PNG masks": (files.four_bit_masks, as_folder),
    "GIF masks": (files.gif_masks, as_folder),
    "COCO": (files.coco(), as_coco),
    "COCO category background": (files.coco(files.add_category("background")), as_coco),
    "COCO category Background": (files.coco(files.add_category("Background")), as_coco),
    "COCO root category": (files.coco(files.add_category("animals")), as_coco),
    "COCO root of a class name": (files.coco(files.add_category("cat", "cat")), as_coco),
    "panoptic COCO with Windows paths": (files.panoptic(windows_paths), as_panoptic),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_are_read_as_stored(tmp_path, case):
    write, read = MASKS[case]
    write(tmp_path)
    reader = read(tmp_path)
    assert len(reader) == 2
    assert reader[0]["image"].shape[:2] == IDS.shape
    assert np.array_equal(reader[0]["mask"], IDS)
    check(reader)


def test_scenes_compressed_as_jpeg_are_read(tmp_path):
    files.jpeg_scenes(tmp_path)
    reader = as_geotiff(tmp_path)
    assert np.array_equal(reader[1]["mask"], np.tile(IDS, (4, 4)))
    difference = reader[1]["image"].astype(int) - np.tile(files.IMAGE, (4, 4, 1))
    assert np.abs(difference).mean() < 8
    assert as_folder(tmp_path)[1]["image"].shape == (64, 96, 3)


def test_hidden_files_are_no_images(tmp_path):
    files.hidden_cityscapes(tmp_path)
    reader = Cityscapes(tmp_path, "train")
    assert len(reader) == 2
    assert np.array_equal(reader[0]["mask"], IDS)  # the stored ids 7 and 8 are road and sidewalk


def test_volumes_with_upper_case_names_are_read(tmp_path):
    files.nifti(suffix=".NII.GZ")(tmp_path)
    reader = as_nifti(tmp_path)
    assert len(reader) == 6
    assert sum(int(reader[index]["mask"].sum()) for index in range(6)) == 6 * IDS.sum()


BOXES = {
    "VOC list in UTF-16": (files.voc_utf16_list, as_voc),
    "VOC list of file names": (lambda folder: files.voc(folder, listed="{}.jpg\n"), as_voc),
    "VOC images called .JPG": (lambda folder: files.voc(folder, suffix=".JPG"), as_voc),
    "YOLO labels called .TXT": (files.mixed_case_labels, as_yolo),
    "boxes of a single class": (files.yolo(), lambda folder: as_yolo(folder, ["leaf"])),
}


@pytest.mark.parametrize("case", BOXES)
def test_every_box_is_read(tmp_path, case):
    write, read = BOXES[case]
    write(tmp_path)
    reader = read(tmp_path)
    assert [len(reader[index]["boxes"]) for index in range(len(reader))] == [1, 1]
    check(reader)
    assert all(finding.severity != "error" for finding in diagnose(reader).findings)


# ---- refused, with what it is and what to do

REFUSED = {
    "TIFF of five bands": (files.five_bands, as_folder, "5 bands.*GeoTiff"),
    "lossless WebP": (files.lossless_webp_masks, as_folder, "lossless WebP.*Convert it to PNG"),
    "black masks with alpha": (files.masks_in_alpha(0), as_folder, "alpha channel"),
    "white masks with alpha": (files.masks_in_alpha(255), as_folder, "alpha channel"),
    "masks of other classes": (files.masks_per_class, as_folder, "folders leaf, stem. Expected"),
    "one folder": (
        files.masks_beside_images,
        lambda folder: Folder(folder / "images", folder / "images", NAMES),
        "the same folder.*mask_suffix='_mask'",
    ),
    "other prefixes": (files.other_prefixes, as_folder, "image_.*mask_"),
    "null annotations": (files.coco(null_annotations), as_coco, "a.json: 'annotations' is null"),
    "category without name": (
        files.coco(without("categories", "name")),
        as_coco,
        r"a.json: categories\[0\] has no name",
    ),
    "image without id": (
        files.coco(without("images", "id")),
        as_coco,
        r"a.json: images\[0\] has no id",
    ),
    "image ids twice": (files.coco(same_image_ids), as_coco, "the id 1 twice: 1.png and 2.png"),
    "no segments": (
        files.panoptic(without("annotations", "segments_info")),
        as_panoptic,
        r"a.json: annotations\[0\] has no segments_info",
    ),
    "CVAT": (files.cvat_export, as_coco, "XML file of CVAT. Export as COCO"),
    "Label Studio": (files.label_studio_export, as_coco, "JSON file of Label Studio"),
    "Supervisely": (files.supervisely_export, as_folder, "an export of Supervisely"),
    "confidences": (
        files.yolo("0 0.4 0.4 0.3 0.4 0.9\n"),
        as_yolo,
        "a.txt:1: got 5 numbers.*a box and a confidence",
    ),
    "singular affine": (
        files.nifti(np.diag([1.0, 1, 0, 1])),
        as_nifti,
        "a.nii.gz has the affine",
    ),
    "NaN in the affine": (
        files.nifti(np.diag([np.nan, 1, 2, 1])),
        as_nifti,
        "a.nii.gz has the affine",
    ),
    "scaled masks": (
        files.nifti(mask_type=np.int16, slope=1 + 2**-16),
        as_nifti,
        "1.0000152.*scl_slope",
    ),
    "no objects": (files.yolo(""), as_yolo, "None of 2 samples has an object"),
    "boxes without area": (files.yolo("0 0.5 0.5 0 0\n"), as_yolo, "left out 2 of them"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
def test_data_that_cannot_be_used_are_named(tmp_path, case):
    write, read, message = REFUSED[case]
    write(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){message}"):
        check(read(tmp_path))


# ---- reported by the doctor


def voc_with_nan(folder):
    files.voc(folder, corner="nan")


REPORTED = {
    "crowds": (files.coco(crowd), as_coco, "dropped_objects"),
    "turned images of COCO": (files.turned_coco, as_coco, "exif_rotation"),
    "turned PNG images": (files.png_exif_orientation, as_folder, "exif_rotation"),
    "no objects": (files.yolo(""), as_yolo, "no_objects"),
    "boxes without area": (files.yolo("0 0.5 0.5 0 0\n"), as_yolo, "dropped_objects"),
    "boxes at NaN": (voc_with_nan, as_voc, "dropped_objects"),
}


@pytest.mark.parametrize("case", REPORTED)
def test_the_doctor_reports(tmp_path, case):
    write, read, kind = REPORTED[case]
    write(tmp_path)
    assert kind in [finding.kind for finding in diagnose(read(tmp_path)).findings]


def test_subfolders_are_named_and_read_by_choice(tmp_path):
    files.nested_folders(tmp_path)
    with pytest.warns(UserWarning, match="subfolders with images, which are left out: more"):
        assert len(as_folder(tmp_path)) == 2
    assert len(as_folder(tmp_path, recursive=True)) == 3


def test_class_names_of_training_and_validation_must_agree(tmp_path):
    files.coco()(tmp_path)
    train = as_coco(tmp_path)
    files.coco(categories=("dog", "cat"))(tmp_path)
    kinds = [finding.kind for finding in diagnose(train, val=as_coco(tmp_path)).findings]
    assert "class_names_differ" in kinds
    same = as_coco(tmp_path, class_names=train.class_names)
    assert same.class_names == train.class_names
    assert same[0]["classes"].tolist() == [2]  # category 1 of the second file is the dog


def test_class_names_of_voc_folders_must_agree(tmp_path):
    for name, classes in (("train", ("apple", "banana")), ("val", ("banana", "cherry"))):
        files.voc(tmp_path / name, names=classes)
    train, val = as_voc(tmp_path / "train"), as_voc(tmp_path / "val")
    assert (train.class_names, val.class_names) == (["apple", "banana"], ["banana", "cherry"])
    kinds = [finding.kind for finding in diagnose(train, val=val).findings]
    assert "class_names_differ" in kinds
