"""Keras callbacks that print how a training progresses."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

from tfseg.durations import Remaining, format_duration

LINE_EVERY = 30  # seconds, in a file
# of segmentation networks and of models of objects
SCORES = (
    *("val_mean_iou", "val_mean_dice", "val_ap", "val_ap50", "val_mask_ap", "val_mask_ap50"),
    "val_pq",
)


class Progress(keras.callbacks.Callback):
    """Shows one bar with the remaining time of all epochs, and prints one line per epoch.

    In a file, where a bar is not seen, the lines have the remaining time, and in long epochs there
    is a line every 30 seconds.

    Pass `verbose=0` to `model.fit`. Use it as a context manager, so that the terminal is restored
    if the training is interrupted.

    Args:
        console: a `rich.console.Console`; a new one by default.
        metrics: names in the logs to print after the loss, if they are there.

    Example:
        >>> import keras, numpy as np, tfseg
        >>> from rich.console import Console
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tfseg.training.Progress(Console(quiet=True)) as progress:
        ...     history = model.fit(
        ...         np.zeros((8, 2)), np.zeros(8), epochs=2, verbose=0, callbacks=[progress])
        >>> history.epoch
        [0, 1]
    """

    def __init__(self, console: Console | None = None, metrics=SCORES):
        super().__init__()
        self._console = console or Console()
        self._metrics = metrics
        self._bars = None

    def __deepcopy__(self, memo):
        # KerasTuner copies the callbacks for every trial; a terminal cannot be copied.
        return type(self)(self._console, self._metrics)

    def __reduce__(self):
        return type(self), (None, self._metrics)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.on_train_end()

    def on_train_begin(self, logs=None):
        self._began = self._last_line = time.monotonic()
        self._done, self._remaining, self._bars = 0, Remaining(), None
        if self._console.is_terminal or self._console.is_jupyter:
            self._start_bars()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._epoch_began = epoch, time.monotonic()
        if self._bars:
            epochs, steps = self.params["epochs"], self.params["steps"]
            # a resumed run starts at a later epoch, and one by minutes changes its length
            total = self._done + (epochs - epoch) * steps if steps else None
            name = f"epoch {epoch + 1}/{epochs}"
            self._bars.update(self._task, total=total, description=name)

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._remaining.advance()
        if self._bars:
            self._bars.advance(self._task)
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            steps = self.params["steps"]
            step = f"step {batch + 1}/{steps}" if steps else f"step {batch + 1}"
            left = self._remaining.text(self._steps_left(batch + 1))
            self._print(f"epoch {self._epoch + 1:3d}/{self.params['epochs']}  {step}{left}")

    def on_epoch_end(self, epoch, logs=None):
        names = ["loss", *(name for name in self._metrics if name in logs)]
        scores = "  ".join(f"{name.replace('_', ' ')} {float(logs[name]):.4f}" for name in names)
        now = time.monotonic()
        if self._bars:
            duration = f"{now - self._epoch_began:.0f} s"
        else:
            left = self._remaining.text(self._steps_left(self.params["steps"]))
            duration = format_duration(now - self._began) + left
        self._print(f"epoch {epoch + 1:3d}/{self.params['epochs']}  {scores}  {duration}")

    def on_train_end(self, logs=None):
        if self._bars:
            self._bars.stop()

    def _start_bars(self):
        self._bars = ProgressBars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            speed_estimate_period=300,
        )
        self._task = self._bars.add_task("training", total=None)
        self._bars.start()

    def _steps_left(self, done):
        """Return the number of steps after `done` steps of an epoch; 0 if that is unknown."""
        if not self.params["steps"]:
            return 0
        return (self.params["epochs"] - self._epoch) * self.params["steps"] - done

    def _print(self, line):
        self._last_line = time.monotonic()
        self._console.print(line, soft_wrap=self._bars is None)
