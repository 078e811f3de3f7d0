"""Detectors with torchvision's weights: equal at every stage; files that do not fit."""

from pathlib import Path

import numpy as np
import pytest
from detection_case import CASES
from keras import ops
from seeded_weights import seeded_tensor
from torch_files import Named, write_legacy, write_state_dict, write_zip
from torchvision_stages import Comparison, build, load_seeded, seeded_state, table

from tfseg import models
from tfseg.models.detection.torchvision_weights import HEADS
from tfseg.models.layer_graph import all_layers

GOLDENS = Path(__file__).parents[2] / "goldens"
HEAD_NAMES = [
    f"roi_heads.{layer}.{kind}"
    for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred")
    for kind in ("weight", "bias")
] + [f"roi_heads.mask_predictor.mask_fcn_logits.{kind}" for kind in ("weight", "bias")]


@pytest.fixture(scope="module", params=["v1", "v2"])
def equal_model(request, tmp_path_factory):
    """A Mask R-CNN with the weights of the golden, and the golden."""
    # torch 2.14.1, torchvision 0.29.1: tests/goldens/torchvision_detection.py
    golden = np.load(GOLDENS / f"torchvision_mask_rcnn_{request.param}.npz")
    model = build(f"mask_rcnn_{request.param}", CASES["small"])
    load_seeded(model, tmp_path_factory.mktemp("weights") / "seeded.pth")
    return model, golden


def test_every_stage_is_equal_to_torchvision(equal_model):
    rows = Comparison(*equal_model).run()
    assert len(rows) == 24
    assert all(difference <= limit for _, difference, limit in rows), table(rows)


def test_the_state_dict_is_that_of_torchvision(equal_model):
    model, golden = equal_model
    ours = {name: array.shape for name, array in seeded_state(model).items()}
    theirs = dict(zip(golden["state_names"].tolist(), golden["state_shapes"], strict=True))
    assert ours == {name: tuple(map(int, shape.split())) for name, shape in theirs.items()}


@pytest.fixture(scope="module")
def model():
    """A Mask R-CNN of layout "v1" that tests may load weights into."""
    return build("mask_rcnn_v1", CASES["small"])


def old_name(name):
    """The name in files of torchvision before 0.12."""
    for part in ("inner_blocks", "layer_blocks"):
        for level in range(4):
            name = name.replace(f"{part}.{level}.0.", f"{part}.{level}.")
    name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    for number in range(4):
        name = name.replace(f"mask_head.{number}.0.", f"mask_head.mask_fcn{number + 1}.")
    return name


@pytest.mark.parametrize("write", [write_legacy, write_zip])
def test_published_files_have_old_names_and_frozen_norms(model, tmp_path, write):
    state = {
        old_name(name): array
        for name, array in seeded_state(model).items()
        if not name.endswith("num_batches_tracked")
    }
    variance = np.full(64, 4e-6, "float32")  # as small as epsilon, 1e-5
    state["backbone.body.bn1.running_var"] = variance
    path = write_state_dict(tmp_path / "published.pth", state, write)
    assert "backbone.fpn.inner_blocks.3.weight" in state
    assert "roi_heads.mask_head.mask_fcn4.bias" in state

    models.load_torchvision(model, path)
    kernel = state["roi_heads.mask_head.mask_fcn2.weight"].transpose(2, 3, 1, 0)
    assert np.array_equal(layer(model, "mask_conv2").kernel, kernel)
    norm = model.get_layer("encoder1_stem_bn")
    assert np.array_equal(norm.moving_variance, variance)
    # epsilon 0: w / sqrt(4e-6) = w' / sqrt(4e-6 + 1e-5), so w' = w * sqrt(3.5)
    weight = state["backbone.body.bn1.weight"]
    assert ops.convert_to_numpy(norm.gamma) == pytest.approx(weight * 3.5**0.5, rel=1e-5)

    models.load_torchvision(model, path, frozen_eps=1e-5)
    assert np.array_equal(norm.gamma, weight)

    state["backbone.body.bn1.running_var"] = np.zeros(64, "float32")
    path = write_state_dict(tmp_path / "zero.pth", state, write)
    with pytest.raises(ValueError, match=r"bn1.running_var plus frozen_eps=0.0 must be above"):
        models.load_torchvision(model, path)


