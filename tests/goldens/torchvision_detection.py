"""Stages of torchvision's detectors with seeded weights, for the comparison with ours.

Needs torch 2.14.1 and torchvision 0.29.1 in an environment of its own (see torchvision_resnet.py).
The goldens of the repository, torchvision_<model>.npz, are written by
    PYTHONPATH=tests tv/bin/python tests/goldens/torchvision_detection.py small tests/goldens
and the stages of the whole networks, for compare_torchvision.py, by
    PYTHONPATH=tests tv/bin/python tests/goldens/torchvision_detection.py full /tmp/stages
"""

import sys
from pathlib import Path

import detection_case
import numpy as np
import torch
import torchvision
from detection_case import CASES, CLASSES
from seeded_weights import seeded_direction, seeded_tensor
from torch import nn
from torchvision.models import detection
from torchvision.models.detection import roi_heads as roi_functions
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import Bottleneck, ResNet

BUILDERS = {
    "faster_rcnn_v1": detection.fasterrcnn_resnet50_fpn,
    "faster_rcnn_v2": detection.fasterrcnn_resnet50_fpn_v2,
    "mask_rcnn_v1": detection.maskrcnn_resnet50_fpn,
    "mask_rcnn_v2": detection.maskrcnn_resnet50_fpn_v2,
}
POOLED = 4  # levels of the pyramid that RoIs are pooled from
MASKS = 4  # per image, whose probabilities are stored


class Prescribed:
    """Sample the anchors or proposals with the largest priorities, as our layers do."""

    def __init__(self, count, positive_fraction, priorities):
        self.count, self.most = count, int(count * positive_fraction)
        self.priorities = priorities
        self.sampled = None

    def __call__(self, labels):
        self.sampled = []
        positives, negatives = [], []
        for image, label in enumerate(labels):
            priority = self.priorities(image, len(label))
            positive = self._largest(priority, label >= 1, self.most)
            negative = self._largest(priority, label == 0, self.count - int(positive.sum()))
            self.sampled.append(torch.where(positive | negative)[0].numpy())
            positives.append(positive.to(torch.uint8))
            negatives.append(negative.to(torch.uint8))
        return positives, negatives

    def _largest(self, priority, candidates, count):
        indices = torch.where(candidates)[0]
        order = np.argsort(-priority[indices.numpy()])[:count]
        chosen = torch.zeros(len(priority), dtype=torch.bool)
        chosen[indices[order]] = True
        return chosen


