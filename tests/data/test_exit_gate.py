import subprocess
import sys

from tfseg.data import exit_gate

SCRIPT = """
import time
import numpy as np
from tfseg.data import Arrays, Augment, pipeline

class Slow(Arrays):
    def __getitem__(self, index):
        time.sleep(0.01)
        return super().__getitem__(index)

images, masks = np.zeros((64, 32, 32, 3), np.uint8), np.tile(np.eye(32, dtype=np.uint8), (64, 1, 1))
reader, augment = Slow(images, masks, ["a", "b"]), Augment(16)
augment.__dict__["_compiled"] = augment.kernel
whole, crops = iter(pipeline(reader, 4)), iter(pipeline(reader, 4, augment))
stored = iter(pipeline(reader, 4, augment, cache="memory"))
next(whole), next(crops), next(crops), next(stored)
print("end")
"""


def test_a_script_that_keeps_iterators_exits():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_calls_after_the_exit_do_no_work(monkeypatch):
    call = exit_gate.until_exit(lambda number: number + 1, lambda: 0)
    assert call(5) == 6
    monkeypatch.setattr(exit_gate, "_is_closed", True)
    assert call(5) == 0
