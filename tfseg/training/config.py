"""The configuration of a training: every choice in one frozen, JSON-able object."""

import json
from dataclasses import asdict, dataclass, fields

from tfseg.checks import IGNORE_INDEX
from tfseg.data import Augment
from tfseg.losses import CompositeLoss, PixelLoss
from tfseg.models import DEFAULT_ENCODERS
from tfseg.training.config_checks import CHECKS, LOSS_CLASSES
from tfseg.training.presets import OPTIMIZERS
from tfseg.training.task_fields import BOXLESS_HEADS, DEFAULT_MODEL, SEMANTIC

INCIDENTAL = ("out", "cache", "val_batch_size")  # fields that do not change what is trained


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that determines a training, for `train` and for the run's `run.json`.

    All values are plain: numbers, strings, tuples and dicts. They are validated at once, before
    any image is read. Folders become absolute paths. To vary a config, use `dataclasses.replace`.

    Args:
        out: folder of the run.
        task: "semantic": train on masks of classes; "detect": on boxes; "instances": on the masks
            of objects.
        images, masks: folders of images and masks with the same file names; None if readers are
            passed to `train`.
        labels: labels of the objects in `images`, instead of `masks`: a file or folder that
            `tfseg.data.open_objects` reads.
        class_names: names of the class ids 0, 1, 2 ...; a single name is id 1, and 0 is background.
            Required with `masks`. With `labels`: names of the categories 0, 1, 2 ..., without a
            background, and of the stuff of panoptic labels; None for those in the labels.
        ignore_value: value of unlabeled pixels in the mask files; -1 if there is none. With
            `colors`, a color.
        mask_values: {value in the mask files: class id}; None if values are class ids, or 0 and 255
            for two classes.
        colors: {class name: (red, green, blue)} if colors in the mask files stand for classes.
        recursive: read the images and masks of subfolders, too.
        mask_suffix: what the names of masks have after those of images, such as "_mask".
        gray: convert all images to gray.
        val_images, val_masks, val_labels: folders to validate on; None to split off
            `val_fraction`, or, if `labels` are in the layout of Pascal VOC, for its list "val".
        val_fraction: fraction of the samples to validate on, above 0 and below 1.
        groups: which samples stay together, such as the images of one patient: a regular expression
            for their names, or a CSV file; see `tfseg.data.Reader.split`. None if each sample may
            be trained or validated on.
        folds: number of folds for `train_folds`, instead of `val_fraction`; None for one training.
        fold: number of the fold that a run is validated on, from 1; `train_folds` sets it.
        dataset: name of the dataset, for runs whose readers are passed to `train`.
        cache: keep decoded samples: "memory", or a folder to create; None to decode each time.
        model: one of `tfseg.models.list_models()`; None if the network is passed to `train`, and
            for detectors.
        head: "faster_rcnn" for the task "detect"; for "instances" "mask_rcnn", or "star" or
            "center" on top of `model`, see `tfseg.models.instances`. With "center" it also learns
            the stuff of panoptic labels, see `tfseg.data.CocoPanoptic`. None if a detector is
            passed to `train`.
        grid: distance in pixels of the samples of the head "star": 1, 2 or 4; None for 2. Objects
            that contain no sample are lost.
        layout: layout of the detector's heads, see `tfseg.models.faster_rcnn`; None for "light".
        size: side, or (height, width), that a detector resizes images to; None to keep them.
        anchor_sizes: for each of the five levels of a detector's pyramid, the size of its anchors
            in pixels, or several; None for the default.
        anchor_ratios: height / width of the anchors; None for the default.
        max_objects: number of objects per training image that are used, the largest ones; None for
            as many as any image has, but at most 100.
        encoder: one of `tfseg.models.list_encoders()`; None for the model's default, or, with the
            heads "star" and "center", "efficientnet_lite0" for models without one.
        weights: initial weights of the encoder: "imagenet", a `.weights.h5`, `.h5` or `.hdf5`
            file, or None for random weights. Models without an encoder ignore "imagenet".
        init_from: folder of a run whose best weights the training begins with; None for `weights`.
            The network must be the same. If the images are the same, so are
            the samples to train and to validate on. Classes of the same name keep their output
            weights, new ones begin with random weights. See the second example.
        filters: width of each level, for models that take it; None for the model's default.
        normalization: "dataset": subtract the mean and divide by the std of the training images,
            or, for 8-bit images and an encoder, normalize as the encoder was trained; "image": use
            the mean and std of each image, which suits microscopy.
        epochs: passes over the training samples; 20 if `minutes` is None too.
        minutes: duration of the training instead of `epochs`, from the call of `train`: it is split
            into at most 20 rounds of as many steps as the machine can do, each followed by a
            validation. There are fewer if validations would take more than a fifth of the time. If
            the machine becomes slower or faster, the rest of the training and of its learning-rate
            schedule becomes shorter or longer. A run that is resumed trains what it had planned.
        batch_size: number of images per training step.
        val_batch_size: number of images per validation step; None for `batch_size`, less for large
            images.
        augment: arguments of `tfseg.data.Augment`; the missing ones have its defaults. None for
            crops of 256 pixels that are scaled, rotated (with the head "star" by any angle) and
            flipped, or, for detectors, crops of 384 pixels that are scaled and flipped.
        loss: {name of a class in `tfseg.losses`: weight}, summed; None for cross entropy + Dice.
            Heads for objects have losses of their own.
        optimizer, learning_rate, schedule, warmup, clip_norm, average, accumulate: see
            `compile_for`.
        class_weights: weights per class for the pixel losses, also of the head "center": None,
            "median" (median frequency balancing of the training masks), or one number per class of
            the masks.
        monitor: metric in the logs that selects the best epoch; higher is better. None for
            "val_mean_iou", "val_ap" (boxes and the head "star"), "val_mask_ap" ("mask_rcnn") or
            "val_pq" ("center").
        patience: stop after this many epochs without improvement; None to train to the end.
        window: side in pixels of the tiles (validation) and sliding windows (prediction) of larger
            images; None for 1024 if any image has more than 2 megapixels.
        seed: of the split, initial weights, order and augmentation, 0 to 2**32 - 1.

    Raises:
        ValueError: a value is unknown, out of range, or contradicts another one.

    Example:
        >>> import tfseg
        >>> config = tfseg.training.TrainConfig(
        ...     images="photos", masks="labels", class_names=["background", "leaf"],
        ...     epochs=50, loss={"CrossEntropy": 1.0, "Lovasz": 0.5}, out="runs/leaves")
        >>> config.augment["size"], config.optimizer
        ((256, 256), 'adam')
        >>> tfseg.training.TrainConfig.from_json(config.to_json()) == config
        True

        Fine-tuning: go on from a run, with a tenth of its learning rate.

        >>> from dataclasses import replace
        >>> replace(config, init_from="runs/leaves", out="runs/more", epochs=10,
        ...         learning_rate=config.peak_learning_rate / 10).learning_rate
        0.0001
    """

    out: str
    task: str = SEMANTIC
    # data
    images: str | None = None
    masks: str | None = None
    labels: str | None = None
    class_names: tuple | None = None
    ignore_value: int = IGNORE_INDEX
    mask_values: dict | None = None
    colors: dict | None = None
    recursive: bool = False
    mask_suffix: str | None = None
    gray: bool = False
    val_images: str | None = None
    val_masks: str | None = None
    val_labels: str | None = None
    val_fraction: float = 0.2
    groups: str | None = None
    folds: int | None = None
    fold: int | None = None
    dataset: str | None = None
    cache: str | None = None
    # model
    model: str | None = DEFAULT_MODEL
    head: str | None = None
    grid: int | None = None
    layout: str | None = None
    size: tuple | int | None = None
    anchor_sizes: tuple | None = None
    anchor_ratios: tuple | None = None
    max_objects: int | None = None
    encoder: str | None = None
    weights: str | None = "imagenet"
    init_from: str | None = None
    filters: tuple | int | None = None
    normalization: str = "dataset"
    # training
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 8
    val_batch_size: int | None = None
    augment: dict | None = None
    loss: dict | None = None
    optimizer: str = "adam"
    learning_rate: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.05
    class_weights: str | tuple | None = None
    clip_norm: float | None = None
    average: float | None = None
    accumulate: int | None = None
    monitor: str | None = None
    patience: int | None = None
    window: int | None = None
    # run
    seed: int = 0

    def __post_init__(self):
        for check in CHECKS:
            for name, value in check(self).items():
                object.__setattr__(self, name, value)  # the dataclass is frozen

    def to_json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """Return the config that `to_json` wrote."""
        return cls(**json.loads(text))

    @property
    def is_detector(self) -> bool:
        """Whether a detector is trained: on boxes, or boxes and masks of objects."""
        return self.has_objects and not self.is_boxless

    @property
    def is_boxless(self) -> bool:
        """Whether a network of `tfseg.models.instances` is trained: the heads without boxes."""
        return self.head in BOXLESS_HEADS

    @property
    def has_objects(self) -> bool:
        """Whether the network is trained on objects: with or without boxes."""
        return self.task != SEMANTIC

    @property
    def names_network(self) -> bool:
        """Whether the config names a network; False if one was passed to `train`."""
        return self.head is not None if self.is_detector else self.model is not None

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after the warm-up: `learning_rate`, or the optimizer's default."""
        return self.learning_rate or OPTIMIZERS[self.optimizer].learning_rate

    def model_options(self) -> dict:
        """Return the arguments of the model's function that the config sets."""
        options = {"encoder": self.encoder, "filters": self.filters}
        options = {name: value for name, value in options.items() if value is not None}
        has_encoder = self.encoder or DEFAULT_ENCODERS.get(self.model)
        # "imagenet" is the default, also for models without an encoder
        if has_encoder or self.weights not in (None, "imagenet"):
            options["weights"] = self.weights
        return options

    def detector_options(self) -> dict:
        """Return the arguments of the detector's function that the config sets."""
        names = ("encoder", "layout", "size", "anchor_sizes", "anchor_ratios")
        options = {name: getattr(self, name) for name in names}
        options = {name: value for name, value in options.items() if value is not None}
        return {**options, "weights": self.weights}

    def optimizer_options(self) -> dict:
        """Return the arguments of `compile_for` that the config sets."""
        names = ("optimizer", "learning_rate", "schedule", "warmup", "clip_norm", "average")
        return {name: getattr(self, name) for name in (*names, "accumulate")}

    def steps_per_epoch(self, samples: int) -> int:
        """Return the number of training steps in one pass over `samples`."""
        return max(1, samples // self.batch_size)

    def augmentation(self) -> Augment:
        """Return the `Augment` that `augment` describes."""
        return Augment(**self.augment)

    def build_loss(self, median_weights=None):
        """Return the loss that `loss` and `class_weights` describe.

        Args:
            median_weights: one number per class, for `class_weights="median"`.
        """
        weights = median_weights if self.class_weights == "median" else self.class_weights
        losses = []
        for name in self.loss:
            loss = LOSS_CLASSES[name]
            weighted = weights is not None and issubclass(loss, PixelLoss)
            losses.append(loss(class_weights=list(weights)) if weighted else loss())
        return CompositeLoss(losses, list(self.loss.values()))

    def differences(self, other: "TrainConfig") -> list[str]:
        """Return the names of the fields in which two configs differ.

        `out`, `cache` and `val_batch_size` are left out: they do not change what is trained.
        """
        names = [field.name for field in fields(self) if field.name not in INCIDENTAL]
        return [name for name in names if getattr(self, name) != getattr(other, name)]
