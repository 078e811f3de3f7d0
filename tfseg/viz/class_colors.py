"""Colors of classes, and label maps painted in them."""

import functools

import cv2
import numpy as np

from tfseg.checks import BACKGROUND, IGNORE_INDEX

# Okabe and Ito's colors, made to be told apart by color-blind people.
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
def palette(count):
    """Return (count, 3) uint8 RGB colors that color-blind people can tell apart as well.

    The first seven are Okabe and Ito's; each further one is the color farthest from all before it, in CIELAB
    as seen with normal vision and with each of the three kinds of color blindness.
    """
    steps = np.linspace(30, 255, 8)
    candidates = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    colors = np.concatenate([np.array(OKABE_ITO, float), candidates])
    views = seen(colors)
    chosen = list(range(min(count, len(OKABE_ITO))))
    nearest = np.min([_distance(views, i) for i in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distance(views, chosen[-1]))
    result = colors[chosen].astype(np.uint8)
    result.setflags(write=False)  # shared by all callers
    return result


def seen(colors):
    """Return (4, N, 3) CIELAB of (N, 3) RGB 0..255: normal vision, then without red, green, blue cones."""
    share = np.asarray(colors, np.float32) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    views = [linear] + [np.clip(linear @ np.array(matrix).T, 0, 1) for matrix in COLOUR_BLINDNESS]
    return np.stack(
        [cv2.cvtColor(view[None].astype(np.float32), cv2.COLOR_LRGB2Lab)[0] for view in views]
    )


def _distance(views, index):
    """Distance of every color to one of them, in the view where it is smallest."""
    return np.linalg.norm(views - views[:, index : index + 1], axis=-1).min(axis=0)


def color_labels(labels, count):
    """Return (H, W, 3) uint8 colors of (H, W) class ids; ignored pixels are white."""
    table = np.full((256, 3), 255, np.uint8)
    table[:count] = palette(count)
    return table[np.asarray(labels)]


def blend(image, labels, count, alpha=0.5):
    """Return (H, W, 3) uint8: the image with its classes laid over it; ignored pixels stay bare.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), 0..255 or any other range, which is then stretched.
        labels: (H, W) class ids.
        count: number of classes.
        alpha: 0 shows the image only, 1 the classes only.
    """
    labels = np.asarray(labels)
    image = as_rgb(image)
    colors = color_labels(labels, count)
    mixed = (image * (1 - alpha) + colors * alpha).astype(np.uint8)
    return np.where((labels < count)[..., None], mixed, image)


def without_background(labels, class_names):
    """Return class ids of which the background, the class of that name, is ignored: in `blend` it stays bare."""
    if BACKGROUND not in class_names:
        return labels
    return np.where(labels == class_names.index(BACKGROUND), IGNORE_INDEX, labels)


def as_rgb(image):
    """Return (H, W, 3) uint8 of an image of any range and 1, 3 or more channels (the first three)."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    image = np.repeat(image[..., :1], 3, axis=-1) if image.shape[-1] < 3 else image[..., :3]
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255 or high <= 1:
        image = (image - low) * (255 / max(high - low, 1e-9))
    return image.astype(np.uint8)
