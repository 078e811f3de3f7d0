"""Load the weights of torchvision's Faster R-CNN and Mask R-CNN."""

import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfseg.models.detection.heads import BOX_POOL
from tfseg.models.encoders.checkpoints import read_checkpoint
from tfseg.models.encoders.resnet import EPSILON, published_name
from tfseg.models.encoders.torch_layers import COUNTER, assign_state_dict, torch_tensors
from tfseg.models.layer_graph import all_layers

OWNER = "load_torchvision"
ADVICE = (
    "Build the model of the file: faster_rcnn or mask_rcnn, encoder='resnet50_v1_5', layout='v1' "
    "or 'v2', and num_classes without background (90 for the published COCO weights). Pass "
    "heads=False to load a file with another number of classes."
)
# Our layers -> their modules. Layers of batch normalization follow the convolution in both.
SHARED = {
    **{f"fpn_lateral{level}": f"backbone.fpn.inner_blocks.{level - 2}.0" for level in (2, 3, 4, 5)},
    **{f"fpn_output{level}": f"backbone.fpn.layer_blocks.{level - 2}.0" for level in (2, 3, 4, 5)},
    "rpn_conv1": "rpn.head.conv.0.0",
    "rpn_objectness": "rpn.head.cls_logits",
    "rpn_deltas": "rpn.head.bbox_pred",
    "class_logits": "roi_heads.box_predictor.cls_score",
    "box_deltas": "roi_heads.box_predictor.bbox_pred",
    **{f"mask_conv{number}": f"roi_heads.mask_head.{number - 1}.0" for number in (1, 2, 3, 4)},
    "mask_deconv": "roi_heads.mask_predictor.conv5_mask",
    "mask_logits": "roi_heads.mask_predictor.mask_fcn_logits",
}
LAYOUTS = {
    "v1": SHARED | {"box_fc1": "roi_heads.box_head.fc6", "box_fc2": "roi_heads.box_head.fc7"},
    "v2": SHARED
    | {
        "rpn_conv2": "rpn.head.conv.1.0",
        **{f"box_conv{number}": f"roi_heads.box_head.{number - 1}.0" for number in (1, 2, 3, 4)},
        "box_fc1": "roi_heads.box_head.5",
    },
}
BATCH_NORM = {  # the convolution is module 0 of its block, its normalization module 1
    f"{layer}_bn": f"{module.removesuffix('0')}1"
    for layer, module in LAYOUTS["v2"].items()
    if layer.startswith(("fpn_", "box_conv", "mask_conv"))
}
LAYOUTS["v2"] = LAYOUTS["v2"] | BATCH_NORM
HEADS = ("class_logits", "box_deltas", "mask_logits")  # depend on the number of classes
FLATTENED = ("box_fc1",)  # dense layers behind flattened features
# Names in files of torchvision before 0.12, such as the published COCO weights of the first layout
RENAMED = (
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", r"\1.0.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    *(
        (rf"roi_heads\.mask_head\.mask_fcn{n}\.(weight|bias)", rf"roi_heads.mask_head.{n - 1}.0.\1")
        for n in (1, 2, 3, 4)
    ),
)


@dataclass(frozen=True)
class Coverage:
    """What `load_torchvision` loaded. `print` it to see the table.

    Attributes:
        loaded: list of (layer, name in the file, shape in the file).
        left_out: names in the file that were left out by heads=False.
    """

    loaded: list
    left_out: list

    def __str__(self):
        parts = {}
        for _, name, shape in self.loaded:
            part = ".".join(name.split(".")[:2])
            count, size = parts.get(part, (0, 0))
            parts[part] = count + 1, size + int(np.prod(shape))
        rows = [f"{'part':28} {'tensors':>7} {'parameters':>11}"]
        rows += [f"{part:28} {count:7d} {size:11,d}" for part, (count, size) in parts.items()]
        total = sum(size for _, size in parts.values())
        rows.append(f"{'loaded':28} {len(self.loaded):7d} {total:11,d}")
        rows += [f"left out: {name}" for name in self.left_out]
        return "\n".join(rows)


