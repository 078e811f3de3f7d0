"""Compare our detectors with the stages of torchvision's whole networks.

First write the stages to a folder, see torchvision_detection.py, then
    PYTHONPATH=.:tests python tests/goldens/compare_torchvision.py /tmp/stages
prints a table per network, and ends with code 1 if a difference exceeds its limit.
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from torchvision_stages import CASES, Comparison, build, load_seeded, table

from tfseg import models


def main(folder):
    failed = False
    for path in sorted(Path(folder).glob("torchvision_*_v[12].npz")):
        golden = np.load(path)
        name = path.stem.removeprefix("torchvision_")
        model = build(name, CASES[str(golden["case"])])
        weights = path.with_suffix(".pth")
        if weights.is_file():  # written by torch.save
            print(models.load_torchvision(model, weights))
        else:
            with tempfile.TemporaryDirectory() as temporary:
                load_seeded(model, Path(temporary) / "seeded.pth")
        rows = Comparison(model, golden).run()
        print(f"{name}, {golden['source']}\n{table(rows)}\n", flush=True)
        failed |= any(difference > limit for _, difference, limit in rows)
        keras.backend.clear_session()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
