"""Star-convex nuclei: what is trained, and how their outlines follow the light."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tfseg.export import inspect
from tfseg.recipes import dsb2018
from tfseg.training import Run

ROWS, COLUMNS = np.mgrid[:48, :48]
radii = np.hypot(ROWS - 24, COLUMNS - 24)


def photo(light):
    """Return a gray RGB image (H, W, 3) of this light."""
    return np.repeat(np.clip(light, 0, 255)[..., None], 3, axis=-1).astype(np.uint8)


def disc(radius, number=1):
    return np.where(radii < radius, number, 0)


@pytest.mark.parametrize(("found", "expected"), [(8, 9.9), (10, 10.4), (12, 10.8)])
def test_an_outline_moves_to_the_level(found, expected):
    # The light falls from 1 at a radius of 8 to 0 at 12: 1 - (r - 8) / 4 = 0.38 + 0.07 (r - found)
    light = 210 - 50 * (radii.clip(8, 12) - 8)
    result = dsb2018.fit_to_light(photo(light), disc(found, number=3))
    assert set(np.unique(result)) == {0, 3}
    assert (result[radii < expected - 0.5] == 3).all()
    assert not result[radii > expected + 0.5].any()


def test_an_outline_moves_outward_by_three_pixels_at_most():
    light = np.where(radii < 13, 200, 10)
    result = dsb2018.fit_to_light(photo(light), disc(8))
    assert 10 < radii[result > 0].max() < 12  # by 3 pixels
    assert (result[radii < 8] == 1).all()


def test_nuclei_do_not_take_pixels_of_each_other():
    # one is dim: pixels of the bright one are above its level
    labels = np.zeros((48, 48), int)
    labels[10:30, 8:20], labels[10:30, 20:32] = 5, 2
    light = np.select([labels == 5, labels == 2], [200, 100], 10)
    assert_array_equal(
        dsb2018.fit_to_light(photo(light), labels)[12:28, 10:30], labels[12:28, 10:30]
    )


def test_a_nucleus_is_one_piece_without_holes():
    light = np.where(radii < 12, 200, 10)
    light[23:26, 31:34] = 10  # dark inside
    light[23:26, 38:41] = 200  # a speck beside it
    result = dsb2018.fit_to_light(photo(light), disc(12))
    assert (result[radii < 11] == 1).all()
    assert not result[radii > 12.9].any()


@pytest.mark.parametrize(("inside", "stays"), [(20, False), (50, False), (62, False), (64, True)])
def test_a_nucleus_is_brighter_than_what_surrounds_it(inside, stays):
    light = np.where(disc(10), inside, 50)
    result = dsb2018.fit_to_light(photo(light), disc(10))
    assert (result.any(), (result[radii < 9] == 1).all()) == (stays, stays)


def test_a_nucleus_that_fills_the_image_stays():
    labels = np.ones((48, 48), int)
    assert_array_equal(dsb2018.fit_to_light(photo(90 * labels), labels), labels)


def test_an_image_without_nuclei():
    result = dsb2018.fit_to_light(photo(radii), disc(0))
    assert result.dtype == np.int32
    assert not result.any()


def test_what_it_trains(monkeypatch, shared_data, tmp_path):
    found = []
    monkeypatch.setattr(dsb2018, "run_instance_recipe", lambda *args: found.append(args))
    monkeypatch.setattr(dsb2018, "score_nuclei", lambda reader, find, out: (len(reader), out))
    result = dsb2018.run(shared_data / "dsb2018_fluo", 7, tmp_path / "run")
    assert result == (20, tmp_path / "run")
    ((config, train, val),) = found
    assert (config.task, config.head, config.monitor) == ("instances", "star", "val_ap")
    assert (config.minutes, config.batch_size, config.normalization) == (7.0, 4, "image")
    assert (len(train), len(val)) == (80, 20)


@pytest.mark.slow
def test_a_short_run_scores_nuclei(monkeypatch, shared_data, tmp_path, capsys, fixed_length):
    load = dsb2018.dsb2018

    def few(folder):
        return tuple(reader.subset(range(3)) for reader in load(folder))

    monkeypatch.setattr(dsb2018, "dsb2018", few)
    monkeypatch.setitem(dsb2018.AUGMENT, "size", 64)
    fixed_length(1, 2)
    precision = dsb2018.run(shared_data / "dsb2018_fluo", 1, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "nuclei.json").read_text())
    assert written == {"ap": precision["ap"].tolist(), "mean_ap": precision["mean_ap"]}
    assert "ap50" in json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert Run(tmp_path / "run").model().name == "unet_star"
    assert "Nuclei: AP@0.5" in capsys.readouterr().out
    metadata = inspect(tmp_path / "run" / "saved_model" / "1")
    assert (metadata["head"], metadata["object_names"]) == ("star", ["nucleus"])
    assert "ap50" in metadata["metrics"]
