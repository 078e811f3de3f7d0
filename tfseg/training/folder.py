"""From a folder of pictures and masks to a trained run: what `tfseg train` does."""

import keras

from tfseg.data import Augment, Folder, pipeline
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import unet
from tfseg.training.run import Run

OPTIMIZERS = {
    "adam": lambda rate: keras.optimizers.Adam(rate),
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}


def open_readers(settings):
    """Return (train, val) readers by the settings of a run.

    Args:
        settings: dict with "images", "masks", "class_names", "ignore", "val_images", "val_masks" (both None to
            split), "val_fraction", "seed".
    """
    train = Folder(settings["images"], settings["masks"], settings["class_names"], settings["ignore"])
    if settings["val_images"] is None:
        return train.split(settings["val_fraction"], settings["seed"])
    folders = settings["val_images"], settings["val_masks"]
    return train, Folder(*folders, settings["class_names"], settings["ignore"], train.mask_values)


def compile_for(model, optimizer, learning_rate, steps):
    """Compile a segmentation model for a training of `steps` steps.

    Cross entropy + Dice; the learning rate rises over the first twentieth and falls by a cosine (SGDR,
    arXiv:1608.03983, without restarts).

    Args:
        model: a model of `tfseg.models`.
        optimizer: "adam" or "sgd" (Nesterov momentum 0.9).
        learning_rate: the highest.
        steps: number of batches in the whole training.
    """
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, max(1, steps - warmup), warmup_target=learning_rate, warmup_steps=warmup
    )
    metric = ConfusionMetrics(model.output_shape[-1])
    model.compile(OPTIMIZERS[optimizer](rate), loss=CrossEntropy() + Dice(), metrics=[metric])


def train_folder(train, val, settings, out, callbacks=()):
    """Train a U-Net and keep the run in `out`; a run that is already there goes on where it stopped.

    Args:
        train, val: readers.
        settings: dict as kept in `run.json`, with "size", "batch_size", "epochs", "filters", "optimizer",
            "learning_rate", "seed" and "normalization" besides those of `open_readers`.
        out: folder of the run.
        callbacks: more Keras callbacks.

    Returns:
        The run, with the best model in it.
    """
    run = Run(out)
    if not run.has_settings():
        run.create(settings)
    keras.utils.set_random_seed(settings["seed"])
    model = unet(
        train.num_classes,
        (None, None, train.channels),
        settings["filters"],
        normalization=settings["normalization"],
    )
    augment = Augment(settings["size"], scale=(0.7, 1.5), rotate=10, flip="horizontal")
    stream = lambda first: pipeline(  # noqa: E731
        train, settings["batch_size"], augment, settings["seed"], first_epoch=first
    )
    compile_for(model, settings["optimizer"], settings["learning_rate"], len(stream(0)) * settings["epochs"])
    done = run.restore(model)
    model.fit(
        stream(done),
        validation_data=pipeline(val, settings["batch_size"]),
        epochs=settings["epochs"],
        initial_epoch=done,
        callbacks=[*run.callbacks(done), *callbacks],
        shuffle=False,  # the pipeline does
        verbose=0,
    )
    return run
