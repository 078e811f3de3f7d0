"""The scores of predicted instances on a validation set, after every epoch."""

import keras
import numpy as np

from tfseg.metrics import InstanceMetrics, PanopticQuality
from tfseg.models import decode_instances
from tfseg.models.reader_fit import predicted_stuff, require_fitting_model
from tfseg.training.averages import AveragedWeights

SCORES = ("ap", "ap50")


class InstanceScores(keras.callbacks.Callback):
    """Adds the average precision and panoptic quality of an instance model to the logs.

    After every epoch the logs get "val_ap", the mean over IoU 0.5 to 0.95 of TP / (TP + FP + FN),
    with counts summed over images, and "val_ap50", see `tfseg.metrics.InstanceMetrics`; and
    "val_pq", see `tfseg.metrics.PanopticQuality`, which includes the stuff of a model that predicts
    it. The images are predicted whole, one at a time; of a reader of large images pass
    `reader.disjoint_tiles(1024)`. With averaged weights (`compile_for(average=)`) the averages
    predict.

    In the list of callbacks it comes before those that read the logs, such as `Run.callbacks`.

    Args:
        reader: a `tfseg.data.Reader` with "instances" and "classes", and "mask" if the model
            predicts stuff.

    Raises:
        ValueError: the reader has no instances; when the training begins, the model is not one of
            `tfseg.models.instances` or has another number of classes.

    Example:
        >>> import tfseg
        >>> _, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> scores = tfseg.training.InstanceScores(val)  # doctest: +SKIP
        >>> run = tfseg.training.Run("runs/nuclei")  # doctest: +SKIP
        >>> callbacks = [scores, *run.callbacks(monitor="val_ap")]  # doctest: +SKIP
    """

    def __init__(self, reader):
        super().__init__()
        if not {"instances", "classes"} <= set(reader.fields):
            raise ValueError(
                f"InstanceScores: the reader provides {', '.join(reader.fields)}; expected "
                "instances and classes. Use a reader of objects with masks."
            )
        self._reader = reader
        self._predictor, self._metrics = None, ()

    def set_model(self, model):
        """Take the model to score."""
        super().set_model(model)
        require_fitting_model("InstanceScores", model, self._reader)
        things, ignored = self._reader.object_label_ids, self._reader.ignore_index
        stuff = predicted_stuff(model, self._reader)
        self._metrics = InstanceMetrics(things, ignored), PanopticQuality(things, stuff, ignored)
        # of its own: the model may be compiled by XLA, which compiles anew for each size of images
        self._predictor = keras.Model(model.input, model.output)
        self._predictor.run_eagerly = model.run_eagerly

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and not np.isfinite(logs.get("loss", 0.0)):
            return  # the weights are not finite either; `Run.callbacks` stop the training
        with AveragedWeights(self.model):
            scores = self._scores()
        if logs is not None:
            logs.update(scores)

    def _scores(self):
        instances, panoptic = self._metrics
        for metric in self._metrics:
            metric.reset_state()
        for index in range(len(self._reader)):
            labels = self._reader[index]
            image = labels["image"]
            batch = self._predictor.predict_on_batch(image[None].astype(np.float32))
            outputs = {name: np.asarray(value)[0] for name, value in batch.items()}
            found = decode_instances(self.model, outputs, size=image.shape[:2])
            for metric in self._metrics:
                metric.update_state(labels, found)
        result = instances.result()
        scores = {f"val_{name}": result[name] for name in SCORES}
        return {**scores, "val_pq": panoptic.result()["pq"]}
