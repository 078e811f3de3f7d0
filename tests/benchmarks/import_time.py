"""How much `import tfseg` adds to `import keras`, in seconds: medians over fresh processes, taken in turns."""

import json
import statistics
import subprocess
import sys

ROUNDS = 7
SCRIPTS = {
    "keras": "import keras",
    "keras and tfseg": "import keras, tfseg",
    "tfseg alone": "import tfseg",
}


def seconds(script):
    code = f"import time; t = time.perf_counter(); {script}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main():
    seconds(SCRIPTS["keras and tfseg"])  # warms the disk cache
    times = {name: [] for name in SCRIPTS}
    for _ in range(ROUNDS):
        for name, script in SCRIPTS.items():
            times[name].append(seconds(script))
    medians = {name: statistics.median(values) for name, values in times.items()}
    added = statistics.median(
        both - alone for both, alone in zip(times["keras and tfseg"], times["keras"], strict=True)
    )
    for name, value in medians.items():
        print(f"import {name}: {value:.3f} s")
    print(f"import tfseg adds {added:.3f} s to import keras (target: at most 0.3)")
    print(json.dumps({"added_s": added, "medians_s": medians, "target_s": 0.3}))


if __name__ == "__main__":
    main()
