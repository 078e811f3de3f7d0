"""Four tissues of an averaged brain: the whole way in one command, `tfseg demo`.

2.1 minutes on 2 cores, installation apart: Dice on the test slab 0.943 for gray matter, 0.962 for white matter,
0.706 for other tissue, mean 0.902. Eight epochs on windows of 160 pixels gave 0.939 and 0.960.
Batch normalization needs a momentum of 0.9 here: at Keras' 0.99 the averages lag behind for the hundred
steps there are, and the validation scores are those of an untrained network for six epochs.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tfseg.data import Augment, pipeline
from tfseg.datasets.brain_tissue import CLASS_NAMES, brain_tissue
from tfseg.doctor import check
from tfseg.export import saved_model, serve_command
from tfseg.inference import predict, report
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import unet
from tfseg.training import Progress, Run

EPOCHS = 9
FILTERS = (16, 32, 64, 128)

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
    """Train, evaluate, draw, export, and prove the export in a process of its own.

    Args:
        console: `rich.console.Console` to report on.
        out: folder of the run; an older demo there is replaced.
        export_to: folder of the SavedModel's versions.

    Returns:
        The `Evaluation` on the test slab.
    """
    train, val, test = brain_tissue()
    console.print(
        f"Axial MRI slices of one averaged brain (MNI ICBM152): {len(train)} train, {len(val)} validation, "
        f"{len(test)} test, in contiguous slabs. A demonstration, no clinical result."
    )
    folder = _fresh_run(out)
    model = _train(console, train, val, folder)
    scores = report(model, test, folder.folder, folder.history())
    console.print(scores.table("Test slab"))
    version = saved_model(
        model, export_to, metadata={"class_names": test.class_names, "metrics": scores.means()}
    )
    picture = folder.folder / "slice.png"
    Image.fromarray(test[len(test) // 2]["image"][..., 0]).save(picture)
    _prove(console, version, picture, model, test[len(test) // 2]["image"])
    _say_what_next(console, folder.folder, picture, version)
    return scores


def _fresh_run(out):
    folder = Run(out)
    if folder.has_settings() and folder.settings().get("recipe") == "brain_tissue":
        shutil.rmtree(folder.folder)
    folder.create({"recipe": "brain_tissue", "class_names": list(CLASS_NAMES), "channels": 1})
    return folder


def _train(console, train, val, folder):
    keras.utils.set_random_seed(0)
    measured = check(train)
    model = unet(4, (None, None, 1), FILTERS, normalization=(measured.mean, measured.std))
    augment = Augment(128, scale=(0.8, 1.25), rotate=10, flip="horizontal")
    batches = pipeline(train, batch_size=8, augment=augment)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(batches))
    model.compile(
        keras.optimizers.Adam(rate), loss=CrossEntropy() + Dice(), metrics=[ConfusionMetrics(4)]
    )
    with Progress(console) as progress:
        model.fit(
            batches,
            validation_data=pipeline(val),
            epochs=EPOCHS,
            callbacks=[*folder.callbacks(), progress],
            shuffle=False,  # the pipeline does
            verbose=0,
        )
    folder.drop_state()
    return folder.model()


def _prove(console, version, picture, model, image):
    """Compare the served answer with the model's and print how they agree."""
    answer = picture.with_name("served.npy")
    command = [sys.executable, "-c", SERVE, str(version), str(picture), str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The export at {version} cannot be served:\n{done.stderr[-2000:]}")
    agreement = np.mean(np.load(answer) == predict(model, image))
    answer.unlink()
    console.print(
        f"Exported [bold]{version}[/]. A process without tfseg and Keras served {picture}: "
        f"{agreement:.2%} of its pixels have the class that the Keras model gives."
    )
    if agreement < 0.999:
        raise RuntimeError(f"The export at {version} does not answer as the model does.")


def _say_what_next(console, folder, picture, version):
    console.print(f"Look at [bold]{folder}[/]/samples.png, curves.png and confusion.png. Then try:")
    # `make demo` leaves the command in a .venv that the shell does not search
    tfseg = "tfseg" if shutil.which("tfseg") else Path(sys.executable).with_name("tfseg")
    for command in (
        (tfseg, "predict", picture, "--run", folder, "--out", "predictions"),
        (
            tfseg,
            "train",
            "--images",
            "DIR",
            "--masks",
            "DIR",
            "--class-names",
            "a,b,c",
            "--out",
            "runs/mine",
        ),
        serve_command(version),
    ):
        words = shlex.join(map(str, command))
        console.print(f"  {words}", style="cyan", soft_wrap=True, highlight=False, markup=False)
