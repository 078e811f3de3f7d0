import subprocess
import sys

import pytest

from tfseg.training import deterministic

# Prints random numbers, whether unseeded operations are refused, and a digest of the weights.
TRAIN = """
import hashlib, random, sys
sys.path.insert(0, "tests")
import numpy as np, tensorflow as tf
from conftest import draw_sample
from tfseg.data import Arrays, Augment, pipeline
from tfseg.models import unet
from tfseg.training import compile_for, deterministic

deterministic(int(sys.argv[1]))
try:
    tf.raw_ops.RandomUniform(shape=[1], dtype=tf.float32)
    print("not enforced")
except tf.errors.InvalidArgumentError:
    print("enforced")
print(random.random(), np.random.rand())
reader = Arrays(*zip(*[draw_sample(i) for i in range(8)]), ["ground", "disc", "band"])
augment = Augment(32, scale=(0.7, 1.4), rotate=20, flip="horizontal", brightness=0.2, elastic=3)
model = unet(3, filters=(4, 8), dropout=0.3)
compile_for(model, steps=12)
model.fit(pipeline(reader, 2, augment), epochs=3, shuffle=False, verbose=0)
print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_bits(request):
    commands = [[sys.executable, "-c", TRAIN, seed] for seed in ("7", "7", "8")]
    where = {"cwd": request.config.rootpath, "stdout": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen(command, **where) for command in commands
    ]  # at once: they take turns on the cores
    first, second, other = (process.communicate(timeout=500)[0].split("\n") for process in running)
    assert first[0] == "enforced"
    assert len(first[2]) == 64
    assert first == second
    assert first[1] != other[1]
    assert first[2] != other[2]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None, True])
def test_an_invalid_seed_is_refused(seed):
    with pytest.raises(
        ValueError, match=r"deterministic: seed=.* must be an integer in \[0, 2\*\*32"
    ):
        deterministic(seed)
