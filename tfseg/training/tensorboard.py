"""Curves and images of a training for TensorBoard."""

import io
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfseg import checks, viz
from tfseg.metrics import ConfusionMetrics, scores_of
from tfseg.ops import top_ids


class TensorBoard(keras.callbacks.Callback):
    """Writes what TensorBoard shows of a training, at the end of every epoch.

    Folders and names of the scalars are those of `keras.callbacks.TensorBoard`: `train/` and `validation/`, each
    figure of the logs as "epoch_<figure>", and "epoch_learning_rate". To the validation it adds the curves
    "iou/<class>" and "dice/<class>", from the confusion matrix that the model's `ConfusionMetrics` has counted, and
    the image "samples": image, truth, prediction and errors. A class without a score in an epoch has no point
    there. Without validation data there are no curves of classes. With averaged weights (`compile_for(average=)`) the
    curves of a `Run` are of these, the image is of the weights as they are trained.

    Look at it with `tensorboard --logdir FOLDER`.

    Args:
        folder: where the two folders come to lie. A training that is resumed adds to them.
        samples: sequence of dicts of "image" (H, W, C) and "mask" (H, W), as readers give them. Of models with
            several outputs the first is shown.
        class_names: names in the order of their ids, one a class of the metric; a single one has "background"
            before it.
        every: number of epochs from image to image; drawing takes half a second or so.

    Raises:
        ImportError: the package `tensorboard` is missing.
        ValueError: an argument is out of its range; as the training begins, the model does not take the samples;
            after its first step, it was not compiled with a `ConfusionMetrics` of as many classes.
    """

    def __init__(self, folder, samples, class_names, every=1):
        super().__init__()
        checks.require_package("tensorboard", "tensorboard")  # tf.summary writes through it
        for sample in samples:
            if not {"image", "mask"} <= set(sample):
                raise ValueError(
                    f"TensorBoard: a sample holds {sorted(sample)}; it needs 'image' and 'mask'."
                )
        self._folder, self._samples, self._class_names = (
            Path(folder),
            list(samples),
            checks.label_names(class_names),
        )
        self._every = checks.positive_int("TensorBoard", "every", every)
        self._metric = None

    def on_train_begin(self, logs=None):
        self._metric = None
        self._predictions()  # a sample that does not fit is refused now, not after an epoch
        self._writers = {
            name: tf.summary.create_file_writer(str(self._folder / name))
            for name in ("train", "validation")
        }

    def on_epoch_begin(self, epoch, logs=None):
        self._matrix = None

    def on_train_batch_end(self, batch, logs=None):
        if self._metric is None:  # Keras makes its list of them in the first step
            self._metric = _metric(self.model, len(self._class_names))

    def on_test_end(self, logs=None):
        # Now, because another callback may evaluate the model, and so count anew, before this one's epoch ends.
        if self._metric is None:  # an evaluation by itself
            return
        self._matrix = keras.ops.convert_to_numpy(self._metric.matrix)

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        train = {
            f"epoch_{name}": value for name, value in logs.items() if not name.startswith("val_")
        }
        validation = {
            f"epoch_{name[4:]}": value for name, value in logs.items() if name.startswith("val_")
        }
        self._write_scalars("train", train, epoch)
        self._write_scalars("validation", validation | self._class_scores(), epoch)
        if self._samples and (epoch + 1) % self._every == 0:
            with self._writers["validation"].as_default():
                tf.summary.image("samples", self._picture()[None], step=epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()

    def _class_scores(self):
        if self._matrix is None:
            return {}
        scores = scores_of(self._matrix, self._metric.zero_division)
        named = {
            f"{score}/{name}": float(value)
            for score in ("iou", "dice")
            for name, value in zip(self._class_names, scores[score], strict=True)
        }
        return {name: value for name, value in named.items() if not np.isnan(value)}

    def _write_scalars(self, writer, values, epoch):
        with self._writers[writer].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=epoch)

    def _picture(self):
        """(H, W, 3) uint8 of the samples as they are predicted now, a row a sample."""
        images, masks = ([sample[name] for sample in self._samples] for name in ("image", "mask"))
        file = io.BytesIO()
        viz.samples(images, masks, self._predictions(), self._class_names).savefig(
            file, format="png", dpi=100
        )
        return tf.io.decode_png(file.getvalue(), channels=3)

    def _predictions(self):
        """[(H, W) class ids, one a sample]."""
        logits = [self.model.predict_on_batch(sample["image"][None]) for sample in self._samples]
        return [top_ids(keras.tree.flatten(outputs)[0][0]) for outputs in logits]


def _metric(model, classes):
    """The first metric of the model that counts a matrix of so many classes."""
    found = [part for metric in model.metrics for part in getattr(metric, "metrics", [metric])]
    counts = [metric for metric in found if isinstance(metric, ConfusionMetrics)]
    for metric in counts:
        if metric.classes == classes:
            return metric
    had = (
        f"one of {counts[0].classes} classes"
        if counts
        else f"only {', '.join(metric.name for metric in found)}"
    )
    raise ValueError(
        f"TensorBoard: {classes} class_names need a ConfusionMetrics of {classes} classes; the model has {had}. "
        f"Compile it with metrics=[tfseg.metrics.ConfusionMetrics({classes})], or pass its class_names."
    )
