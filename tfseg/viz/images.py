"""Images beside their labels and predictions."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tfseg.checks import BACKGROUND, IGNORE_INDEX, label_names
from tfseg.viz.figures import add_legend, done, legend_columns
from tfseg.viz.class_colors import as_rgb, blend, color_labels, palette


def overlay(image, labels, class_names, alpha=0.5):
    """Figure of an image with its classes laid over it and a legend of those that occur.

    Args:
        image: (H, W, C), or (H, W).
        labels: (H, W) class ids.
        class_names: names in the order of their ids; a single one has "background" before it.
        alpha: 0 shows the image only, 1 the classes only.
    """
    class_names = label_names(class_names)
    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    _show(axes, blend(image, labels, len(class_names), alpha))
    add_legend(figure, [labels], class_names)
    return done(figure)


def samples(images, masks, predictions, class_names):
    """Figure of image, truth, prediction and errors side by side, a row a sample.

    Args:
        images: sequence of (H, W, C).
        masks: sequence of (H, W) class ids; 255 is ignored.
        predictions: sequence of (H, W) class ids, or None to show image and truth only.
        class_names: names in the order of their ids; a single one has "background" before it.
    """
    class_names = label_names(class_names)
    titles = (
        ["image", "truth"]
        if predictions is None
        else ["image", "truth", "prediction", "errors (orange)"]
    )
    rows, count = len(images), len(class_names)
    shape = images[0].shape
    figsize = (3 * len(titles), 3 * rows * shape[0] / shape[1] + 0.8)
    figure, axes = plt.subplots(
        rows, len(titles), figsize=figsize, squeeze=False, layout="constrained"
    )
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        mask = np.asarray(mask)
        cells = [as_rgb(image), color_labels(mask, count)]
        if predictions is not None:
            cells += [color_labels(predictions[row], count), errors(image, mask, predictions[row])]
        for axis, cell, title in zip(axes[row], cells, titles, strict=True):
            _show(axis, cell, title if row == 0 else None)
    add_legend(figure, [*masks, *(predictions if predictions is not None else [])], class_names)
    return done(figure)


def labeled(samples, class_names, titles=None, columns=4, alpha=0.5):
    """Figure of samples with all of their labels: what the network sees.

    Masks color the image by class, ignored pixels are hatched out in white; every object has a black outline and its
    box.

    Args:
        samples: sequence of dicts of "image" (H, W, C) and any of "mask", "instances", "boxes", "classes", as readers
            and `Augment.sample` give them.
        class_names: names in the order of their ids; a single one has "background" before it.
        titles: one a sample, or None.
        columns: samples in a row.
        alpha: 0 shows the image only, 1 the classes only.
    """
    class_names = label_names(class_names)
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    height, width = np.shape(samples[0]["image"])[:2]
    side = max(3, 6 / columns)
    figsize = side * columns, side * rows * height / width + 1
    figure, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained")
    for axis in axes.flat[len(samples) :]:
        axis.set_axis_off()
    for axis, sample, title in zip(
        axes.flat, samples, titles or [None] * len(samples), strict=False
    ):
        _show(axis, _painted(sample, len(class_names), alpha), title)
        _draw_boxes(axis, sample, len(class_names))
    seen = [np.asarray(sample.get("mask", sample.get("classes", [-1]))) for sample in samples]
    add_legend(figure, [labels[labels >= 0] for labels in seen], class_names)
    return done(figure)


def _painted(sample, count, alpha):
    image = as_rgb(sample["image"])
    if "mask" in sample:
        ignored = np.asarray(sample["mask"]) == IGNORE_INDEX
        image = blend(image, sample["mask"], count, alpha)
        stripes = np.add.outer(*map(np.arange, ignored.shape)) // 3 % 2 == 0
        image = np.where((ignored & stripes)[..., None], 255, image).astype(np.uint8)
    if "instances" in sample:
        objects = np.pad(np.asarray(sample["instances"]), 1, mode="edge")
        outline = (
            sum(np.roll(objects, 1, axis)[1:-1, 1:-1] != objects[1:-1, 1:-1] for axis in (0, 1)) > 0
        )
        image = np.where(outline[..., None], 0, image).astype(np.uint8)
    return image


def _draw_boxes(axis, sample, count):
    for box, kind in zip(sample.get("boxes", ()), sample.get("classes", ()), strict=True):
        if kind >= 0:
            x0, y0, x1, y1 = (
                np.asarray(box) - 0.5
            )  # a box's edges are those of pixels, imshow's whole numbers middles
            color = palette(count)[kind] / 255
            axis.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.5)
            )


def errors(image, mask, prediction):
    """Return (H, W, 3) uint8: the image, dimmed, with wrong pixels in orange; ignored ones are never wrong."""
    wrong = (np.asarray(prediction) != mask) & (np.asarray(mask) != IGNORE_INDEX)
    return np.where(wrong[..., None], np.array([213, 94, 0], np.uint8), as_rgb(image) // 2)


def legend(class_names):
    """Figure of the classes' colors alone, for a folder of overlays whose background is bare."""
    class_names, width = label_names(class_names), 6
    rows = -(-len(class_names) // legend_columns(width, class_names))
    figure = plt.figure(figsize=(width, 0.3 + 0.25 * rows))
    painted = [i for i, name in enumerate(class_names) if name != BACKGROUND]
    add_legend(figure, [painted], class_names, loc="center")
    return done(figure)


def _show(axis, picture, title=None):
    axis.imshow(picture, interpolation="nearest")
    axis.set_axis_off()
    if title:
        axis.set_title(title)
