import warnings

import numpy as np
import pytest
import tensorflow as tf

from conftest import draw_sample
from tfseg.data import Arrays, Reader, Resize
from tfseg.data.loading import Loader, reading_error

NAMES = ["ground", "disc", "band"]


class Damaged(Reader):
    """Images that show their index; those in `damaged` cannot be read."""

    fields = ("classes", "image", "boxes", "instances", "mask")

    def __init__(self, sizes, damaged=(), error=OSError):
        super().__init__(["background", "thing"], sizes, 2, np.uint16)
        self.damaged, self.error = set(damaged), error

    def __getitem__(self, index):
        if index in self.damaged:
            raise self.error(f"file{index}.png is damaged")
        size = self.sizes[index]
        return {
            "image": np.full((*size, 2), index, np.uint16),
            "mask": np.ones(size, np.uint8),
            "instances": np.ones(size, np.int32),
            "boxes": np.array([[0, 0, size[1], size[0]]], np.float32),
            "classes": np.zeros(1, np.int32),
        }

    def name(self, index):
        return f"image{index}"


def test_fields_sizes_and_shapes():
    loader = Loader(Damaged([(4, 6), (4, 8)]), "raise")
    assert loader.fields == ["image", "mask", "instances", "boxes", "classes"]
    assert loader.sides == [4, None]
    assert loader.sizes.tolist() == [[4, 6], [4, 8]]
    assert loader.shapes([4, None]) == {
        "image": [4, None, 2],
        "mask": [4, None],
        "instances": [4, None],
        "boxes": [None, 4],
        "classes": [None],
        "crowd": [None],
        "areas": [None],
    }
    assert Loader(Damaged([(5, 6), (5, 9)]), "raise", shrink=4).sizes.tolist() == [[2, 2], [2, 3]]
    assert Loader(Damaged([(4, 6), (8, 4)]), "raise", Resize(8, "shorter")).sizes.tolist() == [
        [8, 12],
        [16, 8],
    ]
    assert Loader(Damaged([(4, 6), (8, 4)]), "raise", Resize((3, 5))).sides == [3, 5]


def test_a_stage_works_eagerly_and_in_map():
    loader = Loader(Damaged([(4, 6), (4, 8)]), "raise")
    stage = loader.stage(loader.sample_or_blank, loader.sides)
    eager = stage(tf.constant(1, tf.int64))
    dataset = tf.data.Dataset.range(1, 2).map(stage)
    assert {name: spec.shape.as_list() for name, spec in dataset.element_spec.items()} == {
        name: shape for name, shape in loader.shapes([4, None]).items() if name in loader.fields
    }
    assert [spec.dtype for spec in dataset.element_spec.values()] == [
        *(tf.uint16, tf.uint8, tf.int32, tf.float32, tf.int32)
    ]
    (mapped,) = dataset
    assert all(np.array_equal(mapped[name], eager[name]) for name in loader.fields)
    assert np.array_equal(mapped["image"], np.ones((4, 8, 2)))


def test_a_stage_casts_arrays():
    loader = Loader(Arrays(*zip(*[draw_sample(0)], strict=True), NAMES), "raise")
    stage = loader.stage(
        lambda index: {"image": np.ones((48, 56, 3)), "mask": np.ones((48, 56), int)}, loader.sides
    )
    assert [array.dtype for array in stage(tf.constant(0, tf.int64)).values()] == [
        tf.uint8,
        tf.uint8,
    ]


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_sample_or_next_returns_the_next_readable_sample(error):
    loader = Loader(Damaged([(2, 2)] * 5, damaged=[1, 2, 4], error=error), "skip")
    found = [loader.sample_or_next(i) for i in range(5)]
    assert [position for position, _ in found] == [0, 3, 3, 3, 0]
    assert [sample["image"][0, 0, 0] for _, sample in found] == [0, 3, 3, 3, 0]
    assert loader.failed == {i: f"file{i}.png is damaged" for i in (1, 2, 4)}


