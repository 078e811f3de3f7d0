"""Colors of classes, and label maps painted in these colors."""

import functools

import cv2
import numpy as np

from tfseg.checks import BACKGROUND, IGNORE_INDEX

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
        labels: (H, W) class ids.
        num_classes: number of classes.

    Returns:
        (H, W, 3) uint8 RGB.

    Example:
        >>> import tfseg
        >>> tfseg.viz.color_labels([[1, 255]], num_classes=2).tolist()
        [[[230, 159, 0], [255, 255, 255]]]
    """
    table = np.full((256, 3), 255, np.uint8)
    table[:num_classes] = palette(num_classes)
    return table[np.asarray(labels)]


def blend(image, labels, num_classes: int, alpha: float = 0.5):
    """Overlay an image with the colors of its classes; ignored pixels keep their own color.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `as_rgb`.
        labels: (H, W) class ids.
        num_classes: number of classes.
        alpha: opacity of the classes in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((1, 2, 3), 100, np.uint8)
        >>> tfseg.viz.blend(image, [[1, 255]], num_classes=2).tolist()
        [[[165, 129, 50], [100, 100, 100]]]
    """
    labels = np.asarray(labels)
    image = as_rgb(image)
    mixed = (image * (1 - alpha) + color_labels(labels, num_classes) * alpha).astype(np.uint8)
    return np.where((labels < num_classes)[..., None], mixed, image)


def without_background(labels, class_names: list[str]):
    """Return class ids with the class "background" replaced by the ignored id.

    `blend` then leaves the background as it is.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> tfseg.viz.without_background(np.array([[0, 1]]), ["background", "leaf"]).tolist()
        [[255, 1]]
    """
    if BACKGROUND not in class_names:
        return labels
    return np.where(labels == class_names.index(BACKGROUND), IGNORE_INDEX, labels)


def as_rgb(image):
    """Convert an image to uint8 RGB.

    uint8 values are kept. Other values are kept if they are in 0..255 with a maximum above 1;
    otherwise they are scaled linearly so that they span 0..255.

    Args:
        image: (H, W) or (H, W, C). One or two channels: the first is shown in gray. Three or more:
            the first three are red, green and blue.

    Returns:
        (H, W, 3) uint8.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> tfseg.viz.as_rgb(np.array([[0.0, 0.5, 1.0]])).tolist()
        [[[0, 0, 0], [127, 127, 127], [255, 255, 255]]]
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] < 3:
        image = np.repeat(image[..., :1], 3, axis=-1)
    image = image[..., :3]
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255 or high <= 1:
        image = (image - low) * (255 / max(high - low, 1e-9))
    return image.astype(np.uint8)
