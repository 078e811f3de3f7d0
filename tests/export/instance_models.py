"""Small instance models that find objects, and a process that serves exports without tfseg."""

import pickle
import subprocess
import sys

import keras
import numpy as np
from instance_runs import let_find_objects, small_model
from object_scenes import draw_scene

from tfseg.export.encoded_client import encode_png

IMAGES = np.stack([draw_scene(3)["image"], draw_scene(4)["image"]])
ODD = draw_scene(5, 97)["image"][:51, :83]
FILES = [encode_png(IMAGES[0]), b"no image", encode_png(ODD)]
STUFF_IDS = 5, (3, 1)  # number of class ids, and those of the two categories
# {name: (signature, inputs)}
REQUESTS = {
    "floats": ("serving_default", {"image": IMAGES.astype(np.float32)}),
    "uint8": ("uint8", {"image": IMAGES}),
    "odd": ("uint8", {"image": ODD[None]}),
    "black": ("uint8", {"image": np.zeros((1, 20, 30, 3), np.uint8)}),
    "no images": ("uint8", {"image": np.zeros((0, 20, 30, 3), np.uint8)}),
    "no rows": ("uint8", {"image": np.zeros((2, 0, 30, 3), np.uint8)}),
    "files": ("encoded", {"image_bytes": np.array(FILES, object)}),
    "no files": ("encoded", {"image_bytes": np.zeros(0, object)}),
}
SERVER = """
import pickle, sys
import tensorflow as tf

signatures, answers = tf.saved_model.load(sys.argv[3]).signatures, {}
for name, (signature, arrays) in pickle.load(open(sys.argv[1], "rb")).items():
    inputs = {
        key: tf.constant(value, tf.string if value.dtype == object else None)
        for key, value in arrays.items()
    }
    outputs = signatures[signature](**inputs)
    answers[name] = {key: value.numpy() for key, value in outputs.items()}
assert "tfseg" not in sys.modules
pickle.dump(answers, open(sys.argv[2], "wb"))
"""


def finding_model(head):
    """Return a star head of three categories, or a center head with stuff, with random weights."""
    keras.utils.set_random_seed(1)
    if head == "center":
        return small_model(head, STUFF_IDS[0], thing_ids=STUFF_IDS[1])
    model = small_model(head, 3)
    let_find_objects(model, IMAGES[0])
    return model


def answers_of_another_process(version, folder):
    """Return the answers of a version to `REQUESTS`, from a process that does not have tfseg."""
    requests, results = folder / "requests.pickle", folder / "answers.pickle"
    requests.write_bytes(pickle.dumps(REQUESTS))
    command = [sys.executable, "-c", SERVER, requests, results, version]
    subprocess.run(list(map(str, command)), check=True, cwd=folder, timeout=600)
    return pickle.loads(results.read_bytes())
