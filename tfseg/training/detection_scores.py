"""The average precision of a detector on a validation set, after every epoch."""

import keras
import numpy as np

from tfseg.metrics import CocoAP
from tfseg.models import is_detector, with_thresholds
from tfseg.training.averages import AveragedWeights
from tfseg.training.non_finite import has_finite_weights

SCORES = ("ap", "ap50")


class DetectionScores(keras.callbacks.Callback):
    """Adds the COCO average precision of a detector to the logs after every epoch.

    The logs get "val_ap" (mean over IoU 0.5 to 0.95) and "val_ap50" of the boxes, and for models
    with masks "val_mask_ap" and "val_mask_ap50"; see `tfseg.metrics.CocoAP`. The whole images are
    predicted, one at a time. With averaged weights (`compile_for(average=)`) the averages predict.
    `model.class_scores` gets the same scores per class, for `TensorBoard`.

    In the list of callbacks it comes before those that read the logs, such as `Run.callbacks`.

    Args:
        reader: a `tfseg.data.Reader` with "boxes" and "classes", and "instances" for models with
            masks.

    Raises:
        ValueError: the reader has no objects; when the training begins, the model is not a
            detector or has another number of classes.

    Example:
        >>> import tfseg
        >>> _, val = tfseg.datasets.bccd("data/bccd")  # doctest: +SKIP
        >>> scores = tfseg.training.DetectionScores(val)  # doctest: +SKIP
        >>> run = tfseg.training.Run("runs/cells")  # doctest: +SKIP
        >>> callbacks = [scores, *run.callbacks(monitor="val_ap")]  # doctest: +SKIP
    """

    def __init__(self, reader):
        super().__init__()
        if not {"boxes", "classes"} <= set(reader.fields):
            raise ValueError(
                f"DetectionScores: the reader provides {', '.join(reader.fields)}; expected boxes "
                "and classes. Use a reader with objects."
            )
        self._reader = reader
        self._predictor, self._metrics = None, {}

    def set_model(self, model):
        """Take the detector to score."""
        super().set_model(model)
        classes = len(self._reader.object_names)
        if not is_detector(model) or model.num_classes != classes:
            found = f"{model.num_classes} classes" if is_detector(model) else "no boxes"
            raise ValueError(
                f"DetectionScores: the model {model.name!r} predicts {found}, but the reader has "
                f"{classes}: {', '.join(self._reader.object_names)}."
            )
        # now, so that a missing package is reported before the training
        self._metrics = {"val_": CocoAP(classes)}
        if model.has_masks:
            self._metrics["val_mask_"] = CocoAP(classes, kind="masks")
        self._predictor = model
        if model.jit_compile:  # XLA would compile anew for each size of images
            self._predictor = with_thresholds(model)  # with the same thresholds and weights
            self._predictor.jit_compile = False

    def on_epoch_end(self, epoch, logs=None):
        self.model.class_scores = None
        if not has_finite_weights(self.model):
            return  # there is nothing to score; `Run.callbacks` stop the training
        with AveragedWeights(self.model):
            scores = self._scores()
        if logs is not None:
            logs.update(scores)

    def _scores(self):
        for metric in self._metrics.values():
            metric.reset_state()
        for index in range(len(self._reader)):
            labels = dict(self._reader[index])
            if self.model.has_masks and self._reader.has_exact_rle:
                labels["rle"] = self._reader.object_rle(index)
            batch = self._predictor.predict_on_batch(labels["image"][None].astype(np.float32))
            detections = {name: value[0] for name, value in batch.items()}
            for metric in self._metrics.values():
                metric.update_state(labels, detections)
        scores, class_scores = {}, {}
        for prefix, metric in self._metrics.items():
            result, per_class = metric.result(), metric.per_class()
            for name in SCORES:
                scores[f"{prefix}{name}"] = float(result[name])
                class_scores[f"{prefix}{name}".removeprefix("val_")] = per_class[name]
        self.model.class_scores = class_scores
        return scores
