"""Pictures of data and results. Every function returns a matplotlib Figure, in Jupyter and without a display."""

import functools

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle

from tfseg.checks import IGNORE_INDEX

# Okabe and Ito's colours, made to be told apart by colour-blind people.
OKABE_ITO = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (240, 228, 66),
    (0, 114, 178),
    (204, 121, 167),
)

# Linear RGB as seen without red, green or blue cones: Machado, Oliveira and Fernandes 2009, severity 1.
COLOUR_BLINDNESS = (
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
)


@functools.cache
def palette(count):
    """Return (count, 3) uint8 RGB colours that colour-blind people can tell apart as well.

    The first seven are Okabe and Ito's; each further one is the colour farthest from all before it, in CIELAB
    as seen with normal vision and with each of the three kinds of colour blindness.
    """
    steps = np.linspace(30, 255, 8)
    candidates = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    colours = np.concatenate([np.array(OKABE_ITO, float), candidates])
    views = seen(colours)
    chosen = list(range(min(count, len(OKABE_ITO))))
    nearest = np.min([_distance(views, i) for i in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distance(views, chosen[-1]))
    result = colours[chosen].astype(np.uint8)
    result.setflags(write=False)  # shared by all callers
    return result


def seen(colours):
    """Return (4, N, 3) CIELAB of (N, 3) RGB 0..255: normal vision, then without red, green, blue cones."""
    share = np.asarray(colours, np.float32) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    views = [linear] + [np.clip(linear @ np.array(matrix).T, 0, 1) for matrix in COLOUR_BLINDNESS]
    return np.stack([cv2.cvtColor(view[None].astype(np.float32), cv2.COLOR_LRGB2Lab)[0] for view in views])


def _distance(views, index):
    """Distance of every colour to one of them, in the view where it is smallest."""
    return np.linalg.norm(views - views[:, index : index + 1], axis=-1).min(axis=0)


def colour_labels(labels, count):
    """Return (H, W, 3) uint8 colours of (H, W) class ids; ignored pixels are white."""
    table = np.full((256, 3), 255, np.uint8)
    table[:count] = palette(count)
    return table[np.asarray(labels)]


def blend(image, labels, count, alpha=0.5):
    """Return (H, W, 3) uint8: the picture with its classes laid over it; ignored pixels stay bare.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), 0..255 or any other range, which is then stretched.
        labels: (H, W) class ids.
        count: number of classes.
        alpha: 0 shows the picture only, 1 the classes only.
    """
    labels = np.asarray(labels)
    image = as_rgb(image)
    colours = colour_labels(labels, count)
    mixed = (image * (1 - alpha) + colours * alpha).astype(np.uint8)
    return np.where((labels < count)[..., None], mixed, image)


def as_rgb(image):
    """Return (H, W, 3) uint8 of a picture of any range and 1, 3 or more channels (the first three)."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    image = np.repeat(image[..., :1], 3, axis=-1) if image.shape[-1] < 3 else image[..., :3]
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255 or high <= 1:
        image = (image - low) * (255 / max(high - low, 1e-9))
    return image.astype(np.uint8)


def overlay(image, labels, class_names, alpha=0.5):
    """Figure of a picture with its classes laid over it and a legend of those that occur."""
    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    _show(axes, blend(image, labels, len(class_names), alpha))
    _legend(figure, [labels], class_names)
    return _done(figure)


def samples(images, masks, predictions, class_names):
    """Figure of image, truth, prediction and errors side by side, a row a sample.

    Args:
        images: sequence of (H, W, C).
        masks: sequence of (H, W) class ids; 255 is ignored.
        predictions: sequence of (H, W) class ids, or None to show image and truth only.
        class_names: names in the order of their ids.
    """
    titles = ["image", "truth"] if predictions is None else ["image", "truth", "prediction", "errors (orange)"]
    rows, count = len(images), len(class_names)
    shape = images[0].shape
    figsize = (3 * len(titles), 3 * rows * shape[0] / shape[1] + 0.8)
    figure, axes = plt.subplots(rows, len(titles), figsize=figsize, squeeze=False, layout="constrained")
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        mask = np.asarray(mask)
        cells = [as_rgb(image), colour_labels(mask, count)]
        if predictions is not None:
            cells += [colour_labels(predictions[row], count), errors(image, mask, predictions[row])]
        for axis, cell, title in zip(axes[row], cells, titles, strict=True):
            _show(axis, cell, title if row == 0 else None)
    _legend(figure, [*masks, *(predictions if predictions is not None else [])], class_names)
    return _done(figure)


def labelled(samples, class_names, titles=None, columns=4, alpha=0.5):
    """Figure of samples with all of their labels: what the network sees.

    Masks colour the image by class, ignored pixels are hatched out in white; every object has a black outline and its
    box.

    Args:
        samples: sequence of dicts of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes", as readers
            and `Augment.sample` give them.
        class_names: names in the order of their ids.
        titles: one a sample, or None.
        columns: samples in a row.
        alpha: 0 shows the picture only, 1 the classes only.
    """
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    height, width = np.shape(samples[0]["image"])[:2]
    side = max(3, 6 / columns)
    figsize = side * columns, side * rows * height / width + 1
    figure, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained")
    for axis in axes.flat[len(samples) :]:
        axis.set_axis_off()
    for axis, sample, title in zip(axes.flat, samples, titles or [None] * len(samples), strict=False):
        _show(axis, _painted(sample, len(class_names), alpha), title)
        _draw_boxes(axis, sample, len(class_names))
    seen = [np.asarray(sample.get("mask", sample.get("classes", [-1]))) for sample in samples]
    _legend(figure, [labels[labels >= 0] for labels in seen], class_names)
    return _done(figure)


def _painted(sample, count, alpha):
    image = as_rgb(sample["image"])
    if "mask" in sample:
        ignored = np.asarray(sample["mask"]) == IGNORE_INDEX
        image = blend(image, sample["mask"], count, alpha)
        stripes = np.add.outer(*map(np.arange, ignored.shape)) // 3 % 2 == 0
        image = np.where((ignored & stripes)[..., None], 255, image).astype(np.uint8)
    if "instances" in sample:
        objects = np.pad(np.asarray(sample["instances"]), 1, mode="edge")
        outline = sum(np.roll(objects, 1, axis)[1:-1, 1:-1] != objects[1:-1, 1:-1] for axis in (0, 1)) > 0
        image = np.where(outline[..., None], 0, image).astype(np.uint8)
    return image


def _draw_boxes(axis, sample, count):
    for box, kind in zip(sample.get("boxes", ()), sample.get("classes", ()), strict=True):
        if kind >= 0:
            x0, y0, x1, y1 = np.asarray(box) - 0.5  # a box's edges are those of pixels, imshow's whole numbers middles
            colour = palette(count)[kind] / 255
            axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.5))


def errors(image, mask, prediction):
    """Return (H, W, 3) uint8: the picture, dimmed, with wrong pixels in orange; ignored ones are never wrong."""
    wrong = (np.asarray(prediction) != mask) & (np.asarray(mask) != IGNORE_INDEX)
    return np.where(wrong[..., None], np.array([213, 94, 0], np.uint8), as_rgb(image) // 2)


def curves(history):
    """Figure of the training: losses at the left, scores at the right.

    Args:
        history: {name: list of one value an epoch}, as in `model.fit(...).history`; "val_" names are drawn
            in the colour of their partner, thicker.
    """
    base = [name for name in history if not name.startswith("val_") and name not in ("epoch", "seconds")]
    groups = [
        [n for n in base if "loss" in n],
        [n for n in base if "loss" not in n and "learning_rate" not in n],
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, names, title in zip(axes, groups, ("loss", "score"), strict=True):
        for name, colour in zip(names, palette(max(len(names), 1)) / 255, strict=False):
            for key, style in ((name, {"lw": 1, "ls": "--"}), (f"val_{name}", {"lw": 2})):
                if key in history:
                    epochs = np.arange(1, len(history[key]) + 1)
                    axis.plot(epochs, history[key], color=colour, marker=".", label=key, **style)
        axis.set(xlabel="epoch", title=title)
        axis.grid(alpha=0.3)
        if names:
            axis.legend()
    return _done(figure)


def rate_search(search):
    """Figure of a search for the learning rate: the loss by the rate, and the rate proposed.

    Args:
        search: what `tfseg.training.find_learning_rate` returned.
    """
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(search.rates, search.losses)
    axes.axvline(search.best, color="grey", linestyle="--", label=f"falls fastest at {search.best:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    axes.legend(frameon=False)
    return _done(figure)


def confusion_matrix(matrix, class_names):
    """Figure of a confusion matrix as a heat map, each true class (row) as shares of its pixels."""
    matrix = np.asarray(matrix, float)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 2.5 + 0.55 * len(class_names)
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    shown = axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(shown, label="share of the true class")
    ticks = range(len(class_names))
    axis.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, class_names)
    axis.set(xlabel="predicted", ylabel="true")
    for row in ticks:
        for column in ticks:
            value = shares[row, column]
            if value >= 0.005:
                colour = "black" if value > 0.5 else "white"
                axis.text(column, row, f"{value:.0%}", ha="center", va="center", color=colour, fontsize=8)
    return _done(figure)


def reliability(curve):
    """Figure of how often a model is right by how sure it is: bars below the diagonal are overconfident.

    Args:
        curve: dict of "confidence", "accuracy" and "count", one number a bin, the bins of equal width over [0, 1]:
            what `tfseg.metrics.CalibrationError.reliability_curve` returns.
    """
    confidence, accuracy, count = (np.asarray(curve[name], float) for name in ("confidence", "accuracy", "count"))
    filled = count > 0
    share = count / max(count.sum(), 1)
    error = np.sum((share * np.abs(accuracy - confidence))[filled])
    left, width = np.arange(len(count)) / len(count), 1 / len(count)
    figure, (top, below) = plt.subplots(2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1), layout="constrained")
    bar = {"width": width, "align": "edge", "edgecolor": "white"}
    top.bar(left[filled], accuracy[filled], color=palette(1)[0] / 255, label="share of right pixels", **bar)
    top.plot([0, 1], [0, 1], color="grey", ls="--", label="perfectly calibrated")
    top.plot(
        confidence[filled], accuracy[filled], color="black", marker="o", ms=4, lw=1, label="at the mean confidence"
    )
    top.set(ylim=(0, 1), ylabel="accuracy", title=f"expected calibration error {error:.3f}")
    top.legend(loc="upper left")
    below.bar(left, share, color="grey", **bar)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="share of pixels")
    return _done(figure)


def legend(class_names):
    """Figure of the classes' colours alone, for a folder of overlays."""
    width = 6
    rows = -(-len(class_names) // _columns(width, class_names))
    figure = plt.figure(figsize=(width, 0.3 + 0.25 * rows))
    _legend(figure, [np.arange(len(class_names))], class_names, loc="center")
    return _done(figure)


def _show(axis, picture, title=None):
    axis.imshow(picture, interpolation="nearest")
    axis.set_axis_off()
    if title:
        axis.set_title(title)


def _legend(figure, label_maps, class_names, loc="outside lower center"):
    present = functools.reduce(np.union1d, [np.unique(labels) for labels in label_maps])
    colours = palette(len(class_names)) / 255
    patches = [
        Patch(facecolor=colours[i], edgecolor="grey", label=name) for i, name in enumerate(class_names) if i in present
    ]
    if IGNORE_INDEX in present:
        patches.append(Patch(facecolor="white", edgecolor="grey", label="ignored"))
    columns = min(len(patches), _columns(figure.get_figwidth(), [patch.get_label() for patch in patches]))
    figure.legend(handles=patches, loc=loc, ncols=columns, frameon=False)


def _columns(width, names):
    """How many legend entries fit side by side into `width` inches."""
    return max(1, int(width / (0.75 + 0.1 * max(len(name) for name in names))))


def _done(figure):
    plt.close(figure)  # out of pyplot's list: a notebook shows the returned figure once, and memory is freed
    return figure
