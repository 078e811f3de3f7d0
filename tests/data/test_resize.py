import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import draw_sample
from tfseg.data import Arrays, Resize


def test_letterbox():
    sample = {
        "image": np.array([[10, 20, 30, 40], [50, 60, 70, 80]], np.uint8)[..., None],
        "mask": np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.uint8),
        "instances": np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.int32),
        "boxes": np.array([[2, 0, 4, 2], [1, 1, 3, 2]], np.float32),
        "classes": np.array([1, 2], np.int32),
    }
    small = Resize((3, 2), fill=9)(sample)  # half of the size: one row, and two of padding
    assert small["image"].tolist() == [[[35], [55]], [[9], [9]], [[9], [9]]]
    # of the 2 x 2 pixels that become one, the lower right
    assert small["mask"].tolist() == [[2, 1], [255, 255], [255, 255]]
    assert small["instances"].tolist() == [[2, 1], [0, 0], [0, 0]]
    assert small["boxes"].tolist() == [[1, 0, 2, 1], [0.5, 0.5, 1.5, 1]]
    assert small["classes"].tolist() == [1, 2]
    assert all(small[name].dtype == sample[name].dtype for name in sample)
    assert sample["image"].shape == (2, 4, 1)  # unchanged


def test_stretch():
    sample = {
        "image": np.array([[0.0, 4.0]], np.float32)[..., None],
        "mask": np.array([[1, 2]], np.uint8),
        "boxes": np.array([[1, 0, 2, 1]], np.float32),
    }
    wide = Resize((2, 4), "stretch")(sample)
    # Centers are at 0.25, 0.75, 1.25, 1.75 in the source, whose pixels are at 0.5 and 1.5: the
    # weights of the second pixel are 0, 0.25, 0.75, 1.
    assert wide["image"][..., 0].tolist() == [[0, 1, 3, 4]] * 2
    assert wide["mask"].tolist() == [[1, 1, 2, 2]] * 2
    assert wide["boxes"].tolist() == [[2, 0, 4, 2]]


@pytest.mark.parametrize(
    ("policy", "size", "original", "outer", "inner"),
    [
        ("letterbox", 100, (50, 200), (100, 100), (25, 100)),
        ("letterbox", (100, 60), (50, 20), (100, 60), (100, 40)),
        ("letterbox", 100, (1, 1000), (100, 100), (1, 100)),  # at least one pixel
        ("shorter", 100, (50, 201), (100, 402), (100, 402)),
        ("shorter", 100, (300, 200), (150, 100), (150, 100)),
        ("stretch", (7, 9), (50, 200), (7, 9), (7, 9)),
    ],
)
def test_fit(policy, size, original, outer, inner):
    assert Resize(size, policy).fit(*original) == (outer, inner)
    sample = {"image": np.zeros((*original, 3), np.uint8), "mask": np.zeros(original, np.uint8)}
    resized = Resize(size, policy)(sample)
    assert resized["image"].shape == (*outer, 3)
    assert (resized["mask"] == 0).sum() == inner[0] * inner[1]


@pytest.mark.parametrize("policy", ["letterbox", "shorter", "stretch"])
def test_images_of_the_right_size_keep_every_byte(policy):
    image, mask = draw_sample(0, 48, 48)
    resized = Resize(48, policy)({"image": image, "mask": mask})
    assert np.array_equal(resized["image"], image)
    assert np.array_equal(resized["mask"], mask)
    scores = np.random.default_rng(0).normal(size=(48, 48, 5)).astype(np.float32)
    assert np.array_equal(Resize(48, policy).back(mask, 48, 48), mask)
    assert np.array_equal(Resize(48, policy).back(scores, 48, 48), scores)


def ramp(length):
    """Return the position of every pixel center as a fraction of the side."""
    return (np.arange(length) + 0.5) / length


# Averages over parts of the pixels of 90 are up to 1/12 pixel off the ramp.
@pytest.mark.parametrize(
    ("side", "tolerance_back"), [(20, 1e-5), (30, 1e-5), (90, 1 / 12 / 90 + 1e-5)]
)
def test_a_ramp_stays_a_ramp(side, tolerance_back):
    image = np.tile(ramp(60), (60, 1)).astype(np.float32)[..., None]
    resized = Resize(side, "stretch")({"image": image})["image"][..., 0]
    difference = np.abs(resized - ramp(side))
    if side > 60:  # outside the outermost pixel centers the ramp ends
        difference = difference[:, 1:-1]
    assert difference.max() < 1e-5
    back = Resize(side, "stretch").back(resized[..., None], 60, 60)
    assert np.abs(back - image)[:, 3:-3].max() < tolerance_back


