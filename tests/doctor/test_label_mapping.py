import numpy as np
import pytest

from tfseg.doctor.label_mapping import class_weights, count_classes, infer_mapping, present_classes
from tfseg.doctor.measure import Sample, label_statistics


def sample(*rows, **fields):
    return Sample("a", labels=label_statistics(np.array(rows, np.uint8)), **fields)


def test_pixels_and_images_are_counted_per_class():
    samples = [
        sample([0, 0, 1], [0, 9, 9]),
        sample([1, 1, 1], [1, 1, 0]),
        sample([0, 0, 0], [0, 0, 0]),
    ]
    mapping = infer_mapping(samples, ["a", "b", "c"], ignore_value=9)
    counts = count_classes(samples, mapping)
    assert counts.pixels.tolist() == [3 + 1 + 6, 1 + 5, 0]
    assert counts.images.tolist() == [3, 2, 0]
    assert counts.shown_pixels.tolist() == [18, 12, 0]
    assert counts.objects.tolist() == [0, 0, 0]
    assert counts.ignored == 2


def test_objects_are_counted_per_class():
    # the class ids -1 and 3 have no name; the mask shows only class 0
    samples = [
        sample([0, 0], [0, 0], classes=np.array([2, 2, -1, 3])),
        Sample("b", classes=np.array([1])),
    ]
    mapping = infer_mapping(samples, ["a", "b", "c"])
    counts = count_classes(samples, mapping)
    assert counts.objects.tolist() == [0, 1, 2]
    assert counts.images.tolist() == [1, 1, 1]
    assert counts.shown_pixels.tolist() == [4, 0, 4]
    assert present_classes(samples[0], mapping) == [0, 2, 2, -1, 3]


def test_median_frequency():
    # frequencies 8/16, 2/8 and 1/16 with the median 1/4; the last class does not occur
    assert class_weights([8, 2, 1, 0], [16, 8, 16, 0]).tolist() == [0.5, 1, 4, 1]
    assert class_weights([0, 0], [0, 0]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (["a", "b"], {}, {0: 0, 1: 1}),
        (["b"], {}, {0: 0, 1: 1}),
        (["a", "b"], {"ignore_value": 0}, {1: 1}),
        (["a", "b"], {"mask_values": {3: 0, 1: 1}}, {3: 0, 1: 1}),
        (None, {}, {1: 0, 3: 1}),
        (None, {"ignore_value": 1}, {3: 0}),
    ],
)
def test_values_map_to_ids(names, options, expected):
    mapping = infer_mapping([sample([1, 1, 1, 3, 3, 3])], names, **options)
    assert mapping.mask_values == expected


def test_with_more_than_255_classes_255_is_one_of_them_in_folders_too():
    mapping = infer_mapping([sample([0, 0, 255, 255])], [f"class {i}" for i in range(300)])
    assert mapping.mask_values[255] == 255
    assert mapping.ignore_value == 65535
    assert not mapping.unknown


@pytest.mark.parametrize(
    ("rows", "names", "expected"),
    [
        ([[0, 0, 255, 255]] * 4, ["a", "b"], {0: 0, 255: 1}),
        ([[255, 255, 255, 255]] * 4, None, {0: 0, 255: 1}),  # only objects, no background
        ([[0, 0, 255, 255]] * 4, ["a", "b", "c"], {0: 0, 1: 1, 2: 2}),
    ],
)
def test_black_and_white_masks_have_two_classes(rows, names, expected):
    mapping = infer_mapping([sample(*rows)], names)
    assert mapping.black_and_white
    assert mapping.mask_values == expected


def test_a_thin_line_between_values_is_interpolated():
    # 5 occurs only between 0 and 9, as after resizing; 3 is a thin line with 0 on both sides
    rows = [[0, 0, 0, 0, 5, 9, 9, 9]] * 8
    assert infer_mapping([sample(*rows)], ["a", "b"]).interpolated == [5]
    rows = [[0, 0, 0, 3, 0, 0, 0, 0]] * 8
    assert infer_mapping([sample(*rows)], ["a", "b"]).interpolated == []
