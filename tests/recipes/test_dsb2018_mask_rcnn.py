"""Mask R-CNN on nuclei: what is trained, and what its scores are."""

import json

import pytest

from tfseg.recipes import command, dsb2018_mask_rcnn


def test_what_it_trains(monkeypatch, shared_data, tmp_path):
    found = []
    monkeypatch.setattr(dsb2018_mask_rcnn, "mask_rcnn", lambda *args, **options: (args, options))
    monkeypatch.setattr(dsb2018_mask_rcnn, "freeze", lambda model, until: None)
    monkeypatch.setattr(dsb2018_mask_rcnn, "run_object_recipe", lambda *args: found.append(args))
    monkeypatch.setattr(dsb2018_mask_rcnn, "Run", lambda out: found.append(out) or Trained())
    monkeypatch.setattr(dsb2018_mask_rcnn, "score_nuclei", lambda reader, find, out: len(reader))
    assert dsb2018_mask_rcnn.run(shared_data / "dsb2018_fluo", 7, tmp_path / "run") == 20
    config, train, val, (classes, options) = found[0]
    assert (config.task, config.monitor, config.minutes) == ("instances", "val_mask_ap", 7.0)
    assert (len(train), len(val), classes) == (80, 20, (1,))
    assert options["size"] == config.augment["size"]
    assert options["normalization"] == "image"


class Trained:
    """A run whose model is not used."""

    def model(self):
        return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:train. the anchors overlap only")  # of so small images
def test_a_short_run_scores_boxes_masks_and_nuclei(
    monkeypatch, shared_data, tmp_path, fixed_length
):
    load = dsb2018_mask_rcnn.dsb2018

    def few(folder):
        return tuple(reader.subset(range(4)) for reader in load(folder))

    monkeypatch.setattr(dsb2018_mask_rcnn, "dsb2018", few)
    monkeypatch.setattr(dsb2018_mask_rcnn, "SIZE", (128, 128))
    monkeypatch.setitem(dsb2018_mask_rcnn.AUGMENT, "size", 128)
    fixed_length(1, 2)
    monkeypatch.setattr(command, "_export", lambda *_: None)
    precision = dsb2018_mask_rcnn.run(shared_data / "dsb2018_fluo", 1, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "nuclei.json").read_text())
    assert written == {"ap": precision["ap"].tolist(), "mean_ap": precision["mean_ap"]}
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {"ap", "mask_ap"} <= set(scores)
