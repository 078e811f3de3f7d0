"""Curves and images of a training for TensorBoard."""

import io
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfseg import checks, viz
from tfseg.metrics import ConfusionMetrics, scores_of
from tfseg.models import decode_instances, is_detector, is_instance_model
from tfseg.ops import top_ids


class TensorBoard(keras.callbacks.Callback):
    """Writes metrics, curves per class and sample images for TensorBoard after every epoch.

    Folders and tags are those of `keras.callbacks.TensorBoard`: `train/` and `validation/`, each
    metric of the logs as "epoch_<metric>", and "epoch_learning_rate". In addition, `validation/`
    gets the curves "iou/<class>" and "dice/<class>", from the confusion matrix of the model's
    `ConfusionMetrics`, and the image "samples" with image, ground truth, prediction and errors. A
    class without a score in an epoch has no point there. Without validation data there are no
    curves per class. With averaged weights (`compile_for(average=)`), the curves of a `Run` belong
    to the averages, and the image to the weights themselves.

    For detectors and models of `tfseg.models.instances`, "samples" shows the ground truth and the
    detected objects. `DetectionScores` or `InstanceScores` must come before this callback, so that
    "epoch_ap" is written. Detectors of several classes have the curves "ap/<class>" and
    "ap50/<class>", and with masks "mask_ap/<class>" and "mask_ap50/<class>".

    View it with `tensorboard --logdir FOLDER`.

    Args:
        folder: directory of the two folders. A resumed training appends to them.
        samples: sequence of dicts with "image" (H, W, C) and "mask" (H, W), as readers give them;
            for detectors with "image", "boxes" and "classes"; for instances also with "instances".
            For other models with several outputs, the first is shown.
        class_names: one name per class of the metric, in the order of their ids; a single name is
            preceded by "background". For detectors, the names of the object categories.
        every: number of epochs between images; drawing takes about half a second.

    Attributes:
        log_dir: the directory. KerasTuner changes it for every trial.

    Raises:
        ImportError: the package `tensorboard` is not installed.
        ValueError: an argument is out of range; when the training begins, the model does not take
            the samples; after its first step, the model has no `ConfusionMetrics` with this number
            of classes.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> board = tfseg.training.TensorBoard(
        ...     "runs/leaves/board", [reader[0], reader[1]], reader.label_names)
    """

    def __init__(self, folder, samples, class_names, every: int = 1):
        super().__init__()
        checks.require_package("tensorboard", "tensorboard")  # tf.summary writes with it
        for sample in samples:
            if not (set(sample) >= {"image", "mask"} or set(sample) >= {"image", "boxes"}):
                raise ValueError(
                    f"TensorBoard: a sample has {sorted(sample)}; expected 'image' and 'mask', or "
                    "'image' and 'boxes' for detectors."
                )
        self.log_dir, self._samples = str(folder), list(samples)
        self._object_names = list(class_names)
        self._class_names = checks.label_names(class_names)
        self._every = checks.positive_int("TensorBoard", "every", every)
        self._metric, self._matrix, self._writers = None, None, {}

    def __getstate__(self):
        # for copies, as KerasTuner makes them: without what belongs to one training
        return {**vars(self), "_model": None, "_metric": None, "_matrix": None, "_writers": {}}

    def on_train_begin(self, logs=None):
        self._metric = None
        self._predict_samples()  # fail now, not after an epoch
        self._writers = {
            name: tf.summary.create_file_writer(str(Path(self.log_dir) / name))
            for name in ("train", "validation")
        }

    def on_epoch_begin(self, epoch, logs=None):
        self._matrix = None

    def on_train_batch_end(self, batch, logs=None):
        # Keras lists the metrics during the first step
        if self._metric is None and not _finds_objects(self.model):
            self._metric = _confusion_metric(self.model, len(self._class_names))

    def on_test_end(self, logs=None):
        # Copy it now: another callback may evaluate the model before this one's epoch ends.
        if self._metric is None:  # `evaluate` outside of a training
            return
        self._matrix = None
        if int(self._metric.invalid) == 0:  # after an invalid label no class has a score
            self._matrix = keras.ops.convert_to_numpy(self._metric.matrix)

    def on_epoch_end(self, epoch, logs=None):
        train, validation = {}, {}
        for name, value in (logs or {}).items():
            if name.startswith("val_"):
                validation[f"epoch_{name.removeprefix('val_')}"] = float(value)
            else:
                train[f"epoch_{name}"] = float(value)
        train["epoch_learning_rate"] = float(self.model.optimizer.learning_rate)
        self._write_scalars("train", train, epoch)
        self._write_scalars("validation", validation | self._class_scores(), epoch)
        if self._samples and (epoch + 1) % self._every == 0:
            with self._writers["validation"].as_default():
                tf.summary.image("samples", self._draw_samples()[None], step=epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _class_scores(self):
        """Return {tag: value} for the classes that have a score."""
        names, scores = self._class_names, {}
        if self._matrix is not None:
            metric = self._metric
            scores = scores_of(self._matrix, metric.zero_division, metric.ignored_label)
            scores = {name: scores[name] for name in ("iou", "dice")}
        elif is_detector(self.model) and self.model.num_classes > 1:
            names, scores = self._object_names, self.model.class_scores or {}
        return {
            f"{score}/{name}": float(value)
            for score, values in scores.items()
            for name, value in zip(names, values, strict=True)
            if not np.isnan(value)
        }

    def _write_scalars(self, writer, values, epoch):
        with self._writers[writer].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=epoch)

    def _draw_samples(self):
        """Return a (H, W, 3) uint8 image with one row per sample."""
        if is_instance_model(self.model):
            figure = self._plot_instances()
        else:
            figure = self._plot_detections() if is_detector(self.model) else self._plot_classes()
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=100)
        return tf.io.decode_png(file.getvalue(), channels=3)

    def _plot_detections(self):
        found = self._predict_samples()
        titles = [f"sample {number}" for number in range(1, len(found) + 1)]
        return viz.object_samples(self._samples, found, self._object_names, titles)

    def _plot_instances(self):
        images, targets = (
            [sample[name] for sample in self._samples] for name in ("image", "instances")
        )
        found = [objects["instances"] for objects in self._predict_samples()]
        titles = [f"sample {number}" for number in range(1, len(found) + 1)]
        return viz.instance_samples(images, targets, found, titles)

    def _plot_classes(self):
        images = [sample["image"] for sample in self._samples]
        masks = [sample["mask"] for sample in self._samples]
        return viz.samples(images, masks, self._predict_samples(), self._class_names)

    def _predict_samples(self):
        """Return one (H, W) array of class ids, or a dict of objects, per sample."""
        predictions = []
        for sample in self._samples:
            outputs = self.model.predict_on_batch(sample["image"][None])
            if _finds_objects(self.model):
                outputs = {name: value[0] for name, value in outputs.items()}
                if is_instance_model(self.model):
                    size = sample["instances"].shape
                    outputs = decode_instances(self.model, outputs, size)
                predictions.append(outputs)
                continue
            predictions.append(top_ids(keras.tree.flatten(outputs)[0][0]))
        return predictions


def _finds_objects(model):
    return is_detector(model) or is_instance_model(model)


def _confusion_metric(model, classes):
    """Return the first `ConfusionMetrics` of the model with this number of classes."""
    metrics = [part for metric in model.metrics for part in getattr(metric, "metrics", [metric])]
    counts = [metric for metric in metrics if isinstance(metric, ConfusionMetrics)]
    for metric in counts:
        if metric.classes == classes:
            return metric
    if counts:
        found = f"one with {counts[0].classes} classes"
    else:
        found = f"only {', '.join(metric.name for metric in metrics)}"
    raise ValueError(
        f"TensorBoard: {classes} class_names need a ConfusionMetrics with {classes} classes; the "
        f"model has {found}. Compile it with metrics=[tfseg.metrics.ConfusionMetrics({classes})], "
        "or pass the class_names of its metric."
    )
