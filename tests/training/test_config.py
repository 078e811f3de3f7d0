import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest

from tfseg.data import Augment
from tfseg.losses import CrossEntropy, Dice
from tfseg.training import TrainConfig
from tfseg.training.task_fields import DETECTOR_FIELDS

FOLDERS = {"images": "photos", "masks": "labels", "class_names": ["ground", "disc", "band"]}
# every field has another value than its default
OTHER = TrainConfig(
    **FOLDERS,
    ignore_value=11,
    mask_values={0: 0, 9: 2},
    recursive=True,
    mask_suffix="_mask",
    gray=True,
    val_images="val/photos",
    val_masks="val/labels",
    val_fraction=0.3,
    dataset="leaves",
    cache="memory",
    model="unetpp",
    encoder="resnet50",
    weights="resnet.weights.h5",
    filters=(4, 8, 16, 32),
    normalization="image",
    minutes=2.5,
    batch_size=3,
    val_batch_size=2,
    augment={"size": (32, 48), "probability": {"blur": 0.5}, "blur": 2, "fill": [1, 2, 3]},
    loss={"Focal": 1.0, "Lovasz": 0.5},
    optimizer="sgd",
    learning_rate=0.1,
    schedule="poly",
    warmup=0.1,
    class_weights=[1, 2, 3],
    clip_norm=1.0,
    average=0.9,
    accumulate=2,
    monitor="val_mean_dice",
    patience=4,
    seed=5,
    out="runs/leaves",
)


def test_json_keeps_every_field():
    again = TrainConfig.from_json(OTHER.to_json())
    assert again == OTHER
    default = TrainConfig(out="elsewhere")
    # contradict normalization="image", mask_values, val_images and weights
    unset = {"window", "colors", "grid", "groups", "folds", "fold", "init_from", "task"}
    unset |= set(DETECTOR_FIELDS)
    for field in fields(TrainConfig):
        same = getattr(OTHER, field.name) == getattr(default, field.name)
        assert same == (field.name in unset), field.name
    assert TrainConfig.from_json(replace(default, window=64).to_json()).window == 64
    split = replace(default, groups=r"p\d", folds=3, fold=2)
    assert TrainConfig.from_json(split.to_json()) == split
    tuned = replace(default, init_from="runs/old")
    assert (Path(tuned.init_from).is_absolute(), tuned.weights) == (True, None)
    assert TrainConfig.from_json(tuned.to_json()) == tuned
    colors = dict(zip(FOLDERS["class_names"], [[1, 2, 3], [4, 5, 6], [7, 8, 9]], strict=True))
    colored = TrainConfig(**FOLDERS, colors=colors, ignore_value=[0, 0, 0], out="elsewhere")
    assert colored.colors["disc"] == (4, 5, 6)
    assert TrainConfig.from_json(colored.to_json()) == colored


def test_json_keeps_every_field_of_a_detector():
    default = TrainConfig(task="instances", out="run")
    assert TrainConfig.from_json(default.to_json()) == default
    config = TrainConfig(
        task="detect",
        images="photos",
        labels="boxes.json",
        val_images="val",
        val_labels="val.json",
        class_names=["disc"],
        head="faster_rcnn",
        layout="v2",
        size=320,
        anchor_sizes=[[8, 12], [16, 24], [32, 48], [64, 96], [128, 192]],
        anchor_ratios=np.array([0.5, 1.0]),
        max_objects=np.int64(30),
        out="run",
    )
    assert TrainConfig.from_json(config.to_json()) == config
    assert config.size == (320, 320)
    assert config.anchor_sizes == ((8, 12), (16, 24), (32, 48), (64, 96), (128, 192))
    assert all(getattr(config, name) != getattr(default, name) for name in DETECTOR_FIELDS)
    assert config.detector_options() == {
        "layout": "v2",
        "size": (320, 320),
        "anchor_sizes": config.anchor_sizes,
        "anchor_ratios": (0.5, 1.0),
        "weights": "imagenet",
    }


def test_defaults_depend_on_the_task():
    semantic, detect, instances = (
        TrainConfig(task=task, out="run") for task in ("semantic", "detect", "instances")
    )
    assert (semantic.model, detect.model) == ("unet", None)
    assert (semantic.layout, detect.layout) == (None, "light")
    assert (semantic.loss, detect.loss) == ({"CrossEntropy": 1.0, "Dice": 1.0}, {})
    monitors = [config.monitor for config in (semantic, detect, instances)]
    assert monitors == ["val_mean_iou", "val_ap", "val_mask_ap"]
    assert detect.augmentation() == Augment(384, scale=(0.7, 1.5), flip="horizontal")


