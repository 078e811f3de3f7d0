"""Keras callbacks that print how a training progresses."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

# of segmentation networks and of models of objects
SCORES = (
    *("val_mean_iou", "val_mean_dice", "val_ap", "val_ap50", "val_mask_ap", "val_mask_ap50"),
    "val_pq",
)


class Progress(keras.callbacks.Callback):
    """Shows one bar with the remaining time of all epochs, and prints one line per epoch.

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
        self._bars = ProgressBars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            speed_estimate_period=300,
        )
        self._task = None
        self._bars.start()

    def on_epoch_begin(self, epoch, logs=None):
        epochs, steps = self.params["epochs"], self.params["steps"]
        if self._task is None:  # a resumed run starts at a later epoch
            total = (epochs - epoch) * steps if steps else None
            self._task = self._bars.add_task("training", total=total)
        self._began = time.monotonic()
        self._bars.update(self._task, description=f"epoch {epoch + 1}/{epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self._bars.advance(self._task)

    def on_epoch_end(self, epoch, logs=None):
        names = ["loss", *(name for name in self._metrics if name in logs)]
        scores = "  ".join(f"{name.replace('_', ' ')} {float(logs[name]):.4f}" for name in names)
        seconds = time.monotonic() - self._began
        epochs = self.params["epochs"]
        self._console.print(f"epoch {epoch + 1:3d}/{epochs}  {scores}  {seconds:.0f} s")

    def on_train_end(self, logs=None):
        if self._bars:
            self._bars.stop()
