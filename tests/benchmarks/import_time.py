"""Seconds that `import tfseg` adds to `import keras`.

Both are timed in one process; the result is the median over processes.
"""

import json
import statistics
import subprocess
import sys

ROUNDS = 7
TARGET_S = 0.3
SCRIPT = """
import time
start = time.perf_counter()
import keras
middle = time.perf_counter()
import tfseg
print(middle - start, time.perf_counter() - middle)
"""


def measure():
    """Return (seconds of `import keras`, seconds that `import tfseg` adds)."""
    command = [sys.executable, "-c", SCRIPT]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    keras_s, added_s = map(float, process.stdout.split())
    return keras_s, added_s


def main():
    measure()  # fills the disk cache
    rounds = [measure() for _ in range(ROUNDS)]
    keras_s = statistics.median(keras for keras, _ in rounds)
    added_s = statistics.median(added for _, added in rounds)
    print(f"import keras: {keras_s:.3f} s")
    print(f"import tfseg after it: {added_s:.3f} s (target: at most {TARGET_S})")
    result = {"added_s": added_s, "keras_s": keras_s, "ratio": added_s / keras_s}
    print(json.dumps(result | {"target_s": TARGET_S}))


if __name__ == "__main__":
    main()
