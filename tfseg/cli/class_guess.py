"""What `train` and `doctor` say about classes without names."""

from tfseg.cli.console import say, track


def guessed_classes(values: dict) -> dict:
    """Decide the classes of a new run, and say which.

    Args:
        values: {field of `TrainConfig`: value} of the command line, without class names.

    Returns:
        {field: value} that name the classes.
    """
    from tfseg.doctor.guessed_classes import guess_classes

    val = None if values.get("val_images") is None else (values["val_images"], values["val_masks"])
    names = ("ignore_value", "mask_values", "colors", "recursive", "mask_suffix")
    options = {name: values[name] for name in names if name in values}
    guess = guess_classes(
        values["images"], values["masks"], val, **options, track=track("reading masks")
    )
    say(f"{guess} To change them, pass --class-names.")
    fields = {"class_names": guess.names}
    if guess.colors is not None:
        fields["colors"] = guess.colors
    if guess.ignored_color is not None:
        fields["ignore_value"] = guess.ignored_color
    return fields
