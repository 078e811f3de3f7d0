"""The model class of Faster and Mask R-CNN, which computes its own losses."""

import keras
from keras import ops
from keras.src.losses.loss import scale_loss_for_distribution

from tfseg.models.detection import detection_losses as losses
from tfseg.models.detection import sampling
from tfseg.models.detection.detections import canvas_scale
from tfseg.models.detection.heads import MASK_SIZE, call_head
from tfseg.models.detection.rows import take_rows
from tfseg.models.layer_graph import input_tensors
from tfseg.ops import crop_masks, uniform


@keras.saving.register_keras_serializable(package="tfseg")
class Detector(keras.Model):
    """A functional model of object detection, made by `faster_rcnn` or `mask_rcnn`.

    In prediction it maps images (B, H, W, C) to a dict of detections. `fit` and `evaluate` compare
    it with a dict of objects; it computes its losses itself:

        model.compile("adam")
        model.fit(batches)  # of (image, {"boxes": ..., "classes": ..., "instances": ...})

    In training it returns the outputs of the region proposal network, from which `compute_loss`
    goes on, since the heads then work on sampled proposals.

    Attributes:
        sampling_seed: `keras.random.SeedGenerator` of the anchors and proposals that are sampled.
            It is a variable of the model. Evaluation always samples the same ones.
        class_scores: {score: (C,) array} of the last validation by `DetectionScores`; else None.
    """

    class_scores = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sampling_seed = keras.random.SeedGenerator()
        names = ["objectness", "rpn_box", "class", "box"]
        if self.has_masks:
            names.append("mask")
        self.loss_trackers = [keras.metrics.Mean(name=f"loss_{name}") for name in names]
        self._is_testing = False

    @property
    def num_classes(self) -> int:
        """The number of categories, without background."""
        return self.get_layer("box_head").get_layer("class_logits").units - 1

    @property
    def has_masks(self) -> bool:
        """Whether detections have masks."""
        return any(layer.name == "mask_head" for layer in self.layers)

    @property
    def anchor_sizes(self) -> tuple:
        """The sizes of the anchors of each pyramid level, in pixels of the canvas."""
        return self.get_layer("proposals").anchor_sizes

    @property
    def anchor_ratios(self) -> tuple:
        """Height / width of the anchors."""
        return self.get_layer("proposals").anchor_ratios

    @property
    def size(self) -> tuple | None:
        """(height, width) of the canvas that images are resized to; None if they are not."""
        return self.get_layer("proposals").size

    def call(self, inputs, training=None, mask=None):
        """Return the detections, or the raw outputs if `training`."""
        if training or self._is_testing:
            return self.raw(inputs, training)
        return super().call(inputs, training=training, mask=mask)

    def raw(self, images, training=None) -> dict:
        """Return the outputs of the feature pyramid and the region proposal network.

        Args:
            images: (B, H, W, C).
            training: whether batch normalization uses and updates the statistics of the batch.

        Returns:
            dict of lists, one entry per pyramid level: "levels" (B, h, w, C), "objectness"
            (B, h, w, A) and "deltas" (B, h, w, 4 A).
        """
        count = len(self.anchor_sizes)
        proposal_inputs = input_tensors(self.get_layer("proposals"))
        outputs = {
            "levels": input_tensors(self.get_layer("box_roi_align"))[:-1],
            "objectness": proposal_inputs[:count],
            "deltas": proposal_inputs[count : 2 * count],
        }
        # Made anew each time: an attribute would be saved as a part of the model.
        graph = keras.Model(list(self.inputs), outputs)
        return graph([ops.convert_to_tensor(images, self.inputs[0].dtype)], training=training)

    def test_step(self, *arguments):
        """Evaluate one batch, on the raw outputs."""
        self._is_testing = True
        try:
            return super().test_step(*arguments)
        finally:
            self._is_testing = False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the sum of the losses of anchors, boxes, classes and masks, and track each."""
        self._check(y, sample_weight)
        proposals = self.get_layer("proposals")
        scale = None if self.size is None else canvas_scale(x, self.size)
        objects = sampling.read_objects(y, proposals.image_size(x), scale)
        key = self.sampling_seed.next() if training else ops.zeros(2, "int32")
        values = self._proposal_losses(y_pred, objects, key)
        boxes, _, valid = proposals.propose(
            y_pred["objectness"], y_pred["deltas"], x, proposals.train_count
        )
        boxes, valid = sampling.add_objects(boxes, valid, objects)
        values += self._head_losses(
            y_pred["levels"], boxes, valid, objects, y, scale, key, training
        )
        for tracker, value in zip(self.loss_trackers, values, strict=True):
            tracker.update_state(value, sample_weight=ops.shape(x)[0])
        total = sum(values) + sum(self.losses) + sampling.invalid_class(y, self.num_classes)
        return scale_loss_for_distribution(total)  # which Keras does in its own losses

    def _proposal_losses(self, raw, objects, key):
        """Return the losses of objectness and of the boxes of sampled anchors."""
        layer = self.get_layer("proposals")
        batch = ops.shape(objects.boxes)[0]
        anchors = ops.concatenate(layer.anchors(raw["objectness"]), axis=0)
        priorities = self._priorities((batch, ops.shape(anchors)[0]), key, 0)
        sample = sampling.sample_anchors(anchors, objects, priorities, layer.anchor_samples)
        objectness = ops.concatenate([ops.reshape(x, (batch, -1)) for x in raw["objectness"]], 1)
        deltas = ops.concatenate([ops.reshape(x, (batch, -1, 4)) for x in raw["deltas"]], 1)
        logits = take_rows(objectness, sample.indices)
        targets = sampling.anchor_targets(anchors, objects, sample)
        return [
            losses.objectness_loss(logits, sample.positive, sample.valid),
            losses.box_loss(
                take_rows(deltas, sample.indices), targets, sample.positive, sample.valid
            ),
        ]

    def _head_losses(self, levels, boxes, valid, objects, labels, scale, key, training):
        """Return the losses of classes, boxes and masks of sampled proposals."""
        count = self.get_layer("proposals").roi_samples
        priorities = self._priorities(ops.shape(valid), key, 1)
        sample = sampling.sample_proposals(boxes, valid, objects, priorities, count)
        rois = ops.stop_gradient(take_rows(boxes, sample.indices))
        classes = sampling.class_targets(objects, sample, self.num_classes)
        features = self.get_layer("box_roi_align")(levels, rois, training=training)
        outputs = call_head(self.get_layer("box_head"), features, sample.valid, training=training)
        deltas = losses.class_deltas(outputs["box_deltas"], classes)
        targets = sampling.proposal_targets(rois, objects, sample)
        values = [
            losses.class_loss(outputs["class_logits"], classes, sample.valid),
            losses.box_loss(deltas, targets, sample.positive, sample.valid),
        ]
        if self.has_masks:
            values.append(
                self._mask_loss(levels, rois, sample, classes, labels["instances"], scale, training)
            )
        return values

    def _mask_loss(self, levels, rois, sample, classes, instances, scale, training):
        """Return the loss of the masks of positive proposals, which are the first of the sample."""
        count = self._count_masks(sample.positive)
        rois, classes = rois[:, :count], classes[:, :count]
        positive = sample.positive[:, :count]
        features = self.get_layer("mask_roi_align")(levels, rois, training=training)
        logits = call_head(self.get_layer("mask_head"), features, positive, training=training)
        # instances are not resized: crop them with the boxes in pixels of the image
        image_rois = rois if scale is None else rois / scale
        ids = ops.where(positive, sample.objects[:, :count] + 1, -1)
        targets = crop_masks(instances, image_rois, ids, MASK_SIZE)
        return losses.mask_loss(logits, classes, ops.stop_gradient(targets), positive)

    def _count_masks(self, positive):
        """Return how many proposals per image can be positive.

        Without XLA, the actual number in this batch, since most samples have fewer.
        """
        most = max(1, int(positive.shape[1] * sampling.POSITIVE_PROPOSALS))
        if keras.backend.backend() != "tensorflow" or self.jit_compile:
            return most
        counts = ops.sum(ops.cast(positive[:, :most], "int32"), axis=1)
        return ops.maximum(ops.max(counts), 1)

    def _priorities(self, shape, key, stage: int):
        """Return (B, A) numbers in [0, 1): the order in which anchors or proposals are drawn.

        Args:
            shape: (B, A).
            key: (2,) integers that differ between steps.
            stage: 0 for anchors, 1 for proposals.
        """
        images = ops.arange(shape[0], dtype="int32")
        same = ops.zeros_like(images)
        key = ops.cast(key, "int32")
        return uniform(ops.stack([same + stage, same + key[0], same + key[1], images], 1), shape[1])

    def _check(self, labels, sample_weight):
        if sample_weight is not None:
            raise ValueError(
                f"{self.name}: got sample_weight (or class_weight), but the losses of a detector "
                "are means over sampled boxes. Remove it."
            )
        if self.loss is not None or self._compile_metrics is not None:
            raise ValueError(
                f"{self.name}: compile got a loss or metrics, but a detector computes its own "
                "losses. Call compile(optimizer) only; tfseg.metrics.CocoAP measures detections."
            )
        needed = ["boxes", "classes", *(["instances"] if self.has_masks else [])]
        found = list(labels) if isinstance(labels, dict) else type(labels).__name__
        if not isinstance(labels, dict) or any(name not in labels for name in needed):
            raise ValueError(
                f"{self.name}: got labels {found}; expected a dict with {', '.join(needed)}. "
                "tfseg.data.pipeline yields it for readers with objects."
            )


def is_detector(model) -> bool:
    """Return whether a model detects objects: whether `faster_rcnn` or `mask_rcnn` made it.

    Example:
        >>> import tfseg
        >>> tfseg.models.is_detector(tfseg.models.tiny_unet(2))
        False
    """
    return isinstance(model, Detector)
