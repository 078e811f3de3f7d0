"""Callbacks for people: what they see while a model trains."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress(keras.callbacks.Callback):
    """A bar with the time left over all epochs, and one printed line an epoch.

    Pass `verbose=0` to `model.fit` beside it, and use it as a context manager (`with Progress() as progress:`)
    so that the terminal is given back when the training is interrupted.

    Args:
        console: a `rich.console.Console`; a new one by default.
        figures: names in the logs to print, besides the loss.
    """

    def __init__(self, console=None, figures=("val_mean_iou", "val_mean_dice")):
        super().__init__()
        self._console = console or Console()
        self._figures = figures
        self._bars = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.on_train_end()

    def on_train_begin(self, logs=None):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Bars(
            *columns, console=self._console, transient=True, speed_estimate_period=300
        )
        self._task = None
        self._bars.start()

    def on_epoch_begin(self, epoch, logs=None):
        epochs, steps = self.params["epochs"], self.params["steps"]
        if self._task is None:  # a resumed run begins at a later epoch
            self._task = self._bars.add_task(
                "training", total=(epochs - epoch) * steps if steps else None
            )
        self._began = time.monotonic()
        self._bars.update(self._task, description=f"epoch {epoch + 1}/{epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self._bars.advance(self._task)

    def on_epoch_end(self, epoch, logs=None):
        names = ["loss", *(name for name in self._figures if name in logs)]
        figures = "  ".join(f"{name.replace('_', ' ')} {float(logs[name]):.4f}" for name in names)
        seconds = time.monotonic() - self._began
        self._console.print(
            f"epoch {epoch + 1:3d}/{self.params['epochs']}  {figures}  {seconds:.0f} s"
        )

    def on_train_end(self, logs=None):
        if self._bars:
            self._bars.stop()
