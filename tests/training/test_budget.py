from functools import partial

import keras
import numpy as np
import pytest

from tfseg.data import Arrays, Augment, pipeline
from tfseg.models import tiny_unet
from tfseg.training import Run, budget, fit_within

SIZE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3)).astype("uint8")
READER = Arrays(IMAGES, (IMAGES[..., 0] > 128).astype("uint8"), ["dark", "bright"])
STREAM = partial(pipeline, READER, 2, Augment(SIZE))
SETTINGS = {"class_names": ("dark", "bright")}  # JSON gives a list back


@pytest.fixture
def clock(monkeypatch):
    """A clock by which every training step takes 1 s and every validation 2 s."""
    times = iter([0, budget.TIMED, 100, 102])
    monkeypatch.setattr(budget.time, "monotonic", lambda: next(times))


def fit(folder, minutes=100 / 60, callbacks=(), settings=SETTINGS):
    # 20 rounds of 5 s each: a validation and three steps
    keras.utils.set_random_seed(0)
    model = tiny_unet(2, filters=4)
    options = {"optimizer": "adam", "learning_rate": 0.01}
    return model, fit_within(
        minutes, model, STREAM, pipeline(READER, 4), Run(folder), settings, callbacks, **options
    )


def test_steps_fill_the_minutes(clock, tmp_path):
    model, steps = fit(tmp_path / "run")
    assert steps == int(model.optimizer.iterations) == 60
    assert len(Run(tmp_path / "run").history()["val_mean_iou"]) == 20
    # a cosine that ends with the last step
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-4)
    assert Run(tmp_path / "run").settings()["steps_a_round"] == 3


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(clock, tmp_path, monkeypatch):
    whole, _ = fit(tmp_path / "whole")

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 7:
                raise KeyboardInterrupt

    monkeypatch.setattr(budget, "_steps_a_round", lambda *_: 3)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", callbacks=[Kill()])
    monkeypatch.undo()  # nothing is timed a second time
    resumed, steps = fit(tmp_path / "killed")
    assert steps == 60
    for value, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert Run(tmp_path / "killed").history() == Run(tmp_path / "whole").history()


def test_timing_leaves_the_weights_as_they_were():
    model = tiny_unet(2, filters=4)
    before = model.get_weights()
    assert budget._steps_a_round(100, model, STREAM(), pipeline(READER, 4), {}) >= 1
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_too_few_minutes(clock, tmp_path):
    # a step and a validation take 3 s, 20 rounds a minute
    with pytest.raises(ValueError, match=r"0\.5 minutes are too few.*at least 1\.0"):
        fit(tmp_path / "run", 0.5)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="must be above 0"):
        fit(tmp_path / "run", 0)


def test_folders_of_something_else(clock, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(FileExistsError, match="another folder"):
        fit(tmp_path / "full")
    fit(tmp_path / "run")
    with pytest.raises(ValueError, match="with another minutes"):
        fit(tmp_path / "run", 3)
    with pytest.raises(ValueError, match="with another class_names"):
        fit(tmp_path / "run", settings={"class_names": ["a", "b"]})
    Run(tmp_path / "other").create(SETTINGS | {"minutes": 3})
    with pytest.raises(ValueError, match="in another way"):
        fit(tmp_path / "other", 3)
