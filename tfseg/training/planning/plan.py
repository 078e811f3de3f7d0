"""`plan`: from a dataset to the `TrainConfig` of a training that suits it."""

from collections.abc import Callable
from pathlib import Path

from tfseg import checks
from tfseg.data import Reader
from tfseg.doctor import Summary, check
from tfseg.models import DETECTORS
from tfseg.training.config import TrainConfig
from tfseg.training.planning.dataset_facts import dataset_facts
from tfseg.training.planning.memory_fit import fit_memory
from tfseg.training.planning.network_rules import head
from tfseg.training.planning.rules import RULES
from tfseg.training.planning.training_plan import Decision, TrainingPlan, assemble
from tfseg.training.task_fields import SEMANTIC

MINUTES, MEMORY_GB = 20.0, 8.0


def plan(
    reader: Reader,
    out: str | Path = "runs/planned",
    minutes: float = MINUTES,
    memory_gb: float = MEMORY_GB,
    track: Callable = lambda samples, total: samples,
) -> TrainConfig:
    """Plan a training on a dataset; `plan_training` also returns the reasons.

    Args:
        reader: a `tfseg.data.Reader` of all images to train and to validate on. With masks the task
            is "semantic"; with objects that have masks "instances", with boxes only "detect".
        out: folder of the run.
        minutes: duration of the training.
        memory_gb: memory that the training may take, in 10**9 bytes.
        track: wraps the iteration over the samples to show progress.

    Returns:
        TrainConfig, for `train(config, *reader.split(config.val_fraction))`.

    Raises:
        ValueError: the samples cannot be trained on, or the memory is too small.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> config = tfseg.training.plan(reader, minutes=5)
        >>> config.minutes, config.augment["size"]
        (5.0, (32, 64))
    """
    return plan_training(reader, minutes, memory_gb, track=track).config(out)


def plan_training(
    reader: Reader,
    minutes: float = MINUTES,
    memory_gb: float = MEMORY_GB,
    given: dict | None = None,
    task: str | None = None,
    track: Callable = lambda samples, total: samples,
    summary: Summary | None = None,
) -> TrainingPlan:
    """Plan a training on a dataset, with the reason of each decision.

    Every sample is read once. The same samples and arguments give the same plan on every machine
    where the same packages with pretrained weights are installed. The rules are in
    `tfseg.training.planning.rules`.

    Args:
        reader, minutes, memory_gb, track: see `plan`.
        given: {field of `TrainConfig`: value} that are decided already; "augment.size" and alike
            for arguments of `Augment`.
        task: "semantic", "detect" or "instances"; None for the one that fits the reader.
        summary: what `tfseg.doctor.check` returned for the reader; None to read it.

    Returns:
        TrainingPlan: print it to see the reasons.

    Raises:
        ValueError: see `plan`.
    """
    checks.above_zero("plan", "minutes", minutes)
    checks.above_zero("plan", "memory_gb", memory_gb)
    given = dict(given or {})
    task = task or _task_of(reader)
    if summary is None:
        summary = check(reader, track, min_samples=1, min_classes=1 if task != SEMANTIC else 2)
    facts = dataset_facts(reader, summary, task)
    decisions = _decide(facts, given, float(minutes), memory_gb)
    memory = None
    if _chosen(given, decisions).get("head") not in DETECTORS:
        fitted, memory = fit_memory(facts, _chosen(given, decisions), memory_gb, given)
        decisions = [made.without(fitted.values) for made in decisions] + [fitted]
    chosen = _chosen(given, decisions)
    return TrainingPlan(
        values=assemble(task, chosen.get("head"), chosen),
        reasons={", ".join(made.values): made.reason for made in decisions if made.values},
        facts=facts.to_json(),
        options={"minutes": float(minutes), "memory_gb": float(memory_gb)},
        memory_gb=None if memory is None else round(memory, 2),
    )


def _decide(facts, given, minutes, memory_gb):
    """Return a list of `Decision`s about what is not given."""
    decisions = [Decision({"task": facts.task}, _describe(facts))]
    if "epochs" not in given:
        decisions.append(Decision({"minutes": minutes}, "the time that you have"))
    if facts.task != SEMANTIC and "head" not in given:
        decisions.append(head(facts))
    for rule in RULES[_chosen(given, decisions).get("head")]:
        decision = rule(facts, _chosen(given, decisions), memory_gb)
        if decision is not None:
            decisions.append(decision.without(given))
    return decisions


def _chosen(given, decisions):
    """Return {field: value} of what is given and decided."""
    decided = {name: value for made in decisions for name, value in made.values.items()}
    return {**decided, **given}


def _task_of(reader):
    if "instances" in reader.fields:
        return "instances"
    return SEMANTIC if "mask" in reader.fields else "detect"


def _describe(facts):
    """Return a phrase about the images and labels."""
    images = f"{facts.images} images"
    if facts.objects is None:
        return f"{images} with masks of {len(facts.class_names)} classes"
    return f"{images} with {facts.objects.per_image:g} objects in the median image"