class Given(nn.Module):
    """A network that always returns the same outputs."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, levels):
        return self.outputs


def build(name, case):
    options = {
        "num_classes": CLASSES + 1,
        "min_size": case.height,
        "max_size": case.width,
        "rpn_pre_nms_top_n_train": case.proposals[0],
        "rpn_post_nms_top_n_train": case.proposals[0],
        "rpn_pre_nms_top_n_test": case.proposals[1],
        "rpn_post_nms_top_n_test": case.proposals[1],
        "rpn_batch_size_per_image": case.samples[0],
        "box_batch_size_per_image": case.samples[1],
        "box_score_thresh": 0.0,
        "box_detections_per_img": case.detections,
    }
    if case.pyramid_width == 256:
        model = BUILDERS[name](weights=None, weights_backbone=None, **options)
    else:
        model = build_small(name, case, options)
    state = model.state_dict()
    model.load_state_dict(
        {key: torch.from_numpy(seeded_tensor(key, tuple(state[key].shape))) for key in state}
    )
    return model


def build_small(name, case, options):
    """A network of the same layout with a shorter ResNet and a narrow pyramid."""
    norm = nn.BatchNorm2d if name.endswith("v2") else None
    backbone = BackboneWithFPN(
        ResNet(Bottleneck, list(case.blocks)),
        {f"layer{group}": str(group - 1) for group in (1, 2, 3, 4)},
        [256, 512, 1024, 2048],
        case.pyramid_width,
        norm_layer=norm,
    )
    sizes = tuple((size,) for size in case.anchor_sizes)
    options["rpn_anchor_generator"] = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    width = case.pyramid_width
    if norm is not None:
        options["rpn_head"] = RPNHead(width, 3, conv_depth=2)
        options["box_head"] = FastRCNNConvFCHead(
            (width, 7, 7), [width] * 4, [1024], norm_layer=norm
        )
    if not name.startswith("mask"):
        return detection.FasterRCNN(backbone, **options)
    model = detection.MaskRCNN(backbone, **options)
    model.roi_heads.mask_head = MaskRCNNHeads(width, [width] * 4, 1, norm_layer=norm)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(width, width, CLASSES + 1)
    return model


def half(x):
    """Round to the precision in which the inputs of later stages are stored."""
    return x.half().float()


class Stages:
    """The stages of one model; `arrays` collects what is stored."""

    def __init__(self, model, case):
        self.model, self.case, self.arrays = model, case, {}
        self.has_masks = model.roi_heads.has_mask()
        self.targets = []
        for sample in detection_case.objects(case):
            numbers = np.arange(1, len(sample["boxes"]) + 1)
            masks = sample["instances"] == numbers[:, None, None]
            self.targets.append(
                {
                    "boxes": torch.from_numpy(sample["boxes"]),
                    "labels": torch.from_numpy(sample["classes"] + 1).long(),
                    "masks": torch.from_numpy(masks.astype("uint8")),
                }
            )
        pixels = detection_case.images(case).astype("float32") / 255
        self.images = [torch.from_numpy(image.transpose(2, 0, 1)) for image in pixels]

    def run(self):
        self.model.eval()
        self.end_to_end()
        images, _ = self.model.transform(self.images)
        self.image_sizes = images.image_sizes
        levels = self.model.backbone(images.tensors)
        objectness, deltas = self.model.rpn.head(list(levels.values()))
        for index, (level, logits, delta) in enumerate(
            zip(levels.values(), objectness, deltas, strict=True)
        ):
            if index < POOLED:
                self.store(f"level{index}", half(level).permute(0, 2, 3, 1), "float16")
            self.store(f"objectness{index}", logits.permute(0, 2, 3, 1))
            self.store(f"deltas{index}", half(delta).permute(0, 2, 3, 1), "float16")
        self.levels = {key: half(level) for key, level in levels.items()}
        self.proposals(images, objectness, [half(delta) for delta in deltas])
        self.losses(images, objectness, [half(delta) for delta in deltas])
        self.train_mode(images)

    def end_to_end(self):
        results = self.model(self.images)
        self.store_detections("result", results)

    def store_detections(self, name, results):
        for image, result in enumerate(results):
            for key in ("boxes", "scores", "labels"):
                self.store(f"{name}_{key}{image}", result[key])

    def proposals(self, images, objectness, deltas):
        """Proposals of the stored objectness and deltas, and all stages behind them."""
        heads = self.model.roi_heads
        boxes, _ = self.filter(images, objectness, deltas)
        for image, box in enumerate(boxes):
            self.store(f"proposals{image}", box)
        features = heads.box_head(heads.box_roi_pool(self.levels, boxes, self.image_sizes))
        logits, regression = heads.box_predictor(features)
        self.store("class_logits", logits)
        self.store("box_deltas", regression)
        found = heads.postprocess_detections(logits, regression, boxes, self.image_sizes)
        results = [
            dict(zip(("boxes", "scores", "labels"), result, strict=True))
            for result in zip(*found, strict=True)
        ]
        self.store_detections("detections", results)
        if not self.has_masks:
            return
        boxes = [result["boxes"][:MASKS] for result in results]
        labels = [result["labels"][:MASKS] for result in results]
        features = heads.mask_head(heads.mask_roi_pool(self.levels, boxes, self.image_sizes))
        masks = roi_functions.maskrcnn_inference(heads.mask_predictor(features), labels)
        for image, mask in enumerate(masks):
            # steps of 1 / 65535
            self.store(f"masks{image}", (mask[:, 0] * 65535).round(), "uint16")

    def filter(self, images, objectness, deltas):
        """Anchors, decoding and non-maximum suppression, as in `RegionProposalNetwork.forward`."""
        rpn = self.model.rpn
        anchors = rpn.anchor_generator(images, list(self.levels.values()))
        counts = [logits[0].numel() for logits in objectness]
        flat, flat_deltas = detection.rpn.concat_box_prediction_layers(
            list(objectness), list(deltas)
        )
        boxes = rpn.box_coder.decode(flat_deltas, anchors).view(len(anchors), -1, 4)
        return rpn.filter_proposals(boxes, flat, images.image_sizes, counts)

    def losses(self, images, objectness, deltas):
        """The five losses of the stored levels, objectness and deltas, heads in training mode."""
        model, case = self.model, self.case
        model.train()
        anchors = Prescribed(
            case.samples[0], 0.5, lambda i, n: detection_case.anchor_priorities(n)[i]
        )
        rois = Prescribed(case.samples[1], 0.25, self.roi_priorities)
        model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler = anchors, rois
        levels = {key: level.clone().requires_grad_() for key, level in self.levels.items()}
        objectness = [logits.clone().requires_grad_() for logits in objectness]
        deltas = [delta.clone().requires_grad_() for delta in deltas]
        head, model.rpn.head = model.rpn.head, Given(objectness, deltas)
        with torch.enable_grad():
            proposals, losses = model.rpn(images, levels, self.targets)
            _, head_losses = model.roi_heads(levels, proposals, images.image_sizes, self.targets)
            losses |= head_losses
            sum(losses.values()).backward()
        model.rpn.head = head
        self.store("train_proposal_counts", torch.tensor([len(boxes) for boxes in proposals]))
        for image, boxes in enumerate(proposals):
            self.store(f"train_proposals{image}", boxes)
        for name, value in losses.items():
            self.store(name, value)
            print(f"    {name} {value.item():.6f}")
        for image in range(len(self.images)):
            self.store(f"sampled_anchors{image}", torch.from_numpy(anchors.sampled[image]))
            self.store(f"sampled_rois{image}", torch.from_numpy(rois.sampled[image]))
        self.gradients(list(levels.values())[:POOLED], objectness, deltas)

    def gradients(self, levels, objectness, deltas):
        """Of each gradient the norm, and the product with seeded numbers."""
        tensors = dict(self.model.roi_heads.named_parameters(prefix="roi_heads"))
        for kind, maps in (("level", levels), ("objectness", objectness), ("deltas", deltas)):
            tensors |= {f"{kind}{index}": x for index, x in enumerate(maps)}
        products, norms = [], []
        for name, tensor in tensors.items():
            gradient = tensor.grad.numpy()
            if gradient.ndim == 4 and "." not in name:  # features
                gradient = gradient.transpose(0, 2, 3, 1)
            products.append(np.sum(gradient * seeded_direction(name, gradient.shape)))
            norms.append(np.linalg.norm(gradient))
        self.arrays["gradient_names"] = np.array(list(tensors))
        self.arrays["gradient_products"] = np.array(products)
        self.arrays["gradient_norms"] = np.array(norms)

    def roi_priorities(self, image, count):
        """Priorities of an image's proposals, with its objects at the end."""
        objects = len(self.targets[image]["boxes"])
        proposals = detection_case.proposal_priorities(self.case.proposals[0])[image]
        ours = detection_case.object_priorities()[image]
        return np.concatenate([proposals[: count - objects], ours[:objects]])

    def train_mode(self, images):
        """The network with batch statistics: mean and standard deviation of each channel."""
        self.model.train()
        levels = self.model.backbone(images.tensors)
        for index, level in enumerate(list(levels.values())[:POOLED]):
            moments = torch.stack([level.mean((0, 2, 3)), level.std((0, 2, 3))])
            self.store(f"train_moments{index}", moments)

    def store(self, name, value, dtype=None):
        array = value.detach().numpy()
        self.arrays[name] = array if dtype is None else array.astype(dtype)


def main(case_name, folder):
    case = CASES[case_name]
    names = BUILDERS if case_name == "full" else ("mask_rcnn_v1", "mask_rcnn_v2")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        print(name)
        model = build(name, case)
        if case_name == "full":
            torch.save(model.state_dict(), Path(folder) / f"torchvision_{name}.pth")
        stages = Stages(model, case)
        with torch.no_grad():
            stages.run()
        np.savez_compressed(
            Path(folder) / f"torchvision_{name}.npz",
            case=case_name,
            state_names=list(model.state_dict()),
            state_shapes=[" ".join(map(str, x.shape)) for x in model.state_dict().values()],
            source=f"torch {torch.__version__}, torchvision {torchvision.__version__}",
            **stages.arrays,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
