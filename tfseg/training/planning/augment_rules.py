"""How training images are changed at random."""

from tfseg.training.planning.training_plan import Decision

FEW_IMAGES = 8  # with fewer, a difference between halves says little
SAME = 0.05  # difference between the halves of images up to which they count as alike
SIZES = 2.5  # ratio of a large and a small object from which on images are scaled more
BRIGHTNESS, CONTRAST = (0.1, 0.2), (0.2, 0.3)  # lowest and highest
SATURATION, HUE = 0.2, 5


def orientation(facts, chosen, memory_gb) -> Decision:
    """Turn and mirror images as far as their labels do not depend on it."""
    vertical, horizontal = facts.halves
    if facts.images >= FEW_IMAGES and max(vertical, horizontal) <= SAME:
        reason = (
            f"no up and down: labels differ by {vertical:.2f} between top and bottom, by "
            f"{horizontal:.2f} between left and right"
        )
        return Decision({"augment.rotate": 180, "augment.flip": "both"}, reason)
    if facts.images < FEW_IMAGES:
        reason = f"{facts.images} images are too few to see whether up and down matter"
        return Decision({"augment.rotate": 10, "augment.flip": "horizontal"}, reason)
    difference = f"labels differ by {vertical:.2f} between top and bottom"
    if horizontal <= 2 * SAME:
        values = {"augment.rotate": 10, "augment.flip": "horizontal"}
        return Decision(values, f"images are upright: {difference}")
    values = {"augment.rotate": 10, "augment.flip": None}
    return Decision(values, f"{difference}, by {horizontal:.2f} between left and right")


def scale(facts, chosen, memory_gb) -> Decision:
    """Scale images less if all are seen from the same distance."""
    if is_free(chosen) and facts.has_one_size and not _differ_in_size(facts.objects):
        return Decision({"augment.scale": (0.8, 1.25)}, "seen from above, at one distance")
    return Decision({"augment.scale": (0.7, 1.5)}, "things are near and far, or small and large")


def _differ_in_size(objects):
    """Return whether large objects are much larger than small ones."""
    return objects is not None and objects.diameters[-1] > SIZES * objects.diameters[0]


def mirrored_boxes(facts, chosen, memory_gb) -> Decision:
    """Mirror images with boxes, but do not rotate them: the boxes would be loose."""
    decision = orientation(facts, chosen, memory_gb)
    values = {"augment.flip": decision.values["augment.flip"]}
    return Decision(values, f"{decision.reason}; not rotated: boxes would be loose")


def colors(facts, chosen, memory_gb) -> Decision:
    """Change brightness and colors at least as much as the images of the dataset differ."""
    if chosen.get("normalization") == "image":
        values = {"augment.gamma": 0.3}
        return Decision(values, "brightness and contrast of each image are normalized")
    dark, bright = facts.brightness
    flat, rich = facts.contrast
    values = {
        "augment.brightness": _between(BRIGHTNESS, (bright - dark) / 2),
        "augment.contrast": _between(CONTRAST, (rich / flat) ** 0.5 - 1 if flat > 0 else 0),
    }
    if facts.channels == 3:
        values |= {"augment.saturation": SATURATION, "augment.hue": HUE}
    reason = (
        f"images have a mean of {dark:.0%} to {bright:.0%} of the range, and a std of {flat:.0%} "
        f"to {rich:.0%}"
    )
    return Decision(values, reason)


def microscope(facts, chosen, memory_gb) -> Decision | None:
    """Deform, blur and add noise where there is no up and down, as under a microscope."""
    if not is_free(chosen):
        return None
    values = {"augment.elastic": 4, "augment.blur": 0.7, "augment.noise": 0.01}
    return Decision(values, "tissue, focus and light vary under a microscope")


def is_free(chosen) -> bool:
    """Return whether images are turned by any angle."""
    return chosen.get("augment.rotate", 0) == 180


def _between(limits, value):
    low, high = limits
    return round(min(max(value, low), high), 3)
