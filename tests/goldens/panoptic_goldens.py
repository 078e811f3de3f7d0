"""Write panoptic_goldens.npz beside this file: counts and scores of panopticapi.

Made with panopticapi/evaluation.py of github.com/cocodataset/panopticapi at commit
1ad5afa4ab681fd27249136545199ee42be5defe, which is in no package registry, and NumPy 2.4.6:
    PYTHONPATH=CLONE:tests:. TFSEG_DATA=../shared/data python tests/goldens/panoptic_goldens.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from panoptic_cases import COCO_IMAGES, STUFF, THINGS, VOID, change, disturb, draw_labels
from panopticapi.evaluation import pq_compute_single_core
from PIL import Image

from tfseg.datasets import coco64
from tfseg.datasets.coco64 import PANOPTIC
from tfseg.datasets.dataset_dir import dataset_dir

RANDOM_CASES = 40
PREDICTED_STUFF = 1000  # the number of a segment of stuff is this + the id of its class


def write_segments(path, numbers, segments):
    """Write the PNG file of numbered segments; return the entry of those that have pixels."""
    colors = numbers[..., None] // [1, 256, 65536] % 256
    Image.fromarray(colors.astype(np.uint8)).save(path)
    present = [s for s in segments if (numbers == s["id"]).any()]
    for segment in present:
        segment["area"] = int((numbers == segment["id"]).sum())
    return {"file_name": path.name, "image_id": path.stem, "segments_info": present}


def segments_of(labels, things, stuff, category_of, with_crowds):
    """Return the numbered segments of a sample, and a list of them.

    Args:
        labels: dict of "instances", "classes" and "mask".
        things, stuff: ids in masks.
        category_of: ids in the JSON file of the ids in masks.
        with_crowds: whether pixels of things without an object are a crowd.
    """
    instances, mask, classes = (labels[name] for name in ("instances", "mask", "classes"))
    kept = [*stuff, *(things if with_crowds else [])]
    numbers = np.where(np.isin(mask, kept), PREDICTED_STUFF + mask.astype(int), 0)
    numbers = np.where(instances > 0, instances, numbers)
    segments = [
        {"id": number, "category_id": category_of[things[category]], "iscrowd": 0}
        for number, category in enumerate(classes.tolist(), 1)
    ]
    segments += [
        {"id": PREDICTED_STUFF + i, "category_id": category_of[i], "iscrowd": int(i in things)}
        for i in kept
    ]
    return numbers, segments


def count(pairs, categories, order, truth, folder):
    """Return (C, 4) TP, FP, FN and the sum of IoU, and (3, 3) PQ, SQ, RQ of all, things, stuff."""
    stat = pq_compute_single_core(0, pairs, truth, folder, categories)
    counts = [[getattr(stat[i], n) for n in ("tp", "fp", "fn", "iou")] for i in order]
    means = [stat.pq_average(categories, isthing)[0] for isthing in (None, True, False)]
    return np.array(counts, float), [[mean[name] for name in ("pq", "sq", "rq")] for mean in means]


def coco_goldens(folder):
    reader, root = coco64("panoptic"), dataset_dir(None, "coco64", "")
    truth = root / PANOPTIC
    content = json.loads(truth.with_suffix(".json").read_text())
    categories = {category["id"]: category for category in content["categories"]}
    by_name = {category["name"]: category["id"] for category in content["categories"]}
    category_of = [by_name[name] for name in reader.label_names]
    things = reader.object_label_ids.tolist()
    stuff = sorted(set(range(len(category_of))) - set(things))
    entries, pairs = {entry["image_id"]: entry for entry in content["annotations"]}, []
    for index in COCO_IMAGES:
        found = change(reader[index], index, len(things))
        numbers, segments = segments_of(found, things, stuff, category_of, with_crowds=False)
        entry = entries[content["images"][index]["id"]]
        pairs.append((entry, write_segments(folder / entry["file_name"], numbers, segments)))
    order = [category_of[i] for i in (*things, *stuff)]
    return count(pairs, categories, order, truth, folder)


def random_goldens(folder):
    rng, pairs, cases = np.random.default_rng(7), [], {}
    categories = {i: {"isthing": int(i in THINGS)} for i in (*THINGS, *STUFF)}
    for case in range(RANDOM_CASES):
        labels = draw_labels(rng)
        found, pair = disturb(labels, rng), []
        for side, sample in (("labels", labels), ("found", found)):
            path = folder / f"{side}{case}.png"
            is_target = side == "labels"
            ids = range(VOID)
            pair.append(write_segments(path, *segments_of(sample, THINGS, STUFF, ids, is_target)))
            for name, values in sample.items():
                cases.setdefault(f"{side}_{name}", []).append(values.astype(np.uint8))
        pairs.append(pair)
    counts, scores = count(pairs, categories, [*THINGS, *STUFF], folder, folder)
    return cases | {"random_counts": counts, "random_scores": scores}


def main():
    with tempfile.TemporaryDirectory() as folder:
        found = random_goldens(Path(folder))
        found["coco_counts"], found["coco_scores"] = coco_goldens(Path(folder))
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
