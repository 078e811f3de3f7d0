"""Ground truth and detections of a batch, as the objects of each image without padding."""

from typing import NamedTuple

import numpy as np

from tfseg.metrics.greedy_matching import box_areas, rank_within
from tfseg.metrics.object_regions import (
    box_region,
    instance_regions,
    pasted_regions,
    read_regions,
    region_areas,
)


class Targets(NamedTuple):
    """The objects of an image."""

    classes: np.ndarray
    """(G,) int64 in [0, num_classes)."""
    boxes: np.ndarray
    """(G, 4) float64."""
    areas: np.ndarray
    """(G,) float64, in pixels."""
    crowd: np.ndarray
    """(G,) bool."""
    regions: list | None
    """G masks as RLE; None if boxes are compared."""


class Detections(NamedTuple):
    """The detections of an image, in descending order of score."""

    classes: np.ndarray
    """(D,) int64 in [0, num_classes)."""
    scores: np.ndarray
    """(D,) float64."""
    boxes: np.ndarray
    """(D, 4) float64."""
    areas: np.ndarray
    """(D,) float64, in pixels."""
    regions: list | None
    """D masks as RLE; None if boxes are compared."""


class BatchReader:
    """Reads the labels and detections of one image or a batch.

    Args:
        owner: name for error messages.
        num_classes: number of object classes.
        with_masks: whether masks are compared, not boxes.
        max_detections: per image and class; those of the highest scores are kept. None for all.
    """

    def __init__(
        self,
        owner: str,
        num_classes: int,
        with_masks: bool = False,
        max_detections: int | None = None,
    ):
        self._owner = owner
        self._num_classes = num_classes
        self._with_masks = with_masks
        self._max_detections = max_detections

    def read(self, labels: dict, detections: dict) -> list[tuple[Targets, Detections]]:
        """Return the objects and the detections of each image.

        Raises:
            ValueError: see `CocoAP.update_state`.
        """
        labels = self._images("labels", labels, ("boxes", "classes"), ("crowd", "areas"))
        detections = self._images("detections", detections, ("boxes", "classes", "scores"))
        if len(labels) != len(detections):
            raise ValueError(
                f"{self._owner}: got labels of {len(labels)} images and detections of "
                f"{len(detections)}, expected one of each per image."
            )
        pairs = zip(labels, detections, strict=True)
        return [(self._targets(image), self._detections(found, image)) for image, found in pairs]

    def _images(self, name, batch, required, optional=()):
        """Return a dict of arrays per image, from a batch or a single image."""
        missing = [key for key in required if batch.get(key) is None]
        if missing:
            raise ValueError(
                f"{self._owner}: {name} have {sorted(batch)}, but no {missing[0]!r}. Expected at "
                f"least {', '.join(required)}."
            )
        wanted = (*required, *optional, "instances", *(["masks"] if self._with_masks else ()))
        columns = {key: np.asarray(batch[key]) for key in wanted if batch.get(key) is not None}
        if batch.get("rle") is not None:
            columns["rle"] = batch["rle"]
        rank = columns["boxes"].ndim
        is_consistent = all(columns[key].ndim == rank - 1 for key in required[1:])
        if rank not in (2, 3) or columns["boxes"].shape[-1] != 4 or not is_consistent:
            shapes = ", ".join(f"{key} {columns[key].shape}" for key in required)
            raise ValueError(
                f"{self._owner}: {name} have the shapes {shapes}; expected boxes (N, 4) of one "
                "image or (B, N, 4) of a batch, and one entry per box in all others."
            )
        if rank == 2:
            return [columns]
        return [
            {key: column[index] for key, column in columns.items()}
            for index in range(len(columns["boxes"]))
        ]

    def _targets(self, image):
        rows = self._rows("labels", image)
        boxes = image["boxes"][rows].astype(np.float64)
        crowd = image["crowd"][rows] if "crowd" in image else np.zeros(len(rows), bool)
        crowd = crowd.astype(bool)
        regions = None
        if self._with_masks:
            regions = self._target_regions(image, rows, boxes, crowd)
        areas = self._target_areas(image, rows, boxes, regions)
        return Targets(image["classes"][rows].astype(np.int64), boxes, areas, crowd, regions)

    def _rows(self, name, image):
        """Return the rows that are not padding; raise a ValueError if they are not valid."""
        classes, boxes = image["classes"], image["boxes"]
        if (
            not (np.rint(classes) == classes).all()
            or not ((classes >= -1) & (classes < self._num_classes)).all()
        ):
            raise ValueError(
                f"{self._owner}: the classes of {name} are {np.unique(classes).tolist()}, expected "
                f"whole numbers from 0 to {self._num_classes - 1}, and -1 for padding."
            )
        rows = np.flatnonzero(classes >= 0)
        if not np.isfinite(boxes[rows]).all():
            raise ValueError(
                f"{self._owner}: boxes of {name} are NaN or infinite. Is the loss of the model "
                "still finite?"
            )
        return rows

    def _target_regions(self, image, rows, boxes, crowd):
        if "rle" in image:
            regions = self._given_regions(image, rows)
        elif "instances" in image:
            regions = instance_regions(image["instances"], rows + 1)
        else:
            raise ValueError(
                f'{self._owner}: kind="masks" needs the masks of the objects; labels have '
                f'{sorted(image)}. Pass "rle", one RLE per box, or "instances" (H, W).'
            )
        # Readers may know of a crowd only its box.
        for index in np.flatnonzero(crowd & (region_areas(regions) == 0)):
            regions[index] = box_region(boxes[index], regions[index]["size"])
        return regions

    def _given_regions(self, image, rows):
        rles = image["rle"]
        if len(rles) <= rows.max(initial=-1):
            raise ValueError(
                f'{self._owner}: {len(rles)} masks in "rle" for {rows.max() + 1} objects. Pass one '
                "per box."
            )
        return read_regions(self._owner, [rles[row] for row in rows])

    def _target_areas(self, image, rows, boxes, regions):
        """Return the areas as annotated, else of the masks, else of the boxes."""
        if "areas" in image:
            return image["areas"][rows].astype(np.float64)
        if regions is not None:
            return region_areas(regions)
        if "rle" in image:
            return region_areas(self._given_regions(image, rows))
        if "instances" in image:
            pixels = np.bincount(image["instances"].ravel(), minlength=len(image["classes"]) + 1)
            return pixels[rows + 1].astype(np.float64)
        return box_areas(boxes)

    def _detections(self, image, labels):
        rows = self._rows("detections", image)
        classes = image["classes"][rows].astype(np.int64)
        scores = image["scores"][rows].astype(np.float64)
        if np.isnan(scores).any():
            raise ValueError(
                f"{self._owner}: scores are NaN. Is the loss of the model still finite?"
            )
        kept = np.argsort(-scores, kind="stable")
        if self._max_detections is not None:
            kept = kept[rank_within(classes[kept]) < self._max_detections]
        boxes = image["boxes"][rows[kept]].astype(np.float64)
        regions, areas = None, box_areas(boxes)
        if self._with_masks:
            regions = self._detected_regions(image, rows[kept], boxes, labels)
            areas = region_areas(regions)
        return Detections(classes[kept], scores[kept], boxes, areas, regions)

    def _detected_regions(self, image, rows, boxes, labels):
        if "rle" in image:
            return self._given_regions(image, rows)
        if "masks" not in image:
            raise ValueError(
                f'{self._owner}: kind="masks" needs the masks of the detections; they have '
                f'{sorted(image)}. Pass "masks" (M, 28, 28) of the model, or "rle".'
            )
        if not len(rows):
            return []
        return pasted_regions(image["masks"][rows], boxes, self._image_size(labels))

    def _image_size(self, labels):
        """Return (height, width) of the image that the detections are in."""
        if "instances" in labels:
            return labels["instances"].shape
        if labels["rle"]:
            return tuple(labels["rle"][0]["size"])
        raise ValueError(
            f"{self._owner}: an image without objects has detections, and its size is unknown. "
            'Pass "instances" (H, W) with the labels, all 0.'
        )