def test_sample_or_blank_returns_a_sample_without_labels():
    loader = Loader(Damaged([(3, 5), (4, 6)], damaged=[1]), "skip", Resize(2, "shorter"))
    blank = loader.sample_or_blank(1)
    assert blank.keys() == loader.sample_or_blank(0).keys()
    assert {
        name: (array.shape, array.dtype, *np.unique(array)) for name, array in blank.items()
    } == {
        "image": ((2, 3, 2), np.uint16, 0),
        "mask": ((2, 3), np.uint8, 255),
        "instances": ((2, 3), np.int32, 0),
        "boxes": ((0, 4), np.float32),
        "classes": ((0,), np.int32),
    }


@pytest.mark.parametrize("load", ["sample_or_next", "sample_or_blank"])
def test_errors_are_raised(load):
    with pytest.raises(OSError, match=r"^file1\.png is damaged$"):
        getattr(Loader(Damaged([(2, 2)] * 3, damaged=[1]), "raise"), load)(1)
    with pytest.raises(KeyError):  # a programming error, not a damaged file
        getattr(Loader(Damaged([(2, 2)] * 3, damaged=[1], error=KeyError), "skip"), load)(1)


def test_no_readable_sample_raises():
    loader = Loader(Damaged([(2, 2)] * 3, damaged=range(3)), "skip")
    with pytest.raises(
        ValueError,
        match=r"none of the 3 samples can be read\. The last error: file\d\.png is damaged",
    ):
        loader.sample_or_next(1)
    for i in range(3):
        loader.sample_or_blank(i)
    with pytest.raises(ValueError, match=r"none of the 3 samples can be read"):
        loader.report()


def test_report_warns_once_about_skipped_samples():
    loader = Loader(Damaged([(2, 2)] * 12, damaged=range(1, 11)), "skip")
    loader.sample_or_blank(3)
    with pytest.warns(
        UserWarning, match=r"^pipeline: 1 sample was skipped:\n  image3: file3\.png is damaged$"
    ):
        loader.report()
    for i in reversed(range(12)):
        loader.sample_or_blank(i)
    with pytest.warns(
        UserWarning,
        match=r"(?s)10 samples were skipped:\n  image1: .*image8: .*\n  \.\.\. and 2 more$",
    ):
        loader.report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader.report()


@pytest.mark.parametrize(
    ("resize", "shrink", "found"),
    [
        (None, 1, "9 x 6, but the reader expects 4 x 6"),
        (None, 2, "5 x 3, .* 2 x 3"),
        (Resize(2), 1, "5 x 3, .* 2 x 3"),
    ],
)
def test_samples_of_an_unexpected_size_raise(resize, shrink, found):
    class Changed(Damaged):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "mask": np.ones((9, 6), np.uint8)}

    loader = Loader(Changed([(4, 6)]), "raise", resize, shrink)
    with pytest.raises(
        ValueError, match=rf"^image0: its mask is {found}\. If the file has changed, create"
    ):
        loader.sample(0)


def test_samples_are_read_smaller_before_resizing():
    class Spy(Damaged):
        def read(self, index, shrink=1):
            seen.append(shrink)
            return super().read(index, shrink)

    seen = []
    loader = Loader(Spy([(16, 20), (70, 70), (8, 9)]), "raise", Resize(8))
    samples = [loader.sample(i) for i in range(3)]
    assert seen == [2, 8, 1]
    assert [sample["image"].shape for sample in samples] == [(8, 8, 2)] * 3
    assert samples[0]["boxes"].tolist() == [[0, 0, 8, 6]]  # 6.4 rows are rounded to 6


@pytest.mark.parametrize("error", [OSError, ValueError, FileNotFoundError])
def test_reading_error_returns_the_error_of_the_reader(error):
    loader = Loader(Damaged([(2, 2)] * 3, damaged=[1], error=error), "raise")
    stage = loader.stage(loader.sample_or_blank, loader.sides)
    with pytest.raises(tf.errors.OpError) as caught:
        list(tf.data.Dataset.range(3).map(stage))
    found = reading_error(caught.value)
    assert (type(found), str(found)) == (OSError, "file1.png is damaged")
    other = tf.errors.InvalidArgumentError(None, None, "ValueError: something else")
    assert reading_error(other) is None
    foreign = tf.errors.InvalidArgumentError(None, None, "assertion failed: [a loss of the user]")
    assert reading_error(foreign) is None
