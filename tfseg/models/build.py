"""Models by name."""

import inspect

from tfseg import checks


def list_models():
    """Return the names that `build` knows, sorted."""
    return sorted(_models())


def build(name, num_classes, **options):
    """Build a model by its name.

    Args:
        name: one of `list_models()`.
        num_classes: channels of the output; 1 for a single sigmoid.
        **options: those of the builder of that name, e.g. `encoder`, `input_shape`, `weights`, `normalization`.

    Returns:
        keras.Model: (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Raises:
        ValueError: the name is unknown, or the builder has no such option.
    """
    builder = _models()[checks.one_of("build", "name", name, list_models())]
    known = [option for option in inspect.signature(builder).parameters if option != "num_classes"]
    for option in options:
        checks.one_of(name, "option", option, known)
    return builder(num_classes, **options)


def _models():
    from tfseg.models import MODELS  # the registry lives beside what it registers

    return MODELS
