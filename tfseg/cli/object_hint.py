"""The hint of `tfseg evaluate` that objects can be separated."""

import numpy as np

from tfseg.cli.console import say

LOOKED_AT = 50  # images
MANY = 5  # separate regions in the median image, from which on they are probably objects


def say_if_objects(reader) -> None:
    """Point to `--task instances` if masks of two classes show many separate regions.

    Args:
        reader: reader of masks.
    """
    from tfseg.classical import connected_components

    if len(reader.label_names) != 2:
        return
    counts = [
        connected_components(reader[index]["mask"] == 1).max()
        for index in range(min(LOOKED_AT, len(reader)))
    ]
    count = float(np.median(counts))
    if count >= MANY:
        say(
            f"The median image has {count:g} separate regions of {reader.label_names[1]}. These "
            "scores rate pixels; to separate and count objects, number them in the masks and train "
            "with --task instances."
        )
