"""`tfseg segment`, run as a command."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import draw_sample
from tfseg.classical import METHODS, segment
from tfseg.data import read_image


@pytest.fixture
def run(tfseg, monkeypatch, tmp_path):
    """Run `tfseg segment` in a folder with three images; return (exit code, what it printed)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells").mkdir()
    for index in range(3):
        Image.fromarray(draw_sample(index)[0]).save(tmp_path / "cells" / f"c{index}.png")

    def run(*words):
        code, printed = tfseg("segment", *words)
        return code, printed.strip()

    return run


def test_one_image_writes_labels_and_overlay(run):
    code, printed = run(
        "cells/c0.png", "--method", "slic", "--set", "num_segments=20", "--out", "out"
    )
    assert (code, printed) == (0, "1 image -> out")
    labels = Image.open("out/c0_labels.png")
    assert labels.mode == "I;16"
    assert np.array_equal(labels, segment(read_image("cells/c0.png"), "slic", num_segments=20))
    assert np.asarray(Image.open("out/c0_overlay.png")).shape == (48, 56, 3)


def test_lowercase_false_is_parsed(run):
    code, _ = run("cells/c0.png", "--set", "dark=false")
    assert code == 0
    found = np.asarray(Image.open("segments/c0_labels.png"))
    assert np.array_equal(found, segment(read_image("cells/c0.png"), "watershed"))


def test_methods_are_listed_with_their_options(run):
    code, printed = run("--methods")
    assert code == 0
    for method in METHODS:
        assert f" {method} " in f" {printed}"
    assert "slic Divide" in printed
    assert "num_segments=250, compactness=10.0" in printed
    assert "--scribbles FILE, beta=130.0" in printed


def test_flood_fill_from_a_seed(run):
    code, printed = run("cells/c0.png", "--method", "flood_fill", "--set", "seed=(3, 4)")
    assert code == 0, printed
    assert np.asarray(Image.open("segments/c0_labels.png")).max() == 1


def test_folder_is_segmented_in_processes(run):
    code, printed = run(
        "cells", "--method", "multi_otsu", "--set", "num_classes=2", "--processes", "2"
    )
    assert (code, printed) == (0, "3 images -> segments")
    assert sorted(path.name for path in Path("segments").iterdir()) == [
        f"c{index}_{kind}.png" for index in range(3) for kind in ("labels", "overlay")
    ]
    for index in range(3):
        expected = segment(read_image(f"cells/c{index}.png"), "multi_otsu", num_classes=2)
        assert np.array_equal(Image.open(f"segments/c{index}_labels.png"), expected)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_other_images_are_segmented_if_one_cannot_be_read(run, processes):
    complete = Path("cells/c1.png").read_bytes()
    Path("cells/c1.png").write_bytes(complete[: len(complete) // 2])
    words = ("cells", "--method", "multi_otsu", "--processes", processes)
    code, printed = run(*words)
    assert code == 1
    assert "1 of 3 images failed; the results of the others are complete" in printed
    assert "c1.png is damaged" in printed
    found = sorted(path.name for path in Path("segments").glob("*_labels.png"))
    assert found == ["c0_labels.png", "c2_labels.png"]


def test_a_second_run_into_the_folder_of_the_images_skips_what_exists(run):
    words = ("cells", "--method", "multi_otsu", "--processes", "1", "--out", "cells")
    assert run(*words) == (0, "3 images -> cells")
    Path("cells/c1_overlay.png").unlink()
    code, printed = run(*words, "--skip-existing")
    assert code == 0
    assert printed == (
        "Leaving out 5 results of tfseg among the images. Skipping 2 images with results. "
        "1 image -> cells"
    )
    assert len(list(Path("cells").iterdir())) == 9
    Image.new("L", (9, 9)).save("cells/c2_labels.png")
    code, printed = run(*words)
    assert code == 1
    assert "cells/c2_labels.png: tfseg did not write what is there" in printed


def test_scribbles_are_read_from_a_palette_image(run):
    scribbles = np.full((48, 56), 255, np.uint8)
    scribbles[:3], scribbles[42:] = 0, 1
    palette = Image.fromarray(scribbles).convert("P")
    palette.putpalette(
        [90, 10, 200, 20, 180, 30] + [0] * 750 + [255, 255, 255, 0, 0, 0]
    )  # class ids, whatever their colors
    palette.putdata(scribbles.ravel().tolist())
    palette.save("scribbles.png")
    code, _ = run(
        "cells/c1.png", "--method", "random_walker", "--scribbles", "scribbles.png", "--out", "out"
    )
    assert code == 0
    found = np.asarray(Image.open("out/c1_labels.png"))
    assert np.array_equal(
        found, segment(read_image("cells/c1.png"), "random_walker", scribbles=scribbles)
    )
    assert (found[45:] == 1).all()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["cells", "--method", "watersheds"],
            1,
            "method='watersheds' is unknown.* Did you mean 'watershed'?",
        ),
        (
            ["cells", "--set", "min_dist=3"],
            1,
            "no option 'min_dist'. Its options: .* Did you mean 'min_distance'?",
        ),
        (["cells", "--set", "min_distance"], 2, "expected NAME=VALUE"),
        (
            ["cells", "--set", "min_distance=far"],
            1,
            "c0.png: .*min_distance='far' must be a whole number",
        ),
        (
            ["cells/c0.png", "--method", "slic", "--set", "compactness=high"],
            1,
            "compactness='high' must be a finite number",
        ),
        (["cells/c0.png", "--set", "dark=maybe"], 1, "c0.png: watershed: dark='maybe' is unknown"),
        (["cells/c0.png", "--method", "grabcut", "--set", "box=(a,b)"], 1, "c0.png: "),
        (["cells/c0.png", "--method", "grabcut"], 1, "c0.png: grabcut: "),
        (["nowhere.png"], 1, "nowhere.png"),
        (["cells/notes.txt"], 1, "notes.txt"),
    ],
)
def test_invalid_input_gives_one_message(run, words, code, message):
    Path("cells/notes.txt").write_text("no image")
    found, printed = run(*words)
    assert found == code
    assert "Traceback" not in printed
    assert re.search(message, printed), printed


def test_python_m_tfseg_runs_the_command(run, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["tfseg", "segment", "cells/c0.png", "--set", "min_distance=4"]
    )
    with pytest.raises(SystemExit) as end:
        runpy.run_module("tfseg", run_name="__main__")
    assert not end.value.code
    assert "1 image -> segments" in capsys.readouterr().out
    assert sorted(path.name for path in Path("segments").iterdir()) == [
        "c0_labels.png",
        "c0_overlay.png",
    ]
