"""Comparison of exported formats with the Keras model: agreement, speed and size."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.table import Table

from tfseg.export.detection_outputs import has_detections, with_count
from tfseg.export.detection_parity import DetectionParity, compare_detections
from tfseg.export.instance_parity import instances_runner
from tfseg.export.postprocess import postprocess
from tfseg.models import is_instance_model

BATCH_SIZES = (1, 8)
ROUNDS = 5


@dataclass(frozen=True)
class Parity:
    """Comparison of one format with the Keras model.

    Attributes:
        format: name of the format, such as "SavedModel".
        agreement: fraction of pixels with the same class.
        worst_image: index of the image with the lowest agreement.
        worst_agreement: agreement on that image.
        by_class: for each class, the agreement on the pixels to which Keras assigns it; None for
            classes that Keras assigns to no pixel.
        difference: largest absolute difference of a probability; None without probabilities.
        milliseconds: {batch size: median time of a batch at the size of the first image}.
        bytes: size of the file or folder; None for Keras.
    """

    format: str
    agreement: float
    worst_image: int
    worst_agreement: float
    by_class: list[float | None]
    difference: float | None
    milliseconds: dict[int, float]
    bytes: int | None

    def problem(self, min_agreement: float, class_names) -> str | None:
        """Return what differs too much from the Keras model, or None if nothing does.

        The sentences name the image and the classes with the lowest agreement.

        Args:
            min_agreement: minimum fraction of pixels with the same class.
            class_names: list of str.
        """
        if self.difference is not None and not np.isfinite(self.difference):
            return f"{self.format} gives probabilities that are not finite. Do not use this format."
        if self.agreement >= min_agreement:
            return None
        named = zip(self.by_class, class_names, strict=True)
        classes = sorted((value, name) for value, name in named if value is not None)
        worst = ", ".join(f"{name} {value:.1%}" for value, name in classes[:3])
        return (
            f"{self.format} agrees with the Keras model on {self.agreement:.2%} of the pixels, "
            f"expected at least {min_agreement:.2%}. Agreement is lowest on image "
            f"{self.worst_image} ({self.worst_agreement:.2%}); per class: {worst}."
        )


def keras_runner(model: keras.Model):
    """Return a function of images (B, H, W, C) that runs a Keras model.

    Args:
        model: a model of `tfseg.models`.

    Returns:
        function of an array (B, H, W, C) -> dict with "class_ids" and "probabilities", or, for a
        detector, with "boxes", "scores", "classes", "num_detections" and, with masks, "masks"; for
        a model of `tfseg.models.instances` with "instances" in place of "masks".
    """
    if is_instance_model(model):
        return instances_runner(model)
    is_detector = has_detections(model)
    finish = with_count if is_detector else postprocess
    # a detector takes seconds to trace, so it is traced once for all sizes
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)] if is_detector else None

    @tf.function(autograph=False, reduce_retracing=True, input_signature=signature)
    def outputs(image):
        return finish(model(image, training=False))

    return _numpy_runner(outputs)


def saved_model_runner(version):
    """Return a function of images (B, H, W, C) that runs `serving_default` of a SavedModel.

    Args:
        version: folder of the version, e.g. `saved_models/leaves/1`.

    Returns:
        function of an array (B, H, W, C) -> dict of the signature's outputs.
    """
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    return _numpy_runner(lambda image: signature(image=image))


def _numpy_runner(call):
    def run(images):
        outputs = call(tf.constant(images, tf.float32))
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def run_one_by_one(run, images) -> dict:
    """Return the outputs of a function of one image (1, H, W, C) for a batch of images."""
    outputs = [run(image[None]) for image in images]
    return {name: np.concatenate([found[name] for found in outputs]) for name in outputs[0]}


def parity(
    runners: dict, images, sizes: dict[str, int] | None = None
) -> list[Parity] | list[DetectionParity]:
    """Compare several formats of one model on images.

    Args:
        runners: {name: function of (B, H, W, C) float32 -> dict of "class_ids" and optionally
            "probabilities", or of detections}. The first, normally `keras_runner(model)`, is the
            reference.
        images: list of (H, W, C) images, which may differ in size.
        sizes: {name: size of the file in bytes}.

    Returns:
        list of `Parity`, or for a detector or an instance model of `DetectionParity`, in the order
        of `runners`.

    Raises:
        ValueError: there are no images.

    Example:
        >>> import keras, numpy as np, tfseg
        >>> image = keras.Input((None, None, 3))
        >>> run = tfseg.export.keras_runner(keras.Model(image, keras.layers.Conv2D(2, 1)(image)))
        >>> rows = tfseg.export.parity({"Keras": run, "copy": run}, [np.ones((4, 6, 3))])
        >>> rows[1].format, rows[1].agreement
        ('copy', 1.0)
    """
    if not len(images):
        raise ValueError("parity: got no images. Pass at least one typical image, better ten.")
    images = [np.asarray(image, np.float32) for image in images]
    reference = next(iter(runners.values()))
    expected = [reference(image[None]) for image in images]
    sizes = sizes or {}
    return [_compare(name, run, images, expected, sizes.get(name)) for name, run in runners.items()]


def require_parity(rows, min_agreement: float, class_names) -> None:
    """Raise a RuntimeError if a format differs too much from the Keras model.

    Args:
        rows: result of `parity`.
        min_agreement: minimum fraction of pixels with the same class, or of matched detections.
        class_names: list of str, for the message.

    Raises:
        RuntimeError: probabilities are not finite or the agreement is too low.
    """
    for row in rows:
        problem = row.problem(min_agreement, class_names)
        if problem is not None:
            raise RuntimeError(problem)


def read_parity(rows: list[dict]) -> list[Parity] | list[DetectionParity]:
    """Return the rows of `parity` from the JSON that `write_parity` wrote.

    Args:
        rows: list of dicts, e.g. `tfseg.export.inspect(version)["parity"]`.
    """
    kind = DetectionParity if rows and "detections" in rows[0] else Parity
    return [
        kind(**row | {"milliseconds": {int(k): v for k, v in row["milliseconds"].items()}})
        for row in rows
    ]


def parity_table(rows) -> Table:
    """Return a rich table of the rows of `parity`."""
    table = Table(title="Exported formats compared with the Keras model")
    table.add_column("format", no_wrap=True)
    times = [f"ms, batch {size}" for size in BATCH_SIZES]
    for column in ("agreement", "largest difference", *times, "MB"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.format,
            f"{row.agreement:.3%}",
            "" if row.difference is None else f"{row.difference:.2g}",
            *(f"{row.milliseconds[size]:.1f}" for size in BATCH_SIZES),
            "" if row.bytes is None else f"{row.bytes / 1e6:.2f}",
        )
    return table


def write_parity(file: str | Path, rows) -> None:
    """Write the rows of `parity` as JSON."""
    text = json.dumps([asdict(row) for row in rows], indent=2)
    Path(file).write_text(text + "\n", encoding="utf-8")


def size_in_bytes(path) -> int:
    """Return the size of a file, or of all files in a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def _compare(name, run, images, expected, size):
    found = [run(image[None]) for image in images]
    batches = {count: np.repeat(images[0][None], count, 0) for count in BATCH_SIZES}
    milliseconds = {count: _milliseconds(run, batch) for count, batch in batches.items()}
    compare = compare_detections if "boxes" in expected[0] else _compare_class_ids
    return compare(name, found, expected, milliseconds, size)


