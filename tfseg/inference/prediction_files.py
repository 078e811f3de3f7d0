"""Write the prediction of an image: class ids, colors, overlay, probabilities, georeference."""

from pathlib import Path

import numpy as np

from tfseg import viz
from tfseg.files import atomic_write, write_png
from tfseg.inference.georeference import georeference, write_geotiff
from tfseg.ops import top_ids

PNG_MAX = 65535  # a probability of 1 in a 16-bit PNG


def prediction_files(
    stem: Path, image_file: Path, num_classes: int, probabilities: str | None = None
) -> list[Path]:
    """Return the files that `write_prediction` writes, the class ids first.

    Args:
        stem: folder and beginning of the names.
        image_file: file of the image.
        num_classes: number of class names.
        probabilities: "png", "npy" or None.
    """
    names = ["labels.png", "color.png", "overlay.png"]
    if probabilities == "npy":
        names.append("probabilities.npy")
    elif probabilities == "png":
        names += [f"probability_{class_id}.png" for class_id in range(num_classes)]
    if georeference(image_file) is not None:
        names.append("labels.tif")
    return [stem.with_name(f"{stem.name}_{name}") for name in names]


def write_prediction(
    stem: Path, image_file: Path, image, logits, class_names: list[str], probabilities=None
) -> None:
    """Write the prediction of an image; each file whole or not at all, the class ids last.

    Args:
        stem: folder and beginning of the names.
        image_file: file of the image.
        image: (H, W, C).
        logits: (H, W, K) float32.
        class_names: names in the order of their ids.
        probabilities: "png", "npy" or None.
    """
    count = len(class_names)
    ids = top_ids(logits).astype(np.uint8 if count <= 255 else np.uint16)  # as PNGs store them
    shown = viz.without_background(ids, class_names)
    write_png(_file(stem, "overlay.png"), viz.blend(image, shown, count))
    write_png(_file(stem, "color.png"), viz.color_labels(ids, count))
    if probabilities is not None:
        _write_probabilities(stem, class_probabilities(logits), probabilities)
    tags = georeference(image_file)
    if tags is not None:
        write_geotiff(_file(stem, "labels.tif"), ids, tags)
    write_png(_file(stem, "labels.png"), ids)


def _file(stem, name):
    return stem.with_name(f"{stem.name}_{name}")


def _write_probabilities(stem, probabilities, kind):
    if kind == "npy":
        with atomic_write(_file(stem, "probabilities.npy")) as path:
            np.save(path, probabilities)
        return
    for class_id in range(probabilities.shape[-1]):
        scaled = np.rint(probabilities[..., class_id] * PNG_MAX).astype(np.uint16)
        write_png(_file(stem, f"probability_{class_id}.png"), scaled)


def class_probabilities(logits):
    """Return the probability of each class.

    Args:
        logits: (H, W, K) float32; a single channel is a sigmoid.

    Returns:
        (H, W, C) float32 that sum to 1; background and object for a single channel.
    """
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
