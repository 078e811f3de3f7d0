"""Measurements of the objects of a label map: area, centroid, box, shape, intensity."""

import numpy as np

from tfseg.data.readers.objects import boxes_around, relabel
from tfseg.metrics.overlaps import check_label_map

TABLE_COLUMNS = (
    *("number", "area", "centroid_x", "centroid_y", "x_min", "y_min", "x_max", "y_max"),
    *("eccentricity", "mean_intensity"),
)


def object_table(image, instances) -> dict[str, np.ndarray]:
    """Measure the objects of an image.

    Coordinates are in pixels, from 0 at the left and upper edge of the image to its width and
    height: the centroid of the pixel in row 3 and column 5 is (5.5, 3.5), its box 5, 3, 6, 4.

    Args:
        image: (H, W) or (H, W, C), any numeric dtype.
        instances: (H, W) integers: 0 for no object, any other number in [1, 2**31) for an object.

    Returns:
        dict of (N,) arrays, one entry per object in ascending order of its number: "number";
        "area", its pixels; "centroid_x" and "centroid_y"; "x_min", "y_min", "x_max", "y_max", the
        box around it; "eccentricity" of the ellipse with the same second moments, 0 for a circle
        and 1 for a line; "mean_intensity" of its pixels, over all channels.

    Raises:
        ValueError: the sizes of image and instances differ, or the numbers are out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> instances = np.array([[0, 2, 2], [0, 2, 2]])
        >>> table = tfseg.inference.object_table(100 * instances, instances)
        >>> table["area"].tolist(), table["centroid_x"].tolist(), table["mean_intensity"].tolist()
        ([4], [2.0], [200.0])
    """
    image, instances = np.asarray(image), np.asarray(instances)
    if image.ndim not in (2, 3) or image.shape[:2] != instances.shape:
        raise ValueError(
            f"object_table: image of shape {image.shape} and instances of shape {instances.shape}. "
            "Expected (H, W, C) and (H, W)."
        )
    instances, numbers = relabel(check_label_map("object_table", "instances", instances))
    rows, columns = np.nonzero(instances)
    objects = instances[rows, columns] - 1
    channels = image.reshape(*instances.shape, -1)
    values = channels[rows, columns].astype(np.float64).mean(axis=-1)

    def mean(weights):
        return np.bincount(objects, weights, minlength=len(numbers)) / area

    area = np.bincount(objects, minlength=len(numbers))
    x, y = mean(columns), mean(rows)
    from_x, from_y = columns - x[objects], rows - y[objects]
    boxes = boxes_around(instances).astype(np.int64)
    moments = mean(from_x**2), mean(from_x * from_y), mean(from_y**2)
    return {
        "number": numbers,
        "area": area,
        "centroid_x": x + 0.5,
        "centroid_y": y + 0.5,
        **dict(zip(("x_min", "y_min", "x_max", "y_max"), boxes.T, strict=True)),
        "eccentricity": _eccentricity(*moments),
        "mean_intensity": mean(values),
    }


def _eccentricity(xx, xy, yy):
    """Return the eccentricity of ellipses with these second moments; 0 for a single pixel."""
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    ratio = np.divide(
        middle - spread, middle + spread, out=np.ones(len(xx)), where=middle + spread > 0
    )
    return np.sqrt(1 - np.clip(ratio, 0, 1))
