"""How much `import tfseg` adds to `import keras`, in seconds: both timed in one process, medians over processes."""

import json
import statistics
import subprocess
import sys

ROUNDS = 7
SCRIPT = """
import time
began = time.perf_counter()
import keras
middle = time.perf_counter()
import tfseg
print(middle - began, time.perf_counter() - middle)
"""


def main():
    rounds = []
    for _ in range(ROUNDS + 1):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
        )
        rounds.append([float(seconds) for seconds in done.stdout.split()])
    keras, added = (
        statistics.median(column) for column in zip(*rounds[1:], strict=True)
    )  # the first warms the disk
    print(f"import keras: {keras:.3f} s")
    print(f"import tfseg after it: {added:.3f} s (target: at most 0.3)")
    print(json.dumps({"added_s": added, "keras_s": keras, "ratio": added / keras, "target_s": 0.3}))


if __name__ == "__main__":
    main()
