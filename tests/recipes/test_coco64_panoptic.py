"""Things and stuff on 16 photographs: what is trained, and that a short run learns."""

import json

import numpy as np
import pytest

from tfseg.datasets import coco64
from tfseg.export import inspect
from tfseg.models.reader_fit import stuff_ids
from tfseg.recipes import coco64_panoptic


def test_the_photographs_have_only_classes_that_they_show(shared_data):
    photographs = coco64_panoptic.first_photographs(shared_data / "coco64", 2)
    whole = coco64("panoptic", shared_data / "coco64").select(["000000000009", "000000000025"])
    assert [photographs.name(i) for i in range(2)] == [whole.name(i) for i in range(2)]
    assert photographs.object_names == ["giraffe", "bowl", "orange", "broccoli"]
    stuff = [photographs.label_names[i] for i in stuff_ids(photographs)]
    assert stuff == [
        f"{kind}-merged" for kind in ("tree", "sky-other", "table", "grass", "food-other")
    ]
    for index in range(2):
        sample, expected = photographs[index], whole[index]
        kept = expected["mask"] != whole.ignore_index
        names = np.array(photographs.label_names)[sample["mask"][kept]]
        assert (names == np.array(whole.label_names)[expected["mask"][kept]]).all()
        assert (sample["mask"][~kept] == photographs.ignore_index).all()
        assert (sample["instances"] == expected["instances"]).all()


def test_what_it_trains(monkeypatch, shared_data, tmp_path):
    monkeypatch.setattr(coco64_panoptic, "instances", lambda *values, **options: (values, options))
    monkeypatch.setattr(coco64_panoptic, "freeze", lambda model, until: None)
    monkeypatch.setattr(coco64_panoptic, "run_instance_recipe", lambda *values: values)
    config, train, val, model = coco64_panoptic.run(shared_data / "coco64", 7, tmp_path / "run")
    assert (config.task, config.head, config.monitor) == ("instances", "center", "val_pq")
    weights = dict(zip(train.label_names, config.class_weights, strict=True))
    assert weights["bridge"] > 5 > 1 > weights["sky-other-merged"]
    assert config.minutes == 7.0
    assert (len(train), train is val) == (16, True)
    assert train.sizes.tolist() == [[416, 416]] * 16
    (count,), options = model
    assert (count, len(options["thing_ids"])) == (43, 21)


# With two images of 128 x 128 pixels, 30 steps suffice to find something.
@pytest.mark.slow
def test_a_short_run_learns_things_and_stuff(monkeypatch, shared_data, tmp_path, fixed_length):
    monkeypatch.setattr(coco64_panoptic, "IMAGES", 2)
    monkeypatch.setattr(coco64_panoptic, "SIDE", 128)
    fixed_length(1, 30)
    coco64_panoptic.run(shared_data / "coco64", 1, tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert scores["pq"] > 0.1
    metadata = inspect(tmp_path / "run" / "saved_model" / "1")
    photographs = coco64_panoptic.first_photographs(shared_data / "coco64", 2)
    assert metadata["class_names"] == photographs.label_names
    assert metadata["metrics"]["pq"] == scores["pq"]
