"""Write box_goldens.npz beside this file: box coder, matcher, sampler and NMS of torchvision.

Made with torchvision 0.29.1 and torch 2.14.1, whose NMS is the C++ kernel for CPUs:
    pip install torch==2.14.1 torchvision==0.29.1
    python tests/goldens/box_goldens.py
"""

from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import _utils
from torchvision.ops import batched_nms, box_iou, nms

# (positives, negatives) among the anchors of which the sampler draws 16, at most a quarter positive
SAMPLED = [(3, 60), (40, 5), (0, 30), (9, 0), (40, 60), (2, 3)]


def draw_boxes(rng, count, extent, shortest=1):
    """Return (count, 4) boxes whose corners are multiples of 1/2, so that equal IoU occur."""
    corner = rng.integers(0, 2 * extent, (count, 2)) / 2
    sides = rng.integers(shortest, extent, (count, 2)) / 2
    return torch.tensor(np.concatenate([corner, corner + sides], 1), dtype=torch.float32)


def coder(rng):
    boxes, anchors = draw_boxes(rng, 12, 40), draw_boxes(rng, 12, 40)
    deltas = torch.tensor(rng.normal(0, 2, (12, 4)), dtype=torch.float32)
    found = {"coder_boxes": boxes, "coder_anchors": anchors, "coder_deltas": deltas}
    for name, weights in {"rpn": (1.0, 1.0, 1.0, 1.0), "heads": (10.0, 10.0, 5.0, 5.0)}.items():
        coder = _utils.BoxCoder(weights)
        found[f"coder_encoded_{name}"] = coder.encode([boxes], [anchors])[0]
        found[f"coder_decoded_{name}"] = coder.decode(deltas, [anchors])[:, 0]
    return found


def matcher(rng):
    """Return matches of objects that each overlap an anchor, where both rules agree."""
    objects = draw_boxes(rng, 6, 12, shortest=6)
    moved = objects.repeat(25, 1) + torch.tensor(rng.integers(-2, 3, (150, 4)) / 2)
    anchors = torch.cat([draw_boxes(rng, 60, 12), moved.float()])
    # twice the same anchors: the highest IoU of each object is reached by two of them
    anchors = torch.cat([anchors, anchors])
    similarity = box_iou(objects, anchors)
    assert (similarity.max(1).values > 0).all()
    return {
        "match_objects": objects,
        "match_anchors": anchors,
        "match_iou": similarity,
        "match_rpn": _utils.Matcher(0.7, 0.3, allow_low_quality_matches=True)(similarity),
        "match_heads": _utils.Matcher(0.5, 0.5, allow_low_quality_matches=False)(similarity),
        "match_ignored": _utils.Matcher(0.6, 0.2, allow_low_quality_matches=False)(similarity),
    }


def sampler():
    counts = []
    for positives, negatives in SAMPLED:
        labels = torch.tensor([1] * positives + [0] * negatives + [-1] * 7)
        drawn = _utils.BalancedPositiveNegativeSampler(16, 0.25)([labels])
        counts.append([int(masks[0].sum()) for masks in drawn])
    return {"sampler_labels": np.array(SAMPLED), "sampler_counts": np.array(counts)}


def suppression(rng):
    boxes = draw_boxes(rng, 300, 8)
    # only 40 different scores: most of them are tied
    scores = torch.tensor(rng.integers(0, 40, 300) / 40, dtype=torch.float32)
    classes = torch.tensor(rng.integers(0, 4, 300))
    found = {"nms_boxes": boxes, "nms_scores": scores, "nms_classes": classes}
    for threshold in (0.25, 0.5, 0.7):
        found[f"nms_{threshold}"] = nms(boxes, scores, threshold)
        # one class after the other: the trick with shifted boxes rounds IoU differently
        kept = [
            ids[nms(boxes[ids], scores[ids], threshold)]
            for ids in (torch.where(classes == number)[0] for number in range(4))
        ]
        kept = torch.cat(kept).sort().values
        assert set(kept.tolist()) == set(batched_nms(boxes, scores, classes, threshold).tolist())
        found[f"nms_by_class_{threshold}"] = kept[
            scores[kept].sort(descending=True, stable=True)[1]
        ]
    return found


def main():
    rng = np.random.default_rng(19)
    found = {**coder(rng), **matcher(rng), **sampler(), **suppression(rng)}
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        **{name: np.asarray(values) for name, values in found.items()},
    )


if __name__ == "__main__":
    main()
