"""Compare the stages of a detector with those that torchvision_detection.py stored.

Each stage gets torchvision's results of the stage before.
"""

from pathlib import Path

import detection_case
import keras
import numpy as np
import tensorflow as tf
from detection_case import CASES, CLASSES, COUNTS, MOST_OBJECTS
from keras import ops
from seeded_weights import seeded_direction, seeded_tensor
from torch_files import write_state_dict

from tfseg import models
from tfseg.models.detection import sampling
from tfseg.models.detection.heads import call_head, class_channel
from tfseg.models.detection.sampling import BOX_WEIGHTS
from tfseg.models.detection.torchvision_weights import _published_layers, _targets
from tfseg.models.encoders import resnet
from tfseg.ops import box_iou, decode_boxes

ENCODER = "resnet50_v1_5"
LOSSES = {  # torchvision's names of our losses
    "loss_objectness": "loss_objectness",
    "loss_rpn_box": "loss_rpn_box_reg",
    "loss_class": "loss_classifier",
    "loss_box": "loss_box_reg",
    "loss_mask": "loss_mask",
}


def build(name: str, case) -> keras.Model:
    """The detector "faster_rcnn_v1", ... of a case, with random weights of its own."""
    head, layout = name.rsplit("_", 1)
    resnet.SIZES[ENCODER], blocks = case.blocks, resnet.SIZES[ENCODER]
    try:
        return models.DETECTORS[head](
            CLASSES,
            encoder=ENCODER,
            layout=layout,
            anchor_sizes=case.anchor_sizes,
            score_threshold=0.0,
            max_detections=case.detections,
            proposals=case.proposals,
            samples=case.samples,
            pyramid_width=case.pyramid_width,
        )
    finally:
        resnet.SIZES[ENCODER] = blocks


def seeded_state(model) -> dict:
    """The state dict {name: array} that torchvision_detection.py gives a model."""
    state = {}
    for layer, name in _published_layers(model):
        targets = _targets(layer, name)
        state |= {key: seeded_tensor(key, target.shape) for key, target in targets.items()}
        if len(targets) == 4:
            key = f"{name}.num_batches_tracked"
            state[key] = seeded_tensor(key, ())
    return state


def load_seeded(model, path: Path):
    """Give a model the weights of torchvision_detection.py, through a `.pth` file."""
    return models.load_torchvision(model, write_state_dict(path, seeded_state(model)))


