"""A run that stops once its metric no longer improves, killed and resumed or not."""

import keras
import numpy as np
import pytest

from tfseg.training import Run

pytestmark = pytest.mark.usefixtures("eager")

# Best in the third epoch, then three without improvement: with patience 3 the run ends after the
# sixth.
SCORES = [0.2, float("nan"), 0.5, 0.4, 0.5, 0.1, 0.9, 0.9]


class Play(keras.callbacks.Callback):
    """Puts the score of the epoch into the logs, and interrupts before an epoch."""

    def __init__(self, scores, kill_before=None):
        super().__init__()
        self.scores, self.kill_before, self.epochs = scores, kill_before, []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.kill_before:
            raise KeyboardInterrupt
        self.epochs.append(epoch)

    def on_epoch_end(self, epoch, logs=None):
        logs["val_mean_iou"] = self.scores[epoch]


def compiled():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def train(run, patience, scores=SCORES, kill_before=None):
    """Do what a script does each time it is started."""
    model, play = compiled(), Play(scores, kill_before)
    done = run.restore(model)
    callbacks = [play, *run.callbacks(done, patience=patience)]
    x, y = np.ones((4, 2)), np.ones((4, 1))
    model.fit(x, y, epochs=len(scores), initial_epoch=done, callbacks=callbacks, verbose=0)
    return model, play.epochs


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def test_a_run_stops_after_some_epochs_without_improvement(run):
    _, epochs = train(run, patience=3)
    assert epochs == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(run.history()["val_mean_iou"], SCORES[:6])


@pytest.mark.parametrize("kill_before", [1, 4, 5])
def test_a_killed_run_stops_where_an_uninterrupted_one_does(run, kill_before):
    with pytest.raises(KeyboardInterrupt):
        train(run, 3, kill_before=kill_before)
    model, epochs = train(run, 3)
    assert epochs == list(range(kill_before, 6))
    np.testing.assert_array_equal(run.history()["val_mean_iou"], SCORES[:6])
    straight = Run(run.folder.parent / "straight")
    for a, b in zip(model.get_weights(), train(straight, 3)[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_run_that_has_ended_trains_no_further(run):
    ended, _ = train(run, 3)
    again, epochs = train(run, 3)
    assert epochs == []
    for a, b in zip(ended.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # the model itself can be trained further
    assert (
        len(again.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=0).history["loss"]) == 2
    )


def test_the_best_model_is_the_one_of_the_highest_score(run):
    train(run, 3)
    best = run.model().get_weights()
    other = Run(run.folder.parent / "other")
    three, _ = train(other, None, SCORES[:3])
    for a, b in zip(best, three.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_patience_a_run_goes_on_to_the_end(run):
    assert len(train(run, None)[1]) == len(SCORES)


def test_a_patience_below_one_is_refused(run):
    with pytest.raises(
        ValueError, match=r"Run.callbacks: patience=0 must be a whole number of at least 1"
    ):
        run.callbacks(patience=0)
