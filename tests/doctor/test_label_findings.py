"""Plant one fault in the masks of a clean folder: the doctor finds exactly this fault."""

import re

import cv2
import numpy as np
import pytest
from clean_folder import (
    NAMES,
    change_masks,
    diagnose_folder,
    draw_clean,
    single_finding,
    write_clean,
)

from tfseg.data import Arrays, Folder, Reader
from tfseg.doctor import diagnose

COLORS = np.array([(128, 64, 128), (70, 70, 70), (0, 0, 0)], np.uint8)


def black_and_white(mask):
    return (255 * (mask == 1)).astype(np.uint8)


def smoothed(mask, factor=2):
    """Resize down and up with interpolation, which masks must not be."""
    small = cv2.resize(mask, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)


def stain(value, width=8):
    def change(mask):
        mask = mask.copy()
        mask[5 : 5 + width, 5 : 5 + width] = value
        return mask

    return change


def numbered(mask):
    """Blocks of 8 x 8 pixels with numbers; how many depends on the mask."""
    blocks = np.kron(np.arange(1, 81).reshape(8, 10), np.ones((8, 8), int))
    return np.where(blocks <= 60 + mask.sum() % 19, blocks, 0).astype(np.uint8)


def shrink(value, to):
    """Replace all but four pixels of a value."""

    def change(mask):
        mask = np.where(mask == value, to, mask).astype(np.uint8)
        mask[:2, :2] = value
        return mask

    return change


def all_of(value):
    return lambda mask: np.full_like(mask, value)


