"""What `tfseg train` prints when a training begins."""

import math

from tfseg.cli.console import plural, say, say_commands
from tfseg.cli.fine_tuning import describe_origin
from tfseg.cli.run_data import warn_if_absent

NAMES_SHOWN = 8  # of many classes, in one sentence
MONITORED = {
    "val_mean_iou": "mean IoU",
    "val_ap": "AP",
    "val_mask_ap": "mask AP",
    "val_pq": "PQ",
}
FEW_STEPS = 200  # below this, a network has hardly learned anything


def begin_training(run, plan=None):
    """Print what a training that begins has found in its data, and keep its plan in `plan.json`.

    Args:
        run: the `tfseg.training.Run`.
        plan: the `TrainingPlan`; None if the run is resumed.
    """
    if plan is not None:
        plan.save(run.folder / "plan.json")
    record = run.record
    data, length = record.data, record.length
    done = len(run.history().get("epoch", []))
    if record.config.groups is not None and record.config.fold is None and not done:
        _describe_groups(record.config.groups, data)
    if record.config.has_objects:
        _describe_objects(data)
    else:
        _describe_masks(data)
    if record.origin is not None:
        describe_origin(record.origin)
    if done >= length.epochs:
        say(f"All {done} epochs are done: nothing left to train.")
    elif length.steps < FEW_STEPS and record.config.minutes is None:
        say(
            f"Warning: only {length.steps} training steps. Raise --epochs or lower --batch-size "
            "for a useful model."
        )


def _describe_groups(groups, data):
    from tfseg.data.groups import group_keys, group_sizes

    keys = group_keys([*data.train_names, *data.val_names], groups)
    val = len(set(keys[len(data.train_names) :]))
    say(f"{group_sizes(keys)}; validating on {val} of them.")


def _describe_masks(data):
    names = _label_names(data)
    total = max(sum(data.class_pixels), 1)
    fractions = [
        f"{name} {pixels / total:.1%}"
        for name, pixels in zip(names, data.class_pixels, strict=True)
    ]
    say(f"{_images(data)} Pixels: {', '.join(fractions)}.")
    if len(data.class_names) == 1:
        say(f"One class name: mask id 0 is background, 1 is {data.class_names[0]}.")
    if data.mask_values == {0: 0, 255: 1}:
        say(f"The masks contain 0 and 255: read as {' and '.join(names)}.")
    warn_if_absent(names, data.class_pixels, data.ignored_pixels, "training")
    warn_if_absent(names, data.val_class_pixels, data.val_ignored_pixels, "validation")
    _describe_window(data)


def _describe_window(data):
    if data.window is not None:
        say(f"Larger images are validated and predicted in windows of {data.window} pixels.")


def _describe_objects(data):
    from tfseg.data.readers.problems import first_few

    names = data.object_names
    counts = [
        f"{name} {count}"
        for name, count in zip(names, data.object_counts, strict=True)
        if count or len(names) <= NAMES_SHOWN
    ]
    say(f"{_images(data)} Objects: {', '.join(counts)}.")
    for counts, part in (
        (data.object_counts, "training"),
        (data.val_object_counts, "validation"),
    ):
        absent = [name for name, count in zip(names, counts, strict=True) if not count]
        if len(absent) > NAMES_SHOWN:
            few = first_few(absent, NAMES_SHOWN)
            say(f"Warning: the {part} images have no object of {len(absent)} classes: {few}")
        elif absent:
            say(f"Warning: the {part} images have no object of the class {', '.join(absent)}.")
    _describe_window(data)


def _images(data):
    count = plural(len(data.train_names), "image")
    return f"Training on {count}, validating on {len(data.val_names)}."


def _label_names(data):
    from tfseg.checks import label_names

    return label_names(data.class_names)


def say_interrupted(run):
    """Print that a training was interrupted, and the command that continues it."""
    if not run.exists():
        say("Interrupted. Nothing was saved.")
        return
    say("Interrupted.")
    say_commands(("tfseg", "train", "--resume", "--out", run.folder))


def say_best(history, record):
    """Print which epoch of a run is the best, and whether the training stopped early."""
    monitor, patience = record.config.monitor, record.config.patience
    scores = [-math.inf if math.isnan(score) else score for score in history[monitor]]
    best = max(range(len(scores)), key=lambda i: scores[i])
    name = MONITORED.get(monitor, monitor)
    if patience is not None and len(scores) < record.length.epochs:
        say(
            f"Stopped after {len(scores)} of {record.length.epochs} epochs: no improvement for "
            f"{plural(patience, 'epoch')}."
        )
    say(f"Best of {len(scores)} epochs by validation {name}: {best + 1}.")
