"""A sample with objects, for tests of readers."""

import numpy as np


def objects_sample():
    """20 x 30: one object on the left, a wide one, and a single pixel at the lower right."""
    instances = np.zeros((20, 30), np.int32)
    instances[1:5, 0:4], instances[8:10, 9:29], instances[19, 29] = 1, 2, 3
    image = np.arange(600, dtype=np.uint16).reshape(20, 30, 1)
    boxes = np.array([[0, 1, 4, 5], [9, 8, 29, 10], [29, 19, 30, 20]], np.float32)
    mask = np.array([0, 2, 1, 2], np.uint8)[instances]
    return {
        "image": image,
        "mask": mask,
        "instances": instances,
        "boxes": boxes,
        "classes": np.array([2, 1, 2], np.int32),
    }
