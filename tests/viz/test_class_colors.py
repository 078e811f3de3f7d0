import tracemalloc

import numpy as np
import pytest

from tfseg import viz
from tfseg.viz.class_colors import perceived_colors


@pytest.mark.parametrize("count", [2, 7, 20])
def test_color_blind_people_can_distinguish_the_palette(count):
    views = perceived_colors(viz.palette(count))
    distances = np.linalg.norm(views[:, :, None] - views[:, None], axis=-1)
    distances[:, np.eye(count, dtype=bool)] = np.inf
    # a difference of 2.3 in CIELAB is just noticeable
    assert distances.min() > {2: 30, 7: 8, 20: 8}[count]


def test_a_longer_palette_begins_with_the_shorter_one():
    assert np.array_equal(viz.palette(30)[:11], viz.palette(11))
    assert len(np.unique(viz.palette(255), axis=0)) == 255


def test_the_first_seven_colors_are_those_of_okabe_and_ito():
    # sky blue, orange, bluish green, vermilion, yellow, blue, reddish purple
    codes = ["56b4e9", "e69f00", "009e73", "d55e00", "f0e442", "0072b2", "cc79a7"]
    assert [bytes(color).hex() for color in viz.palette(7)] == codes


def test_a_palette_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        viz.palette(3)[0] = 0


def test_perceived_colors_of_normal_vision_are_cielab():
    # L, a, b of sRGB red (D65), from the CIE formulas
    normal = perceived_colors([(255, 0, 0)])[0, 0]
    assert normal == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


def test_grays_look_gray_to_everyone():
    views = perceived_colors([(0, 0, 0), (119, 119, 119), (255, 255, 255)])
    assert views.shape == (4, 3, 3)
    for view in views:
        assert view[:, 0] == pytest.approx([0, 50, 100], abs=0.2)
        assert view[:, 1:] == pytest.approx(np.zeros((3, 2)), abs=0.2)


def test_red_and_green_are_alike_without_green_cones():
    normal, _, without_green, without_blue = perceived_colors([(200, 60, 0), (110, 120, 0)])

    def hue_difference(view):
        return np.linalg.norm(view[0, 1:] - view[1, 1:])

    assert hue_difference(normal) > 60
    assert hue_difference(without_green) < 15
    assert hue_difference(without_blue) > 60


def test_color_labels_paint_ignored_pixels_white():
    colors = viz.palette(3)
    painted = viz.color_labels(np.array([[2, 255], [0, 3]]), 3)
    assert painted.dtype == np.uint8
    assert painted.tolist() == [
        [colors[2].tolist(), [255] * 3],
        [colors[0].tolist(), [255] * 3],
    ]


def test_blend_colors_classes_and_keeps_ignored_pixels():
    image, labels = np.full((2, 2, 3), 100, np.uint8), np.array([[0, 1], [255, 1]])
    mixed = viz.blend(image, labels, 2, alpha=0.5)
    expected = (100 + viz.palette(2).astype(int)) // 2
    assert np.array_equal(mixed[0, 0], expected[0])
    assert np.array_equal(mixed[[0, 1], [1, 1]], expected[[1, 1]])
    assert np.array_equal(mixed[1, 0], image[1, 0])


def test_blend_keeps_pixels_of_unknown_classes():
    image = np.full((1, 2), 100, np.uint8)
    assert viz.blend(image, [[2, 7]], 2).tolist() == [[[100] * 3] * 2]


def test_alpha_is_the_opacity_of_the_classes():
    image, labels = np.full((1, 1), 100, np.uint8), np.array([[1]])
    color = viz.palette(2)[1]
    assert viz.blend(image, labels, 2, alpha=0)[0, 0].tolist() == [100] * 3
    assert viz.blend(image, labels, 2, alpha=1)[0, 0].tolist() == color.tolist()
    quarter = viz.blend(image, labels, 2, alpha=0.25)[0, 0]
    assert quarter.tolist() == (75 + 0.25 * color).astype(int).tolist()


@pytest.mark.parametrize(
    ("image", "brightest"),
    [
        (np.array([[0, 65535]], np.uint16), 255),
        (np.array([[0.0, 1.0]]), 255),
        (np.array([[-3.0, 5.0]]), 255),
        (np.array([[0.0, 200.0]]), 200),
        (np.zeros((1, 2, 1), np.uint8), 0),
        (np.full((1, 2, 5), 9, np.uint8), 9),
        (np.full((1, 2, 2), 9, np.uint8), 9),
    ],
)
def test_images_of_any_range_and_channels_become_rgb(image, brightest):
    rgb = viz.as_rgb(image)
    assert rgb.shape == (1, 2, 3)
    assert rgb.dtype == np.uint8
    assert rgb.max() == brightest


@pytest.mark.parametrize(
    ("channels", "rgb"),
    [(1, [10, 10, 10]), (2, [10, 10, 10]), (3, [10, 20, 30]), (4, [10, 20, 30])],
)
def test_one_or_two_channels_are_gray_and_more_are_red_green_and_blue(channels, rgb):
    pixel = np.array([10, 20, 30, 40], np.uint8)[:channels]
    assert viz.as_rgb(pixel[None, None]).tolist() == [[rgb]]


