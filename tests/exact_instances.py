"""Instance models whose outputs are the channels of their image, and images of exact outputs."""

import keras
import numpy as np
from keras import layers

from tfseg.data import Arrays
from tfseg.models import CropToImage
from tfseg.models.instances import ThingLogits
from tfseg.ops import object_probabilities, star_distances

RAYS, GRID = 8, 2


def select(channels, name):
    """Return a 1 x 1 convolution that selects channels, or a weighted sum for a matrix."""
    kernel = np.asarray(channels, np.float32)[None, None]
    return layers.Conv2D(
        kernel.shape[-1],
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        name=name,
    )


def star_model():
    """Return a star model for images of an object logit and the distances of each pixel."""
    image = keras.Input((None, None, 1 + RAYS))
    eye = np.eye(1 + RAYS)
    x = layers.AveragePooling2D(1, strides=GRID, padding="same")(image)
    logits = CropToImage(GRID, name="object_logits")(select(eye[:, :1], "object")(x), image)
    distances = CropToImage(GRID, name="distances")(select(eye[:, 1:], "rays")(x), image)
    return keras.Model(image, {"object_logits": logits, "distances": distances}, name="exact_star")


def center_model():
    """Return a center model for images of a class, a center logit and the offsets."""
    image = keras.Input((None, None, 4))
    eye = np.eye(4)
    classes = np.array([[-9, 9], [0, 0], [0, 0], [0, 0]])  # the class is -1 or 1
    outputs = {
        "class_logits": ThingLogits((1,), name="class_logits")(
            select(classes, "classes")(image), image
        ),
        "center_logits": CropToImage(name="center_logits")(select(eye[:, 1:2], "c")(image), image),
        "offsets": CropToImage(name="offsets")(select(eye[:, 2:], "offset")(image), image),
    }
    return keras.Model(image, outputs, name="exact_center")


def star_image(labels):
    """Return the image (H, W, 1 + RAYS) for which the star model's outputs are the objects'."""
    probability = object_probabilities(labels[None])[0].clip(1e-4, 1 - 1e-4)
    image = np.zeros((*labels.shape, 1 + RAYS), np.float32)
    image[..., 0] = np.log(probability / (1 - probability))
    image[::GRID, ::GRID, 1:] = star_distances(labels[None], RAYS, GRID)[0]
    return image


def center_image(labels):
    """Return the image (H, W, 4) for which the center model's outputs are the objects'."""
    rows, columns = np.indices(labels.shape)
    sizes = np.maximum(np.bincount(labels.ravel()), 1)
    centers = [np.bincount(labels.ravel(), axis.ravel()) / sizes for axis in (rows, columns)]
    image = np.zeros((*labels.shape, 4), np.float32)
    image[..., 0] = np.where(labels > 0, 1, -1)
    image[..., 1] = -9
    nearest = [np.rint(axis[1:]).astype(int) for axis in centers]
    image[nearest[0], nearest[1], 1] = 3 - np.linspace(0, 1, len(nearest[0]))
    image[..., 2] = np.where(labels > 0, centers[0][labels] - rows, 0)
    image[..., 3] = np.where(labels > 0, centers[1][labels] - columns, 0)
    return image


IMAGES = {"star": star_image, "center": center_image}


def discs(height=64, width=80):
    """Return touching discs, one of them cut by the border, and a single pixel."""
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.int32)
    for number, (row, column, radius) in enumerate(
        [(20, 20, 12), (20, 44, 12), (50, 30, 9), (62, 70, 11), (40, 62, 5)], 1
    ):
        labels[np.hypot(y - row, x - column) < radius] = number
    labels[4, 60] = 6
    return labels


class Exact(Arrays):
    """Samples with one class of objects and the images of an exact model."""

    fields = ("image", "mask", "instances", "classes")

    def __init__(self, images, labels):
        super().__init__(
            images, [(map_ > 0).astype(np.uint8) for map_ in labels], ["background", "disc"]
        )
        self._labels = labels

    def __getitem__(self, index):
        labels = self._labels[index]
        numbered = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        classes = np.zeros(numbered.max(), np.int32)
        return {**super().__getitem__(index), "instances": numbered, "classes": classes}
