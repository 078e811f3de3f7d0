"""Detections of single images, their evaluation and their files."""

import csv
import json

import keras
import numpy as np
import pytest
from detector_runs import small_detector
from object_scenes import NAMES, SIDE, Scenes
from PIL import Image

from tfseg.data import Arrays, Coco
from tfseg.inference import (
    DetectionFile,
    ObjectEvaluation,
    detect,
    evaluate_objects,
    report_objects,
)
from tfseg.inference.object_predictor import detections_of
from tfseg.models import tiny_unet
from tfseg.ops import paste_masks

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def model():
    """Return a Mask R-CNN with random weights."""
    keras.utils.set_random_seed(3)
    return small_detector(score_threshold=0.01)


class Found(Scenes):
    """Scenes whose objects are what a model detects in them, with the masks as RLE only."""

    def __init__(self, indices, model):
        super().__init__(indices)
        self.found = [detect(model, scene["image"]) for scene in self._scenes]
        for scene, found in zip(self._scenes, self.found, strict=True):
            count = len(found["boxes"])
            scene["boxes"], scene["classes"] = found["boxes"], found["classes"]
            scene["crowd"], scene["areas"] = np.zeros(count, bool), np.full(count, 50, np.float32)

    def object_rle(self, index):
        encode = pytest.importorskip("pycocotools.mask").encode
        return [encode(np.asfortranarray(mask)) for mask in self.found[index]["masks"]]


def test_detections_have_no_padding_and_masks_of_the_image(model):
    image = Scenes(range(1))[0]["image"][:50]
    found = detect(model, image)
    raw = {name: value[0] for name, value in model.predict_on_batch(image[None]).items()}
    count = int((raw["classes"] >= 0).sum())
    assert count
    for name in ("boxes", "scores", "classes"):
        np.testing.assert_allclose(found[name], raw[name][:count], rtol=1e-6)
    assert (np.diff(found["scores"]) <= 0).all()
    expected = paste_masks(raw["masks"][:count], raw["boxes"][:count], 50, SIDE) > 0.5
    assert found["masks"].dtype == bool
    np.testing.assert_array_equal(found["masks"], expected)
    deep = detect(model, image.astype(np.float32))
    np.testing.assert_array_equal(deep["boxes"], found["boxes"])


def test_thresholds_of_a_call(model):
    image = Scenes(range(1))[0]["image"]
    found = detect(model, image)
    threshold = float(np.mean(found["scores"][:2]))
    assert len(detect(model, image, score_threshold=threshold)["scores"]) < len(found["scores"])
    few = detect(model, image, max_detections=1)
    np.testing.assert_array_equal(few["boxes"], found["boxes"][:1])


def test_what_cannot_be_detected_is_refused(model):
    with pytest.raises(ValueError, match="'tiny_unet' is not a detector. Use `tfseg.inference.pre"):
        detect(tiny_unet(2, filters=4), np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match=r"got an image of shape \(8, 8, 1\), expected \(H, W, 3"):
        detect(model, np.zeros((8, 8)))
    image = Scenes(range(1))[0]["image"].astype(np.float32)
    image[0, 0, 0] = np.nan
    with pytest.warns(UserWarning, match="a.png: 1 of 12288 values are NaN or infinite"):
        detections_of(model, image, "a.png")


def test_detections_that_are_the_objects_are_perfect(model):
    perfect = evaluate_objects(model, Found(range(2), model))
    scores = perfect.means()
    for name in ("ap", "ap50", "ap75", "mask_ap", "mask_ap50"):
        assert scores[name] == pytest.approx(1.0), name
    assert perfect.object_names == NAMES
    assert sum(row["objects"] for row in perfect.rows()) == perfect.object_counts.sum() > 0
    strangers = evaluate_objects(model, Scenes(range(2)))  # it was not trained
    assert strangers.means()["ap50"] < 0.5
    assert strangers.confusion[:-1].sum() == strangers.object_counts.sum()


