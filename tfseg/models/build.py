"""Build a model by its name."""

import inspect

import keras

from tfseg import checks, models
from tfseg.models.encoders import ENCODERS, check_weights
from tfseg.models.unet import check_filters as check_unet_filters
from tfseg.models.unet import require_encoder
from tfseg.models.unetpp import check_filters as check_unetpp_filters


def _check_tiny_unet_filters(filters, encoder):
    checks.positive_int("tiny_unet", "filters", filters)


# functions of `filters` and `encoder`, for the models that take `filters`
CHECK_FILTERS = {
    "unet": check_unet_filters,
    "unetpp": check_unetpp_filters,
    "tiny_unet": _check_tiny_unet_filters,
}


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
        Compile it with a loss of `tfseg.losses`, or a Keras loss with from_logits=True. Keras'
        losses by name, such as "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: the name is unknown, or the model does not take one of the options.

    Example:
        >>> import tfseg
        >>> tfseg.models.build("tiny_unet", 3, filters=4).output_shape
        (None, None, None, 3)
    """
    checks.one_of("build", "name", name, list_models())
    check_options(name, options)
    return models.MODELS[name](num_classes, **options)


def check_options(name: str, options: dict) -> None:
    """Check names of options, `filters` and `weights`; builds nothing and loads nothing.

    Args:
        name: one of `list_models()`.
        options: arguments of that model's function, except `num_classes`.

    Raises:
        ValueError: the model does not take one of the options, or they contradict each other.
    """
    parameters = dict(inspect.signature(models.MODELS[name]).parameters)
    del parameters["num_classes"]
    for option in options:
        checks.one_of(name, "option", option, list(parameters))
    filters, encoder, weights = options.get("filters"), None, options.get("weights")
    if "encoder" in parameters:
        encoder = options.get("encoder", parameters["encoder"].default)
        require_encoder(name, encoder, weights)
        if encoder in ENCODERS:  # the model's function refuses the others
            check_weights(encoder, weights)
    if filters is not None:
        CHECK_FILTERS[name](filters, encoder)