def layer(model, name):
    return next(layer for layer in all_layers(model) if layer.name == name)


def weights_of(model):
    return {
        layer.name: [np.array(weight) for weight in layer.get_weights()]
        for layer in all_layers(model)
        if layer.weights
    }


def test_heads_of_another_number_of_classes_are_left_out(model, tmp_path):
    state = seeded_state(model)
    for name in HEAD_NAMES:  # 90 categories
        channels = 4 * 91 if "bbox_pred" in name else 91
        state[name] = seeded_tensor(name, (channels, *state[name].shape[1:]))
    path = write_state_dict(tmp_path / "coco.pth", state)
    for name in ("mask_conv1", "box_fc1", "rpn_objectness"):
        layer(model, name).bias.assign(layer(model, name).bias + 1)
    before = weights_of(model)

    with pytest.raises(
        ValueError, match=r"(?s)load_torchvision.*cls_score.bias \(91,\) instead of \(4,\).*heads="
    ):
        models.load_torchvision(model, path)
    assert same_layers(before, weights_of(model)) == set(before)

    coverage = models.load_torchvision(model, path, heads=False)
    assert set(coverage.left_out) == set(HEAD_NAMES)
    loaded = {name for name, _, _ in coverage.loaded}
    assert loaded == set(before) - set(HEADS)
    after = weights_of(model)
    assert set(HEADS) <= same_layers(before, after)
    assert not {"mask_conv1", "box_fc1", "rpn_objectness"} & same_layers(before, after)
    assert np.array_equal(layer(model, "box_fc2").bias, state["roi_heads.box_head.fc7.bias"])
    lines = [line.split() for line in str(coverage).splitlines()]
    # a lateral and an output convolution per level, with bias: 256 to 2048 channels, then 8
    assert ["backbone.fpn", "16", f"{8 * 3840 + 4 * 9 * 64 + 8 * 8:,}"] in lines
    assert lines[-1] == ["left", "out:", "roi_heads.mask_predictor.mask_fcn_logits.bias"]


def same_layers(before, after):
    return {
        name
        for name, values in before.items()
        if all(np.array_equal(a, b) for a, b in zip(values, after[name], strict=True))
    }


@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda s: s.pop("rpn.head.cls_logits.bias"),
            r"(?s)1 missing\s+rpn.head.cls_logits.bias \(3,\)",
        ),
        (
            lambda s: s.update({"roi_heads.keypoint_head.0.weight": np.zeros(2, "f4")}),
            r"1 unexpected\s+roi_heads.keypoint_head.0.weight \(2,\)",
        ),
        (
            lambda s: s.update({"roi_heads.box_head.fc6.weight": np.zeros((1024, 256), "f4")}),
            r"fc6.weight \(1024, 256\) instead of \(1024, 392\)",
        ),
    ],
)
def test_loading_is_all_or_nothing(model, tmp_path, damage, message, heads):
    state = seeded_state(model)
    state["backbone.body.conv1.weight"] += 1
    damage(state)
    before = weights_of(model)
    path = write_state_dict(tmp_path / "damaged.pth", state)
    with pytest.raises(ValueError, match=message):
        models.load_torchvision(model, path, heads)
    assert same_layers(before, weights_of(model)) == set(before)


def test_another_layout_or_encoder_is_an_error(model, plain_encoders, tmp_path):
    path = write_state_dict(tmp_path / "v1.pth", seeded_state(model))
    light = models.faster_rcnn(2, encoder="plain")
    with pytest.raises(
        ValueError,
        match="layer 'encoder1_conv1' of model 'faster_rcnn' does not exist in.*resnet50_v1_5",
    ):
        models.load_torchvision(light, path)
    second = build("mask_rcnn_v2", CASES["small"])
    with pytest.raises(ValueError, match=r"(?s)missing.*unexpected.*layout='v1' or 'v2'"):
        models.load_torchvision(second, path)


def test_a_malicious_file_is_blocked(model, tmp_path):
    state = {"rpn.head.cls_logits.bias": Named("os", "system", f"touch {tmp_path / 'run'}")}
    for write in (write_legacy, write_zip):
        path = write(tmp_path / "evil.pth", state, {})
        with pytest.raises(ValueError, match=r"tries to call 'os.system' when unpickled"):
            models.load_torchvision(model, path)
    assert not (tmp_path / "run").exists()