EVALUATION = ObjectEvaluation(
    ["cat", "dog"],
    {"ap": 0.5, "ap50": 0.75, "ap75": 0.25, "ar100": 0.5},
    {
        "ap": np.array([0.5, np.nan]),
        "ap50": np.array([0.75, np.nan]),
        "ap75": np.array([0.25, np.nan]),
        "ar100": np.array([0.5, np.nan]),
    },
    np.array([7, 0]),
    {},
    np.array([[6, 0, 1], [0, 0, 0], [2, 0, 0]]),
    np.array([1.0, 0.25, 0.5]),
)


def test_an_evaluation_is_saved_and_printed(tmp_path):
    EVALUATION.save(tmp_path / "new")
    content = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert (content["ap"], content["classes"][1]["ap"]) == (0.5, None)
    assert content["confusion_matrix"] == EVALUATION.confusion.tolist()
    with (tmp_path / "new" / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["cat", "dog"]
    assert (rows[0]["ap50"], rows[1]["ap50"], rows[0]["objects"]) == ("0.75", "", "7")
    assert EVALUATION.worst(2).tolist() == [1, 2]
    table = EVALUATION.table("Cats")
    cells = [list(column.cells) for column in table.columns]
    assert cells[1] == ["0.5000", "-", "0.5000"]  # AP of cat, dog and the mean
    assert cells[-1] == ["7", "0", "7"]


def test_the_table_of_many_classes_has_those_with_objects():
    names = [f"class{number}" for number in range(21)]
    counts = np.where(np.arange(21) == 7, 4, 0)
    scores = {name: np.arange(21) / 100 for name in EVALUATION.scores}
    arguments = (EVALUATION.scores, scores, counts, {}, np.zeros((22, 22)), np.zeros(1))
    many = ObjectEvaluation(names, *arguments)
    assert len(many.rows()) == 21
    table = many.table()
    cells = [list(column.cells) for column in table.columns]
    assert list(map(str, cells[0])) == ["class7", "mean"]
    assert cells[1] == ["0.0700", "0.5000"]
    assert cells[-1] == ["4", "4"]
    assert table.caption.endswith("; not shown: 20 classes without objects")


def test_a_report_has_tables_and_figures(model, tmp_path):
    history = {"epoch": [1, 2], "loss": [2.0, 1.0], "val_ap": [0.1, 0.2]}
    report_objects(model, Scenes(range(2)), tmp_path / "r", history)
    names = {"evaluation.json", "evaluation.csv", "precision_recall.png", "confusion.png"}
    assert {path.name for path in (tmp_path / "r").iterdir()} == names | {"worst.png", "curves.png"}
    Image.new("L", (8, 8)).save(tmp_path / "worst.png")
    with pytest.raises(FileExistsError, match="worst.png: tfseg did not write what is there"):
        report_objects(model, Scenes(range(2)), tmp_path)


def test_readers_that_do_not_fit_are_refused(model):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    masks = Arrays(images, images[..., 0], NAMES)
    with pytest.raises(ValueError, match="provides image, mask, but no boxes, classes, instances"):
        evaluate_objects(model, masks)
    with pytest.raises(ValueError, match="but no instances to compare with"):
        evaluate_objects(model, Scenes(range(1), masks=False))
    with pytest.raises(ValueError, match="'tiny_unet' is not a detector"):
        evaluate_objects(tiny_unet(2, filters=4), masks)


BOXES = np.array([[10.0, 20.0, 40.0, 35.0], [1.0, 2.0, 3.0, 5.0]], np.float32)
FOUND = {"boxes": BOXES, "scores": np.array([0.75, 0.5]), "classes": np.array([1, 0])}
NOTHING = {"boxes": BOXES[:0], "scores": np.zeros(0), "classes": np.zeros(0, int)}


def test_a_detection_file_is_a_dataset_of_coco(tmp_path):
    for name in ("b/one.png", "two.png", "empty.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    path = tmp_path / "out" / "detections.json"
    masks = np.zeros((2, 28, 28), np.float32)
    masks[:, :, :14] = 1  # the left half of each box
    with DetectionFile(path, NAMES) as file:
        file.add(tmp_path / "b/one.png", (48, 64), {**FOUND, "masks": masks})
        file.add(tmp_path / "two.png", (48, 64), FOUND)
        file.add(tmp_path / "empty.png", (48, 64), NOTHING)
    content = json.loads(path.read_text())
    assert [image["file_name"] for image in content["images"]] == [
        "b/one.png",
        "two.png",
        "empty.png",
    ]
    assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3, 4]
    assert content["categories"] == [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]
    first = content["annotations"][0]
    assert (first["image_id"], first["category_id"], first["iscrowd"]) == (1, 2, 0)
    assert (first["bbox"], first["score"]) == ([10, 20, 30, 15], 0.75)
    coco = pytest.importorskip("pycocotools.coco").COCO(path)
    mask = coco.annToMask(coco.loadAnns(1)[0]).astype(bool)
    assert mask[20:35, 10:25].mean() > 0.9
    assert mask.sum() == first["area"]
    assert not mask[:, 27:].any()
    reader = Coco(tmp_path, path)
    assert len(reader) == 3
    assert reader.object_names == NAMES
    assert reader[0]["boxes"].tolist() == BOXES.tolist()
    assert reader[0]["classes"].tolist() == [1, 0]


def test_a_detection_file_has_the_regions_of_numbered_objects(tmp_path):
    instances = np.zeros((6, 8), np.int32)
    instances[1:4, 2:5], instances[2, 3] = 1, 2
    found = {"boxes": np.array([[2, 1, 5, 4], [3, 2, 4, 3]]), "scores": np.array([0.9, 0.5])}
    found |= {"classes": np.array([0, 0]), "instances": instances}
    with DetectionFile(tmp_path / "detections.json", ["cell"]) as file:
        file.add(tmp_path / "a.png", (6, 8), found)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "a.png")
    reader = Coco(tmp_path, tmp_path / "detections.json")
    assert (reader[0]["instances"] == instances).all()
    assert reader[0]["areas"].tolist() == [8, 1]


