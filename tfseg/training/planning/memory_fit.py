"""Crops and batches that fit into the memory."""

import math

from tfseg import models
from tfseg.training.planning.fit_rules import cached_gb
from tfseg.training.planning.training_plan import Decision
from tfseg.training.task_fields import DEFAULT_MODEL
from tfseg.training.training_memory import largest_batch, predict_memory

GB = 1e9
SMALLEST_CROP, STEP = 64, 32  # sides in pixels


def fit_memory(facts, chosen: dict, memory_gb: float, given) -> tuple[Decision, float]:
    """Make batches, then crops, smaller until a training fits into the memory.

    Args:
        facts: `DatasetFacts`.
        chosen: {field: value} of what was decided; not for detectors.
        memory_gb: memory that the training may take, in 10**9 bytes.
        given: names of the fields that must not change.

    Returns:
        (the `Decision` of what changes, predicted peak memory in 10**9 bytes).

    Raises:
        ValueError: a single crop does not fit.
    """
    crop, batch, val_batch = (
        chosen[name] for name in ("augment.size", "batch_size", "val_batch_size")
    )
    needed = _Memory(facts, chosen)
    if "batch_size" in given or needed.gb(crop, batch, val_batch) <= memory_gb:
        return Decision({}, "fits"), needed.gb(crop, batch, val_batch)
    val_batch = 1
    while needed.batch(crop, val_batch, memory_gb, batch) < min(2, batch):
        smaller = tuple(max(SMALLEST_CROP, side - STEP) for side in crop)
        if "augment.size" in given or math.prod(smaller) >= math.prod(crop):
            break
        crop = smaller
    batch = needed.batch(crop, val_batch, memory_gb, batch)
    if not batch:
        raise ValueError(
            f"plan: memory_gb={memory_gb:g} is not enough: a crop of {crop[0]} x {crop[1]} pixels "
            f"takes {needed.gb(crop, 1, 1):.1f} GB. Pass more, or a smaller network, such as "
            "tiny_unet."
        )
    values = {"augment.size": crop, "batch_size": batch, "val_batch_size": val_batch}
    reason = f"what fits into {memory_gb:g} GB"
    return Decision(values, reason).without(given), needed.gb(crop, batch, val_batch)


class _Memory:
    """The predicted memory of a training for its crops and batches."""

    def __init__(self, facts, chosen):
        self._model = _network(facts, chosen)
        window = chosen.get("window") or max(facts.largest_size)
        self._val_size = tuple(min(side, window) for side in facts.largest_size)
        self._options = {
            "optimizer": chosen.get("optimizer", "adam"),
            "average": chosen.get("average") is not None,
        }
        self._cached = cached_gb(facts) if chosen.get("cache") == "memory" else 0

    def gb(self, crop, batch, val_batch):
        """Return the peak memory in 10**9 bytes."""
        sizes = crop, batch, self._val_size, val_batch
        return predict_memory(self._model, *sizes, **self._options) / GB + self._cached

    def batch(self, crop, val_batch, memory_gb, most):
        """Return the largest batch that fits, at most `most`; 0 if none does."""
        left = (memory_gb - self._cached) * GB
        sizes = crop, left, self._val_size, val_batch
        return largest_batch(self._model, *sizes, **self._options, most=most)


def _network(facts, chosen):
    """Build the network of a plan, without loading weights."""
    name = chosen.get("model") or DEFAULT_MODEL
    options = {"input_shape": (None, None, facts.channels)}
    options |= {key: chosen[key] for key in ("encoder", "filters") if chosen.get(key) is not None}
    if name in models.DEFAULT_ENCODERS:
        options["weights"] = None
    count = len(facts.class_names)
    if chosen.get("head") is None:
        return models.build(name, count, **options)
    if chosen["head"] == "star":
        options["grid"] = chosen["grid"]
    return models.instances(count, chosen["head"], name, **options)
