import keras
import numpy as np
import pytest

from conftest import draw_sample
from tfseg.data import Resize
from tfseg.inference import predict
from tfseg.inference.predictor import predict_logits, top_ids
from tfseg.models import unet


class Watched:
    """A model that notes the shapes of what it is shown."""

    def __init__(self, model):
        self.model, self.input_shape, self.seen = model, model.input_shape, []

    def predict_on_batch(self, batch):
        self.seen.append(batch.shape)
        return self.model.predict_on_batch(batch)


def per_pixel(classes=3, channels=3):
    """Logits that are a fixed linear map of each pixel."""
    image = keras.Input((None, None, channels))
    layer = keras.layers.Conv2D(classes, 1, use_bias=False)
    model = keras.Model(image, layer(keras.ops.cast(image, "float32")))
    layer.set_weights([np.random.default_rng(0).normal(size=(1, 1, channels, classes)) / 100])
    return model


@pytest.mark.parametrize("window", [None, 56, (48, 56), (100, 57)])
def test_a_window_that_holds_the_image_gives_the_whole(window):
    image = draw_sample(0)[0]
    model = Watched(unet(3, filters=(4, 8)))
    expected = model.predict_on_batch(image[None])[0]
    logits = predict_logits(model, image, window=window)
    assert np.array_equal(logits, expected)
    assert logits.dtype == np.float32
    assert model.seen == [(1, 48, 56, 3)] * 2


@pytest.mark.parametrize(
    ("window", "overlap"), [(16, 0.25), ((20, 13), 0.0), (7, 0.9), ((100, 9), 0.5), ((1, 33), 0.0)]
)
def test_sliding_gives_a_pixel_wise_model_s_logits(window, overlap):
    image = draw_sample(0)[0][:31, :33]
    model = Watched(per_pixel())
    expected = model.predict_on_batch(image[None])[0]
    model.seen.clear()
    logits = predict_logits(model, image, window=window, overlap=overlap)
    assert np.allclose(
        logits, expected, rtol=1e-5, atol=1e-5
    )  # means of equal numbers, but for rounding
    sides = (window, window) if isinstance(window, int) else window
    assert set(model.seen) == {(1, min(31, sides[0]), min(33, sides[1]), 3)}
    assert np.array_equal(
        predict(model, image, window=window, overlap=overlap), expected.argmax(-1)
    )


def test_windows_are_averaged_by_their_middles():
    class Numbered:
        """Logits that are the number of the window."""

        input_shape, count = (None, None, None, 1), 0

        def predict_on_batch(self, batch):
            self.count += 1
            return np.full((1, *batch.shape[1:3], 1), self.count, np.float32)

    # windows of 3 at 0 and 2 of 5 columns; weights 1/2, 1, 1/2: the shared column lies at the rim of both
    logits = predict_logits(Numbered(), np.zeros((1, 5)), window=(1, 3), overlap=0.3)
    assert logits[0, :, 0].tolist() == [1, 1, 1.5, 2, 2]
    # windows of 4 at 0 and 2 of 6; weights 2/5, 4/5, 4/5, 2/5: (4/5 * 1 + 2/5 * 2) / (6/5), (2/5 * 1 + 4/5 * 2) / (6/5)
    logits = predict_logits(Numbered(), np.zeros((1, 6)), window=(1, 4), overlap=0.5)
    assert logits[0, :, 0] == pytest.approx([1, 1, 4 / 3, 5 / 3, 2, 2])


@pytest.mark.parametrize("policy", ["letterbox", "shorter", "stretch"])
def test_logits_come_back_to_the_image_s_size(policy):
    image, _ = draw_sample(2, 60, 90)
    model = Watched(per_pixel())
    whole = predict_logits(model, image)
    model.seen.clear()
    resize = Resize(45, policy)
    logits = predict_logits(model, image, resize)
    assert model.seen == [(1, *resize.fit(60, 90)[0], 3)]
    assert logits.shape == (60, 90, 3)
    labels = predict(model, image, resize=resize)
    assert labels.shape == (60, 90)
    assert np.array_equal(labels, logits.argmax(-1))
    assert np.abs(logits - whole).mean() < 0.15 * np.abs(whole).mean()
    assert np.array_equal(predict_logits(model, image, Resize((60, 90), "stretch")), whole)


def test_windows_slide_over_the_resized_image():
    image, _ = draw_sample(2, 60, 90)
    model = Watched(per_pixel())
    expected = predict_logits(model, image, Resize(45))
    model.seen.clear()
    logits = predict_logits(model, image, Resize(45), window=20)
    assert set(model.seen) == {(1, 20, 20, 3)}
    assert np.allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1)])
def test_narrow_images(size):
    model = unet(2, (None, None, 1), filters=(4, 8))
    image = np.full(size, 100, np.uint8)
    for options in (
        {},
        {"window": 4},
        {"resize": Resize(8)},
        {"resize": Resize(8, "stretch"), "window": 3},
    ):
        assert predict_logits(model, image, **options).shape == (*size, 2)


def test_ids_of_logits():
    assert top_ids(np.array([[[0.1], [-0.1], [0.0]]])).tolist() == [[1, 0, 0]]
    ids = top_ids(np.array([[[0.1, 0.2, 0.0], [3, 2, 1]]]))
    assert (ids.tolist(), ids.dtype) == ([[1, 0]], np.uint8)


def test_windows_that_make_no_sense_are_refused():
    image = draw_sample(0)[0]
    with pytest.raises(ValueError, match=r"windows: size=0 must be a whole number"):
        predict(per_pixel(), image, window=0)
    with pytest.raises(ValueError, match=r"windows: overlap=1\.0 must be at least 0 and below 1"):
        predict(per_pixel(), image, window=8, overlap=1.0)
    with pytest.raises(
        ValueError, match=r"an image of shape \(4, 4, 1\) came; this model takes one \(H, W, 3\)"
    ):
        predict(per_pixel(), np.zeros((4, 4)), Resize(9))
