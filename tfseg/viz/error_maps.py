"""Wrong pixels painted by the kind of error."""

import numpy as np
from matplotlib.patches import Patch

from tfseg.checks import IGNORE_INDEX, is_background
from tfseg.viz.label_maps import class_ids
from tfseg.viz.rgb import as_rgb

# RGB of the kinds of errors, distinguished by color-blind people also from darkened images.
ERROR_COLORS = {
    "missed": (213, 94, 0),
    "false alarm": (86, 180, 233),
    "wrong class": (240, 228, 66),
}
IGNORED_COLOR = (160, 160, 160)  # darkened images are at most 127


def errors(image, mask, prediction, ignore_index: int = IGNORE_INDEX, background: int | None = 0):
    """Return the darkened image with wrong pixels in a color per kind of error.

    Objects that were predicted as background are orange (missed), background that was predicted as
    an object is blue (false alarm), and all other errors are yellow (wrong class). Ignored pixels
    are gray: they are never wrong.

    Args:
        image: (H, W, C) or (H, W), see `as_rgb`.
        mask: (H, W) or (H, W, 1) class ids.
        prediction: class ids like `mask`.
        ignore_index: label in `mask` of the pixels that are ignored.
        background: id of the background. None if there is none: all errors are yellow.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the labels are not class ids, or have another size than the image.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((1, 3), 100, np.uint8)
        >>> tfseg.viz.errors(image, mask=[[0, 1, 0]], prediction=[[0, 0, 1]]).tolist()
        [[[50, 50, 50], [213, 94, 0], [86, 180, 233]]]
    """
    image = as_rgb(image)
    mask = class_ids("errors", mask, image.shape[:2])
    prediction = class_ids("errors", prediction, image.shape[:2])
    ignored = mask == ignore_index
    wrong = (prediction != mask) & ~ignored
    result = image // 2
    result[wrong] = ERROR_COLORS["wrong class"]
    if background is not None:
        result[wrong & (prediction == background)] = ERROR_COLORS["missed"]
        result[wrong & (mask == background)] = ERROR_COLORS["false alarm"]
    result[ignored] = IGNORED_COLOR
    return result


def background_id(class_names: list[str]) -> int | None:
    """Return the id of the class to which no object belongs; None if there is none.

    That is the class named "background", or the first of two classes.
    """
    named = [class_id for class_id, name in enumerate(class_names) if is_background(name)]
    if named:
        return named[0]
    return 0 if len(class_names) == 2 else None


def add_error_legend(figure, class_names: list[str], has_ignored: bool) -> None:
    """Add a legend of the colors of `errors` at the lower right of a figure.

    Args:
        figure: matplotlib Figure.
        class_names: names in the order of their ids, which decide on the kinds of errors.
        has_ignored: whether there are ignored pixels.
    """
    kinds = list(ERROR_COLORS)
    if background_id(class_names) is None:
        kinds = ["wrong class"]
    elif len(class_names) == 2:
        kinds = ["missed", "false alarm"]
    colors = {kind: ERROR_COLORS[kind] for kind in kinds}
    if has_ignored:
        colors["ignored"] = IGNORED_COLOR
    patches = [
        Patch(facecolor=np.divide(color, 255), edgecolor="gray", label=kind)
        for kind, color in colors.items()
    ]
    loc = "outside lower right"
    figure.legend(handles=patches, loc=loc, ncols=2, frameon=False, title="errors")
