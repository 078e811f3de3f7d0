import numpy as np

from tfseg.datasets import bccd


def test_boxes_are_counted_without_two_that_have_no_area(shared_data):
    train, val = bccd(shared_data / "bccd")
    assert (len(train), len(val), train.class_names) == (205, 87, ["RBC", "WBC", "Platelets"])
    assert train.dropped == [("BloodImage_00343", "RBC (181, 329, 181, 329) has no area")]
    assert val.dropped == [("BloodImage_00338", "RBC (504, 337, 504, 337) has no area")]
    counts = np.zeros(3, int)
    for part in (train, val):
        assert (part.sizes == (480, 640)).all()
        for index in range(len(part)):
            sample = part[index]
            counts += np.bincount(sample["classes"], minlength=3)
            low, high = sample["boxes"][:, :2], sample["boxes"][:, 2:]
            assert sample["image"].shape == (480, 640, 3)
            assert (low >= 0).all()
            assert (low < high).all()
            assert (high <= (640, 480)).all()
    counts[0] += 2
    assert counts.tolist() == [3350, 301, 292]


def test_a_box_by_hand(shared_data):
    # BloodImage_00117.xml starts with RBC 507, 63, 609, 180
    train, val = bccd(shared_data / "bccd")
    part = next(p for p in (train, val) if "BloodImage_00117" in [p.name(i) for i in range(len(p))])
    sample = part.select(["BloodImage_00117"])[0]
    assert (sample["boxes"][0].tolist(), sample["classes"][0]) == ([506, 62, 609, 180], 0)
