"""Colors of classes, and label maps painted in these colors."""

import functools

import cv2
import numpy as np

from tfseg.checks import ignore_index_for, is_background
from tfseg.viz.label_maps import class_ids
from tfseg.viz.rgb import as_rgb, row_bands

# The palette of Okabe and Ito, designed to be distinguished by color-blind people.
OKABE_ITO = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (240, 228, 66),
    (0, 114, 178),
    (204, 121, 167),
)

# Matrices that simulate vision without red, green or blue cones on linear RGB: Machado, Oliveira
# and Fernandes 2009 (doi:10.1109/TVCG.2009.113), severity 1.
COLOR_BLINDNESS = (
    (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
)


@functools.cache
def palette(count: int):
    """Return colors that color-blind people can distinguish.

    The first seven colors are those of Okabe and Ito. Each further color is the candidate farthest
    from all previous ones in CIELAB, for normal vision and the three kinds of color blindness. A
    shorter palette is the beginning of every longer one.

    Args:
        count: number of colors.

    Returns:
        (count, 3) uint8 RGB, read-only.

    Example:
        >>> import tfseg
        >>> tfseg.viz.palette(2).tolist()
        [[86, 180, 233], [230, 159, 0]]
    """
    steps = np.linspace(30, 255, 8)
    candidates = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    colors = np.concatenate([np.array(OKABE_ITO, float), candidates])
    views = perceived_colors(colors)
    chosen = list(range(min(count, len(OKABE_ITO))))
    nearest = np.min([_distance(views, i) for i in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distance(views, chosen[-1]))
    result = colors[chosen].astype(np.uint8)
    result.setflags(write=False)  # the cached array is shared by all callers
    return result


def perceived_colors(colors):
    """Convert RGB to CIELAB as seen with normal vision and the three kinds of color blindness.

    Args:
        colors: (N, 3) RGB in 0..255.

    Returns:
        (4, N, 3) float32: normal vision, then without red, green and blue cones.
    """
    fraction = np.asarray(colors, np.float32) / 255
    linear = np.where(  # the transfer function of sRGB
        fraction <= 0.04045, fraction / 12.92, ((fraction + 0.055) / 1.055) ** 2.4
    )
    views = [linear] + [np.clip(linear @ np.array(matrix).T, 0, 1) for matrix in COLOR_BLINDNESS]
    return np.stack(
        [cv2.cvtColor(view[None].astype(np.float32), cv2.COLOR_LRGB2Lab)[0] for view in views]
    )


def _distance(views, index):
    """Return the distance of every color to one of them, in the view where it is smallest."""
    return np.linalg.norm(views - views[:, index : index + 1], axis=-1).min(axis=0)


def color_labels(labels, num_classes: int):
    """Paint class ids in the colors of `palette`; ignored pixels are white.

    Args:
        labels: (H, W) or (H, W, 1) class ids.
        num_classes: number of classes.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the labels are not class ids.

    Example:
        >>> import tfseg
        >>> tfseg.viz.color_labels([[1, 255]], num_classes=2).tolist()
        [[[230, 159, 0], [255, 255, 255]]]
    """
    labels = class_ids("color_labels", labels)
    table = np.concatenate([palette(num_classes), np.full((1, 3), 255, np.uint8)])
    painted = np.empty((*labels.shape, 3), np.uint8)
    for rows in row_bands(labels.shape):
        known = _are_classes(labels[rows], num_classes)
        ids = labels[rows].astype(np.int64)  # uint8 cannot contain the row of ignored pixels
        painted[rows] = table[np.where(known, ids, num_classes)]
    return painted


def blend(image, labels, num_classes: int, alpha: float = 0.5):
    """Overlay an image with the colors of its classes; ignored pixels keep their own color.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `as_rgb`.
        labels: (H, W) or (H, W, 1) class ids.
        num_classes: number of classes.
        alpha: opacity of the classes in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the labels are not class ids, or have another size than the image.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((1, 2, 3), 100, np.uint8)
        >>> tfseg.viz.blend(image, [[1, 255]], num_classes=2).tolist()
        [[[165, 129, 50], [100, 100, 100]]]
    """
    image = as_rgb(image)
    labels = class_ids("blend", labels, image.shape[:2])
    colors = palette(num_classes) * alpha
    result = np.array(image)  # `as_rgb` may return the caller's own array
    for rows in row_bands(labels.shape):
        known = _are_classes(labels[rows], num_classes)
        kept = image[rows][known] * (1 - alpha)
        result[rows][known] = (kept + colors[labels[rows][known]]).astype(np.uint8)
    return result


def _are_classes(labels, num_classes):
    return (labels >= 0) & (labels < num_classes)


def without_background(labels, class_names: list[str]):
    """Return class ids with the class "background" replaced by the ignored id.

    `blend` then leaves the background as it is.

    Args:
        labels: (H, W) class ids.
        class_names: names in the order of their ids.

    Returns:
        (H, W) class ids. The ignored id is 255, or 65535 with more than 255 classes.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> tfseg.viz.without_background(np.array([[0, 1]]), ["background", "leaf"]).tolist()
        [[255, 1]]
    """
    background = [i for i, name in enumerate(class_names) if is_background(name)]
    if not background:
        return labels
    ignored = ignore_index_for(len(class_names))
    dtype = np.result_type(labels, np.min_scalar_type(ignored))
    return np.where(np.isin(labels, background), ignored, labels.astype(dtype))
