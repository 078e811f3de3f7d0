"""Four tissues of an averaged brain: the whole way in one command, `tfseg demo`.

MINUTES_AND_SCORES
"""

import shutil
import subprocess
import sys

import cv2
import keras
import numpy as np

from tfseg import viz
from tfseg.data import Augment, check, pipeline
from tfseg.datasets.brain_tissue import CLASS_NAMES, brain_tissue
from tfseg.export import saved_model
from tfseg.inference import evaluate, predict
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
version, picture, answer = sys.argv[1:]
image = tf.io.decode_png(tf.io.read_file(picture), channels=1)[None]
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
    scores = evaluate(model, test)
    scores.save(folder.folder)
    console.print(scores.table("Test slab"))
    _draw(model, test, scores, folder)
    version = saved_model(model, export_to)
    picture = folder.folder / "slice.png"
    cv2.imwrite(str(picture), test[len(test) // 2]["image"])
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
    model = unet(4, (None, None, 1), FILTERS, normalization=(measured.mean, measured.deviation))
    augment = Augment(128, scale=(0.8, 1.25), rotate=10, flip="horizontal")
    batches = pipeline(train, batch_size=8, augment=augment)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(batches))
    model.compile(keras.optimizers.Adam(rate), loss=CrossEntropy() + Dice(), metrics=[ConfusionMetrics(4)])
    model.fit(
        batches,
        validation_data=pipeline(val),
        epochs=EPOCHS,
        callbacks=[*folder.callbacks(), Progress(console)],
        shuffle=False,  # the pipeline does
        verbose=0,
    )
    folder.drop_state()
    return folder.model()


def _draw(model, test, scores, folder):
    shown = [test[i] for i in np.linspace(0, len(test) - 1, 3).astype(int)]
    images, masks = [s["image"] for s in shown], [s["mask"] for s in shown]
    predictions = [predict(model, image) for image in images]
    viz.samples(images, masks, predictions, test.class_names).savefig(folder.folder / "samples.png", dpi=120)
    viz.curves(folder.history()).savefig(folder.folder / "curves.png", dpi=120)
    viz.confusion_matrix(scores.matrix, scores.class_names).savefig(folder.folder / "confusion.png", dpi=120)


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
    console.print(f"Look at [bold]{folder}/samples.png[/], curves.png and confusion.png. Then try:")
    served = version.parent
    for command in (
        f"tfseg predict {picture} --run {folder} --out predictions",
        "tfseg train --images DIR --masks DIR --class-names a,b,c --out runs/mine",
        f"tensorflow_model_server --rest_api_port=8501 --model_name={served.name} --model_base_path={served.resolve()}",
    ):
        console.print(f"  {command}", style="cyan", soft_wrap=True, highlight=False)