def test_it_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        OTHER.seed = 6


def test_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(**FOLDERS, cache="kept", encoder="vgg16", weights="w.h5", out="run")
    monkeypatch.chdir("/")
    for name, folder in (("images", "photos"), ("cache", "kept"), ("weights", "w.h5")):
        assert getattr(config, name) == str(tmp_path.resolve() / folder)
    assert config.out == str(tmp_path.resolve() / "run")


def test_a_file_of_groups_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = str(tmp_path / "a.csv")
    assert TrainConfig(out="run", groups="a.csv").groups == table
    assert TrainConfig(out="run", groups="a.csv:slide").groups == f"{table}:slide"


def test_the_augmentation_is_complete():
    # so that another default of `Augment` in a later version changes nothing
    assert OTHER.augment.keys() == {field.name for field in fields(Augment)}
    again = TrainConfig.from_json(OTHER.to_json()).augmentation()
    assert again == Augment((32, 48), probability={"blur": 0.5}, blur=2, fill=(1, 2, 3))
    default = TrainConfig(out="run").augmentation()
    assert default == Augment(256, scale=(0.7, 1.5), rotate=10, flip="horizontal")


def test_epochs_or_minutes():
    assert TrainConfig(out="run").epochs == 20
    assert TrainConfig(out="run", minutes=3).epochs is None
    with pytest.raises(ValueError, match=r"epochs=20 contradicts minutes=3. Pass only one of them"):
        TrainConfig(out="run", epochs=20, minutes=3)


@pytest.mark.parametrize(("samples", "steps"), [(10, 3), (9, 3), (2, 1)])
def test_an_epoch_has_only_complete_batches_but_at_least_one(samples, steps):
    assert OTHER.steps_per_epoch(samples) == steps


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1e-3), ("adamw", 1e-3), ("sgd", 5e-2)])
def test_the_peak_learning_rate_depends_on_the_optimizer(optimizer, rate):
    assert TrainConfig(out="run", optimizer=optimizer).peak_learning_rate == rate
    config = TrainConfig(out="run", optimizer=optimizer, learning_rate=0.3)
    assert config.peak_learning_rate == 0.3


def test_the_default_loss_is_cross_entropy_plus_dice():
    weights = [1.0, 2.0, 3.0]
    median = TrainConfig(out="run", class_weights="median").build_loss(weights)
    assert arguments(median) == arguments(CrossEntropy(class_weights=weights) + Dice())
    plain = TrainConfig(out="run").build_loss(weights)
    assert arguments(plain) == arguments(CrossEntropy() + Dice())


def arguments(loss):
    """Return the weights of a sum, and the arguments of its parts without their numbered names."""
    configs = [part.get_config() for part in loss.losses]
    return (
        loss.weights,
        [type(part) for part in loss.losses],
        [{key: value for key, value in config.items() if key != "name"} for config in configs],
    )


def test_losses_are_weighted_and_class_weights_belong_to_pixel_losses():
    loss = OTHER.build_loss()
    assert [type(part).__name__ for part in loss.losses] == ["Focal", "Lovasz"]
    assert loss.weights == (1.0, 0.5)
    assert loss.losses[0].class_weights == [1, 2, 3]
    assert loss.losses[1].class_weights is None


