"""A planned training: what was decided, why, and the `TrainConfig` of it."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import tfseg
from tfseg.files import atomic_write
from tfseg.training.config import TrainConfig
from tfseg.training.task_fields import task_defaults

SCHEMA = 1
AUGMENT = "augment."  # in front of the names of the arguments of `Augment`
CONFIG_FIELDS = [field.name for field in fields(TrainConfig) if field.name != "out"]


@dataclass(frozen=True)
class Decision:
    """Some fields of a `TrainConfig`, and why they have their values.

    Attributes:
        values: {field: value}; "augment.scale" is the argument `scale` of `Augment`.
        reason: a sentence without a full stop.
    """

    values: dict
    reason: str

    def without(self, names) -> "Decision":
        """Return the decision without some of its fields."""
        kept = {name: value for name, value in self.values.items() if name not in names}
        return Decision(kept, self.reason)


@dataclass(frozen=True)
class TrainingPlan:
    """A planned training; `plan_training` makes it, and `plan.json` contains it.

    Attributes:
        values: {field of `TrainConfig`: value}, without `out`.
        reasons: {fields, separated by commas: why they have their values}.
        facts: what was found in the data, as plain values.
        options: what the plan was asked for: "minutes" and "memory_gb".
        memory_gb: predicted peak memory of the training; None if it is unknown.
    """

    values: dict
    reasons: dict
    facts: dict
    options: dict
    memory_gb: float | None = None

    def config(self, out: str | Path, **changes) -> TrainConfig:
        """Return the `TrainConfig` of the plan.

        Args:
            out: folder of the run.
            changes: fields to replace.

        Raises:
            ValueError: the plan was edited, and a value is unknown, out of range, or contradicts
                another one.
        """
        unknown = sorted({*self.values, *changes} - set(CONFIG_FIELDS))
        if unknown:
            raise ValueError(
                f"TrainingPlan: {', '.join(unknown)} are not fields of a TrainConfig. Correct the "
                f"names; there are {', '.join(CONFIG_FIELDS)}."
            )
        return TrainConfig(out=str(out), **{**self.values, **changes})

    def changed(self, changes: dict) -> "TrainingPlan":
        """Return the plan with other values.

        Args:
            changes: {field: value}; "augment.size" and alike for arguments of `Augment`.
        """
        if not changes:
            return self
        values = dict(self.values)
        if "epochs" in changes:
            values.pop("minutes", None)
        values |= {name: value for name, value in changes.items() if not _is_augment(name)}
        augment = {_argument(name): changes[name] for name in changes if _is_augment(name)}
        values["augment"] = {**values["augment"], **augment}
        reasons = {}
        for names, reason in self.reasons.items():
            kept = [name for name in names.split(", ") if name not in changes]
            if kept:
                reasons[", ".join(kept)] = reason
        reasons[", ".join(changes)] = "as given"
        return replace(self, values=values, reasons=reasons)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (fields, values, reason) of each decision, as texts."""
        found = []
        for names, reason in self.reasons.items():
            values = [_text(self._value(name)) for name in names.split(", ")]
            short = names.replace("augment.size", "crop").replace(AUGMENT, "")
            found.append((short, ", ".join(values), reason))
        if self.memory_gb is not None:
            limit = self.options["memory_gb"]
            found.append(("memory", f"{self.memory_gb:.1f} GB", f"predicted, of {limit:g} GB"))
        return found

    def _value(self, name):
        if _is_augment(name):
            return self.values["augment"].get(_argument(name))
        return self.values.get(name)

    def __str__(self):
        return "\n".join(f"{names}: {value} ({reason})" for names, value, reason in self.rows())

    def to_json(self) -> str:
        """Return the plan as JSON; the same plan gives the same bytes."""
        values = {"schema": SCHEMA, "tfseg": tfseg.__version__, **asdict(self)}
        # the fields to edit come first, the facts last
        order = ("schema", "tfseg", "options", "memory_gb", "values", "reasons", "facts")
        return json.dumps({name: values[name] for name in order}, indent=1) + "\n"

    def save(self, file: str | Path) -> None:
        """Write the plan to a JSON file."""
        with atomic_write(Path(file)) as path:
            path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, file: str | Path) -> "TrainingPlan":
        """Read a plan that `save` wrote, and that may have been edited since.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a plan, or has another schema.
        """
        if not Path(file).is_file():
            raise FileNotFoundError(f"There is no plan '{file}'. Make one with `tfseg plan`.")
        try:
            values = json.loads(Path(file).read_text(encoding="utf-8"))
            if values["schema"] != SCHEMA:
                raise ValueError(f"its schema is {values['schema']}, expected {SCHEMA}")
            names = [field.name for field in fields(cls)]
            return cls(**{name: values[name] for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"'{file}' is not a plan of `tfseg plan` ({type(error).__name__}: {error}). "
                "Correct it, or make it again."
            ) from error


def assemble(task: str, head: str | None, decided: dict) -> dict:
    """Return {field of `TrainConfig`: value} of decisions, with all arguments of `Augment`.

    Args:
        task, head: see `TrainConfig`.
        decided: {field: value}, with names such as "augment.scale".
    """
    augment = task_defaults(task, head)["augment"]
    augment |= {_argument(name): decided[name] for name in decided if _is_augment(name)}
    values = {name: value for name, value in decided.items() if not _is_augment(name)}
    return {**values, "augment": augment}


def _is_augment(name):
    return name.startswith(AUGMENT)


def _argument(name):
    """Return "scale" for "augment.scale"."""
    return name.removeprefix(AUGMENT)


def _text(value):
    """Return a value of a field in a few characters."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return " + ".join(map(str, value))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_text, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)
