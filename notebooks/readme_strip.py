"""Make the image strip of README.md: image, ground truth and prediction of the demo's model.

make demo && python notebooks/readme_strip.py runs/brain_tissue
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import tfseg

SCALE, GAP = 2, 12  # enlargement, and white pixels between the images


def main(run_folder):
    """Write readme_strip.png next to this file."""
    *_, test = tfseg.datasets.brain_tissue()
    sample = test[len(test) // 2]
    names = test.class_names
    model = tfseg.training.Run(run_folder).model()
    prediction = tfseg.inference.predict(model, sample["image"])
    image = tfseg.viz.as_rgb(sample["image"])
    ground_truth, overlay = (
        tfseg.viz.blend(image, tfseg.viz.without_background(labels, names), len(names))
        for labels in (sample["mask"], prediction)
    )
    gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
    strip = np.concatenate([image, gap, ground_truth, gap, overlay], axis=1)
    strip = cv2.resize(strip, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(Path(__file__).with_name("readme_strip.png")), strip[..., ::-1])


if __name__ == "__main__":
    main(sys.argv[1])
