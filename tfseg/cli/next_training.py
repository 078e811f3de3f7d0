"""The `tfseg train` command that `tfseg doctor` ends with."""

from tfseg.cli.class_guess import guessed_classes
from tfseg.cli.console import say, say_commands

MINUTES = 20
OPTIONS = (  # of `doctor` that `train` has, too
    *("class_names", "ignore_value", "mask_values", "colors", "recursive", "mask_suffix"),
    *("val_images", "val_masks"),
)


def say_training(folders, params: dict, given: list, mask_values: dict | None) -> None:
    """Print the command that trains on masks of classes, or the option that it lacks.

    Args:
        folders: of images and of masks.
        params: {parameter of `doctor`: value}.
        given: names of the parameters on the command line.
        mask_values: {value in the masks: class id}, or None.
    """
    images, masks = folders
    if params["class_names"] is None:
        values = {**params, "images": images, "masks": masks, "mask_values": mask_values}
        try:
            guessed_classes(values)
        except ValueError as error:
            say(str(error))
            return
    words = ["tfseg", "train", "--images", images, "--masks", masks]
    for name in OPTIONS:
        if name in given and params[name] is not False:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if params[name] is True else [params[name]]
    say_commands([*words, "--minutes", MINUTES, "--out", "runs/first"])
