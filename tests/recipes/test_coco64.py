"""Mask R-CNN on 16 photographs: what is trained, and that training and validation images agree."""

import json

import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from tfseg.data import Reader, Resize
from tfseg.models.letterbox import Letterbox
from tfseg.recipes import coco64, command


class OneObject(Reader):
    """A 4 x 8 image whose brightness rises to the right, with an object of 2 x 3 pixels."""

    fields = ("image", "mask", "instances", "boxes", "classes", "crowd", "areas")

    def __init__(self):
        super().__init__(["background", "cat"], [(4, 8)], 3, np.uint8)

    def __getitem__(self, index):
        ramp = np.arange(8, dtype=np.uint8)[None, :, None] * 30
        instances = np.zeros((4, 8), np.int32)
        instances[1:3, 4:7] = 1
        return {
            "image": np.broadcast_to(ramp, (4, 8, 3)),
            "mask": instances.astype(np.uint8),
            "instances": instances,
            "boxes": np.array([[4, 1, 7, 3]], np.float32),
            "classes": np.zeros(1, np.int32),
            "crowd": np.zeros(1, bool),
            "areas": np.array([6], np.float32),
        }

    def name(self, index):
        return "cat.jpg"


def test_squares_are_what_the_model_makes_of_whole_images():
    reader = OneObject()
    squares = coco64.Resized(reader, Resize(16))
    assert (len(squares), squares.sizes.tolist(), squares.name(0)) == (1, [[16, 16]], "cat.jpg")
    assert squares.object_names == ["cat"]
    sample = squares[0]
    canvas = ops.convert_to_numpy(Letterbox((16, 16))(reader[0]["image"][None]))[0]
    assert_allclose(sample["image"], canvas, atol=1)  # rounded to uint8
    assert sample["boxes"].tolist() == [[8, 2, 14, 6]]
    assert_array_equal(np.argwhere(sample["instances"])[[0, -1]], [[2, 8], [5, 13]])
    assert sample["areas"].tolist() == [24]


def test_what_it_trains(monkeypatch, shared_data, tmp_path):
    monkeypatch.setattr(coco64, "mask_rcnn", lambda *arguments, **options: (arguments, options))
    monkeypatch.setattr(coco64, "freeze", lambda model, until: None)
    monkeypatch.setattr(coco64, "run_object_recipe", lambda *arguments: arguments)
    config, train, val, model = coco64.run(shared_data / "coco64", 7, tmp_path / "run")
    assert (config.task, config.monitor, config.minutes) == ("instances", "val_mask_ap", 7.0)
    assert (len(train), len(val)) == (16, 16)
    assert [train.name(index) for index in range(16)] == [val.name(index) for index in range(16)]
    assert train.sizes.tolist() == [[640, 640]] * 16
    assert config.augment["size"] == (640, 640)
    assert model[0] == (80,)


# With two images of 128 x 128 pixels, 20 steps suffice to find something.
@pytest.mark.slow
def test_a_short_run_learns_boxes_and_masks(monkeypatch, shared_data, tmp_path, fixed_length):
    monkeypatch.setattr(coco64, "IMAGES", 2)
    monkeypatch.setattr(coco64, "SIDE", 128)
    monkeypatch.setattr(coco64, "SIZE", (128, 128))
    fixed_length(1, 20)
    monkeypatch.setattr(command, "_export", lambda *_: None)
    scores = coco64.run(shared_data / "coco64", 1, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert written["mask_ap50"] == scores.means()["mask_ap50"]
    assert min(scores.means()["ap50"], scores.means()["mask_ap50"]) > 0.1