TWO = NAMES[:2]
GROUND = ["background", *NAMES[1:]]
# {name: (change, masks, class names, severity, message, fix)}; the name starts with the kind
FAULTS = {
    "black_and_white read": (
        black_and_white,
        "*",
        TWO,
        "note",
        "6 masks with 0 and 255: read as ground and wall",
        "No action needed",
    ),
    "black_and_white of one name": (
        black_and_white,
        "*",
        ["leaf"],
        "note",
        "read as background and leaf",
        "No action needed",
    ),
    "black_and_white without names": (
        black_and_white,
        "*",
        None,
        "note",
        "read as 0 and 255",
        "No action needed",
    ),
    "black_and_white refused": (
        *(
            black_and_white,
            "*",
            NAMES,
            "error",
            "only 0 and 255, but there are 3 class names: 255 is ignored",
        ),
        "--class-names background,object",
    ),
    "color_masks": (
        *(
            lambda mask: COLORS[mask],
            "*",
            NAMES,
            "error",
            "^6 masks with RGB colors instead of class ids; 3 colors",
        ),
        r"colors=\{'ground': \(.*\), 'wall': \(.*\), 'band': \(.*\)\}",
    ),
    "color_masks of a photograph": (
        *(
            lambda mask: draw_clean(int(mask.sum()))[0],
            "p1.png",
            NAMES,
            "error",
            r"^1 mask with RGB colors.*256 colors",
        ),
        "folders are not swapped",
    ),
    "interpolated_labels": (
        *(
            lambda mask: smoothed(black_and_white(mask)),
            "*",
            TWO,
            "error",
            r"6 masks with the values .* narrow strips",
        ),
        r"255 \* \(v > 127\)",
    ),
    "interpolated_labels that are classes": (
        # 0 and 2 with 1 on their border only
        *(
            lambda mask: smoothed(np.where(mask == 1, 0, mask)),
            "*",
            NAMES,
            "warning",
            "^6 masks with the values 1 on",
        ),
        "NEAREST.*If wall was drawn as a thin line, no action",
    ),
    "interpolated_labels without names": (
        *(
            lambda mask: smoothed(np.where(mask == 1, 0, mask)),
            "*",
            None,
            "warning",
            "^6 masks with the values 1 on",
        ),
        "NEAREST",
    ),
    "gaps": (
        *(
            lambda mask: np.array([0, 1, 7], np.uint8)[mask],
            "*",
            NAMES,
            "error",
            "masks contain 0, 1, 7, expected 0 to 2",
        ),
        r"mask_values=\{0: 0, 1: 1, 7: 2\}\), or `tfseg train --mask-values 0=0,1=1,7=2`",
    ),
    "gaps without names": (
        *(
            lambda mask: np.array([0, 1, 7], np.uint8)[mask],
            "*",
            None,
            "warning",
            "masks contain 0, 1, 7, expected 0 to 2",
        ),
        r"mask_values=\{0: 0, 1: 1, 7: 2\}",
    ),
    "stray_labels": (
        lambda mask: np.where(stain(9)(0 * mask) == 9, 9, 255 * (mask > 0)).astype(np.uint8),
        *(
            "*",
            TWO,
            "error",
            r"0 and 255, except for 384 pixels with 9 in 6 masks.* \d+ pixels count as unlabeled",
        ),
        r"mask_values=\{0: 0, 255: 1, 9: 255\}\), `tfseg train --mask-values 0=0,255=1,9=255`",
    ),
    "unknown_labels": (
        *(
            stain(7),
            "p1.png",
            NAMES,
            "error",
            r"^1 mask with the value 7 on 64 pixels.*\(classes: 0, 1, 2\)",
        ),
        "--ignore-value 7",
    ),
    "unknown_labels, several": (
        *(
            lambda mask: stain(9, 4)(stain(7)(mask)),
            "p1.png",
            NAMES,
            "error",
            "values 7, 9 on 64 pixels",
        ),
        "mask_values",
    ),
    "unknown_labels of an image": (
        *(
            lambda mask: draw_clean(9)[0][..., 0].copy(),
            "p1.png",
            NAMES,
            "error",
            r"^1 mask with the values 3, 4",
        ),
        "are images and masks swapped",
    ),
    "numbered_objects": (
        numbered,
        "*",
        ["cell"],
        "error",
        r"values 1, 2, \.\.\. up to \d\d",
        "--task instances --head star --images",
    ),
    "numbered_objects without names": (
        numbered,
        "*",
        None,
        "warning",
        "they number objects",
        "InstanceMasks",
    ),
    "unlabeled": (
        all_of(255),
        "p1.png",
        NAMES,
        "warning",
        "^1 mask without a labeled pixel: all pixels have the ignored value 255",
        "Label",
    ),
    "unlabeled, all": (
        all_of(255),
        "*",
        NAMES,
        "error",
        "^6 masks without a labeled pixel",
        "Label",
    ),
    "only_background": (
        all_of(0),
        "p1.png",
        GROUND,
        "warning",
        "^1 of 6 masks with only background",
        "no object",
    ),
    "one_class": (
        all_of(1),
        "*",
        NAMES,
        "error",
        "All labeled pixels have the class 'wall'",
        "two classes",
    ),
    "absent_classes": (
        *(
            lambda mask: np.minimum(mask, 1),
            "*",
            NAMES,
            "warning",
            "^No image shows the class band",
            "neither learned nor",
        ),
    ),
    "class_imbalance": (
        *(
            shrink(1, 0),
            "*",
            NAMES,
            "warning",
            r"^ground has \d+ times the pixels of wall \(.*% and 0\.08%\)",
        ),
        r"CrossEntropy\(class_weights=\[0\.\d+, \d+\.\d+, 1\.0\]\) .* --class-weights median",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_planted_fault_is_diagnose_folder(clean, fault):
    change, pattern, names, severity, message, fix = FAULTS[fault]
    change_masks(clean, change, pattern)
    finding = single_finding(diagnose_folder(clean, names))
    assert (finding.kind, finding.severity) == (re.match(r"\w+", fault)[0], severity)
    assert re.search(message, finding.message), finding.message
    assert re.search(fix, finding.fix), finding.fix
    if pattern != "*":
        assert finding.files == [str(clean / "masks" / pattern)]


def test_the_colors_to_paste_make_a_reader(clean):
    change_masks(clean, lambda mask: COLORS[mask])
    colors = eval(re.search(r"colors=(\{.*\})", single_finding(diagnose_folder(clean)).fix)[1])
    assert sorted(colors.values()) == sorted(map(tuple, COLORS.tolist()))
    reader = Folder(clean / "images", clean / "masks", list(colors), colors=colors)
    assert diagnose(reader).findings == []


def test_black_masks_among_colored_ones_are_colors_too(clean):
    change_masks(clean, lambda mask: COLORS[mask])
    change_masks(clean, lambda mask: mask * 0, "p1.png")
    report = diagnose_folder(clean)
    assert single_finding(report).files == [str(clean / "masks" / f"p{i}.png") for i in range(6)]
    assert [row.pixels for row in report.classes] == [0, 0, 0]


def test_the_table_to_paste_makes_a_reader(clean):
    change_masks(clean, lambda mask: np.array([3, 20, 7], np.uint8)[mask])
    table = eval(re.search(r"mask_values=(\{.*\})", single_finding(diagnose_folder(clean)).fix)[1])
    assert table == {3: 0, 7: 1, 20: 2}
    assert diagnose_folder(clean, mask_values=table).findings == []


def test_the_ignored_value_is_not_a_fault(clean):
    change_masks(clean, stain(7), "p1.png")
    report = diagnose_folder(clean, ignore_value=7)
    assert report.findings == []
    assert report.ignored_pixels == 64
    assert diagnose_folder(clean, None, ignore_value=7).class_names == ["0", "1", "2"]


def test_a_class_missing_only_in_validation_is_reported(clean):
    val = write_clean(clean / "val", 2, first=6)
    change_masks(val, lambda mask: np.minimum(mask, 1))
    finding = single_finding(diagnose_folder(clean, val=(val / "images", val / "masks")))
    assert finding.kind == "absent_classes"
    assert finding.message == "No validation image shows the class band."


class Boxes(Reader):
    """A reader of boxes without masks."""

    fields = ("image", "boxes", "classes")

    def __init__(self, boxes, classes):
        super().__init__(["dog", "cat"], [(64, 80)] * len(boxes), 3, np.uint8)
        self.boxes, self.classes = boxes, classes

    def __getitem__(self, index):
        boxes, classes = (
            np.array(self.boxes[index], np.float32).reshape(-1, 4),
            np.array(self.classes[index], np.int32),
        )
        return {"image": draw_clean(index)[0], "boxes": boxes, "classes": classes}


GOOD = ([[[1, 2, 30, 40]], [[0, 0, 80, 64], [5, 5, 9, 9]]], [[0], [1, 0]])


def test_readers_of_boxes(clean):
    report = diagnose(Boxes(*GOOD))
    assert report.findings == []
    assert [(row.objects, row.images, row.pixels) for row in report.classes] == [
        (2, 2, 0),
        (1, 1, 0),
    ]


@pytest.mark.parametrize(
    ("kind", "severity", "box", "class_id", "message"),
    [
        ("degenerate_boxes", "error", [5, 5, 5, 9], 0, "^1 object without an area, in 1 image"),
        (
            "boxes_outside",
            "warning",
            [70, 10, 84, 20],
            0,
            "^1 object partly outside the image",
        ),
        (
            "boxes_outside",
            "warning",
            [-3, 10, 8, 20],
            0,
            "^1 object partly outside the image",
        ),
        ("tiny_objects", "warning", [5, 5, 8, 30], 0, "^1 object with a side below 4 pixels"),
        (
            "unknown_classes",
            "error",
            [5, 5, 30, 30],
            2,
            "^1 object with a class id that has no",
        ),
    ],
)
def test_faulty_boxes(kind, severity, box, class_id, message):
    finding = single_finding(
        diagnose(Boxes([GOOD[0][0], [*GOOD[0][1], box]], [GOOD[1][0], [*GOOD[1][1], class_id]]))
    )
    assert (finding.kind, finding.severity, finding.files) == (kind, severity, ["1"])
    assert re.search(message, finding.message)


def test_real_masks(shared_data):
    isbi = shared_data / "isbi2012_em" / "image", shared_data / "isbi2012_em" / "label"
    report = diagnose(isbi, ["membrane", "cell"])
    assert single_finding(report).kind == "black_and_white"
    assert report.classes[1].pixels == pytest.approx(
        0.78 * 24 * 512 * 512, rel=0.01
    )  # shared/data/README.md
    nuclei = shared_data / "dsb2018_fluo" / "images", shared_data / "dsb2018_fluo" / "labels"
    assert single_finding(diagnose(nuclei, ["nucleus"])).kind == "numbered_objects"


def test_arrays_are_examined():
    images, masks = zip(*(draw_clean(i) for i in range(4)), strict=True)
    assert diagnose(Arrays(images, masks, NAMES)).findings == []
    report = diagnose(Arrays([*images, images[2]], [*masks, stain(7)(masks[2])], NAMES))
    assert [(finding.kind, finding.files) for finding in report.findings] == [("refused", ["4"])]
    assert "mask 4 contains values that map to no class: 7" in report.findings[0].message
    report = diagnose(Arrays(images, masks, NAMES), val=Arrays([images[1]], [masks[1]], NAMES))
    assert [(finding.kind, finding.files) for finding in report.findings] == [
        ("leakage", ["1", "val: 0"])
    ]


def test_255_is_ignored_in_the_masks_of_a_reader():
    images, masks = zip(*(draw_clean(i) for i in range(4)), strict=True)
    report = diagnose(Arrays(images, [black_and_white(mask) for mask in masks], NAMES[:2]))
    assert single_finding(report).kind == "one_class"
    assert "If 255 is a class: mask_values={0: 0, 255: 1}." in single_finding(report).fix
    assert report.ignored_pixels == sum(int((mask == 1).sum()) for mask in masks)
