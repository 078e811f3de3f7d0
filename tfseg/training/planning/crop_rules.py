"""How large the crops of a training are, and how large a detector sees its images."""

import math

from tfseg.training.planning.training_plan import Decision

MULTIPLE = 32  # stride of the encoders
CROP_PIXELS = 96 * 1024  # 256 x 384
OBJECT_CROPS = (256, 384)  # sides
DIAMETERS_PER_CROP = 4
DETECTOR_PIXELS = 416 * 416


def crop_of_image(facts, chosen, memory_gb) -> Decision:
    """Take as much of the median image as has at most 96K pixels."""
    height, width = facts.median_size
    factor = min(1, math.sqrt(CROP_PIXELS / (height * width)))
    size = (_floor(height * factor), _floor(width * factor))
    fraction = min(1, size[0] * size[1] / (height * width))
    reason = f"{fraction:.0%} of the median image of {height} x {width} pixels"
    return Decision({"augment.size": size}, reason)


def crop_around_objects(facts, chosen, memory_gb) -> Decision:
    """Take squares in which large objects are whole."""
    large = facts.objects.diameters[-1]
    smallest, largest = OBJECT_CROPS
    side = min(max(smallest, _floor(DIAMETERS_PER_CROP * large + MULTIPLE - 1)), largest)
    side = min(side, max(map(_floor, facts.median_size)))
    reason = f"large objects have {large:.0f} pixels, and are whole in most crops"
    return Decision({"augment.size": (side, side)}, reason)


def detector_size(facts, chosen, memory_gb) -> Decision:
    """Scale images to what a detector can take, and train on crops of this size."""
    height, width = facts.median_size
    factor = min(1, math.sqrt(DETECTOR_PIXELS / (height * width)))
    size = (_floor(height * factor), _floor(width * factor))
    scale = min(size[0] / height, size[1] / width)
    values = {
        "size": size,
        "augment.size": size,
        "augment.scale": (round(0.75 * scale, 3), round(1.3 * scale, 3)),
    }
    return Decision(values, f"the median image of {height} x {width} pixels, scaled by {scale:.2g}")


def _floor(side):
    """Return the multiple of 32 that is not above a side, at least 32."""
    return max(MULTIPLE, int(side) // MULTIPLE * MULTIPLE)