def load_torchvision(
    model: keras.Model, state_dict_file: str | Path, heads: bool = True, frozen_eps: float = 0.0
) -> Coverage:
    """Load a state dict of torchvision's Faster or Mask R-CNN with a ResNet-50 and an FPN.

    Files of `fasterrcnn_resnet50_fpn`, `fasterrcnn_resnet50_fpn_v2`, `maskrcnn_resnet50_fpn` and
    `maskrcnn_resnet50_fpn_v2` are supported, such as the published COCO weights (90 categories) or
    what `torch.save(model.state_dict(), path)` wrote. PyTorch is not needed, and no code in the
    file is executed. Category k of our models is label k + 1 of torchvision.

    Where the file's backbone has `FrozenBatchNorm2d`, the difference between its epsilon and ours
    is folded into the scale. Call `tfseg.models.freeze(model)` to keep these layers as they are in
    a training.

    Args:
        model: a model of `faster_rcnn` or `mask_rcnn` with encoder="resnet50_v1_5" and layout "v1"
            or "v2"; changed in place.
        state_dict_file: path of a `.pth` file, zip or legacy format.
        heads: False to leave out the layers that depend on the number of classes, for fine-tuning:
            the class logits, box deltas and mask logits.
        frozen_eps: epsilon of `FrozenBatchNorm2d`, which files do not contain. 0 for the published
            COCO weights of the first version and what was trained from them; 1e-5 for models that
            were trained from a backbone with ImageNet weights. Not used if the file counts batches
            (`num_batches_tracked`), as `BatchNorm2d` does.

    Returns:
        Coverage: the layers and tensors that were loaded.

    Raises:
        ValueError: the model is another one, or names or shapes differ; then nothing is loaded. Or
            the file calls functions, or is damaged.
        OSError: the file cannot be read.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.faster_rcnn(2, encoder="resnet50_v1_5")
        >>> coverage = tfseg.models.load_torchvision(
        ...     model, "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", heads=False
        ... )  # doctest: +SKIP
    """
    targets, layer_names = {}, {}
    for layer, name in _published_layers(model):
        if heads or layer.name not in HEADS:
            tensors = _targets(layer, name)
            targets |= tensors
            layer_names |= dict.fromkeys(tensors, layer.name)
    state = {_current_name(name): array for name, array in read_checkpoint(state_dict_file).items()}
    left_out = [] if heads else [name for name in state if _is_head(name)]
    tensors = {
        name: array
        for name, array in state.items()
        if name not in left_out and not name.endswith(COUNTER)
    }
    _fold_frozen(tensors, state, frozen_eps, state_dict_file)
    assign_state_dict(OWNER, state_dict_file, targets, tensors, ADVICE)
    loaded = [(layer, name, tensors[name].shape) for name, layer in layer_names.items()]
    return Coverage(loaded, left_out)


def _published_layers(model):
    """Return the (layer, name in torchvision) of all layers with weights."""
    found = [layer for layer in all_layers(model) if layer.weights]
    names = {layer.name for layer in found}
    layout = "v2" if "box_conv1" in names else "v1"
    pairs = []
    for layer in found:
        encoder = re.fullmatch(r"encoder[1-5]_((?:stem|group\d_block\d)_.+)", layer.name)
        if encoder:
            pairs.append((layer, f"backbone.body.{published_name(encoder[1])}"))
        elif layer.name in LAYOUTS[layout]:
            pairs.append((layer, LAYOUTS[layout][layer.name]))
        else:
            raise ValueError(
                f"{OWNER}: layer {layer.name!r} of model {model.name!r} does not exist in "
                f"torchvision's models. {ADVICE}"
            )
    return pairs


def _targets(layer, name):
    """Return {name in the file: TorchTensor} of a layer's variables."""
    grid = (BOX_POOL, BOX_POOL) if layer.name in FLATTENED else None
    return torch_tensors(layer, name, grid)


def _current_name(name):
    for pattern, replacement in RENAMED:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def _is_head(name):
    return name.rsplit(".", 1)[0] in [SHARED[layer] for layer in HEADS]


def _fold_frozen(tensors, state, frozen_eps, path):
    """Scale batch normalization without a counter, so that our epsilon gives the same result."""
    for name in list(tensors):
        module = name.removesuffix(".running_var")
        if module == name or f"{module}{COUNTER}" in state:
            continue
        variance = tensors[name].astype("float64")
        if not (variance + frozen_eps > 0).all():
            raise ValueError(
                f"{OWNER}: '{path}': {name} plus frozen_eps={frozen_eps} must be above zero."
            )
        scale = np.sqrt((variance + EPSILON) / (variance + frozen_eps))
        weight = f"{module}.weight"
        if weight in tensors and tensors[weight].shape == scale.shape:
            tensors[weight] = (tensors[weight] * scale).astype("float32")
