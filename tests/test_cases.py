"""Datasets and trainings that users of other libraries reported as broken, by what is right.

Each dataset is written by `case_files.py`. It is read as it was meant, refused with a remedy, or
reported by the doctor.
"""

import case_files as files
import keras
import numpy as np
import pytest
import tensorflow as tf
from case_files import IDS, IMAGE

from tfseg import training
from tfseg.data import (
    Arrays,
    Augment,
    Cityscapes,
    Coco,
    CocoPanoptic,
    Folder,
    GeoTiff,
    Nifti,
    Voc,
    Yolo,
    pipeline,
)
from tfseg.doctor import check, diagnose
from tfseg.losses import CLDice, CrossEntropy, Dice
from tfseg.metrics import CalibrationError, ConfusionMetrics
from tfseg.models import tiny_unet

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
    "boxes without area": (files.yolo("0 0.5 0.5 0 0\n"), as_yolo, "left out 2 annotations"),
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
    assert same[0]["classes"].tolist() == [1]  # category 1 of the second file is the dog


def test_class_names_of_voc_folders_must_agree(tmp_path):
    for name, classes in (("train", ("apple", "banana")), ("val", ("banana", "cherry"))):
        files.voc(tmp_path / name, names=classes)
    train, val = as_voc(tmp_path / "train"), as_voc(tmp_path / "val")
    assert (train.class_names, val.class_names) == (["apple", "banana"], ["banana", "cherry"])
    kinds = [finding.kind for finding in diagnose(train, val=val).findings]
    assert "class_names_differ" in kinds


# ---- habits of training: arrays straight into losses, metrics, pipelines and `fit`

LOGITS = np.zeros((1, *IDS.shape, 2), np.float32)
INVALID_LABELS = {
    "counted from 1": IDS + 1,
    "0 and 128": IDS * 128,
    "-1 for the ground": IDS.astype(np.int32) - 1,
}


@pytest.mark.parametrize("case", INVALID_LABELS)
def test_labels_out_of_range_are_not_ignored(case):
    labels = INVALID_LABELS[case][None]
    with tf.GradientTape() as tape:
        logits = tf.Variable(LOGITS)
        loss = (CrossEntropy() + Dice())(labels, logits)
    assert np.isnan(float(loss))
    assert np.isfinite(tape.gradient(loss, logits)).all()
    metric = ConfusionMetrics(2)
    metric.update_state(labels, LOGITS)
    assert all(np.isnan(float(value)) for value in metric.result().values())


def test_masks_of_0_and_255_are_reported_wherever_they_pass():
    metric = ConfusionMetrics(2)
    metric.update_state(IDS[None] * 255, LOGITS)
    with pytest.warns(UserWarning, match="mask_values={0: 0, 255: 1}"):
        metric.result()
    with pytest.warns(UserWarning, match="mask_values={0: 0, 255: 1}"):
        reader = Arrays([IMAGE] * 2, [IDS * 255] * 2, NAMES)
    with pytest.raises(ValueError, match="mask_values={0: 0, 255: 1}"):
        check(reader)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CrossEntropy(class_weights={0: 0.3, 1: 5.0}), "Pass a list of numbers"),
        (lambda: CrossEntropy(ignore_index=[0, 255]), "mask_values={128: 255}"),
        (lambda: ConfusionMetrics(2, ignore_index=[0, 255]), "mask_values={128: 255}"),
        (lambda: ConfusionMetrics(2, class_names={"leaf": 1, "ground": 0}), "class_names"),
        (lambda: training.compile_for(tiny_unet(2, filters=4)), "Pass steps="),
    ],
)
def test_arguments_that_mean_something_else_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_images_divided_by_255_are_reported():
    reader = Arrays([(IMAGE / 255).astype(np.float32)] * 4, [IDS] * 4, NAMES)
    with pytest.warns(UserWarning, match="Do not divide images by 255"):
        list(pipeline(reader, 2))


@pytest.mark.parametrize(
    "image",
    [IMAGE.astype(np.uint16) * 257, IMAGE.astype(np.int16) - 1024, IMAGE.astype(np.float32) / 255],
    ids=["16 bits", "CT", "reflectance"],
)
def test_colors_of_other_ranges_are_not_clipped_to_0_255(image, without_xla):
    reader = Arrays([image] * 2, [IDS] * 2, NAMES)
    with pytest.raises(ValueError, match="value_range"):
        pipeline(reader, 2, Augment(16, brightness=0.1))
    low, high = float(image.min()), float(image.max())
    crop = Augment(16, brightness=0.1, value_range=(low, high)).sample(reader[0], 0, 0)["image"]
    assert len(np.unique(np.asarray(crop))) > 2


def test_a_training_that_diverges_leaves_no_model(tmp_path):
    model = tiny_unet(2, filters=4)
    model.compile(keras.optimizers.SGD(1e25), CrossEntropy(), metrics=[ConfusionMetrics(2)])
    run = training.Run(tmp_path / "run")
    images, masks = np.stack([IMAGE] * 2), np.stack([IDS] * 2)
    with pytest.raises(ValueError, match="the training diverged. Lower the learning rate"):
        model.fit(
            images,
            masks,
            validation_data=(images, masks),
            epochs=3,
            batch_size=1,
            verbose=0,
            callbacks=run.callbacks(),
        )
    assert not (tmp_path / "run" / "best.keras").exists()


def test_an_ignored_class_is_in_no_mean():
    metric = ConfusionMetrics(3, scores=("iou", "mean_iou"), ignore_index=0)
    predicted = np.eye(3)[[[[2, 1, 0, 1, 0]]]].astype("float32")
    metric.update_state([[[2, 1, 0, 0, 1]]], predicted)
    # class 1: one hit, one miss: 1/2; class 2: 1
    found = {name: float(value) for name, value in metric.result().items()}
    assert np.isnan(found.pop("iou/0"))
    assert found == pytest.approx({"iou/1": 0.5, "iou/2": 1.0, "mean_iou": 0.75})


def test_many_classes_and_wide_dtypes_are_exact():
    calibration = CalibrationError(128)
    calibration.update_state([[[1]]], np.zeros((1, 1, 1, 128), np.float32))
    assert float(calibration.result()) == pytest.approx(1 / 128)
    metric = ConfusionMetrics(300)
    logits = np.zeros((1, 1, 2, 300), np.float32)
    logits[..., 255] = 1
    metric.update_state([[[255, 65535]]], logits)
    assert np.asarray(metric.matrix).sum() == 1  # 255 is a class, 65535 is ignored
    volume = np.zeros((1, 3, 3, 3), np.int32)
    volume[0, 1] = 1
    wide, narrow = (
        float(CLDice()(volume, np.zeros((*volume.shape, 2), dtype)))
        for dtype in ("float64", "float32")
    )
    assert wide == pytest.approx(narrow, rel=1e-6)