def test_differences_leave_out_what_does_not_change_the_training():
    other = replace(OTHER, seed=6, out="moved", loss={"Dice": 1.0}, class_weights=None)
    assert OTHER.differences(other) == ["loss", "class_weights", "seed"]
    assert OTHER.differences(replace(OTHER, out="moved", cache=None, val_batch_size=1)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": None}, "pass both images and masks, or neither"),
        ({"val_images": "v"}, "pass both val_images and val_masks"),
        ({"class_names": None}, "images and masks need class_names"),
        ({"class_names": ["a", "a"]}, "class_names"),
        ({"ignore_value": -2}, r"ignore_value=-2 must be a whole number, or -1"),
        ({"ignore_value": 1.5}, r"ignore_value=1.5 must be a whole number"),
        ({"colors": {"ground": (1, 2, 3)}}, "Classes without a color: disc, band"),
        ({"mask_values": {9: 3}}, r"has the class ids \[3\]; expected 0 to 2, or 255"),
        ({"val_fraction": 1.0}, "val_fraction=1.0 must be above 0 and below 1"),
        ({"groups": "(p"}, r"groups: '\(p' is not a regular expression \(missing \), .*not a file"),
        ({"groups": ["p0", "p1"]}, r"must be a regular expression or a file, FILE.csv\[:COLUMN\]"),
        (
            {"groups": "p", "val_images": "v", "val_masks": "v"},
            "groups='p' contradicts val_images, which are validated on. Remove one.",
        ),
        ({"folds": 1}, "folds=1 leaves nothing to train on. Pass at least 2"),
        ({"folds": 2.5}, "folds=2.5 must be a whole number"),
        ({"folds": 2, "val_images": "v", "val_masks": "v"}, "folds=2 contradicts val_images"),
        ({"fold": 1}, "fold=1 is one of several: pass their number as folds"),
        ({"fold": 3, "folds": 2}, "fold=3 must be at most folds=2"),
        ({"fold": 0, "folds": 2}, "fold=0 must be a whole number of at least 1"),
        ({"model": "lrasp"}, "model='lrasp' is unknown.*Did you mean 'lraspp'"),
        ({"encoder": "resnet5"}, "encoder='resnet5' is unknown.*Did you mean 'resnet50'"),
        ({"model": "tiny_unet", "encoder": "resnet50"}, "tiny_unet: option='encoder' is unknown"),
        ({"weights": "imagnet"}, 'must be "imagenet", None or a .weights.h5, .h5 or .hdf5 file'),
        ({"weights": "w.hdf5"}, r"unet: weights='.*w.hdf5' are encoder weights, but encoder is No"),
        ({"model": "segformer"}, "mit_b0: weights='imagenet' is not available.*[(]--weights none"),
        ({"model": "lraspp", "filters": [4, 8]}, "lraspp: option='filters' is unknown"),
        ({"model": "unetpp", "filters": [4] * 5}, "must have four levels if there is an encoder"),
        ({"encoder": "vgg16", "filters": [4] * 4}, "must have five levels if there is an encoder"),
        ({"model": "tiny_unet", "filters": [4, 8]}, r"filters=\(4, 8\) must be a whole number"),
        ({"filters": 4}, "filters=4 must be several whole numbers"),
        ({"filters": [32]}, "at least two levels"),
        ({"filters": [32, 0]}, "filters=0 must be a whole number"),
        ({"model": "tiny_unet", "filters": 0}, "filters=0 must be a whole number"),
        ({"normalization": "images"}, "Did you mean 'image'"),
        ({"normalization": "image", "window": 64}, "contradicts normalization"),
        ({"window": 0}, "window=0 must be a whole number"),
        ({"epochs": 0}, "epochs=0 must be a whole number"),
        ({"minutes": 0}, "minutes=0 must be a finite number above 0"),
        ({"batch_size": 0}, "batch_size=0 must be"),
        ({"val_batch_size": 0}, "val_batch_size=0 must be"),
        ({"patience": 0}, "patience=0 must be"),
        ({"augment": {"size": 32, "rotat": 5}}, "augment field='rotat' is unknown.*'rotate'"),
        ({"augment": {"rotate": 5}}, "needs a size"),
        ({"augment": {"size": 32, "flip": "left"}}, "flip='left' is unknown"),
        ({"loss": {}}, "must name a loss"),
        ({"loss": {"dice": 1.0}}, "loss='dice' is unknown.*Did you mean 'Dice'"),
        ({"loss": {"Dice": 0}}, "weight of Dice=0 must be a finite number above 0"),
        ({"class_weights": "mean"}, 'must be None, "median" or one number per class'),
        ({"class_weights": ["a"]}, "must be a list of numbers"),
        ({"class_weights": [1, 2]}, "must have one number per class: ground, disc, band"),
        ({"loss": {"Dice": 1}, "class_weights": "median"}, "needs a pixel loss"),
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"warmup": 1.0}, "warmup=1.0 must be at least 0 and below 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be a finite number above 0"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0 must be"),
        ({"average": 1.0}, "average=1.0 must be"),
        ({"accumulate": 0}, "accumulate=0 must be"),
        ({"seed": -1}, r"seed=-1 must be an integer in \[0, 2\*\*32\)"),
    ],
)
def test_a_wrong_value_is_refused_at_once(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        TrainConfig(**{**FOLDERS, "out": "run", **changes})
    assert "\n" not in str(error.value)


OBJECTS = {"task": "detect", "images": "photos", "labels": "boxes.json"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "detct"}, "task='detct' is unknown.*Did you mean 'detect'"),
        ({"head": "mask_rcnn"}, "head='mask_rcnn' has no meaning for task='semantic'"),
        ({"labels": "a.json"}, "labels='a.json' has no meaning for task='semantic'"),
        ({**OBJECTS, "masks": "m"}, "masks='m' has no meaning for task='detect'"),
        ({**OBJECTS, "class_weights": "median"}, "class_weights='median' has no meaning for"),
        ({**OBJECTS, "window": 64}, "window=64 has no meaning for task='detect'"),
        ({**OBJECTS, "loss": {"Dice": 1.0}}, "heads for objects have losses of their own"),
        ({**OBJECTS, "model": "fpn"}, "model='fpn' contradicts task='detect'. Pass a head"),
        ({**OBJECTS, "labels": None}, "pass both images and labels, or neither"),
        ({**OBJECTS, "val_images": "v"}, "pass both val_images and val_labels"),
        ({**OBJECTS, "head": "mask_rcn"}, "Did you mean 'mask_rcnn'"),
        ({**OBJECTS, "head": "mask_rcnn"}, "contradicts task='detect'. Pass task='instances', or"),
        ({**OBJECTS, "layout": "v3"}, "layout='v3' is unknown"),
        ({**OBJECTS, "size": (1, 2, 3)}, r"size=\(1, 2, 3\) must be a number or \(height, width"),
        ({**OBJECTS, "anchor_sizes": (8, 16)}, r"has 2 entries; expected 5, one per"),
        ({**OBJECTS, "anchor_sizes": (8, 16, 0, 4, 5)}, "anchor_sizes=0 must be a finite number"),
        ({**OBJECTS, "anchor_sizes": (8, 16, 32, 64, (9, 9))}, "the same number of sizes for each"),
        ({**OBJECTS, "anchor_ratios": (-1,)}, "anchor_ratios=-1.0 must be a finite number above 0"),
        ({**OBJECTS, "folds": 2}, "folds=2 contradicts task='detect': only masks are trained in"),
        ({**OBJECTS, "max_objects": 0}, "max_objects=0 must be a whole number"),
    ],
)
def test_values_that_contradict_the_task_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(out="run", **values)


