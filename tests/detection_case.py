"""Images, objects and samples for comparing our detectors with torchvision, from NumPy alone."""

from dataclasses import dataclass

import numpy as np
from seeded_weights import seeded_image

CLASSES = 3
COUNTS = (3, 2, 0, 4, 1)  # objects of the five images; one has none
MOST_OBJECTS = 8


@dataclass(frozen=True)
class Case:
    """What both libraries build and see.

    Attributes:
        height, width: size of the images; the canvas is the next multiple of 32.
        anchor_sizes: one per level.
        blocks: number of blocks in the four groups of the ResNet.
        pyramid_width: channels of the feature pyramid.
        proposals: numbers of proposals in training and in prediction.
        samples: numbers of anchors and of RoIs that the losses count; there are fewer RoIs, so
            that some are padding.
        detections: largest number of detections.
        gradient_limit: largest difference of a gradient, relative to its norm.
    """

    height: int
    width: int
    anchor_sizes: tuple
    blocks: tuple
    pyramid_width: int
    proposals: tuple
    samples: tuple
    detections: int
    gradient_limit: float


CASES = {
    # for the goldens in the repository
    "small": Case(60, 90, (8, 16, 32, 64, 128), (1, 1, 1, 1), 8, (60, 40), (32, 96), 20, 1e-4),
    # torchvision's networks as they are; boxes belong to three levels of the pyramid. Its gradients
    # of the second version differ by 2e-3 between float32 and float64: of the millions of values
    # in front of a ReLU, some change their sign.
    "full": Case(
        250, 310, (32, 64, 128, 256, 512), (3, 4, 6, 3), 256, (200, 100), (64, 224), 40, 5e-3
    ),
}


def images(case: Case) -> np.ndarray:
    """Five images (5, H, W, 3) uint8."""
    count = len(COUNTS)
    return np.stack([seeded_image(case.height, case.width, seed) for seed in range(count)])


def objects(case: Case) -> list:
    """For each image boxes (N, 4) float32, classes (N,) int32, instances (H, W) int32: ellipses."""
    y, x = np.mgrid[: case.height, : case.width] + 0.5
    scale = np.array([case.width, case.height] * 2)
    found = []
    for seed, count in enumerate(COUNTS):
        random = np.random.RandomState(100 + seed)
        size = random.uniform(0.2, 0.6, (count, 2))
        corner = random.uniform(0, 1, (count, 2)) * (1 - size)
        boxes = (np.concatenate([corner, corner + size], 1) * scale).astype("float32")
        instances = np.zeros((case.height, case.width), "int32")
        for number, (left, top, right, bottom) in enumerate(boxes, start=1):
            across = (2 * x - left - right) / (right - left)
            down = (2 * y - top - bottom) / (bottom - top)
            instances[across**2 + down**2 < 1] = number
        classes = random.randint(0, CLASSES, count).astype("int32")
        found.append({"boxes": boxes, "classes": classes, "instances": instances})
    return found


def anchor_priorities(count: int) -> np.ndarray:
    """Priorities (5, count) float32 in [0, 1): the anchors with the largest are sampled."""
    return _distinct(7, count)


def proposal_priorities(count: int) -> np.ndarray:
    """Priorities (5, count) of proposals."""
    return _distinct(8, count)


def object_priorities() -> np.ndarray:
    """Priorities (5, MOST_OBJECTS) of objects, which are proposals as well in training."""
    return _distinct(9, MOST_OBJECTS) * 0.999


def _distinct(seed, count):
    """Different numbers, so that no order depends on ties."""
    random = np.random.RandomState(seed)
    rows = [random.permutation(count) / count for _ in COUNTS]
    return np.stack(rows).astype("float32")
