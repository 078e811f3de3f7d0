"""Masks of objects as run-length encodings (RLE) of COCO: dicts of "size" and "counts"."""

import numpy as np

from tfseg import checks
from tfseg.ops import MASK_THRESHOLD, paste_mask


def read_regions(owner: str, rles) -> list[dict]:
    """Return RLEs with compressed counts, as pycocotools needs them.

    Args:
        owner: name for error messages.
        rles: dicts of "size" (height, width) and "counts": a list, text or bytes.

    Raises:
        ValueError: an entry is not an RLE.
    """
    regions = []
    for rle in rles:
        if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
            raise ValueError(
                f'{owner}: got {rle!r} in "rle", expected a dict of "size" and "counts". '
                "`pycocotools.mask.encode` makes one of a mask."
            )
        if not isinstance(rle["counts"], (str, bytes)):
            rle = mask_api().frPyObjects(rle, *rle["size"])
        regions.append(rle)
    return regions


def instance_regions(instances, numbers) -> list[dict]:
    """Return the RLEs of the objects of a label map, in one pass over the pixels.

    Args:
        instances: (H, W) integers; 0 is background.
        numbers: N numbers of objects. An object without pixels has an empty region.
    """
    size = instances.shape
    flat = np.ravel(instances, "F")
    starts = np.flatnonzero(np.diff(flat, prepend=0) != 0)
    ends = np.append(starts[1:], flat.size)
    owners = flat[starts]
    order = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[order], [numbers, np.add(numbers, 1)])
    runs = [order[first:last] for first, last in bounds.T]
    return [_encode(starts[run], ends[run], size) for run in runs]


def pasted_regions(masks, boxes, size) -> list[dict]:
    """Return the RLEs of predicted masks, pasted into their boxes.

    Args:
        masks: (M, 28, 28) probabilities inside the boxes.
        boxes: (M, 4) in pixels.
        size: (height, width) of the image.
    """
    return [_pasted_region(mask, box, size) for mask, box in zip(masks, boxes, strict=True)]


def _pasted_region(mask, box, size):
    crop, top, left = paste_mask(mask, box, *size)
    stride = crop.shape[0] + 1  # a gap before each column ends the last run of the one before
    flat = np.zeros(crop.shape[1] * stride + 1, bool)
    flat[:-1].reshape(-1, stride)[:, 1:] = (crop > MASK_THRESHOLD).T
    starts, ends = np.flatnonzero(flat[1:] > flat[:-1]), np.flatnonzero(flat[1:] < flat[:-1])
    first = left * size[0] + top
    runs = [first + at // stride * size[0] + at % stride for at in (starts, ends)]
    return _encode(*runs, size)


def box_region(box, size) -> dict:
    """Return the RLE of the pixels in a box (4,)."""
    x_min, y_min, x_max, y_max = box
    rectangle = np.array([[x_min, y_min, x_max - x_min, y_max - y_min]], np.float64)
    return mask_api().frPyObjects(rectangle, *size)[0]


def region_areas(regions) -> np.ndarray:
    """Return (N,) float64 numbers of pixels."""
    return np.array(mask_api().area(regions) if regions else [], np.float64)


def region_overlaps(owner: str, regions, others, crowd) -> np.ndarray:
    """Return (D, G) IoU of regions; for a crowd, the fraction of the first region in it.

    Raises:
        ValueError: the regions are of images of different sizes.
    """
    sizes = {tuple(region["size"]) for region in (*regions, *others)}
    if len(sizes) > 1:
        raise ValueError(
            f"{owner}: the masks of one image have the sizes {sorted(sizes)}. Pass ground truth "
            "and detections at the same size."
        )
    return mask_api().iou(regions, others, crowd.astype(np.uint8))


def _encode(starts, ends, size):
    """Return the RLE of runs of pixels, counted down the columns.

    Args:
        starts, ends: (N,) first pixel of each run and the first behind it, ascending.
        size: (height, width).
    """
    if len(starts):  # a run that ends where the next one starts is one run
        is_split = starts[1:] > ends[:-1]
        starts, ends = starts[np.append(True, is_split)], ends[np.append(is_split, True)]
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=size[0] * size[1])
    counts = counts if counts[-1] else counts[:-1]
    return mask_api().frPyObjects({"size": list(size), "counts": counts}, *size)


def mask_api():
    """Return pycocotools.mask.

    Raises:
        ImportError: it is not installed.
    """
    return checks.require_package("pycocotools.mask", "coco")
