import cv2
import numpy as np
import pytest
from conftest import draw_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from tfseg.data import Resize


def test_letterbox_by_hand():
    sample = {
        "image": np.array([[10, 20, 30, 40], [50, 60, 70, 80]], np.uint8)[..., None],
        "mask": np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.uint8),
        "instances": np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.int32),
        "boxes": np.array([[2, 0, 4, 2], [1, 1, 3, 2]], np.float32),
        "classes": np.array([1, 2], np.int32),
    }
    small = Resize((3, 2), fill=9)(sample)  # half of the size, one row and then two of filling
    assert small["image"].tolist() == [[[35], [55]], [[9], [9]], [[9], [9]]]
    # 2 * 1 + 1 over 2 * 1, half up: the lower right pixel of each block
    assert small["mask"].tolist() == [[2, 1], [255, 255], [255, 255]]
    assert small["instances"].tolist() == [[2, 1], [0, 0], [0, 0]]
    assert small["boxes"].tolist() == [[1, 0, 2, 1], [0.5, 0.5, 1.5, 1]]
    assert small["classes"].tolist() == [1, 2]
    assert {name: array.dtype for name, array in small.items()} == {
        name: a.dtype for name, a in sample.items()
    }
    assert sample["image"].shape == (2, 4, 1)  # as it was


def test_stretch_by_hand():
    sample = {
        "image": np.array([[0.0, 4.0]], np.float32)[..., None],
        "mask": np.array([[1, 2]], np.uint8),
        "boxes": np.array([[1, 0, 2, 1]], np.float32),
    }
    wide = Resize((2, 4), "stretch")(sample)
    # middles at 0.25, 0.75, 1.25, 1.75 of the source, whose own are 0.5 and 1.5: shares 0, 0.25, 0.75, 1
    assert wide["image"][..., 0].tolist() == [[0, 1, 3, 4]] * 2
    assert wide["mask"].tolist() == [[1, 1, 2, 2]] * 2
    assert wide["boxes"].tolist() == [[2, 0, 4, 2]]


@pytest.mark.parametrize(
    ("policy", "size", "image", "outer", "inner"),
    [
        ("letterbox", 100, (50, 200), (100, 100), (25, 100)),
        ("letterbox", (100, 60), (50, 20), (100, 60), (100, 40)),
        ("letterbox", 100, (1, 1000), (100, 100), (1, 100)),  # a tenth of a pixel is a pixel
        ("shorter", 100, (50, 201), (100, 402), (100, 402)),
        ("shorter", 100, (300, 200), (150, 100), (150, 100)),
        ("stretch", (7, 9), (50, 200), (7, 9), (7, 9)),
    ],
)
def test_sizes(policy, size, picture, outer, inner):
    assert Resize(size, policy).fit(*picture) == (outer, inner)
    sample = {"image": np.zeros((*picture, 3), np.uint8), "mask": np.zeros(picture, np.uint8)}
    resized = Resize(size, policy)(sample)
    assert resized["image"].shape == (*outer, 3)
    assert (resized["mask"] == 0).sum() == inner[0] * inner[1]


@pytest.mark.parametrize("policy", ["letterbox", "shorter", "stretch"])
def test_a_image_that_fits_stays_to_the_byte(policy):
    image, mask = draw_sample(0, 48, 48)
    resized = Resize(48, policy)({"image": image, "mask": mask})
    assert np.array_equal(resized["image"], image)
    assert np.array_equal(resized["mask"], mask)
    scores = np.random.default_rng(0).normal(size=(48, 48, 5)).astype(np.float32)
    assert np.array_equal(Resize(48, policy).back(mask, 48, 48), mask)
    assert np.array_equal(Resize(48, policy).back(scores, 48, 48), scores)


@pytest.mark.parametrize("side", [20, 30, 90])
def test_a_ramp_stays_a_ramp(side):
    # the value of a pixel is where its middle lies, as a share of the side
    share = lambda length: (np.arange(length) + 0.5) / length  # noqa: E731
    ramp = np.tile(share(60), (60, 1)).astype(np.float32)[..., None]
    resized = Resize(side, "stretch")({"image": ramp})["image"][..., 0]
    inner = (
        slice(1, -1) if side > 60 else slice(None)
    )  # beyond the last middle there is nothing to go on
    assert np.abs(resized - share(side))[:, inner].max() < 1e-5
    back = Resize(side, "stretch").back(resized[..., None], 60, 60)
    # areas that share pixels of 90 are those of steps, a twelfth of a pixel off the ramp
    assert np.abs(back - ramp)[:, 3:-3].max() < (1e-5 if side < 60 else 1 / 12 / 90 + 1e-5)


