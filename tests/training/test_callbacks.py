import copy
import io
import itertools
import pickle
import re

import keras
import numpy as np
import pytest
from rich.console import Console

from tfseg.training import Progress, callbacks

pytestmark = pytest.mark.usefixtures("eager")

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


def fit(*callbacks, terminal=True, **options):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((12, 2)), np.ones((12, 1))
    try:
        with Progress(console, metrics=("val_loss",)) as progress:
            model.fit(
                x,
                y,
                4,
                verbose=0,
                callbacks=[progress, *callbacks],
                validation_data=(x, y),
                **options,
            )
    finally:
        printed = console.file.getvalue()
    return printed


def plain(printed):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", printed)


def test_every_epoch_has_a_line_and_a_bar_with_the_remaining_time():
    printed = plain(fit(epochs=2))
    for part in ("epoch   1/2  loss ", "epoch   2/2  loss ", "val loss ", "/6", "0:00:00"):
        assert part in printed


def test_a_resumed_run_counts_the_remaining_steps():
    printed = plain(fit(epochs=5, initial_epoch=3))
    assert "epoch   4/5" in printed
    assert "/6" in printed  # two epochs of three steps


def test_a_file_gets_only_lines_with_the_remaining_time(monkeypatch):
    ticks = itertools.count(0, 15)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(ticks))
    lines = fit(epochs=2, terminal=False).splitlines()
    assert [line.strip() for line in lines] == lines
    steps = [line for line in lines if "step" in line]
    assert 1 <= len(steps) <= 4
    pattern = r"epoch   [12]/2  step [123]/3(, about \d+ (s|min).* left)?"
    assert all(re.fullmatch(pattern, line) for line in steps)
    first, last = [line for line in lines if "val loss" in line]
    assert re.fullmatch(r"epoch   1/2  loss [\d.]+  val loss [\d.]+  [\w ]+, about .+ left", first)
    assert re.fullmatch(r"epoch   2/2  loss [\d.]+  val loss [\d.]+  [\w ]+", last)


def test_the_remaining_time_follows_a_changed_length(monkeypatch):
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: progress.now)
    console = Console(file=io.StringIO(), width=20)
    progress = Progress(console)
    progress.now = 0.0
    progress.set_params({"epochs": 4, "steps": 10})
    progress.on_train_begin()
    progress.on_epoch_begin(1)
    for batch in range(10):
        progress.now += 2
        progress.on_train_batch_end(batch)
    progress.params.update(epochs=3)
    progress.on_epoch_end(1, {"loss": 0.5})
    # nine steps of 2 s were measured; ten of 40 are left
    assert console.file.getvalue() == "epoch   2/3  loss 0.5000  20 s, about 20 s left\n"


def test_copies_as_kerastuner_makes_them_print_to_the_same_console():
    console = Console(file=io.StringIO(), width=100)
    for progress in (Progress(console), pickle.loads(pickle.dumps(Progress(console)))):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        callbacks = [copy.deepcopy(progress)]
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=callbacks)
    assert console.file.getvalue().count("epoch   1/1  loss") == 1  # a pickle has its own console


def test_the_terminal_is_restored_when_the_training_fails():
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("broken")

    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    progress = Progress(console)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="broken"), progress:
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[progress, Fail()])
    printed = console.file.getvalue()
    assert printed.count(HIDE) == printed.count(SHOW) == 1
