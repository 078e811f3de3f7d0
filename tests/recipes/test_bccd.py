"""Faster R-CNN on blood cells: what is trained, and that few steps suffice."""

import json

import pytest

from tfseg.recipes import bccd
from tfseg.training import Run


def test_what_it_trains(monkeypatch, shared_data, tmp_path):
    monkeypatch.setattr(bccd, "faster_rcnn", lambda *arguments, **options: (arguments, options))
    monkeypatch.setattr(bccd, "freeze", lambda model, until: None)
    monkeypatch.setattr(bccd, "run_object_recipe", lambda *arguments: arguments)
    config, train, val, model = bccd.run(shared_data / "bccd", 7, tmp_path / "run")
    assert (config.task, config.monitor, config.minutes) == ("detect", "val_ap", 7.0)
    assert (len(train), len(val)) == (205, 87)
    (num_classes,), options = model
    assert num_classes == 3
    assert options["size"] == config.augment["size"]


# Far below the 0.88 of the docstring after ten times as many steps; a detector that has learned
# nothing scores 0.
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_few_steps_suffice_to_find_cells(fixed_length, shared_data, tmp_path):
    fixed_length(1, 30)
    bccd.run(shared_data / "bccd", 2, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["ap50"] > 0.1
    assert Run(tmp_path / "run").config.dataset == "bccd"
    for name in ("precision_recall.png", "worst.png", "saved_model/1/saved_model.pb"):
        assert (tmp_path / "run" / name).is_file()