def test_a_detection_file_is_continued(tmp_path):
    path = tmp_path / "detections.json"
    (tmp_path / "a").mkdir()
    with DetectionFile(path, NAMES) as file:
        file.add(tmp_path / "a" / "one.png", (48, 64), FOUND)
    with DetectionFile(path, NAMES, keep=True) as file:
        assert tmp_path / "a" / "one.png" in file
        assert tmp_path / "two.png" not in file
        file.add(tmp_path / "two.png", (48, 64), FOUND)  # the common folder is another now
    content = json.loads(path.read_text())
    assert [image["file_name"] for image in content["images"]] == ["a/one.png", "two.png"]
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 1, 2, 2]
    with pytest.raises(ValueError, match="has the categories red, green, but this model has cat"):
        DetectionFile(path, ["cat"], keep=True)
    with DetectionFile(path, ["cat"]):
        pass
    assert json.loads(path.read_text())["images"] == []


def test_a_detection_file_replaces_no_foreign_file(tmp_path):
    for text in ('{"images": []}', "not JSON", '{"info": {"contributor": "me"}}'):
        (tmp_path / "detections.json").write_text(text)
        with pytest.raises(FileExistsError, match="detections.json: tfseg did not write what is"):
            DetectionFile(tmp_path / "detections.json", NAMES)


def test_a_detection_file_is_written_now_and_then(tmp_path, monkeypatch):
    from tfseg.inference import detection_file

    monkeypatch.setattr(detection_file, "SECONDS_BETWEEN_SAVES", -1)
    file = DetectionFile(tmp_path / "detections.json", NAMES)
    file.add(tmp_path / "a.png", (48, 64), FOUND)
    assert (tmp_path / "detections.json").is_file()  # a kill now loses nothing
