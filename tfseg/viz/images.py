"""Figures of images with their labels and predictions."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tfseg.checks import ignore_index_for, is_background, label_names
from tfseg.viz.class_colors import blend, color_labels, palette
from tfseg.viz.error_maps import add_error_legend, background_id, errors
from tfseg.viz.figures import add_legend, finish_figure, legend_columns
from tfseg.viz.fonts import families_for
from tfseg.viz.label_maps import class_ids
from tfseg.viz.rgb import as_rgb

TITLE_LETTERS = 34  # that fit above an image of 3 inches
TITLE_HEIGHT = 0.5  # inches, two lines and what is around them
STRIPE = 3  # pixels, across


def overlay(image, labels, class_names: list[str], alpha: float = 0.5):
    """Plot an image overlaid with its classes, and a legend of the classes that occur.

    Args:
        image: (H, W, C) or (H, W), see `as_rgb`.
        labels: (H, W) or (H, W, 1) class ids.
        class_names: names in the order of their ids. A single name is id 1; id 0 is background.
        alpha: opacity of the classes in [0, 1].

    Returns:
        matplotlib Figure.

    Raises:
        ValueError: the labels are not class ids, or have another size than the image.

    Example:
        >>> import tfseg
        >>> sample = tfseg.data.Folder("photos", "labels", ["background", "leaf"])[0]
        >>> figure = tfseg.viz.overlay(sample["image"], sample["mask"], ["background", "leaf"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['background', 'leaf']
    """
    class_names = label_names(class_names)
    labels = class_ids("overlay", labels, np.shape(image)[:2])
    figure, axis = plt.subplots(figsize=(8, 6), layout="constrained")
    _show(axis, blend(image, labels, len(class_names), alpha))
    add_legend(figure, [labels], class_names)
    return finish_figure(figure)


def samples(images, masks, predictions, class_names: list[str], titles: list[str] | None = None):
    """Plot image, ground truth, prediction and errors side by side, one sample per row.

    The colors of errors are those of `errors`, with a legend of their own. Objects are missed, or
    false alarms, if there is a background: a class named "background", or the first of two classes.

    Args:
        images: sequence of (H, W, C).
        masks: sequence of (H, W) or (H, W, 1) class ids; 255 is ignored, or 65535 with more than
            255 classes.
        predictions: sequence of class ids like `masks`, or None to plot image and ground truth
            only.
        class_names: names in the order of their ids. A single name is id 1; id 0 is background.
        titles: one text per sample, above its image, or None.

    Returns:
        matplotlib Figure.

    Raises:
        ValueError: labels are not class ids, or have another size than their image.

    Example:
        >>> import tfseg
        >>> sample = tfseg.data.Folder("photos", "labels", ["background", "leaf"])[0]
        >>> figure = tfseg.viz.samples([sample["image"]], [sample["mask"]], None, ["leaf"])
        >>> [axis.get_title() for axis in figure.axes]
        ['image', 'ground truth']
    """
    class_names = label_names(class_names)
    sizes = [np.shape(image)[:2] for image in images]
    masks = label_maps = _checked_labels(masks, sizes)
    headers = ["image", "ground truth"]
    if predictions is not None:
        headers += ["prediction", "errors"]
        predictions = _checked_labels(predictions, sizes)
        label_maps = masks + predictions
    rows, (height, width) = len(images), sizes[0]
    row_height = 3 * height / width + (0 if titles is None else TITLE_HEIGHT)
    figure, axes = plt.subplots(
        rows,
        len(headers),
        figsize=(3 * len(headers), rows * row_height + 1),
        squeeze=False,
        layout="constrained",
    )
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        prediction = None if predictions is None else predictions[row]
        cells = _cells(image, mask, prediction, class_names)
        for axis, cell, header in zip(axes[row], cells, headers, strict=True):
            _show(axis, cell, header if row == 0 else None)
        if titles is not None:
            _show_title(axes[row][0], titles[row])
    _add_legends(figure, label_maps, masks, class_names, has_errors=predictions is not None)
    return finish_figure(figure)


def _cells(image, mask, prediction, class_names):
    """Return the images of a row of `samples`; without a prediction, the first two."""
    count = len(class_names)
    cells = [as_rgb(image), color_labels(mask, count)]
    if prediction is None:
        return cells
    background = background_id(class_names)
    wrong = errors(image, mask, prediction, ignore_index_for(count), background)
    return [*cells, color_labels(prediction, count), wrong]


def _show_title(axis, title):
    """Write a title above an image, in place of its header and not wider than the image."""
    lines = [_shorten(line) for line in title.splitlines()]
    text = "\n".join(lines)
    axis.set_title(text, fontsize=9, fontfamily=families_for(lines))


def _shorten(line):
    """Replace the middle of a long line, since names often differ at their ends."""
    if len(line) <= TITLE_LETTERS:
        return line
    half = TITLE_LETTERS // 2
    return f"{line[: half - 2]}...{line[1 - half :]}"


def _add_legends(figure, label_maps, masks, class_names, has_errors):
    if not has_errors:
        add_legend(figure, label_maps, class_names)
        return
    width = figure.get_figwidth() * 3 / 4  # the legend of errors is below their column
    add_legend(figure, label_maps, class_names, "outside lower left", width)
    ignored = ignore_index_for(len(class_names))
    add_error_legend(figure, class_names, any((mask == ignored).any() for mask in masks))


def _checked_labels(label_maps, sizes):
    return [
        class_ids("samples", labels, size) for labels, size in zip(label_maps, sizes, strict=True)
    ]


def labeled(
    samples,
    class_names: list[str],
    titles: list[str] | None = None,
    columns: int = 4,
    alpha: float = 0.5,
    object_names: list[str] | None = None,
):
    """Plot samples with all of their labels, as the network gets them.

    Masks color the image by class; ignored pixels have white stripes; each object has a black
    outline and its box.

    Args:
        samples: sequence of dicts of "image" (H, W, C) and any of "mask", "instances", "boxes" and
            "classes", such as those of readers and `Augment.sample`.
        class_names: names in the order of their ids in masks. A single name is id 1; id 0 is
            background.
        titles: one title per sample, or None.
        columns: samples per row.
        alpha: opacity of the classes in [0, 1].
        object_names: `reader.object_names`, names in the order of the ids in "classes"; None for
            all class names except the background.

    Returns:
        matplotlib Figure.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> figure = tfseg.viz.labeled([reader[0], reader[1]], reader.class_names, ["a", "b"])
        >>> [axis.get_title() for axis in figure.axes]
        ['a', 'b']
    """
    class_names = label_names(class_names)
    if object_names is None:
        object_names = [name for name in class_names if not is_background(name)]
    # The id in masks, and so the color, of each object category.
    label_ids = [class_names.index(name) for name in object_names]
    painted = [_paint_labels(sample, len(class_names), alpha) for sample in samples]
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)  # rounds up
    height, width = np.shape(samples[0]["image"])[:2]
    side = max(3, 6 / columns)
    figsize = side * columns, side * rows * height / width + 1
    figure, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained")
    for axis in axes.flat[len(samples) :]:
        axis.set_axis_off()
    if titles is None:
        titles = [None] * len(samples)
    for axis, image, sample, title in zip(axes.flat, painted, samples, titles, strict=False):
        _show(axis, image, title)
        _draw_boxes(axis, sample, palette(len(class_names))[label_ids] / 255)
    add_legend(figure, [_label_ids(sample, label_ids) for sample in samples], class_names)
    return finish_figure(figure)


def _label_ids(sample, label_ids):
    """Return the class ids of a sample's mask, or those of its objects."""
    if "mask" in sample:
        return np.asarray(sample["mask"])
    categories = np.asarray(sample.get("classes", []), int)
    return np.asarray(label_ids, int)[categories[categories >= 0]]  # -1 is padding


def _paint_labels(sample, num_classes, alpha):
    image = as_rgb(sample["image"])
    if "mask" in sample:
        mask = class_ids("labeled", sample["mask"], image.shape[:2])
        ignored = mask == ignore_index_for(num_classes)
        image = blend(image, mask, num_classes, alpha)
        height, width = ignored.shape
        diagonal = np.add.outer(np.arange(height), np.arange(width))
        stripes = diagonal // STRIPE % 2 == 0
        image = np.where((ignored & stripes)[..., None], 255, image).astype(np.uint8)
    if "instances" in sample:
        outlines = _outlines(class_ids("labeled", sample["instances"], image.shape[:2]))
        image = np.where(outlines[..., None], 0, image).astype(np.uint8)
    return image


def _outlines(instances):
    """Return (H, W) bool: pixels that differ from their upper or left neighbor."""
    outlines = np.zeros(instances.shape, bool)
    outlines[1:] = instances[1:] != instances[:-1]
    outlines[:, 1:] |= instances[:, 1:] != instances[:, :-1]
    return outlines


def _draw_boxes(axis, sample, colors):
    for box, class_id in zip(sample.get("boxes", ()), sample.get("classes", ()), strict=True):
        if class_id < 0:  # padding
            continue
        # A box starts at the edge of a pixel, while imshow puts whole numbers at pixel centers.
        x_min, y_min, x_max, y_max = np.asarray(box) - 0.5
        rectangle = Rectangle(
            (x_min, y_min),
            x_max - x_min,
            y_max - y_min,
            fill=False,
            edgecolor=colors[class_id],
            linewidth=1.5,
        )
        axis.add_patch(rectangle)


def legend(class_names: list[str]):
    """Plot only the legend of the class colors, for a folder of overlays without background.

    Args:
        class_names: names in the order of their ids. A single name is id 1; id 0 is background.

    Returns:
        matplotlib Figure.

    Example:
        >>> import tfseg
        >>> figure = tfseg.viz.legend(["background", "leaf"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['leaf']
    """
    class_names, width = label_names(class_names), 6
    rows = -(-len(class_names) // legend_columns(width, class_names))  # rounds up
    figure = plt.figure(figsize=(width, 0.3 + 0.25 * rows))
    painted = [i for i, name in enumerate(class_names) if not is_background(name)]
    add_legend(figure, [painted], class_names, loc="center")
    return finish_figure(figure)


def _show(axis, image, title=None):
    axis.imshow(image, interpolation="nearest")
    axis.set_axis_off()
    if title:
        axis.set_title(title, fontfamily=families_for([title]))
