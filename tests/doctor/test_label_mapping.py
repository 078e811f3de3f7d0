import numpy as np
import pytest

from tfseg.doctor import diagnose
from tfseg.doctor.label_mapping import class_figures, class_weights, reading
from tfseg.doctor.measure import Sample, label_statistics


def sample(*rows, **more):
    return Sample("a", labels=label_statistics(np.array(rows, np.uint8)), **more)


def test_classes_are_counted():
    samples = [
        sample([0, 0, 1], [0, 9, 9]),
        sample([1, 1, 1], [1, 1, 0]),
        sample([0, 0, 0], [0, 0, 0]),
    ]
    pixels, pictures, shown, objects, ignored = class_figures(
        samples, reading(samples, ["a", "b", "c"], ignore=9)
    )
    assert pixels.tolist() == [3 + 1 + 6, 1 + 5, 0]
    assert pictures.tolist() == [3, 2, 0]
    assert shown.tolist() == [18, 12, 0]
    assert objects.tolist() == [0, 0, 0]
    assert ignored == 2


def test_median_frequency():
    # frequencies 8/16 = 1/2, 2/8 = 1/4, 1/16; their median is 1/4; the class that never occurs has no part
    assert class_weights([8, 2, 1, 0], [16, 8, 16, 0]).tolist() == [0.5, 1, 4, 1]
    assert class_weights([0, 0], [0, 0]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (["a", "b"], {}, {0: 0, 1: 1}),
        (["b"], {}, {0: 0, 1: 1}),
        (["a", "b"], {"ignore": 0}, {1: 1}),
        (["a", "b"], {"mask_values": {3: 0, 1: 1}}, {3: 0, 1: 1}),
        (None, {}, {1: 0, 3: 1}),
        (None, {"ignore": 1}, {3: 0}),
    ],
)
def test_values_become_ids(names, options, expected):
    assert reading([sample([1, 1, 1, 3, 3, 3])], names, **options).table == expected


def test_the_weights_of_camvid_are_near_those_of_segnet(shared_data):
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ]
    report = diagnose(
        (shared_data / "camvid/train", shared_data / "camvid/trainannot"), names, ignore=11
    )
    published = [
        0.2595,
        0.1826,
        4.5640,
        0.1417,
        0.9051,
        0.3826,
        9.6446,
        1.8418,
        0.6823,
        6.2478,
        7.3614,
    ]
    ratios = dict(zip(names, np.array(report.class_weights) / published, strict=True))
    # None of SegNet's is 1, as that of the median class must be: theirs are all smaller, by 1.09 in the middle.
    assert ratios.pop("sign") == pytest.approx(
        0.40, abs=0.01
    )  # of which their labels held 2.5 times fewer pixels
    assert np.median(list(ratios.values())) == pytest.approx(1.089, abs=0.01)
    assert all(abs(ratio / 1.089 - 1) < 0.12 for ratio in ratios.values())
