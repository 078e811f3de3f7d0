"""Average precision of detected objects as COCO defines it."""

import numpy as np

from tfseg import checks
from tfseg.metrics.coco_curves import IOU_THRESHOLDS, RECALLS, Curves, class_curves
from tfseg.metrics.coco_records import ImageRecord, split_by_class
from tfseg.metrics.detection_inputs import BatchReader
from tfseg.metrics.object_regions import mask_api

KINDS = ("boxes", "masks")
FEW, SOME = 1, 10  # detections per image and class of "ar1" and "ar10"
SIZES = ("", "_small", "_medium", "_large")  # in the order of AREA_RANGES


class CocoAP:
    """COCO's average precision (AP) and average recall (AR) of boxes or masks.

    The scores of pycocotools (https://cocodataset.org/#detection-eval), computed on the host in
    NumPy. Detections are ranked by score over the whole dataset: AP is the area under the curve of
    precision by recall, at 101 recalls, averaged over the IoU thresholds 0.5, 0.55, ..., 0.95 and
    over the classes. In contrast, `tfseg.metrics.average_precision` counts the objects of label
    maps without scores and classes, TP / (TP + FP + FN): its numbers cannot be compared with these.

    Objects are small up to 32 x 32 pixels, medium up to 96 x 96, and large. Their area is the
    annotated one ("areas"), otherwise that of the mask, otherwise that of the box. COCO annotates
    the area of the mask, so boxes without areas can fall into another size than in COCO.

    A crowd is a region with several objects: detections that lie in it are not counted as wrong.

    Args:
        num_classes: number of object classes, without background.
        kind: "boxes" or "masks": what is compared. Masks need pycocotools (extra `coco`).
        max_detections: detections that count per image and class, above 10. Raise it for images
            with more than 100 objects of a class.

    Raises:
        ValueError: an argument is not as above.
        ImportError: `kind` is "masks" and pycocotools is not installed.

    Example:
        >>> import numpy as np, tfseg
        >>> boxes = np.array([[0, 0, 8, 8], [9, 9, 12, 12]])
        >>> labels = {"boxes": boxes, "classes": np.array([0, 0])}
        >>> detections = {"boxes": np.array([[0, 0, 8, 7]]), "classes": np.array([0]),
        ...               "scores": np.array([0.9])}
        >>> metric = tfseg.metrics.CocoAP(num_classes=1)
        >>> metric.update_state(labels, detections)
        >>> round(metric.result()["ap50"], 3), metric.result()["ar100"]  # IoU 7/8, one of two
        (0.505, 0.4)
    """

    def __init__(self, num_classes: int, kind: str = "boxes", max_detections: int = 100):
        self.num_classes = checks.positive_int("CocoAP", "num_classes", num_classes)
        self.kind = checks.one_of("CocoAP", "kind", kind, KINDS)
        self.max_detections = checks.positive_int("CocoAP", "max_detections", max_detections)
        if self.max_detections <= SOME:
            raise ValueError(
                f"CocoAP: max_detections={max_detections!r} must be above {SOME}, the limit of "
                '"ar10".'
            )
        if self.kind == "masks":
            mask_api()  # not after an epoch of training
        self._reader = BatchReader(
            "CocoAP", self.num_classes, self.kind == "masks", self.max_detections
        )
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all images."""
        self._images = []
        self._cached_curves = None

    def update_state(self, labels: dict, detections: dict) -> None:
        """Add one image, or a batch.

        Args:
            labels: dict of "boxes" (N, 4) as x_min, y_min, x_max, y_max in pixels; "classes" (N,)
                from 0, -1 for padding; and, if known, "crowd" (N,) bool and "areas" (N,) in pixels.
                For masks also "rle", one RLE of COCO per object, or "instances" (H, W) with k on
                the pixels of the k-th box. RLE is exact where objects overlap, and for crowds
                (`reader.object_rle(index)`); a crowd without pixels is taken as its whole box.
            detections: dict of "boxes" (M, 4), "scores" (M,) and "classes" (M,), -1 for padding.
                For masks also "masks" (M, 28, 28), probabilities inside the box, or "rle". Masks
                are pasted into an image of the size of the labels' masks: pass "instances" too if
                an image can be without objects.
                For a batch, all of both have one more axis in front: arrays (B, N, ...), and "rle"
                is a list of B lists.

        Raises:
            ValueError: an entry is missing or of another shape, a class is unknown, boxes or scores
                are not finite, or the sizes of masks differ.
        """
        for targets, detected in self._reader.read(labels, detections):
            self._images.append(ImageRecord.of(targets, detected, IOU_THRESHOLDS[0]))
        self._cached_curves = None

    def result(self) -> dict[str, float]:
        """Return the scores over all images, as floats in [0, 1].

        Returns:
            dict of "ap", "ap50" and "ap75" (at IoU 0.5 and 0.75), "ap_small", "ap_medium",
            "ap_large"; the average recall "ar1", "ar10" and "ar100" with up to 1, 10 and
            `max_detections` detections per image and class (with 300 it is called "ar300"), and
            "ar_small", "ar_medium", "ar_large". Classes without objects are left out of the means.
            NaN if no class has any, where pycocotools has -1.
        """
        return {name: _mean_defined(values) for name, values in self.per_class().items()}

    def per_class(self) -> dict[str, np.ndarray]:
        """Return the scores of each class.

        Returns:
            dict with the keys of `result`; (num_classes,) float64, NaN for classes without objects.
        """
        precision = np.stack([curves.precision for curves in self._curves()])  # (C, A, T, R)
        recall = np.stack([curves.recall for curves in self._curves()])  # (C, M, A, T)
        half, three_quarters = 0, 5  # positions in IOU_THRESHOLDS
        ap, ar = precision.mean(axis=(2, 3)), recall.mean(axis=3)
        scores = {
            "ap": ap[:, 0],
            "ap50": precision[:, 0, half].mean(axis=1),
            "ap75": precision[:, 0, three_quarters].mean(axis=1),
        }
        scores |= {f"ap{size}": ap[:, area] for area, size in enumerate(SIZES) if size}
        scores |= {f"ar{limit}": ar[:, row, 0] for row, limit in enumerate(self._limits())}
        scores |= {f"ar{size}": ar[:, -1, area] for area, size in enumerate(SIZES) if size}
        return scores

    def precision_recall(self, iou_threshold: float = 0.5) -> dict[str, np.ndarray]:
        """Return the precision-recall curve of each class, for `tfseg.viz.precision_recall`.

        Args:
            iou_threshold: IoU that a match needs: 0.5, 0.55, ... or 0.95.

        Returns:
            dict of float64 arrays: "recall" (101,) from 0 to 1; "precision" (num_classes, 101), the
            highest precision at this recall or above, 0 if it is not reached; "score"
            (num_classes, 101), the score threshold at which it is reached, 0 if it is not; "ap"
            (num_classes,), the mean of the precision. NaN for classes without objects.

        Raises:
            ValueError: the threshold is another.
        """
        (position,) = np.nonzero(np.isclose(IOU_THRESHOLDS, iou_threshold))
        if not position.size:
            raise ValueError(
                f"CocoAP: iou_threshold={iou_threshold!r} must be one of "
                f"{', '.join(f'{value:g}' for value in IOU_THRESHOLDS)}."
            )
        curves = self._curves()
        precision = np.stack([curve.precision[0, position[0]] for curve in curves])
        score = np.stack([curve.scores[0, position[0]] for curve in curves])
        ap = precision.mean(axis=1)
        return {"recall": RECALLS.copy(), "precision": precision, "score": score, "ap": ap}

    def _limits(self):
        return FEW, SOME, self.max_detections

    def _curves(self) -> list[Curves]:
        if self._cached_curves is None:
            records = split_by_class(self._images, self.num_classes)
            self._cached_curves = [class_curves(record, self._limits()) for record in records]
        return self._cached_curves


def _mean_defined(values):
    """Return the mean of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
