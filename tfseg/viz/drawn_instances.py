"""Numbered objects outlined over their image, alone or with the stuff around them."""

import matplotlib.pyplot as plt
import numpy as np

from tfseg.checks import ignore_index_for, label_names
from tfseg.viz.class_colors import blend, palette, without_background
from tfseg.viz.figures import add_legend, finish_figure
from tfseg.viz.fonts import families_for
from tfseg.viz.label_maps import class_ids
from tfseg.viz.rgb import as_rgb, row_bands

NUM_COLORS = 12  # more objects repeat the colors
# An outline whose brightest channel is below this is not seen on the dark ground of microscopy.
DARKEST = 100


def draw_instances(image, instances, classes=None, alpha: float = 0.25):
    """Draw numbered objects over their image: their outlines, and a tint inside.

    Args:
        image: (H, W, C) or (H, W), see `as_rgb`.
        instances: (H, W) integers: 0 for no object, numbers from 1 for objects.
        classes: (N,) categories from 0 of the objects 1..N, which get the colors of `palette`; None
            for repeating colors by number.
        alpha: opacity inside the outlines in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the sizes differ, or an object has no class.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((1, 4), 200, np.uint8)
        >>> drawn = tfseg.viz.draw_instances(image, np.array([[0, 0, 1, 1]]))
        >>> drawn[0, 1].tolist(), drawn[0, 2].tolist()  # the outline is inside the object
        ([200, 200, 200], [86, 180, 233])
    """
    image = as_rgb(image)
    instances = class_ids("draw_instances", instances, image.shape[:2])
    colors = _colors(int(instances.max(initial=0)), classes)
    result = np.array(image)  # `as_rgb` may return the caller's own array
    edges = inner_edges(instances)
    for rows in row_bands(instances.shape):
        inside = instances[rows] != 0
        painted = colors[instances[rows][inside]].astype(float)
        tinted = image[rows][inside] * (1 - alpha) + painted * alpha
        on_edge = edges[rows][inside][:, None]
        result[rows][inside] = np.where(on_edge, painted, tinted).astype(np.uint8)
    return result


def draw_panoptic(image, instances, mask, class_names: list[str], alpha: float = 0.5):
    """Draw things and stuff over their image in the colors of their classes; outline the things.

    The background and pixels without a label keep their own color.

    Args:
        image: (H, W, C) or (H, W), see `as_rgb`.
        instances: (H, W) integers: 0 for no object, numbers from 1 for objects.
        mask: (H, W) class ids of all pixels, those of the objects included.
        class_names: names in the order of the ids in masks.
        alpha: opacity inside the outlines in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the sizes differ.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image, mask = np.full((1, 4), 200, np.uint8), np.array([[0, 0, 1, 1]])
        >>> drawn = tfseg.viz.draw_panoptic(image, 1 - mask, mask, ["cat", "grass"])
        >>> drawn[0, 1].tolist(), drawn[0, 2].tolist()  # the cat's outline, tinted grass
        ([86, 180, 233], [215, 179, 100])
    """
    names = label_names(class_names)
    image = as_rgb(image)
    instances = class_ids("draw_panoptic", instances, image.shape[:2])
    mask = class_ids("draw_panoptic", mask, image.shape[:2])
    inside = instances > 0
    stuff = np.where(inside, ignore_index_for(len(names)), without_background(mask, names))
    ids = np.zeros(int(instances.max(initial=0)) + 1, int)
    ids[instances[inside]] = mask[inside]
    return draw_instances(blend(image, stuff, len(names), alpha), instances, ids[1:], alpha)


def _colors(count, classes):
    """Return (count + 1, 3) colors of the numbers 0..count."""
    if classes is None:
        colors = palette(2 * NUM_COLORS)
        colors = colors[colors.max(axis=1) >= DARKEST][:NUM_COLORS]
        return colors[(np.arange(count + 1) - 1) % NUM_COLORS]
    classes = np.asarray(classes, int)
    if len(classes) < count:
        raise ValueError(
            f"draw_instances: objects are numbered up to {count}, but there are {len(classes)} "
            "classes. Pass one per object."
        )
    return palette(int(classes.max(initial=0)) + 1)[np.append(0, classes)]


def inner_edges(instances):
    """Return (H, W) bool: pixels of objects beside another object, the background or the border."""
    padded = np.pad(instances, 1)
    middle = padded[1:-1, 1:-1]
    neighbors = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    edges = np.zeros(instances.shape, bool)
    for neighbor in neighbors:
        edges |= middle != neighbor
    return edges & (instances != 0)


def instance_samples(images, targets, predictions, titles: list[str]):
    """Plot the true and the predicted objects of images side by side, one image per row.

    Args:
        images: sequence of (H, W, C).
        targets, predictions: sequences of (H, W) numbered objects.
        titles: one per image.

    Returns:
        matplotlib Figure.

    Example:
        >>> import numpy as np, tfseg
        >>> objects = np.array([[0, 1], [2, 2]])
        >>> figure = tfseg.viz.instance_samples([50 * objects], [objects], [objects > 1], ["a"])
        >>> [axis.get_title() for axis in figure.axes]
        ['a: ground truth', 'predicted']
    """
    return finish_figure(_side_by_side(images, targets, predictions, titles, draw_instances))


def panoptic_samples(images, targets, predictions, titles: list[str], class_names: list[str]):
    """Plot the true and the predicted things and stuff of images side by side, with a legend.

    Args:
        images: sequence of (H, W, C).
        targets, predictions: sequences of dicts with "instances" (H, W) and "mask" (H, W), see
            `draw_panoptic`.
        titles: one per image.
        class_names: names in the order of the ids in masks.

    Returns:
        matplotlib Figure.

    Example:
        >>> import numpy as np, tfseg
        >>> labels = {"instances": np.array([[0, 1], [2, 2]]), "mask": np.array([[1, 0], [0, 0]])}
        >>> image, names = 50 * labels["mask"], ["cat", "grass"]
        >>> figure = tfseg.viz.panoptic_samples([image], [labels], [labels], ["a"], names)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['cat', 'grass']
    """

    def draw(image, sample):
        return draw_panoptic(image, sample["instances"], sample["mask"], class_names)

    figure = _side_by_side(images, targets, predictions, titles, draw)
    names = label_names(class_names)
    shown = [without_background(each["mask"], names) for each in (*targets, *predictions)]
    add_legend(figure, [mask[mask < len(names)] for mask in shown], names)
    return finish_figure(figure)


def _side_by_side(images, targets, predictions, titles, draw):
    """Return a figure with a row per image: its labels and its prediction, drawn by `draw`."""
    height, width = np.shape(images[0])[:2]
    figure, axes = plt.subplots(
        len(images),
        2,
        figsize=(12, 6 * len(images) * height / width + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for row, image, target, found, title in zip(
        axes, images, targets, predictions, titles, strict=True
    ):
        for axis, objects, text in (
            (row[0], target, f"{title}: ground truth"),
            (row[1], found, "predicted"),
        ):
            axis.imshow(draw(image, objects))
            axis.set_title(text, fontfamily=families_for([text]))
            axis.set_axis_off()
    return figure
