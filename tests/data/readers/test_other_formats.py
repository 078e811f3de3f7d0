import json

import pytest

from tfseg.data import Coco, find_folders, image_files
from tfseg.data.readers.other_formats import other_layout

CVAT = "<annotations><version>1.1</version><image id='0' name='a.jpg'/></annotations>"
VIA_IMAGE = {"filename": "a.jpg", "size": 9, "regions": []}
FILES = [
    (CVAT, "an XML file of CVAT"),
    ("\ufeff<annotation><object/></annotation>", "Read such datasets with `Voc`, or folders"),
    ("<html>", "an XML file"),
    ([{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}], "Label Studio"),
    ([{"image_id": 1, "category_id": 2, "bbox": [], "score": 1}], "list of COCO results"),
    ([{"image": "a.jpg", "annotations": []}], "CreateML"),
    ([], "a JSON list"),
    ({"shapes": [], "imagePath": "a.jpg", "version": "5"}, "LabelMe"),
    ({"a.jpg9": VIA_IMAGE}, "VGG Image Annotator"),
    ({"_via_img_metadata": {}, "_via_settings": {}}, "VGG Image Annotator"),
    ({"size": {"height": 4, "width": 4}, "objects": []}, "Supervisely"),
    ({"classes": [{"title": "leaf"}]}, "Supervisely"),
    ({"items": [], "categories": {}, "info": {}}, "Datumaro"),
    ('{"data_row": {}}\n{"data_row": {}}\n', "one JSON object per line, as Labelbox"),
    ("0 0.5 0.5 0.1 0.1\n", "Read YOLO labels with `Yolo`"),
]


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_files_of_other_tools_are_named_for_what_they_are(tmp_path, content, expected):
    path = tmp_path / "labels.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels\.json is a") as error:
        Coco(tmp_path, path)
    assert expected in str(error.value)
    assert "COCO" in str(error.value)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"meta.json": '{"classes": []}', "ds/img/a.jpg": ""}, "Supervisely"),
        ({"ds/ann/a.jpg.json": '{"objects": [], "size": {}}'}, "Supervisely"),
        ({"annotations.xml": CVAT}, "CVAT"),
        ({"annotations/a.json": '{"images": [], "annotations": [], "categories": []}'}, "`Coco`"),
        ({"train/images/a.jpg": "", "train/labels/a.txt": ""}, "`Yolo`"),
        ({"JPEGImages/a.jpg": "", "Annotations/a.xml": ""}, "`Voc`"),
        ({"leftImg8bit/train/ulm/a.png": ""}, "`Cityscapes`"),
        ({"notes.txt": ""}, None),
    ],
)
def test_folders_of_other_tools_are_named_for_what_they_are(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = other_layout(tmp_path)
    assert found is None if expected is None else expected in found
    for opening in (find_folders, image_files):
        with pytest.raises(FileNotFoundError) as error:
            opening(tmp_path)
        assert ("It is" in str(error.value)) == (expected is not None)
        assert (expected or "") in str(error.value)
