"""Loss, batches and the length of a training."""

import math

from tfseg.training.planning.training_plan import Decision
from tfseg.training.pooling import dataset_batch_limit

IMBALANCE = 10  # times the pixels of the rarest class, from which on classes are weighted
BATCH_PIXELS, LARGEST_BATCH, DETECTOR_BATCH = 512 * 1024, 16, 4
FEW_IMAGES = 50  # with fewer, those to validate on say little
PATIENCE = 8  # of 20 rounds
CACHED = 1 / 8  # of the memory, at most
BYTES = {"uint8": 1, "uint16": 2}


def class_weights(facts, chosen, memory_gb) -> Decision:
    """Weight rare classes by the fourth root of median frequency balancing."""
    present = [
        (fraction, name)
        for fraction, name in zip(facts.class_fractions, facts.class_names, strict=True)
        if fraction
    ]
    if len(present) < 2 or max(present)[0] <= IMBALANCE * min(present)[0]:
        reason = f"no class has more than {IMBALANCE} times the pixels of another one"
        return Decision({"class_weights": None}, reason)
    rarest = min(present)
    weights = tuple(round(weight**0.25, 3) for weight in facts.class_weights)
    reason = f"{rarest[1]} has {rarest[0]:.2%} of the pixels; fourth root of median frequencies"
    return Decision({"class_weights": weights}, reason)


def loss(facts, chosen, memory_gb) -> Decision:
    """Use cross entropy and Dice."""
    values = {"loss": {"CrossEntropy": 1.0, "Dice": 1.0}}
    return Decision(values, "pixels and the overlap of each class")


def batch(facts, chosen, memory_gb) -> Decision:
    """Take half a million pixels per step."""
    height, width = chosen["augment.size"]
    pixels = facts.images * facts.median_size[0] * facts.median_size[1]
    count = min(round(BATCH_PIXELS / (height * width)), LARGEST_BATCH)
    count = min(max(2, count), dataset_batch_limit(pixels, (height, width)), facts.images)
    fraction = count * height * width / pixels
    # so that a validation step has at most the pixels of a training step
    val_count = max(1, count * height * width // math.prod(facts.largest_size))
    values = {"batch_size": count, "val_batch_size": val_count}
    return Decision(values, f"a step shows {fraction:.1%} of the pixels of all images")


def folds(facts, chosen, memory_gb) -> Decision:
    """Split once; with few images, mention that folds score all of them."""
    if facts.images < FEW_IMAGES:
        reason = (
            f"{facts.images} images are few: --folds 5 would take longer and score each of them"
        )
    else:
        reason = "one part of the images is enough to validate on"
    return Decision({"folds": None}, reason)


def detector_batch(facts, chosen, memory_gb) -> Decision:
    """Take a few images per step: a detector looks at many regions of each."""
    count = min(DETECTOR_BATCH, facts.images)
    return Decision({"batch_size": count}, "many regions are compared in each image")


def optimizer(facts, chosen, memory_gb) -> Decision | None:
    """Use AdamW with a cosine schedule."""
    if "optimizer" in chosen:
        return None
    values = {"optimizer": "adamw", "learning_rate": 2e-3, "schedule": "cosine"}
    return Decision(values, "decays to 0 at the end, whatever the number of steps")


def detector_optimizer(facts, chosen, memory_gb) -> Decision | None:
    """Use AdamW with a lower rate and clipped gradients."""
    if "optimizer" in chosen:
        return None
    values = {"optimizer": "adamw", "learning_rate": 1e-3, "clip_norm": 10}
    return Decision(values, "gradients are clipped: single objects can have large losses")


def patience(facts, chosen, memory_gb) -> Decision | None:
    """Stop when the score has not risen for long."""
    if "minutes" not in chosen:
        return None
    return Decision({"patience": PATIENCE}, "of the 20 rounds that the minutes are divided into")


def cache(facts, chosen, memory_gb) -> Decision | None:
    """Keep decoded images if they take little of the memory."""
    if cached_gb(facts) > CACHED * memory_gb:
        return None
    return Decision({"cache": "memory"}, f"decoded once: {cached_gb(facts):.2g} GB")


def cached_gb(facts) -> float:
    """Return the memory that all decoded images and masks take, in 10**9 bytes."""
    height, width = facts.median_size
    size = BYTES.get(facts.dtype, 4) * facts.channels + 1
    return facts.images * height * width * size / 1e9
