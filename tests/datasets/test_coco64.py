import numpy as np
import pytest

from tfseg.datasets import coco64


def samples(reader):
    return [reader[i] for i in range(len(reader))]


def test_boxes_are_as_documented(shared_data):
    reader = coco64("detection", shared_data / "coco64")
    assert (len(reader), reader.num_classes, reader.class_names[79]) == (64, 80, "toothbrush")
    counts = {reader.name(i): len(sample["boxes"]) for i, sample in enumerate(samples(reader))}
    assert sum(counts.values()) == 542
    assert [name for name, count in counts.items() if count == 0] == ["000000000250"]
    assert reader.dropped == []


def test_polygons_are_as_documented(shared_data):
    reader = coco64("instance", shared_data / "coco64")
    assert (len(reader), reader.num_classes, reader.class_names[:2]) == (
        64,
        81,
        ["background", "person"],
    )
    read = samples(reader)
    assert sum(len(sample["classes"]) for sample in read) == 546
    assert reader.dropped == []
    empty = reader.select(["000000000250"])[0]
    assert not empty["mask"].any()
    assert len(empty["boxes"]) == 0
    for sample, size in zip(read, reader.sizes.tolist(), strict=True):
        table = np.append(0, sample["classes"] + 1)
        assert list(sample["image"].shape) == [*size, 3]
        assert np.array_equal(sample["mask"], table[sample["instances"]])
        for k, box in enumerate(sample["boxes"], 1):  # the pixels are inside the box of the outline
            y, x = np.nonzero(sample["instances"] == k)
            assert y.size == 0 or (
                box[0] <= x.min() + 1
                and box[1] <= y.min() + 1
                and x.max() <= box[2]
                and y.max() <= box[3]
            )


def test_a_class_is_the_same_in_boxes_and_polygons(shared_data):
    boxes, outlines = (coco64(task, shared_data / "coco64") for task in ("detection", "instance"))
    assert boxes.class_names == outlines.class_names[1:]
    found, drawn = boxes.select(["000000000072"])[0], outlines.select(["000000000072"])[0]
    assert {boxes.class_names[i] for i in found["classes"]} == {"giraffe"}
    assert {outlines.object_names[i] for i in drawn["classes"]} == {"giraffe"}
    assert boxes.object_names == outlines.object_names == boxes.class_names


def test_the_semantic_mask_is_the_panoptic_one_on_every_pixel(shared_data):
    semantic, panoptic = (coco64(task, shared_data / "coco64") for task in ("semantic", "panoptic"))
    assert semantic.class_names == panoptic.class_names
    assert (len(panoptic), panoptic.num_classes, len(panoptic.object_names)) == (64, 133, 80)
    by_name = {semantic.name(i): i for i in range(64)}
    for i in range(64):
        sample = panoptic[i]
        assert np.array_equal(sample["mask"], semantic[by_name[panoptic.name(i)]]["mask"])
        there = sample["instances"] > 0
        label_ids = panoptic.object_label_ids[sample["classes"]]
        assert np.array_equal(sample["mask"][there], label_ids[sample["instances"][there] - 1])


def test_panoptic_boxes_are_those_of_the_json_file(shared_data):
    reader = coco64("panoptic", shared_data / "coco64")
    for i in range(64):
        things = [
            segment
            for segment in reader._segments[i]
            if segment["category_id"] in reader._object_ids
        ]
        things.sort(key=lambda segment: segment["id"])
        x, y, width, height = np.array([s["bbox"] for s in things], float).reshape(-1, 4).T
        expected = np.stack([x, y, x + width, y + height], axis=-1)
        sample = reader[i]
        assert np.array_equal(sample["boxes"], expected)
        assert sample["crowd"].tolist() == [s["iscrowd"] == 1 for s in things]
        assert sample["areas"].tolist() == [s["area"] for s in things]
        areas = np.bincount(sample["instances"].ravel(), minlength=len(things) + 1)[1:]
        assert areas.tolist() == [0 if s["iscrowd"] else s["area"] for s in things]


def test_an_unknown_task_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match="task='instances' is unknown.*Did you mean 'instance'"):
        coco64("instances")
    with pytest.raises(FileNotFoundError, match="coco64: no folder .*nowhere.*lightly-ai"):
        coco64(folder=tmp_path / "nowhere")
