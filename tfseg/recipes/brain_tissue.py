"""Four tissues of an averaged brain: from data to a served model in one command, `tfseg demo`.

2.1 minutes on 2 cores after installation. Dice on the test slab: gray matter 0.952, white matter
0.971, other tissue 0.645, mean 0.892. Batch normalization needs a momentum of 0.9 here: at Keras'
0.99 the running statistics lag behind during the hundred steps of this training, and for six epochs
the validation scores are those of an untrained network.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tfseg.datasets import brain_tissue
from tfseg.doctor import check
from tfseg.export import saved_model, serve_command
from tfseg.inference import predict, report
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import unet
from tfseg.training import Progress, Run, TrainConfig, train

EPOCHS = 9
FILTERS = (16, 32, 64, 128)
AUGMENT = {"size": 128, "scale": (0.8, 1.25), "rotate": 10, "flip": "horizontal"}
DATASET = "brain_tissue"

# What a server does: TensorFlow loads the folder, and neither tfseg nor Keras can be imported.
SERVE = """
import sys
sys.modules["keras"] = sys.modules["tfseg"] = None  # `import tensorflow` itself would import keras
import numpy as np, tensorflow as tf
version, image, answer = sys.argv[1:]
image = tf.io.decode_png(tf.io.read_file(image), channels=1)[None]
serve = tf.saved_model.load(version).signatures["serving_default"]
np.save(answer, serve(image=tf.cast(image, tf.float32))["class_ids"][0].numpy())
"""


def run(console, out="runs/brain_tissue", export_to="saved_models/brain_tissue"):
    """Train, evaluate, draw and export a U-Net, and verify the export in a process of its own.

    Args:
        console: `rich.console.Console` to report on.
        out: folder of the run; an older demo there is replaced.
        export_to: folder of the SavedModel's versions.

    Returns:
        Evaluation on the test slab.
    """
    train_slab, val_slab, test_slab = brain_tissue()
    console.print(
        f"Axial MRI slices of one averaged brain (MNI ICBM152): {len(train_slab)} for training, "
        f"{len(val_slab)} for validation, {len(test_slab)} for the test, in contiguous slabs. A "
        "demonstration, not a clinical result."
    )
    _remove_old_demo(out)
    trained, folder = _train(console, train_slab, val_slab, out), Path(out)
    model = trained.model()
    scores = report(model, test_slab, folder, trained.history(), monitor=trained.config.monitor)
    console.print(scores.table("Test slab"))
    metadata = {"class_names": test_slab.class_names, "metrics": scores.means()}
    version = saved_model(model, export_to, metadata=metadata)
    slice_file = folder / "slice.png"
    image = test_slab[len(test_slab) // 2]["image"]
    Image.fromarray(image[..., 0]).save(slice_file)
    _verify(console, version, slice_file, predict(model, image))
    _say_next(console, folder, slice_file, version)
    return scores


def _remove_old_demo(out):
    old = Run(out)
    if old.exists() and old.config.dataset == DATASET:
        shutil.rmtree(old.folder)


def _train(console, train_slab, val_slab, out):
    config = TrainConfig(
        out=out, dataset=DATASET, model=None, epochs=EPOCHS, batch_size=8, augment=AUGMENT, seed=0
    )
    keras.utils.set_random_seed(config.seed)
    summary = check(train_slab)
    model = unet(4, (None, None, 1), FILTERS, normalization=(summary.mean, summary.std))
    steps = EPOCHS * config.steps_per_epoch(len(train_slab))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(
        keras.optimizers.Adam(rate), loss=CrossEntropy() + Dice(), metrics=[ConfusionMetrics(4)]
    )
    with Progress(console) as progress:
        trained = train(config, train_slab, val_slab, model, [progress])
    trained.drop_state()
    return trained


def _verify(console, version, slice_file, expected):
    """Serve an image in a process of its own, compare the answer, and print the agreement.

    Args:
        console: where to print.
        version: folder of the exported version.
        slice_file: image file to serve.
        expected: (H, W) class ids by the Keras model.
    """
    answer = slice_file.with_name("served.npy")
    command = [sys.executable, "-c", SERVE, str(version), str(slice_file), str(answer)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        raise RuntimeError(f"The export at {version} cannot be served:\n{done.stderr[-2000:]}")
    agreement = np.mean(np.load(answer) == expected)
    answer.unlink()
    console.print(
        f"Exported [bold]{version}[/]. A process without tfseg and Keras served {slice_file}: "
        f"{agreement:.2%} of its pixels have the class that the Keras model gives."
    )
    if agreement < 0.999:
        raise RuntimeError(f"The export at {version} does not answer as the model does.")


def _say_next(console, folder, slice_file, version):
    console.print(f"Look at [bold]{folder}[/]/samples.png, curves.png and confusion.png. Then try:")
    # `make demo` installs the command into a .venv that is not on the shell's PATH
    tfseg = "tfseg" if shutil.which("tfseg") else Path(sys.executable).with_name("tfseg")
    own_data = ("--images", "DIR", "--masks", "DIR", "--class-names", "a,b,c")
    for command in (
        (tfseg, "predict", slice_file, "--run", folder, "--out", "predictions"),
        (tfseg, "train", *own_data, "--out", "runs/mine"),
        serve_command(version),
    ):
        words = shlex.join(map(str, command))
        console.print(f"  {words}", style="cyan", soft_wrap=True, highlight=False, markup=False)