def test_numpy_values_become_plain():
    config = TrainConfig(
        out="run",
        class_weights=np.array([1.0, 2.0]),
        batch_size=np.int64(4),
        filters=(np.int64(4), 8),
        ignore_value=np.uint8(9),
        val_fraction=np.float32(0.25),
        window=np.int32(64),
        learning_rate=np.float32(0.5),
        warmup=np.float32(0.25),
        clip_norm=np.float32(0.5),
        average=np.float32(0.5),
        accumulate=np.int64(2),
        seed=np.uint32(7),
    )
    assert json.loads(config.to_json())["class_weights"] == [1.0, 2.0]
    assert TrainConfig.from_json(config.to_json()) == config
    tiny = TrainConfig(out="run", model="tiny_unet", filters=np.int64(4))
    assert json.loads(tiny.to_json())["filters"] == 4


def test_a_single_class_has_a_weight_for_the_background_too():
    config = TrainConfig(out="run", class_names=["leaf"], class_weights=[1, 2])
    with pytest.raises(ValueError, match="one number per class: background, leaf"):
        replace(config, class_weights=[1])


def test_masks_of_more_than_255_classes_ignore_65535():
    names = [f"class {index}" for index in range(300)]
    options = {**FOLDERS, "class_names": names, "out": "run"}
    assert TrainConfig(**options, mask_values={9: 255, 7: 65535}).mask_values[7] == 65535
    with pytest.raises(ValueError, match=r"class ids \[300\]; expected 0 to 299, or 65535"):
        TrainConfig(**options, mask_values={9: 300})


def test_weights_files_of_keras_applications_are_accepted():
    for name in ("a.weights.h5", "a_notop.h5", "a.hdf5"):
        config = TrainConfig(out="run", encoder="vgg16", weights=name)
        assert config.weights.endswith(name)
