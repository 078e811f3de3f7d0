"""Whether the forms of a model give the same answers, and what each costs."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.table import Table

from tfseg.export.postprocess import postprocess

BATCHES = (1, 8)
ROUNDS = 5


@dataclass(frozen=True)
class Parity:
    """How one form of a model compares with the Keras model.

    Attributes:
        form: its name, such as "SavedModel".
        agreement: share of pixels that have the same class.
        worst_image: number of the image that agrees least.
        worst_agreement: of that image.
        by_class: share that agrees of the pixels that Keras gives each class; None for one it gives none.
        difference: largest difference of a probability; None where the form gives no probabilities.
        milliseconds: {batch size: median time of a batch at the first image's size}.
        bytes: of the file or the folder; None for Keras.
    """

    format: str
    agreement: float
    worst_image: int
    worst_agreement: float
    by_class: list
    difference: float | None
    milliseconds: dict
    bytes: int | None


def keras_runner(model):
    """Return the function of (B, H, W, C) images that gives the Keras model's answers as a dict of arrays."""
    call = tf.function(
        lambda image: postprocess(model(image, training=False)), autograph=False, reduce_retracing=True
    )
    return lambda images: {
        name: value.numpy() for name, value in call(tf.constant(images, tf.float32)).items()
    }


def saved_model_runner(version):
    """Return the function of (B, H, W, C) images that gives the answers of a SavedModel's `serving_default`."""
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    return lambda images: {
        name: value.numpy()
        for name, value in signature(image=tf.constant(images, tf.float32)).items()
    }


def parity(runners, images, sizes=None):
    """Compare forms of one model on images.

    Args:
        runners: {name: function of (B, H, W, C) float32 -> dict of "class_ids" and maybe "probabilities"}, the first
            of which the others are compared with, `keras_runner`.
        images: list of (H, W, C), which may differ in size.
        sizes: {name: bytes of its file}.

    Returns:
        list of `Parity`, in the order of the runners.

    Raises:
        ValueError: there is no image.
    """
    if not len(images):
        raise ValueError(
            "parity: no image came to compare on. Pass at least one, better ten, of those it is made for."
        )
    images = [np.asarray(image, np.float32) for image in images]
    reference, *_ = runners.values()
    expected = [reference(image[None]) for image in images]
    return [
        _compare(name, run, images, expected, (sizes or {}).get(name))
        for name, run in runners.items()
    ]


def require_parity(rows, least, class_names):
    """Raise a RuntimeError that says where the differences lie if a form agrees on less than `least` of the pixels.

    Or if its probabilities are not finite.
    """
    for row in rows:
        if row.difference is not None and not np.isfinite(row.difference):
            raise RuntimeError(
                f"{row.format} gives probabilities that are not finite. Leave this form out."
            )
        if row.agreement < least:
            named = zip(row.by_class, class_names, strict=True)
            classes = sorted((share, name) for share, name in named if share is not None)
            told = ", ".join(f"{share:.1%} of {name}" for share, name in classes[:3])
            raise RuntimeError(
                f"{row.format} agrees with the Keras model on {row.agreement:.2%} of the pixels, below {least:.2%}. "
                f"Least on image {row.worst_image} ({row.worst_agreement:.2%}), and by class: {told}."
            )


def read_parity(rows):
    """Return the `Parity` rows of what `write_parity` wrote, as JSON gives it."""
    return [
        Parity(**row | {"milliseconds": {int(k): v for k, v in row["milliseconds"].items()}})
        for row in rows
    ]


def parity_table(rows):
    """Return a rich table of the rows."""
    table = Table(title="The same model in its forms")
    for column in (
        "form",
        "agreement",
        "largest difference",
        *(f"ms, batch {size}" for size in BATCHES),
        "MB",
    ):
        table.add_column(
            column, justify="left" if column == "form" else "right", no_wrap=column == "form"
        )
    for row in rows:
        difference = "" if row.difference is None else f"{row.difference:.2g}"
        times = (f"{row.milliseconds[size]:.1f}" for size in BATCHES)
        table.add_row(
            row.format,
            f"{row.agreement:.3%}",
            difference,
            *times,
            "" if row.bytes is None else f"{row.bytes / 1e6:.2f}",
        )
    return table


def write_parity(file, rows):
    """Write the rows as JSON."""
    Path(file).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def bytes_of(path):
    """Return the size of a file, or of all files in a folder."""
    path = Path(path)
    return (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )


def _compare(name, run, images, expected, size):
    found = [run(image[None]) for image in images]
    same = [f["class_ids"] == e["class_ids"] for f, e in zip(found, expected, strict=True)]
    shares = [float(s.mean()) for s in same]
    differences = [
        float(np.abs(f["probabilities"] - e["probabilities"]).max())
        for f, e in zip(found, expected, strict=True)
        if "probabilities" in f
    ]
    ids = np.concatenate([e["class_ids"].ravel() for e in expected])
    agree = np.concatenate([s.ravel() for s in same])
    classes = max(2, expected[0]["probabilities"].shape[-1])
    pixels = np.bincount(ids, minlength=classes)
    agreeing = np.bincount(ids, agree, minlength=classes)
    by_class = [float(a / n) if n else None for a, n in zip(agreeing, pixels, strict=True)]
    worst = int(np.argmin(shares))
    times = {count: _milliseconds(run, np.repeat(images[0][None], count, 0)) for count in BATCHES}
    difference = (
        float(np.max(differences)) if differences else None
    )  # Python's max would lose a NaN
    return Parity(
        name, float(agree.mean()), worst, shares[worst], by_class, difference, times, size
    )


def _milliseconds(run, images):
    run(images)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - began)
    return float(np.median(times) * 1e3)
