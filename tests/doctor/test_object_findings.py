import json

import numpy as np
import pytest

from tfseg.data import Reader
from tfseg.data.readers.objects import BOX_FIELDS, object_arrays
from tfseg.doctor import check, diagnose, write_html
from tfseg.doctor.anchor_proposal import default_anchors, propose_anchors


class Boxes(Reader):
    """Noise images with the given boxes; the last box of the first image may be a crowd."""

    fields = ("image", *BOX_FIELDS)

    def __init__(self, boxes, size=(256, 320), crowd=False, instances=None):
        super().__init__(["cell"], [size] * len(boxes), 1, np.uint8)
        self.boxes, self.crowd, self.instances = boxes, crowd, instances
        if instances is not None:
            self.fields = ("image", "instances", *BOX_FIELDS)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        boxes = np.array(self.boxes[index], np.float32).reshape(-1, 4)
        crowd = np.zeros(len(boxes), bool)
        if self.crowd and index == 0:
            crowd[-1] = True
        sample = {"image": rng.integers(0, 255, (*self.sizes[index], 1), np.uint8)}
        if self.instances is not None:
            sample["instances"] = self.instances[index]
        return {**sample, **object_arrays(boxes, np.zeros(len(boxes)), crowd)}


def grid(width, height, step=24, count=20):
    """Return boxes of one size in rows, as floats that do not fall on the anchors' positions."""
    corners = [(3.5 + step * (i % 8), 5.5 + step * (i // 8)) for i in range(count)]
    return [[x, y, x + width, y + height] for x, y in corners]


def found(report):
    return {finding.kind: finding for finding in report.findings}


def test_statistics_of_objects_are_in_all_reports(tmp_path):
    boxes = [[[10, 10, 40, 50], [60, 60, 90, 90], [0, 0, 200, 200]], [], [[5, 5, 25, 85]]]
    report = diagnose(Boxes(boxes, crowd=True))
    objects = report.objects
    assert (objects.count, objects.crowds, objects.images_without) == (3, 1, 1)
    assert objects.per_image == [0, 1, 2]
    # sqrt(30 * 40), 30 and sqrt(20 * 80); 40 / 30, 1 and 80 / 20
    assert objects.box_sizes == pytest.approx([30, 1200**0.5, 40])
    assert objects.box_ratios == pytest.approx([1, 4 / 3, 4])
    assert report.facts()["objects"] == "3, and 1 crowd"
    assert report.facts()["per image"] == "0 to 2, median 1; 1 without any"
    assert diagnose(Boxes(boxes[::2])).facts()["per image"] == "1 to 3, median 2"
    # without masks there are no pixels to count, and no weights of classes
    assert "loss argument" not in report.facts()
    assert report.class_columns() == ["images", "objects"]
    assert report.tables()[1].caption is None
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())["objects"]
    assert saved["count"] == 3
    assert saved["default_anchors"]["sizes"] == [32, 64, 128, 256, 512]
    write_html(report, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<th>objects</th>" in page
    for word in ("class_weights", "Weight", "unlabeled", "class=bar"):
        assert word not in page
    page = (tmp_path / "page.html").read_text()
    assert "0 to 2, median 1; 1 without any" in page
    assert "anchor_sizes=" in page


def test_anchors_that_fit_are_no_finding():
    report = diagnose(Boxes([grid(33, 31), grid(40, 30)]))
    assert report.objects.default_anchors.coverage > 0.9
    assert "anchors" not in found(report)


def test_anchors_that_do_not_fit_are_a_warning_with_better_ones(tmp_path):
    # 10 x 12 pixels: the smallest default anchor, 32 x 32, overlaps them with an IoU of 0.12
    report = diagnose(Boxes([grid(10, 12), grid(12, 10)]))
    finding = found(report)["anchors"]
    assert finding.severity == "warning"
    assert "overlap only 0.0% of the objects" in finding.message
    proposed = report.objects.proposed_anchors
    assert proposed.coverage > 0.9
    assert f"anchor_sizes={proposed.sizes}, anchor_ratios={proposed.ratios} cover" in finding.fix
    assert "--anchor-sizes " + ",".join(map(str, proposed.sizes)) in finding.fix
    write_html(report, tmp_path / "page.html")
    assert finding.fix in (tmp_path / "page.html").read_text()


def test_proposed_anchors_are_accepted_by_the_builders():
    from tfseg.models.detection.assemble import check_anchors

    boxes = np.array(grid(100, 20))
    sizes = np.full((len(boxes), 2), (256, 320))
    proposed = propose_anchors(boxes, sizes)
    assert check_anchors("test", proposed.sizes, proposed.ratios) == (
        proposed.sizes,
        proposed.ratios,
    )
    assert proposed == propose_anchors(boxes, sizes)
    # 20 / 100: no default ratio is below 0.5
    assert min(proposed.ratios) == pytest.approx(0.2)
    assert proposed.coverage > default_anchors(boxes, sizes).coverage


def test_proposed_anchors_cover_at_least_what_the_default_ones_do():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 200, (300, 2))
    boxes = np.concatenate([corners, corners + rng.lognormal(3.5, 0.6, (300, 2))], axis=1)
    sizes = np.full((300, 2), (320, 320))
    proposed = propose_anchors(boxes, sizes)
    assert proposed.coverage >= default_anchors(boxes, sizes).coverage
    assert list(proposed.sizes) == sorted(proposed.sizes)


def test_boxes_in_fractions_are_an_error():
    report = diagnose(Boxes([[[0.1, 0.2, 0.5, 0.75]], [[10, 10, 40, 50]]]))
    finding = found(report)["boxes_in_fractions"]
    assert (finding.severity, finding.files) == ("error", ["0"])
    assert "boxes_in_fractions" not in found(diagnose(Boxes([[[0, 0, 1, 1]]])))  # one pixel


def test_masks_outside_their_boxes_are_an_error():
    instances = np.zeros((2, 40, 60), np.int32)
    instances[:, 5:15, 5:15], instances[:, 20:30, 30:50] = 1, 2
    boxes = [[5, 5, 15, 15], [30, 20, 50, 30]]
    swapped = boxes[::-1]
    report = diagnose(Boxes([boxes, swapped], (40, 60), instances=instances))
    finding = found(report)["masks_outside_boxes"]
    assert (finding.severity, finding.files) == ("error", ["1"])
    assert "2 objects with pixels outside their box, counted from 1: 1: 1, 2." in finding.message
    rounded = [[7, 5, 15, 15], [30, 20, 50, 28]]
    fine = diagnose(Boxes([boxes, rounded], (40, 60), instances=instances))
    assert "masks_outside_boxes" not in found(fine)
    missing = diagnose(Boxes([boxes, boxes[:1]], (40, 60), instances=instances))
    assert "1: 2." in found(missing)["masks_outside_boxes"].message


class WrongClass(Boxes):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample["classes"] += np.int32(index)
        return sample


def test_check_raises_before_training_if_objects_cannot_be_right():
    boxes = [[5, 5, 15, 15], [30, 20, 50, 30]]
    summary = check(Boxes([boxes, boxes[:1]], (40, 60), crowd=True))
    assert [array.tolist() for array in summary.boxes] == [boxes, boxes[:1]]
    assert [array.tolist() for array in summary.classes] == [[0, 0], [0]]
    assert [array.tolist() for array in summary.crowd] == [[False, True], [False]]
    with pytest.raises(ValueError, match=r"1: object 1 has the class id 1\. Expected 0 to 0"):
        check(WrongClass([boxes, boxes]))
    with pytest.raises(ValueError, match=r"0: its boxes are fractions .*\[0\.25, 0\.25, 0\.5"):
        check(Boxes([[[0.25, 0.25, 0.5, 0.75]], boxes]))
    instances = np.zeros((2, 40, 60), np.int32)
    instances[:, 20:30, 30:50] = 1
    with pytest.raises(ValueError, match=r"0: the pixels of the objects 1 \(counted from 1\)"):
        check(Boxes([boxes, boxes[::-1]], (40, 60), instances=instances))


def test_datasets_without_objects_have_no_statistics():
    report = diagnose(Boxes([[], []]))
    assert report.objects is None
    assert report.to_dict()["objects"] is None
    assert "objects" not in report.facts()
