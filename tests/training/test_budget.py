import numpy as np
import pytest

from tfseg.data import Arrays, Augment, pipeline
from tfseg.models import tiny_unet
from tfseg.training import Run, budget, fit_within

SIZE = 16


def streams():
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3)).astype("uint8")
    reader = Arrays(images, (images[..., 0] > 128).astype("uint8"), ["dark", "bright"])
    return pipeline(reader, 2, Augment(SIZE)), pipeline(reader, 4)


@pytest.fixture
def clock(monkeypatch):
    """A clock by which every training step takes 1 s and every validation 2 s."""
    times = iter([0, budget.TIMED, 100, 102])
    monkeypatch.setattr(budget.time, "monotonic", lambda: next(times))


def test_steps_fill_the_minutes(clock, tmp_path):
    # 20 rounds of 5 s each: a validation and three steps
    model = tiny_unet(2, filters=4)
    run = Run(tmp_path / "run")
    run.create({})
    assert fit_within(100 / 60, model, *streams(), run, optimizer="adam", learning_rate=0.01) == 60
    assert int(model.optimizer.iterations) == 60
    assert len(run.history()["val_mean_iou"]) == 20
    # a cosine that ends with the last step
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-4)
    assert run.model().name == "tiny_unet"


def test_timing_leaves_the_weights_as_they_were():
    model = tiny_unet(2, filters=4)
    before = model.get_weights()
    assert budget._steps_a_round(10, model, *streams()) >= 1
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_too_few_minutes(clock, tmp_path):
    # a step and a validation take 3 s, 20 rounds a minute
    with pytest.raises(ValueError, match=r"0\.5 minutes are too few.*at least 1\.0"):
        fit_within(0.5, tiny_unet(2, filters=4), *streams(), Run(tmp_path / "run"))
    with pytest.raises(ValueError, match="must be above 0"):
        fit_within(0, tiny_unet(2, filters=4), *streams(), Run(tmp_path / "run"))