class Comparison:
    """Rows of (what, difference, limit) for a model and the arrays of a golden."""

    def __init__(self, model, golden):
        self.model, self.golden = model, golden
        self.case = CASES[str(golden["case"])]
        self.images = detection_case.images(self.case)
        self.levels = self._per_level("level")
        self.proposals, self.valid = self._padded("proposals")
        self.rows = []

    def run(self) -> list:
        self.network()
        self.proposal_layer()
        self.box_head()
        self.detection_layer()
        if self.model.has_masks:
            self.mask_head()
        self.end_to_end()
        self.losses()
        self.train_mode()
        return self.rows

    def network(self):
        raw = self.model.raw(self.images)
        for ours, name, limit in (
            # stored as float16, whose steps are 2**-11 of the value
            (raw["levels"], "level", 6e-4),
            (raw["objectness"], "objectness", 1e-4),
            (raw["deltas"], "deltas", 6e-4),
        ):
            expected = self._per_level(name)
            largest = max(np.abs(x).max() for x in expected)
            worst = max(np.abs(_numpy(x) - y).max() for x, y in zip(ours, expected, strict=True))
            self._add(f"network: {name}, relative", worst / largest, limit)

    def proposal_layer(self):
        layer = self.model.get_layer("proposals")
        boxes, valid = layer(self._per_level("objectness"), self._per_level("deltas"), self.images)
        self._add("proposals: count", np.abs(_numpy(valid).sum(1) - self.valid.sum(1)).max(), 0)
        self._add("proposals: px", np.abs(_numpy(boxes) - self.proposals).max(), 1e-3)

    def box_head(self):
        features = self.model.get_layer("box_roi_align")(self.levels, self.proposals)
        outputs = call_head(
            self.model.get_layer("box_head"), features, ops.convert_to_tensor(self.valid)
        )
        logits = _numpy(outputs["class_logits"])[self.valid]
        deltas = _numpy(outputs["box_deltas"])[self.valid].reshape(-1, CLASSES + 1, 4)
        expected = self.golden["class_logits"]
        difference = np.abs(_numpy(ops.softmax(logits)) - _numpy(ops.softmax(expected)))
        self._add("box head: scores", difference.max(), 1e-4)
        boxes = self.proposals[self.valid][:, None]
        theirs = self.golden["box_deltas"].reshape(deltas.shape)
        difference = decode_boxes(deltas, boxes, BOX_WEIGHTS) - decode_boxes(
            theirs, boxes, BOX_WEIGHTS
        )
        self._add("box head: px", np.abs(_numpy(difference)).max(), 1e-3)

    def detection_layer(self):
        layer = self.model.get_layer("detections")
        boxes, scores, classes = layer(
            self._unfold("class_logits"),
            self._unfold("box_deltas"),
            self.proposals,
            self.valid,
            self.images,
        )
        expected, _ = self._padded("detections_boxes")
        self._add("detections: px", np.abs(_numpy(boxes) - expected).max(), 1e-3)
        expected, kept = self._padded("detections_scores")
        self._add("detections: scores", np.abs(_numpy(scores) - expected).max(), 1e-4)
        expected = np.where(kept, self._padded("detections_labels")[0] - 1, -1)
        self._add("detections: classes that differ", (_numpy(classes) != expected).sum(), 0)

    def mask_head(self):
        masks, kept = self._padded("masks")
        count = masks.shape[1]
        boxes = self._padded("detections_boxes")[0][:, :count]
        labels = self._padded("detections_labels")[0][:, :count]
        features = self.model.get_layer("mask_roi_align")(self.levels, boxes)
        logits = call_head(self.model.get_layer("mask_head"), features, ops.convert_to_tensor(kept))
        ours = _numpy(ops.sigmoid(class_channel(logits, labels.astype("int32"))))
        self._add("mask head: probabilities", np.abs(ours - masks / 65535)[kept].max(), 1e-4)

    def end_to_end(self):
        detections = {name: _numpy(x) for name, x in self.model(self.images).items()}
        matched = total = 0
        for image in range(len(COUNTS)):
            exists = detections["classes"][image] >= 0
            boxes, scores = detections["boxes"][image][exists], detections["scores"][image][exists]
            classes = detections["classes"][image][exists]
            theirs = {
                key: self.golden[f"result_{key}{image}"] for key in ("boxes", "scores", "labels")
            }
            agrees = _numpy(box_iou(theirs["boxes"], boxes)) >= 0.999
            agrees &= np.abs(theirs["scores"][:, None] - scores) <= 1e-3
            agrees &= theirs["labels"][:, None] == classes + 1
            matched += agrees.any(1).sum()
            total += max(len(agrees), len(boxes))
        self._add(f"end to end: unmatched of {total} detections", 1 - matched / total, 0.01)

    def losses(self):
        """The losses of the same sampled anchors and proposals, and their gradients."""
        self.model._priorities = self._priorities
        sampled, draw = [], sampling.sample_matches

        def record(*arguments):
            sampled.append(draw(*arguments))
            return sampled[-1]

        sampling.sample_matches = record
        try:
            for tracker in self.model.loss_trackers:
                tracker.reset_state()
            self._gradients()
        finally:
            sampling.sample_matches = draw
            del self.model._priorities
        for kind, (indices, _, valid) in zip(("anchors", "rois"), sampled, strict=True):
            self._add(f"losses: sampled {kind} that differ", self._unlike(kind, indices, valid), 0)
        for tracker in self.model.loss_trackers:
            expected = float(self.golden[LOSSES[tracker.name]])
            difference = abs(float(tracker.result()) - expected) / expected
            self._add(f"losses: {tracker.name}, relative", difference, 1e-4)

    def _gradients(self):
        """Gradients of the sum of the losses in the heads and the outputs of the network."""
        raw = {
            "levels": [tf.constant(x) for x in self.levels],
            "objectness": [tf.constant(x) for x in self._per_level("objectness")],
            "deltas": [tf.constant(x) for x in self._per_level("deltas")],
        }
        targets = {}
        for layer, name in _published_layers(self.model):
            targets |= _targets(layer, name)
        names = self.golden["gradient_names"].tolist()
        maps = {
            f"{kind}{index}": x
            for kind, key in (("level", "levels"), ("objectness",) * 2, ("deltas",) * 2)
            for index, x in enumerate(raw[key])
        }
        with tf.GradientTape() as tape:
            tape.watch(list(maps.values()))
            loss = self.model.compute_loss(self.images, self._labels(), raw, training=True)
        sources = [maps[name] if name in maps else targets[name].variable.value for name in names]
        gradients = tape.gradient(loss, sources, unconnected_gradients="zero")
        norms = self.golden["gradient_norms"]
        worst = 0
        for name, gradient, product, norm in zip(
            names, gradients, self.golden["gradient_products"], norms, strict=True
        ):
            if name in maps:
                direction = seeded_direction(name, gradient.shape)
            else:
                direction = targets[name].convert(seeded_direction(name, targets[name].shape))
            difference = abs(np.sum(_numpy(gradient) * direction) - product)
            worst = max(worst, difference / max(norm, 1e-5 * norms.max()))
        self._add("gradients, relative to their norms", worst, self.case.gradient_limit)

    def _unlike(self, kind, indices, valid):
        """Number of sampled indices that only one library drew."""
        indices, valid = _numpy(indices), _numpy(valid)
        count = 0
        for image in range(len(COUNTS)):
            ours = indices[image][valid[image]]
            if kind == "rois":  # the objects are behind the proposals, which are padded
                slots = self.case.proposals[0]
                proposals = int(self.golden["train_proposal_counts"][image])
                ours = np.where(ours >= slots, ours - slots + proposals, ours)
            count += len(set(ours) ^ set(self.golden[f"sampled_{kind}{image}"]))
        return count

    def _priorities(self, shape, key, stage):
        if stage == 0:
            return detection_case.anchor_priorities(int(shape[1]))
        slots = self.case.proposals[0]
        proposals = detection_case.proposal_priorities(slots)
        objects = detection_case.object_priorities()[:, : int(shape[1]) - slots]
        return np.concatenate([proposals, objects], axis=1)

    def _labels(self):
        samples = detection_case.objects(self.case)
        boxes = np.zeros((len(samples), MOST_OBJECTS - 1, 4), "float32")
        classes = np.full(boxes.shape[:2], -1, "int32")
        for image, sample in enumerate(samples):
            count = len(sample["classes"])
            boxes[image, :count], classes[image, :count] = sample["boxes"], sample["classes"]
        instances = np.stack([sample["instances"] for sample in samples])
        return {"boxes": boxes, "classes": classes, "instances": instances}

    def train_mode(self):
        """Batch statistics in the network. Changes the running statistics."""
        raw = self.model(self.images, training=True)
        for index, level in enumerate(raw["levels"]):
            level = _numpy(level)
            moments = np.stack([level.mean((0, 1, 2)), level.std((0, 1, 2), ddof=1)])
            expected = self.golden[f"train_moments{index}"]
            difference = np.abs(moments - expected).max() / np.abs(expected).max()
            self._add(f"training mode: level {index + 2}, relative", difference, 1e-3)

    def _per_level(self, name):
        count = 4 if name == "level" else 5  # the coarsest is only for proposals
        return [self.golden[f"{name}{level}"].astype("float32") for level in range(count)]

    def _padded(self, name):
        """Return the rows of each image, padded, and which are rows."""
        rows = [self.golden[f"{name}{image}"] for image in range(len(COUNTS))]
        length = max(map(len, rows))
        if name == "proposals":
            length = self.case.proposals[1]
        elif name.startswith("detections"):
            length = self.case.detections
        padded = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
        exists = np.zeros((len(rows), length), bool)
        for image, values in enumerate(rows):
            padded[image, : len(values)] = values
            exists[image, : len(values)] = True
        return padded, exists

    def _unfold(self, name):
        """Return rows of all proposals as (images, proposals, ...), zeros for padding."""
        values = self.golden[name]
        rows = np.zeros((*self.valid.shape, values.shape[1]), "float32")
        rows[self.valid] = values
        return rows

    def _add(self, what, difference, limit):
        self.rows.append((what, float(difference), limit))


def _numpy(x):
    return ops.convert_to_numpy(x)


def table(rows) -> str:
    """The comparison as text, with a mark at what exceeds its limit."""
    lines = [f"{'stage':48} {'difference':>11} {'limit':>9}"]
    for what, difference, limit in rows:
        mark = "" if difference <= limit else "  FAILED"
        lines.append(f"{what:48} {difference:11.2e} {limit:9.0e}{mark}")
    return "\n".join(lines)