@pytest.mark.parametrize(
    ("size", "how"), [((31, 47), cv2.INTER_AREA), ((90, 100), cv2.INTER_LINEAR)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_agree_with_opencv(size, how, dtype):
    image = draw_sample(3)[0].astype(dtype) * (1 if dtype == np.uint8 else 200)
    expected = cv2.resize(image, size[::-1], interpolation=how)
    resized = Resize(size, "stretch")({"image": image})["image"]
    assert np.array_equal(resized, expected)
    assert resized.dtype == dtype


@pytest.mark.parametrize("size", [(12, 80), (12, 16), (80, 4)])
def test_the_side_that_shrinks_is_averaged_whatever_the_other_does(size):
    stripes = np.zeros((48, 16, 1), np.float32)
    stripes[::4] = 1  # one row in four: a quarter on average
    stripes = stripes if size[0] < 48 else np.ascontiguousarray(stripes[:16].transpose(1, 0, 2))
    resized = Resize(size, "stretch")({"image": stripes})["image"]
    assert np.allclose(resized, 0.25)


def test_integers_that_opencv_does_not_know_are_rounded():
    image = np.array([[-5, -2, 1, 1]], np.int32)[..., None]
    resized = Resize((1, 2), "stretch")({"image": image})["image"]
    assert (resized[..., 0].tolist(), resized.dtype) == ([[-4, 1]], np.int32)  # -3.5, to even


@pytest.mark.parametrize("channels", [1, 2, 5, 129, 300])
def test_as_many_channels_as_one_likes(channels):
    scores = np.random.default_rng(0).normal(size=(6, 9, channels)).astype(np.float32)
    back = Resize((6, 9), "stretch").back(scores, 13, 7)
    assert back.shape == (13, 7, channels)
    one = Resize((6, 9), "stretch").back(scores[..., -1:], 13, 7)
    assert np.allclose(back[..., -1:], one, atol=1e-6)
    assert Resize((6, 9), "stretch").back(scores, 4, 7).shape == (4, 7, channels)


def test_back_cuts_the_filling_off():
    labels = np.array([[1, 2, 7], [3, 4, 7], [7, 7, 7]], np.uint8)
    resize = Resize(3)  # of 6 x 4: 3 x 2
    labels = np.array([[1, 2, 7], [3, 4, 7], [5, 6, 7]], np.uint8)
    assert (
        resize.back(labels, 6, 4).tolist()
        == np.repeat(np.repeat(labels[:, :2], 2, 0), 2, 1).tolist()
    )
    scores = np.where(labels == 7, 1000, 0)[..., None].astype(np.float32)
    assert not resize.back(scores, 6, 4).any()


@pytest.mark.parametrize("policy", ["letterbox", "shorter", "stretch"])
@pytest.mark.parametrize("size", [40, 64, 100])
def test_masks_come_back(policy, size):
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


def test_a_prediction_of_another_size_does_not_come_back():
    with pytest.raises(
        ValueError,
        match=r"shape \(6, 4\) came back for an image of 6 x 4, which is resized to 3 x 3",
    ):
        Resize(3).back(np.zeros((6, 4), np.uint8), 6, 4)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["letterbox", "shorter", "stretch"]),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_all_sizes(policy, size, picture):
    resize = Resize(size[0] if policy == "shorter" else size, policy)
    outer, inner = resize.fit(*picture)
    sample = {
        "image": np.full((*picture, 1), 200, np.uint8),
        "mask": np.ones(picture, np.uint8),
        "boxes": np.array([[0, 0, picture[1], picture[0]]], np.float32),
    }
    resized = resize(sample)
    assert 1 <= inner[0] <= outer[0]
    assert 1 <= inner[1] <= outer[1]
    assert resized["image"].shape == (*outer, 1)
    assert np.array_equal(resized["image"][..., 0] == 200, resized["mask"] == 1)
    assert (resized["mask"] == 1).sum() == np.prod(inner)
    assert np.allclose(resized["boxes"], [[0, 0, inner[1], inner[0]]])
    assert (resize.back(resized["mask"], *picture) == 1).all()
    shrink = resize.shrink(*picture)
    assert shrink in (1, 2, 4, 8)
    assert (np.array(picture) / shrink >= inner).all() or shrink == 1
    larger = np.array(picture) / (2 * shrink) >= inner
    assert shrink == 8 or not larger.all()


def test_a_image_read_smaller_comes_to_the_same_size():
    image, mask = draw_sample(0, 101, 203)
    resize = Resize(24)
    assert resize.shrink(101, 203) == 8
    from tfseg.data import Arrays

    reader = Arrays([image], [mask], ["ground", "disc", "band"])
    whole, smaller = resize(reader[0]), resize(reader.read(0, 8), (101, 203))
    assert whole["image"].shape == smaller["image"].shape == (24, 24, 3)
    assert np.abs(whole["image"].astype(int) - smaller["image"]).mean() < 6
    assert (whole["mask"] == smaller["mask"]).mean() > 0.95


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"Resize: size=0 must be a whole number"):
        Resize((4, 0))
    with pytest.raises(
        ValueError, match=r"Resize: policy='streched' is unknown.*Did you mean 'stretch'"
    ):
        Resize(4, "streched")
    with pytest.raises(
        ValueError, match=r"the policy 'shorter' takes one length; size=\(4, 5\) came"
    ):
        Resize((4, 5), "shorter")
    with pytest.raises(
        ValueError, match=r"Resize: size=\(4, 5, 3\) must be pixels, or \(height, width\)"
    ):
        Resize((4, 5, 3))
    assert Resize(np.int64(4)).size == (4, 4)
