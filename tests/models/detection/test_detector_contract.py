"""What every detector guarantees, over layouts and numbers of classes."""

import numpy as np
import pytest
from keras import ops

from tfseg.models import DETECTORS

# `test_torchvision_weights.py` has the other layouts of Mask R-CNN, and `trained` three classes.
PLAIN = [
    ("mask_rcnn", "light", 1),
    ("faster_rcnn", "light", 80),
    ("faster_rcnn", "v2", 3),
]
# One with features at stride 2 and one without, each with another layout; test_encoders.py has the
# features of the others. Tests of weights and recipes have a ResNet and an EfficientNet-Lite.
ENCODERS = [("mobilenet_v3_small", "light", 3), ("mit_b0", "v1", 3)]


def check(model, objects, has_masks, num_classes):
    """Detect in one image of 64 x 64 pixels, compute the losses, and return the detections."""
    images, labels = objects
    images = images[:1, :64, :64]
    labels = {name: values[:1] for name, values in labels.items()}
    labels["instances"] = labels["instances"][:, :64, :64]
    labels["classes"] = np.minimum(labels["classes"], num_classes - 1)
    found = {name: ops.convert_to_numpy(values) for name, values in model(images).items()}
    assert found.keys() == {"boxes", "scores", "classes"} | ({"masks"} if has_masks else set())
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["scores"].any()
    assert found["classes"].max() < num_classes
    assert (found["classes"] >= 0).tolist() == (found["scores"] > 0).tolist()
    raw = model(images, training=True)
    loss = float(model.compute_loss(images, labels, raw, training=True))
    assert np.isfinite(loss)
    # cross entropy of equal scores: log 2 of anchors, log (C + 1) of proposals
    assert loss > 0.3 * np.log(2)
    assert model.num_classes == num_classes
    assert model.has_masks == has_masks
    return found


def test_every_detector_is_tested():
    assert DETECTORS.keys() == {head for head, *_ in PLAIN}


@pytest.mark.parametrize(("head", "layout", "num_classes"), PLAIN)
def test_layouts_and_classes(head, layout, num_classes, make, objects):
    model = make(head, num_classes, layout=layout, score_threshold=0)
    assert model.name == head
    found = check(model, objects, head == "mask_rcnn", num_classes)
    assert np.ptp(found["boxes"], axis=(0, 1)).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "layout", "num_classes"), ENCODERS)
def test_encoders(encoder, layout, num_classes, make, objects):
    model = make("faster_rcnn", num_classes, encoder=encoder, layout=layout, score_threshold=0)
    check(model, objects, False, num_classes)


def test_channels_anchors_and_static_sizes_are_those_of_the_arguments(make):
    sizes = ((8, 12), (16, 24), (32, 48), (64, 96), (128, 192))
    images = np.random.default_rng(0).integers(0, 4096, (1, 40, 50, 5)).astype("float32")
    options = {"normalization": (2048, 1000), "score_threshold": 0}
    options |= {"anchor_sizes": sizes, "anchor_ratios": (1, 3)}
    dynamic = make("faster_rcnn", input_shape=(None, None, 5), **options)
    static = make("faster_rcnn", input_shape=(40, 50, 5), **options)
    expected = ops.convert_to_numpy(dynamic(images)["boxes"])
    assert expected.any()
    assert ops.convert_to_numpy(static(images)["boxes"]) == pytest.approx(expected, abs=1e-3)
    assert dynamic.anchor_sizes == sizes
    assert dynamic.anchor_ratios == (1, 3)
    assert dynamic.get_layer("rpn_objectness").filters == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes=0 must be a whole number of at least 1"),
        ({"layout": "v3"}, "layout='v3' is unknown"),
        ({"anchor_sizes": (32, 64)}, "has 2 entries; expected 5, one per pyramid level"),
        ({"anchor_sizes": (8, 16, (32, 48), 64, 128)}, "different numbers of sizes"),
        ({"anchor_sizes": (8, 16, 32, 64, -1)}, "anchor_sizes=-1 must be a finite number above 0"),
        ({"anchor_ratios": ()}, "must contain one or more numbers"),
        ({"anchor_ratios": (0, 1)}, "must be a finite number above 0"),
        ({"score_threshold": 1}, "score_threshold=1 must be at least 0 and below 1"),
        ({"nms_iou": -0.1}, "nms_iou=-0.1 must be at least 0"),
        ({"max_detections": 0}, "max_detections=0 must be a whole number of at least 1"),
        ({"proposals": (100,)}, r"proposals=\(100,\) must be two numbers"),
        ({"samples": 64}, "samples=64 must be several whole numbers"),
        ({"size": (64, 64, 3)}, r"size=\(64, 64, 3\) must be \(height, width\)"),
        ({"encoder": "plain_at_16"}, "has no features at stride 4, 8"),
        ({"input_shape": (None, None)}, r"must be \(H, W, C\)"),
    ],
)
def test_invalid_arguments_are_an_error(options, message, make):
    with pytest.raises(ValueError, match=f"faster_rcnn: .*{message}"):
        make("faster_rcnn", **options)
