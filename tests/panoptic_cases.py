"""Panoptic predictions to score: changed annotations of COCO64, and small random segments."""

import numpy as np

# The images of COCO64 with crowds, and some others
COCO_IMAGES = (0, 1, 2, 13, 26, 42, 58)
THINGS, STUFF, VOID = [3, 1], [2, 5], 255


def change(labels: dict, number: int, categories: int) -> dict:
    """Return a prediction that differs from the labels of a sample in every way.

    Objects are moved, missing, merged, and of another class; some are invented, also where there is
    a crowd or no label.
    """
    step = 4 * (number % 3) + 2
    instances = np.roll(labels["instances"], (step, -step), (0, 1))
    classes = labels["classes"].copy()
    objects = np.arange(len(classes))
    classes[objects % 6 == 3] = (classes[objects % 6 == 3] + 1) % categories
    table = np.append(0, objects + 1)
    table[5::5] -= 1  # merged with the one before
    table[7::7] = 0  # missing
    instances = table[instances]
    height, width = instances.shape
    for block in range(16):
        top, left = height * (block // 4) // 4, width * (block % 4) // 4
        inside = np.zeros_like(instances, bool)
        inside[top : top + height // 8, left : left + width // 8] = True
        instances[inside & (instances == 0)] = len(classes) + 1
        classes = np.append(classes, block % 2)
    mask = np.roll(labels["mask"], (-step, step), (0, 1))
    return {"instances": instances, "classes": classes.astype(np.int32), "mask": mask}


def draw_labels(rng):
    """Return the labels of 12 x 16 pixels in blocks of 4, with some noise."""
    blocks = rng.integers(0, 5, (3, 4)), rng.choice([1, 2, 3, 5, VOID], (3, 4))
    instances, mask = (np.kron(block, np.ones((4, 4), int)) for block in blocks)
    instances[rng.random((12, 16)) < 0.1] = 0
    classes = rng.integers(0, 2, 4).astype(np.int32)
    inside = instances > 0
    mask[inside] = np.array(THINGS)[classes][instances[inside] - 1]
    return {"instances": instances.astype(np.int32), "classes": classes, "mask": mask}


def disturb(labels, rng):
    """Return labels with a fifth of the pixels of others, and some other classes."""
    other = draw_labels(rng)
    swapped = rng.random((12, 16)) < 0.2
    found = {
        name: np.where(swapped, other[name], labels[name]).astype(labels[name].dtype)
        for name in ("instances", "mask")
    }
    changed = rng.random(4) < 0.2
    return {**found, "classes": np.where(changed, 1 - labels["classes"], labels["classes"])}
