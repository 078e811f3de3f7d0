"""Which objects a detector takes for which."""

import numpy as np

from tfseg import checks
from tfseg.metrics.detection_inputs import BatchReader
from tfseg.metrics.greedy_matching import Pairs, box_overlaps, match_greedily


class DetectionConfusion:
    """Confusion table of detections: which objects are found, as which class, and which are not.

    Detections with a score of at least `score_threshold` are matched to objects by their boxes, by
    descending score, each to the free object of the highest IoU, whatever the classes. A detection
    without a match that lies in a crowd of its class is not counted, nor are crowds. So an object
    that is detected twice has one detection in its own row and one in the row of the background.

    Args:
        num_classes: number of object classes, without background.
        iou_threshold: IoU that a match needs, in (0, 1].
        score_threshold: lowest score of the detections that count.

    Raises:
        ValueError: an argument is not as above.

    Example:
        >>> import numpy as np, tfseg
        >>> boxes = np.array([[0, 0, 8, 8], [9, 9, 12, 12]])
        >>> labels = {"boxes": boxes, "classes": np.array([0, 1])}
        >>> detections = {"boxes": np.array([[0, 0, 8, 7]]), "classes": np.array([1]),
        ...               "scores": np.array([0.9])}
        >>> confusion = tfseg.metrics.DetectionConfusion(num_classes=2)
        >>> confusion.update_state(labels, detections)
        >>> confusion.result().tolist()  # class 0 is taken for class 1, class 1 is not found
        [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    """

    def __init__(self, num_classes: int, iou_threshold: float = 0.5, score_threshold: float = 0.5):
        owner = "DetectionConfusion"
        self.num_classes = checks.positive_int(owner, "num_classes", num_classes)
        self.iou_threshold = checks.above_zero(owner, "iou_threshold", iou_threshold)
        if self.iou_threshold > 1:
            raise ValueError(f"{owner}: iou_threshold={iou_threshold!r} must be at most 1.")
        self.score_threshold = checks.at_least(owner, "score_threshold", score_threshold, 0)
        self._reader = BatchReader(owner, self.num_classes)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all images."""
        self._matrix = np.zeros((self.num_classes + 1,) * 2, np.int64)

    def update_state(self, labels: dict, detections: dict) -> None:
        """Add one image, or a batch: see `CocoAP.update_state`.

        Raises:
            ValueError: see `CocoAP.update_state`.
        """
        for targets, detected in self._reader.read(labels, detections):
            count = np.count_nonzero(detected.scores >= self.score_threshold)
            self._add(targets, detected.classes[:count], detected.boxes[:count])

    def result(self) -> np.ndarray:
        """Return the (num_classes + 1, num_classes + 1) int64 table.

        Rows are true classes, columns predicted classes; the last of both is the background: its
        row counts detections without an object, its column objects without a detection.
        """
        return self._matrix.copy()

    def _add(self, targets, classes, boxes):
        iou = box_overlaps(boxes, targets.boxes, targets.crowd)
        can_match = ~targets.crowd | (classes[:, None] == targets.classes)
        threshold = min(self.iou_threshold, 1 - 1e-10)
        detection, target = np.nonzero(can_match & (iou >= threshold))
        pairs = Pairs(detection, target, iou[detection, target])
        image = np.zeros(len(classes), np.int64)
        ignored = targets.crowd[:, None]
        matches = match_greedily(pairs, image, np.array([threshold]), ignored, targets.crowd)[:, 0]
        true = np.append(targets.classes, self.num_classes)[matches]  # -1 is the background
        is_counted = ~np.append(targets.crowd, False)[matches]
        np.add.at(self._matrix, (true[is_counted], classes[is_counted]), 1)
        is_missed = ~targets.crowd
        is_missed[matches[matches >= 0]] = False
        np.add.at(self._matrix, (targets.classes[is_missed], self.num_classes), 1)