@pytest.mark.parametrize("value", [0.5, -3.0, 300.0])
def test_an_image_of_one_value_is_black_if_it_has_to_be_scaled(value):
    assert viz.as_rgb(np.full((1, 1, 3), value)).tolist() == [[[0, 0, 0]]]


def test_the_first_channels_are_shown():
    five = np.arange(5, dtype=np.uint8)[None, None]
    assert viz.as_rgb(five).tolist() == [[[0, 1, 2]]]
    assert viz.as_rgb(five[..., 3:]).tolist() == [[[3, 3, 3]]]
    stretched = viz.as_rgb(np.array([[-1.0, 0.0, 3.0]]))
    assert stretched[0, :, 0].tolist() == [0, 63, 255]  # (0 + 1) / (3 + 1) of 255


def test_without_background_ignores_the_class_of_that_name():
    names = ["leaf", "background", "stem"]
    labels = np.array([[0, 1], [2, 255]])
    assert np.array_equal(viz.without_background(labels, names), [[0, 255], [2, 255]])
    assert np.array_equal(viz.without_background(labels, ["a", "b", "c"]), labels)


def test_uint8_labels_of_more_than_255_classes_are_drawn():
    labels = np.array([[0, 255]], np.uint8)
    names = ["background", *map(str, range(255))]
    assert viz.without_background(labels, names).tolist() == [[65535, 255]]
    assert np.array_equal(viz.color_labels(labels, 256)[0], viz.palette(256)[[0, 255]])


def test_single_hot_pixels_and_nan_do_not_darken_an_image():
    image = np.tile(np.linspace(0, 0.8, 16), (16, 1))
    image[3, 4], image[5, 6], image[7, 8] = 200, np.nan, np.inf
    rgb = viz.as_rgb(image)[..., 0]
    assert rgb[0].tolist() == [17 * i for i in range(16)]  # 255 / 15 per column
    assert (rgb[3, 4], rgb[5, 6], rgb[7, 8]) == (255, 0, 255)
    counts = np.tile(np.arange(16, dtype=np.uint16) * 256, (16, 1))
    counts[3, 4] = 65535
    assert viz.as_rgb(counts)[0, :, 0].tolist() == rgb[0].tolist()


def test_a_few_pixels_on_an_empty_background_are_visible():
    image = np.zeros((40, 40))
    image[1, 2] = 7e-3
    assert viz.as_rgb(image)[1, 2].tolist() == [255] * 3
    assert viz.as_rgb(np.full((2, 2), np.nan)).max() == 0


IMAGE = np.full((4, 6, 3), 100, np.uint8)
LABELS = np.arange(24).reshape(4, 6) % 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda labels: viz.color_labels(labels, 3),
        lambda labels: viz.blend(IMAGE, labels, 3),
        lambda labels: viz.errors(IMAGE, labels, np.zeros_like(LABELS)),
        lambda labels: viz.regions(IMAGE, labels),
    ],
)
def test_labels_may_have_a_channel_axis_and_other_dtypes(draw):
    expected = draw(LABELS)
    for labels in (LABELS[..., None], LABELS.astype(float), LABELS.astype(np.uint8)):
        assert np.array_equal(draw(labels), expected)
    assert np.array_equal(draw(LABELS == 1), draw((LABELS == 1).astype(int)))
    with pytest.raises(ValueError, match=r"got labels of float64 that are not whole numbers"):
        draw(LABELS / 2)
    with pytest.raises(ValueError, match=r"of shape \(4, 6, 3\).* Pass labels.argmax\(-1\)"):
        draw(IMAGE)


@pytest.mark.parametrize(
    "draw",
    [
        lambda labels: viz.blend(IMAGE, labels, 3),
        lambda labels: viz.errors(IMAGE, labels, LABELS),
        lambda labels: viz.errors(IMAGE, LABELS, labels),
        lambda labels: viz.regions(IMAGE, labels),
        lambda labels: viz.overlay(IMAGE, labels, ["a", "b", "c"]),
        lambda labels: viz.samples([IMAGE], [labels], None, ["a", "b", "c"]),
        lambda labels: viz.samples([IMAGE], [LABELS], [labels], ["a", "b", "c"]),
        lambda labels: viz.labeled([{"image": IMAGE, "mask": labels}], ["a", "b", "c"]),
    ],
)
@pytest.mark.parametrize("size", [(6, 4), (4,), (1, 4, 6)])
def test_labels_of_another_size_are_refused(draw, size):
    with pytest.raises(ValueError, match=r"got labels of shape .*, expected class ids of shape"):
        draw(np.zeros(size, int))


def test_a_batch_is_not_an_image():
    with pytest.raises(ValueError, match=r"as_rgb: got an image of shape \(1, 4, 6, 3\)"):
        viz.as_rgb(IMAGE[None])


def test_overlays_of_large_images_take_little_memory():
    image, labels = np.zeros((1500, 2000, 3), np.uint8), np.ones((1500, 2000), np.uint8)
    tracemalloc.start()
    viz.blend(image, labels, 2)
    viz.regions(image, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / labels.size < 16  # bytes per pixel; 51 if the whole image becomes float64
