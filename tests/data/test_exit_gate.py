import subprocess
import sys

import pytest

from tfseg.data import exit_gate

SCRIPT = """
import sys, time
import numpy as np
from tfseg.data import Arrays, Augment, pipeline

from tfseg.data import exit_gate

class Slow(Arrays):
    def __getitem__(self, index):
        time.sleep(0.01)
        return super().__getitem__(index)

images, masks = np.zeros((64, 32, 32, 3), np.uint8), np.tile(np.eye(32, dtype=np.uint8), (64, 1, 1))
augment = Augment(16) if sys.argv[1] == "crops" else None
if augment is not None:
    augment.__dict__["_compiled"] = augment.kernel
iterator = iter(pipeline(Slow(images, masks, ["a", "b"]), 4, augment))
for _ in range(int(sys.argv[2])):
    next(iterator)
print("end")
"""


@pytest.mark.parametrize(("stream", "batches"), [("whole", 1), ("crops", 2)])
def test_a_script_that_keeps_an_iterator_exits(stream, batches):
    command = [sys.executable, "-c", SCRIPT, stream, str(batches)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_calls_after_the_exit_do_no_work(monkeypatch):
    call = exit_gate.until_exit(lambda number: number + 1, lambda: 0)
    assert call(5) == 6
    monkeypatch.setattr(exit_gate, "_is_closed", True)
    assert call(5) == 0
