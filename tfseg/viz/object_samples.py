"""Figures of images with their objects and what was detected."""

import matplotlib.pyplot as plt

from tfseg.viz.drawn_detections import draw_detections
from tfseg.viz.figures import finish_figure
from tfseg.viz.fonts import families_for


def object_samples(
    samples,
    detections,
    class_names: list[str],
    titles: list[str],
    score_threshold: float = 0.5,
):
    """Plot the objects of images and what was detected side by side, one image per row.

    Args:
        samples: sequence of dicts with "image" (H, W, C), "boxes" and "classes", as readers give
            them.
        detections: sequence of dicts, see `draw_detections`.
        class_names: names of the object classes in the order of their ids, without background.
        titles: one per image.
        score_threshold: lowest score of the detections that are drawn.

    Returns:
        matplotlib Figure.

    Example:
        >>> import numpy as np, tfseg
        >>> sample = {"image": np.zeros((40, 60, 3), np.uint8), "boxes": np.array([[5, 5, 20, 20]]),
        ...           "classes": np.array([0])}
        >>> found = {**sample, "scores": np.array([0.9])}
        >>> figure = tfseg.viz.object_samples([sample], [found], ["cat"], ["a"])
        >>> [axis.get_title() for axis in figure.axes]
        ['a: ground truth', 'detections']
    """
    height, width = samples[0]["image"].shape[:2]
    figure, axes = plt.subplots(
        len(samples),
        2,
        figsize=(12, 6 * len(samples) * height / width + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for row, sample, found, title in zip(axes, samples, detections, titles, strict=True):
        for axis, objects, text in (
            (row[0], sample, f"{title}: ground truth"),
            (row[1], found, "detections"),
        ):
            axis.imshow(draw_detections(sample["image"], objects, class_names, score_threshold))
            axis.set_title(text, fontfamily=families_for([text]))
            axis.set_axis_off()
    return finish_figure(figure)
