import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from conftest import draw_sample

from tfseg.data import Arrays, Augment, pipeline
from tfseg.models import unet
from tfseg.training import Run, compile_for

NAMES = ["ground", "disc", "band"]


def compiled(dropout=0.3):
    keras.utils.set_random_seed(5)
    model = unet(3, filters=(4, 8), dropout=dropout)
    compile_for(model, "adam", 1e-2, steps=8)
    return model


def stream(epochs_done=0):
    samples = [draw_sample(i) for i in range(4)]
    reader = Arrays(*zip(*samples, strict=True), NAMES)
    train = pipeline(reader, 2, Augment(32, rotate=10), first_step=2 * epochs_done)
    return {"x": train, "validation_data": pipeline(reader, 2), "shuffle": False, "verbose": 0}


def test_a_broken_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    # with dropout: the random layers' states must come back too
    straight = compiled()
    straight.fit(**stream(), epochs=4)

    first = Run(tmp_path / "run")
    first.create({})
    model = compiled()
    model.fit(**stream(), epochs=2, callbacks=first.callbacks())

    second, resumed = Run(tmp_path / "run"), compiled()
    done = second.restore(resumed)
    assert done == 2
    resumed.fit(**stream(done), epochs=4, initial_epoch=done, callbacks=second.callbacks(done))
    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert second.history()["epoch"] == [1, 2, 3, 4]


def test_a_run_keeps_history_settings_and_best_model(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    run.create({"size": 32})
    assert Run(tmp_path / "deep" / "run").settings() == {"size": 32}
    assert run.history() == {}
    assert run.restore(compiled()) == 0
    model = compiled()
    logs = model.fit(**stream(), epochs=3, callbacks=run.callbacks()).history
    assert run.history()["val_mean_iou"] == pytest.approx(logs["val_mean_iou"])
    figures = run.model().evaluate(stream()["validation_data"], verbose=0, return_dict=True)
    assert figures["mean_iou"] == pytest.approx(max(logs["val_mean_iou"]), abs=1e-6)
    assert [path.name for path in (run.folder / "state").iterdir()] == ["epoch-000003.npz"]
    run.drop_state()
    assert run.restore(compiled()) == 0


def test_a_tuned_decision_is_loaded_until_a_better_epoch_comes(tmp_path):
    run = Run(tmp_path / "run")
    run.create({})
    model = compiled()
    model.fit(**stream(), epochs=1, callbacks=run.callbacks())
    other = compiled()
    run.keep_tuned(other, {"score": "mean_iou"})
    assert json.loads((run.folder / "tuning.json").read_text()) == {"score": "mean_iou"}
    assert same_weights(run.model(), other)
    assert same_weights(run.model(tuned=False), model)
    keep = run.callbacks(1)[0]
    keep.set_model(model)
    names = run.history().keys() - {"epoch"}
    keep.on_epoch_end(1, dict.fromkeys(names, 0.0))  # worse: the best one stays, and its decision
    assert run.tuned.is_file()
    keep.on_epoch_end(2, dict.fromkeys(names, 1.0))
    assert same_weights(run.model(), model)
    assert not (run.folder / "tuning.json").exists()


def same_weights(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
    )


def test_a_folder_that_is_taken_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    run.create({})
    run.create({"size": 32})  # nothing was trained yet, perhaps for want of memory
    assert run.settings() == {"size": 32}
    (run.folder / "state").mkdir()
    with pytest.raises(FileExistsError, match="already holds a run. Continue it with --resume"):
        run.create({})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="already exists and is not empty"):
        Run(tmp_path / "mine").create({})
    (tmp_path / "empty").mkdir()
    Run(tmp_path / "empty").create({})


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        Run(tmp_path).settings()
    with pytest.raises(FileNotFoundError, match="no model yet"):
        Run(tmp_path).model()


def test_the_state_of_another_model_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    run.create({})
    compiled(dropout=0.0).fit(**stream(), epochs=1, callbacks=run.callbacks())
    other = unet(3, filters=(4, 6))
    compile_for(other, "adam", 1e-2, steps=8)
    with pytest.raises(ValueError, match="written by another model"):
        run.restore(other)


def test_a_figure_that_is_not_there_cannot_choose_the_best(tmp_path):
    run = Run(tmp_path / "run")
    run.create({})
    with pytest.raises(ValueError, match="chooses its best epoch by 'val_mean_iou'"):
        compiled().fit(stream()["x"], verbose=0, shuffle=False, callbacks=run.callbacks())


def tfseg(*words):
    command = [sys.executable, "-m", "tfseg", "train", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_kill_9_and_resume_from_the_shell(folder):
    def words(out):
        return (
            *(
                "--images",
                folder / "images",
                "--masks",
                folder / "masks",
                "--class-names",
                ",".join(NAMES),
            ),
            *(
                "--size",
                32,
                "--batch-size",
                2,
                "--filters",
                "4,8",
                "--epochs",
                12,
                "--out",
                folder / out,
            ),
        )

    straight = tfseg(*words("straight"))
    assert straight.wait(300) == 0, straight.stderr.read()

    killed = tfseg(*words("killed"))
    history = folder / "killed" / "history.csv"
    while not history.exists() or len(history.read_text().splitlines()) < 4:  # three epochs done
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = Run(folder / "killed").history()["epoch"]
    assert len(before) < 12

    resumed = tfseg("--resume", "--out", folder / "killed")
    assert resumed.wait(300) == 0, resumed.stderr.read()
    first, second = (Run(folder / name) for name in ("straight", "killed"))
    states = [np.load(next((run.folder / "state").iterdir())) for run in (first, second)]
    for name in states[0].files:
        np.testing.assert_allclose(
            states[0][name], states[1][name], rtol=1e-3, atol=1e-5, err_msg=name
        )
    for name, values in first.history().items():
        np.testing.assert_allclose(
            second.history()[name], values, rtol=1e-3, atol=1e-4, err_msg=name
        )
    assert json.loads((second.folder / "evaluation.json").read_text())["mean_iou"] > 0