@pytest.mark.parametrize(
    ("size", "method"), [((31, 47), cv2.INTER_AREA), ((90, 100), cv2.INTER_LINEAR)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_agree_with_opencv(size, method, dtype):
    image = draw_sample(3)[0].astype(dtype) * (1 if dtype == np.uint8 else 200)
    expected = cv2.resize(image, size[::-1], interpolation=method)
    resized = Resize(size, "stretch")({"image": image})["image"]
    assert np.array_equal(resized, expected)
    assert resized.dtype == dtype


@pytest.mark.parametrize("size", [(12, 80), (12, 16), (80, 4)])
def test_a_side_that_shrinks_is_averaged_also_if_the_other_grows(size):
    stripes = np.zeros((48, 16, 1), np.float32)
    stripes[::4] = 1  # one row in four: a quarter on average
    stripes = stripes if size[0] < 48 else np.ascontiguousarray(stripes[:16].transpose(1, 0, 2))
    resized = Resize(size, "stretch")({"image": stripes})["image"]
    assert np.allclose(resized, 0.25)


def test_dtypes_that_opencv_lacks_are_rounded():
    image = np.array([[-5, -2, 1, 1]], np.int32)[..., None]
    resized = Resize((1, 2), "stretch")({"image": image})["image"]
    assert (resized[..., 0].tolist(), resized.dtype) == ([[-4, 1]], np.int32)  # -3.5, to even


@pytest.mark.parametrize("channels", [1, 2, 5, 129, 300])
def test_any_number_of_channels(channels):
    scores = np.random.default_rng(0).normal(size=(6, 9, channels)).astype(np.float32)
    back = Resize((6, 9), "stretch").back(scores, 13, 7)
    assert back.shape == (13, 7, channels)
    one = Resize((6, 9), "stretch").back(scores[..., -1:], 13, 7)
    assert np.allclose(back[..., -1:], one, atol=1e-6)
    assert Resize((6, 9), "stretch").back(scores, 4, 7).shape == (4, 7, channels)


def test_back_removes_the_padding():
    resize = Resize(3)  # 6 x 4 becomes 3 x 2
    labels = np.array([[1, 2, 7], [3, 4, 7], [5, 6, 7]], np.uint8)
    enlarged = labels[:, :2].repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(resize.back(labels, 6, 4), enlarged)
    scores = np.where(labels == 7, 1000, 0)[..., None].astype(np.float32)
    assert not resize.back(scores, 6, 4).any()


@pytest.mark.parametrize("policy", ["letterbox", "shorter", "stretch"])
@pytest.mark.parametrize("size", [40, 64, 100])
def test_masks_survive_resizing_and_back(policy, size):
    mask = draw_sample(1, 81, 57)[1]
    resize = Resize(size, policy)
    small = resize({"image": np.zeros((81, 57, 1), np.uint8), "mask": mask})["mask"]
    for back in (
        resize.back(small, 81, 57),
        resize.back(np.eye(256, dtype=np.float32)[small][..., :3], 81, 57).argmax(-1),
    ):
        assert back.shape == (81, 57)
        union = [((back == i) | (mask == i)).sum() for i in range(3)]
        assert np.mean([((back == i) & (mask == i)).sum() / n for i, n in enumerate(union)]) > 0.9


def test_back_checks_the_size():
    with pytest.raises(
        ValueError,
        match=r"got a prediction of shape \(6, 4\), but an image of 6 x 4 is resized to 3 x 3",
    ):
        Resize(3).back(np.zeros((6, 4), np.uint8), 6, 4)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["letterbox", "shorter", "stretch"]),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_images_of_any_size(policy, size, original):
    resize = Resize(size[0] if policy == "shorter" else size, policy)
    outer, inner = resize.fit(*original)
    sample = {
        "image": np.full((*original, 1), 200, np.uint8),
        "mask": np.ones(original, np.uint8),
        "boxes": np.array([[0, 0, original[1], original[0]]], np.float32),
    }
    resized = resize(sample)
    assert 1 <= inner[0] <= outer[0]
    assert 1 <= inner[1] <= outer[1]
    assert resized["image"].shape == (*outer, 1)
    assert np.array_equal(resized["image"][..., 0] == 200, resized["mask"] == 1)
    assert (resized["mask"] == 1).sum() == np.prod(inner)
    assert np.allclose(resized["boxes"], [[0, 0, inner[1], inner[0]]])
    assert (resize.back(resized["mask"], *original) == 1).all()
    shrink = resize.shrink(*original)
    assert shrink in (1, 2, 4, 8)
    assert (np.array(original) / shrink >= inner).all() or shrink == 1
    larger = np.array(original) / (2 * shrink) >= inner
    assert shrink == 8 or not larger.all()


def test_images_read_smaller_get_the_same_size():
    image, mask = draw_sample(0, 101, 203)
    resize = Resize(24)
    assert resize.shrink(101, 203) == 8
    reader = Arrays([image], [mask], ["ground", "disc", "band"])
    whole, smaller = resize(reader[0]), resize(reader.read(0, 8), (101, 203))
    assert whole["image"].shape == smaller["image"].shape == (24, 24, 3)
    assert np.abs(whole["image"].astype(int) - smaller["image"]).mean() < 6
    assert (whole["mask"] == smaller["mask"]).mean() > 0.95


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match=r"Resize: size=0 must be a whole number"):
        Resize((4, 0))
    with pytest.raises(
        ValueError, match=r"Resize: policy='streched' is unknown.*Did you mean 'stretch'"
    ):
        Resize(4, "streched")
    with pytest.raises(
        ValueError, match=r"policy='shorter' needs one length as `size`, but got \(4, 5\)"
    ):
        Resize((4, 5), "shorter")
    with pytest.raises(
        ValueError, match=r"Resize: size=\(4, 5, 3\) must be a number or \(height, width\)"
    ):
        Resize((4, 5, 3))
    assert Resize(np.int64(4)).size == (4, 4)
