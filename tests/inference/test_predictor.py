import keras
import numpy as np
import pytest
from pixel_model import PixelModel

from conftest import draw_sample
from tfseg.data import Resize
from tfseg.inference import predict, predict_logits, top_ids
from tfseg.models import unet


class Recorder:
    """A model that remembers the shapes of its batches."""

    def __init__(self, model):
        self.model, self.input_shape, self.batch_shapes = model, model.input_shape, []

    def predict_on_batch(self, batch):
        self.batch_shapes.append(batch.shape)
        return self.model.predict_on_batch(batch)


@pytest.mark.parametrize("window", [None, 56, (48, 56), (100, 57)])
def test_a_window_that_covers_the_image_gives_the_whole(window, small_unet):
    image = draw_sample(0)[0]
    model = Recorder(small_unet)
    expected = model.predict_on_batch(image[None])[0]
    logits = predict_logits(model, image, window=window)
    assert np.array_equal(logits, expected)
    assert logits.dtype == np.float32
    assert model.batch_shapes == [(1, 48, 56, 3)] * 2


@pytest.mark.parametrize(
    ("window", "overlap"), [(16, 0.25), ((20, 13), 0.0), (7, 0.9), ((100, 9), 0.5), ((1, 33), 0.0)]
)
def test_windows_of_a_pixelwise_model_give_the_whole(window, overlap):
    image = draw_sample(0)[0][:31, :33]
    model = PixelModel()
    expected = model(image).numpy()
    logits = predict_logits(model, image, window=window, overlap=overlap)
    # weighted means of equal numbers, up to rounding
    assert np.allclose(logits, expected, rtol=1e-5, atol=1e-5)
    sides = (window, window) if isinstance(window, int) else window
    assert set(model.batch_shapes) == {(1, min(31, sides[0]), min(33, sides[1]), 3)}
    ids = predict(model, image, window=window, overlap=overlap)
    assert np.array_equal(ids, expected.argmax(-1))
    assert len(np.unique(ids)) > 1


def test_windows_are_weighted_by_the_distance_from_their_center():
    class Numbered:
        """Logits that are the number of the window."""

        input_shape, count = (None, None, None, 1), 0

        def predict_on_batch(self, batch):
            self.count += 1
            return np.full((1, *batch.shape[1:3], 1), self.count, np.float32)

    # windows of 3 columns at 0 and 2; weights 1/2, 1, 1/2: equal weights in the shared column
    logits = predict_logits(Numbered(), np.zeros((1, 5)), window=(1, 3), overlap=0.3)
    assert logits[0, :, 0].tolist() == [1, 1, 1.5, 2, 2]
    # windows of 4 columns at 0 and 2; weights 2/5, 4/5, 4/5, 2/5. The shared columns are
    # (4/5 * 1 + 2/5 * 2) / (6/5) and (2/5 * 1 + 4/5 * 2) / (6/5)
    logits = predict_logits(Numbered(), np.zeros((1, 6)), window=(1, 4), overlap=0.5)
    assert logits[0, :, 0] == pytest.approx([1, 1, 4 / 3, 5 / 3, 2, 2])
    # the same in rows
    logits = predict_logits(Numbered(), np.zeros((6, 1)), window=(4, 1), overlap=0.5)
    assert logits[:, 0, 0] == pytest.approx([1, 1, 4 / 3, 5 / 3, 2, 2])


@pytest.mark.parametrize("policy", ["letterbox", "shorter", "stretch"])
def test_logits_are_resized_to_the_size_of_the_image(policy):
    image, _ = draw_sample(2, 60, 90)
    model = PixelModel()
    whole = predict_logits(model, image)
    model.batch_shapes.clear()
    resize = Resize(45, policy)
    logits = predict_logits(model, image, resize)
    assert model.batch_shapes == [(1, *resize.fit(60, 90)[0], 3)]
    assert logits.shape == (60, 90, 3)
    ids = predict(model, image, resize=resize)
    assert np.array_equal(ids, logits.argmax(-1))
    # the noise of the image is smoothed; 0.33 for the letterbox
    assert np.abs(logits - whole).mean() < 0.36 * np.abs(whole).mean()
    assert np.array_equal(predict_logits(model, image, Resize((60, 90), "stretch")), whole)


def test_windows_slide_over_the_resized_image():
    image, _ = draw_sample(2, 60, 90)
    model = PixelModel()
    expected = predict_logits(model, image, Resize(45))
    model.batch_shapes.clear()
    logits = predict_logits(model, image, Resize(45), window=20)
    assert set(model.batch_shapes) == {(1, 20, 20, 3)}
    assert np.allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((1, 1), {}),
        ((1, 1), {"resize": Resize(8)}),
        ((1, 9), {"window": 4}),
        ((7, 1), {"resize": Resize(8, "stretch"), "window": 3}),
    ],
)
def test_narrow_images(size, options, gray_unet):
    image = np.full(size, 100, np.uint8)
    logits = predict_logits(gray_unet, image, **options)
    assert logits.shape == (*size, 2)
    assert np.isfinite(logits).all()


@pytest.fixture(scope="module")
def gray_unet():
    keras.utils.set_random_seed(0)
    return unet(2, (None, None, 1), filters=(4, 8))


def test_gray_images_need_no_channel_axis():
    model = PixelModel(num_classes=2, channels=1)
    image = draw_sample(0)[0][..., 0]
    assert np.array_equal(predict(model, image), predict(model, image[..., None]))


def test_ids_of_logits():
    assert top_ids(np.array([[[0.1], [-0.1], [0.0]]])).tolist() == [[1, 0, 0]]
    ids = top_ids(np.array([[[0.1, 0.2, 0.0], [3, 2, 1]]]))
    assert (ids.tolist(), ids.dtype) == ([[1, 0]], np.uint8)


def test_invalid_windows_and_images_are_refused():
    image = draw_sample(0)[0]
    with pytest.raises(ValueError, match=r"window_corners: size=0 must be a whole number"):
        predict(PixelModel(), image, window=0)
    with pytest.raises(
        ValueError, match=r"window_corners: overlap=1\.0 must be at least 0 and below 1"
    ):
        predict(PixelModel(), image, window=8, overlap=1.0)
    message = r"predict: got an image of shape \(4, 4, 1\), expected \(H, W, 3\)"
    with pytest.raises(ValueError, match=message):
        predict(PixelModel(), np.zeros((4, 4)), Resize(9))
