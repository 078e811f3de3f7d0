"""Build a model by its name."""

import inspect

import keras

from tfseg import checks, models


def list_models() -> list[str]:
    """Return the names that `build` accepts, sorted.

    Example:
        >>> import tfseg
        >>> "deeplab_v3_plus" in tfseg.models.list_models()
        True
    """
    return sorted(models.MODELS)


def build(name: str, num_classes: int, **options) -> keras.Model:
    """Build a segmentation model by its name.

    Args:
        name: one of `list_models()`.
        num_classes: number of output channels; 1 for a single sigmoid.
        **options: arguments of that model's function, such as `encoder`, `input_shape`, `weights`
            and `normalization`.

    Returns:
        keras.Model: (B, H, W, C) images in 0..255 -> (B, H, W, num_classes) float32 logits.

    Raises:
        ValueError: the name is unknown, or the model does not take one of the options.

    Example:
        >>> import tfseg
        >>> tfseg.models.build("tiny_unet", 3, filters=4).output_shape
        (None, None, None, 3)
    """
    checks.one_of("build", "name", name, list_models())
    builder = models.MODELS[name]
    accepted = [
        option for option in inspect.signature(builder).parameters if option != "num_classes"
    ]
    for option in options:
        checks.one_of(name, "option", option, accepted)
    return builder(num_classes, **options)
