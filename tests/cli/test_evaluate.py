"""`tfseg evaluate` and `tfseg tune`."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from conftest import draw_sample
from tfseg.cli.run_data import only_deep_images
from tfseg.cli.tune import outcome
from tfseg.data import Folder, read_image
from tfseg.inference import Tuning, evaluate, predict, with_offsets
from tfseg.training import Run

from .conftest import NAMES, repaint

pytestmark = pytest.mark.usefixtures("eager")

PIXELS = 6 * 32 * 32


def report_of(folder):
    return json.loads((folder / "evaluation.json").read_text())


def edit(run, change):
    record = json.loads((run.folder / "run.json").read_text())
    change(record)
    (run.folder / "run.json").write_text(json.dumps(record))


def test_it_repeats_the_scores_of_the_training(run, tfseg):
    before = report_of(run.folder)
    best = max(run.history()["val_mean_iou"])
    assert before["mean_iou"] == pytest.approx(best, abs=1e-6)
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert code == 0
    assert report_of(run.folder) == before
    assert f"{before['mean_iou']:.4f}" in printed


def test_other_images(trained, tfseg, tmp_path):
    run, out = ("--run", trained / "run"), ("--out", tmp_path / "scores")
    data = ("--images", trained / "images", "--masks", trained / "masks")
    code, printed = tfseg("evaluate", *run, *data, *out)
    assert code == 0
    assert "Warning: 5 of these 6 images were used for training" in printed
    reader = Folder(trained / "images", trained / "masks", NAMES.split(","))
    expected = evaluate(Run(trained / "run").model(), reader).matrix
    assert report_of(tmp_path / "scores")["confusion_matrix"] == expected.tolist()
    assert not (tmp_path / "scores" / "curves.png").exists()
    code, printed = tfseg("evaluate", *run, *data[:2])
    assert code == 2
    assert "--images and --masks go together" in printed


def test_larger_images_are_evaluated_and_predicted_in_windows(run, trained, tfseg, tmp_path):
    edit(run, lambda record: record["data"].update(window=16))
    data = ("--images", trained / "images", "--masks", trained / "masks")
    tfseg("evaluate", "--run", run.folder, *data)
    model = run.model()
    reader = Folder(trained / "images", trained / "masks", NAMES.split(","))
    expected = evaluate(model, reader, window=16).matrix
    found = report_of(run.folder / "evaluation")["confusion_matrix"]
    assert found == expected.tolist()
    assert found != evaluate(model, reader).matrix.tolist()
    file = trained / "images" / "p0.jpg"
    tfseg("predict", file, "--run", run.folder, "--out", tmp_path / "out")
    labels = np.asarray(Image.open(tmp_path / "out" / "p0_labels.png"))
    assert np.array_equal(labels, predict(model, read_image(file), window=16))


def test_other_masks_have_their_own_ignored_value(trained, tfseg, tmp_path):
    shutil.copytree(trained / "masks", tmp_path / "nine" / "masks")
    repaint(tmp_path / "nine", lambda mask: np.where(mask == 2, 9, mask))
    nine = tmp_path / "nine" / "masks"
    run = ("evaluate", "--run", trained / "run")
    words = (*run, "--images", trained / "images", "--out", tmp_path / "out", "--masks")
    code, printed = tfseg(*words, nine)
    assert code == 1
    assert "contains values that map to no class: 9" in printed
    ignored = 6 * 8 * 32  # the band
    # 9 is unknown to the run, 2 is a class in its own masks
    for masks, value in ((nine, 9), (trained / "masks", 2)):
        code, printed = tfseg(*words, masks, "--ignore-value", value)
        assert code == 0, printed
        message = f"the evaluation masks have no pixel of the class band; {ignored} pixels are ign"
        assert message in printed
        assert np.sum(report_of(tmp_path / "out")["confusion_matrix"]) == PIXELS - ignored
    code, printed = tfseg(*run, "--ignore-value", "9")
    assert code == 2
    assert "--ignore-value goes with --images and --masks" in printed


def test_images_of_another_depth_are_refused(trained, tfseg, tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    for file in (trained / "images").iterdir():
        gray = np.asarray(Image.open(file).convert("L")).astype(np.uint16) * 257
        Image.fromarray(gray).save(deep / f"{file.stem}.png")
    run, out = ("--run", trained / "run"), ("--out", tmp_path / "out")
    code, printed = tfseg("predict", deep / "p0.png", *run, *out)
    assert code == 1
    assert "p0.png has more than 8 bits per channel, but the run was trained on 8 bits" in printed
    code, printed = tfseg("evaluate", *run, "--images", deep, "--masks", trained / "masks", *out)
    assert code == 1
    assert "have more than 8 bits per channel, but the training images have 8 bits" in printed


def test_images_in_another_range_are_reported_and_of_less_depth_refused(run, trained, tfseg):
    data = ("--images", trained / "images", "--masks", trained / "masks")
    words = ("evaluate", "--run", run.folder, *data)
    predict = ("predict", trained / "images/p0.jpg", "--run", run.folder, "--out", run.folder / "p")
    edit(run, lambda record: record["data"].update(value_range=[0, 4095], dtype="float32"))
    for command, owner in ((words, "evaluate: .*images"), (predict, r".*p0\.jpg")):
        code, printed = tfseg(*command)
        assert code == 0, printed
        assert re.search(f"Warning: {owner}: .*, but the model was trained on 0..4095", printed)
    edit(run, lambda record: record["data"].update(dtype="uint16"))
    code, printed = tfseg(*words)
    assert code == 1
    assert "have 8 bits per channel, but the run was trained on more than 8 bits" in printed
    edit(run, lambda record: record["config"].update(normalization="image"))
    code, printed = tfseg(*words)
    assert code == 0, printed
    assert "trained on 0..4095" not in printed


def test_8_bit_images_are_refused_if_all_of_the_training_were_deeper(tmp_path):
    def record(dtype, highest):
        config = SimpleNamespace(images=str(folder), recursive=False)
        facts = SimpleNamespace(dtype=dtype, value_range=[0, highest])
        return SimpleNamespace(config=config, data=facts)

    for name, depths in (("deep", [np.uint16]), ("mixed", [np.uint16, np.uint8])):
        folder = tmp_path / name
        folder.mkdir()
        for index, depth in enumerate(depths):
            Image.fromarray(np.zeros((2, 2), depth)).save(folder / f"{index}.png")
        assert only_deep_images(record("float32", 4095)) == (name == "deep")
        assert not only_deep_images(record("float32", 1))
        assert not only_deep_images(record("uint8", 255))
        assert only_deep_images(record("uint16", 255))
    folder = tmp_path / "gone"
    assert not only_deep_images(record("float32", 4095))


def test_images_that_are_gone(run, tfseg):
    folders = {"images": "/nowhere/photos", "masks": "/nowhere/labels"}
    edit(run, lambda record: record["config"].update(folders))
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert code == 1
    assert "no folder '/nowhere/photos'" in printed
    assert "Or pass other images: --images and --masks" in printed


def test_a_run_keeps_to_its_own_samples(trained, tfseg, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "copy")
    run = Run(folder / "run")
    folders = {name: str(folder / name) for name in ("images", "masks")}
    edit(run, lambda record: record["config"].update(folders))
    before = report_of(run.folder)
    for index in range(6, 9):
        image, mask = draw_sample(index, 32, 32)
        Image.fromarray(image).save(folder / "images" / f"a{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"a{index}.png")
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert code == 0, printed
    assert report_of(run.folder) == before


def test_tuning_changes_what_a_run_predicts_and_exports(run, trained, tfseg, tmp_path):
    with_offsets(run.model(), [3, 0, 0]).save(run.best)  # predicts ground nearly everywhere
    tfseg("evaluate", "--run", run.folder)
    before = report_of(run.folder)["mean_iou"]
    code, printed = tfseg("tune", "--run", run.folder)
    assert code == 1  # two folds of one validation image
    assert "folds" in printed
    data = "--images", trained / "images", "--masks", trained / "masks"
    code, printed = tfseg("tune", "--run", run.folder, "--score", "mean_dice", *data)
    assert code == 0, printed
    assert "Saved to the run." in printed
    assert set(run.tuning()) >= {"score", "score_untuned", "score_cv"}
    tfseg("evaluate", "--run", run.folder)
    assert report_of(run.folder)["mean_iou"] > before
    file = trained / "images" / "p0.jpg"
    tfseg("predict", file, "--run", run.folder, "--out", tmp_path / "out")
    labels, image = np.asarray(Image.open(tmp_path / "out" / "p0_labels.png")), read_image(file)
    assert np.array_equal(labels, predict(run.model(), image))
    assert not np.array_equal(labels, predict(run.model(tuned=False), image))


def test_tuning_that_does_not_help_is_not_kept(run, trained, tfseg, tmp_path):
    run.keep_tuned(with_offsets(run.model(), [3, 0, 0]), {})
    tfseg("predict", trained / "images", "--run", trained / "run", "--out", tmp_path)
    masks = tmp_path / "masks"
    masks.mkdir()
    for file in tmp_path.glob("*_labels.png"):  # the untuned predictions are the ground truth
        file.rename(masks / file.name.replace("_labels", ""))
    data = ("--images", trained / "images", "--masks", masks)
    code, printed = tfseg("tune", "--run", run.folder, *data)
    assert code == 0, printed
    assert "1.0000 before tuning" in printed
    assert "No improvement on held-out images; the run keeps plain argmax." in printed
    assert not run.tuned.exists()


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ((0.5, 0.0), "fitted on them."),
        ((3.0, 0.0), "at the limit of the search: the model may need more training."),
    ],
)
def test_how_a_tuning_is_worded(offsets, message):
    text = outcome(Tuning("mean_iou", 0.5, 0.625, offsets))
    assert text.startswith("mean_iou: 0.5000 before tuning, 0.6250 after (cross-validated).")
    assert text.endswith(message)