def _compare_class_ids(name, found, expected, milliseconds, size):
    equal = [f["class_ids"] == e["class_ids"] for f, e in zip(found, expected, strict=True)]
    by_image = [float(e.mean()) for e in equal]
    all_equal = np.concatenate([e.ravel() for e in equal])
    worst = int(np.argmin(by_image))
    return Parity(
        format=name,
        agreement=float(all_equal.mean()),
        worst_image=worst,
        worst_agreement=by_image[worst],
        by_class=_agreement_by_class(expected, all_equal),
        difference=_largest_difference(found, expected),
        milliseconds=milliseconds,
        bytes=size,
    )


def _agreement_by_class(expected, equal):
    """Return the agreement on the pixels of each class; `equal` is (pixels,) bool."""
    ids = np.concatenate([outputs["class_ids"].ravel() for outputs in expected])
    classes = max(2, expected[0]["probabilities"].shape[-1])
    pixels = np.bincount(ids, minlength=classes)
    agreeing = np.bincount(ids, equal, minlength=classes)
    return [float(a / n) if n else None for a, n in zip(agreeing, pixels, strict=True)]


def _largest_difference(found, expected):
    """Return the largest absolute difference of a probability, or None without probabilities."""
    differences = [
        float(np.abs(f["probabilities"] - e["probabilities"]).max())
        for f, e in zip(found, expected, strict=True)
        if "probabilities" in f
    ]
    # np.max keeps a NaN, which Python's max may drop
    return float(np.max(differences)) if differences else None


def _milliseconds(run, images):
    run(images)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)
