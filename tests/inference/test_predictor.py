import subprocess
import sys
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from pixel_model import PixelModel

from conftest import draw_sample
from tfseg.data import Arrays, Resize
from tfseg.inference import evaluate, predict, predict_logits, top_ids
from tfseg.inference.sliding_windows import channel_statistics
from tfseg.models import tiny_unet, unet
from tfseg.models.blocks import Standardize, normalize


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


def pixelwise_model(normalization, channels=1):
    """A Keras model whose logits depend on one pixel of the normalized image each."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, channels))
    return keras.Model(image, keras.layers.Conv2D(2, 1)(normalize(image, normalization)))


@pytest.fixture(scope="module")
def standardizing():
    return pixelwise_model("image")


def sloped_image(height=20, width=30):
    """A gray image whose windows have other means and stds than the whole."""
    return (np.arange(height * width, dtype=np.float32) ** 1.5).reshape(height, width, 1)


@pytest.mark.parametrize("window", [8, (7, 30)])
def test_windows_are_normalized_by_the_statistics_of_the_whole_image(window, standardizing):
    image = sloped_image()
    whole = predict_logits(standardizing, image)
    assert predict_logits(standardizing, image, window=window) == pytest.approx(whole, abs=1e-4)
    image[3, 4], image[12, 13] = np.nan, np.inf
    with pytest.warns(UserWarning, match="predict: 2 of 600 values are NaN or infinite"):
        whole = predict_logits(standardizing, image)
    assert np.isfinite(whole).all()
    with pytest.warns(UserWarning, match="2 of 600"):
        windowed = predict_logits(standardizing, image, window=window)
    assert windowed == pytest.approx(whole, abs=1e-4)


def test_a_model_inside_a_model_normalizes_whole_images_only():
    inner = tiny_unet(2, filters=2, normalization="image")
    model = keras.Sequential([keras.Input((None, None, 3)), inner])
    image = np.random.default_rng(0).uniform(0, 255, (8, 10, 3)).astype(np.float32)
    image[0, 0, 0] = np.nan
    with pytest.warns(UserWarning, match="predict: 1 of 240 values are NaN"):
        found, windowed = predict(model, image), predict(model, image, window=10)
    assert np.array_equal(found, windowed)
    image[0, 0, 0] = 0
    with pytest.raises(ValueError, match="contains a model with normalization='image'"):
        predict(model, image, window=6)


def saved_parts(model, path):
    """Save a model; return the names of the weights in its file, and its config."""
    model.save(path)
    names = []
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        h5py.File(file).visit(names.append)
        return names, archive.read("config.json")


def test_a_prediction_in_windows_changes_no_model_file(tmp_path):
    model = pixelwise_model("image")
    before = saved_parts(model, tmp_path / "before.keras")
    predict(model, sloped_image(), window=8)
    assert saved_parts(model, tmp_path / "after.keras") == before


# In a process of its own: what other tests leave behind may keep the model alive.
MODEL_IS_RELEASED = """
import gc, weakref, keras, numpy as np, tfseg
from tfseg.models.blocks import normalize
image = keras.Input((None, None, 1))
model = keras.Model(image, keras.layers.Conv2D(2, 1)(normalize(image, "image")))
tfseg.inference.predict(model, np.arange(600.0, dtype="float32").reshape(20, 30, 1), window=8)
reference = weakref.ref(model)
del model
gc.collect()
assert reference() is None
"""


@pytest.mark.slow
def test_a_prediction_in_windows_keeps_no_model_alive():
    subprocess.run([sys.executable, "-c", MODEL_IS_RELEASED], check=True)


def test_evaluation_in_windows_equals_that_of_whole_images(standardizing):
    image = sloped_image()
    reader = Arrays([image], [np.zeros((20, 30), int)], ["a", "b"])
    whole = evaluate(standardizing, reader).matrix
    assert 0 < whole[0, 1] < 600  # both classes are predicted
    assert evaluate(standardizing, reader, window=8).matrix.tolist() == whole.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_statistics_are_those_of_the_layer(dtype):
    image = np.random.default_rng(0).integers(0, 250, (600, 5, 3)).astype(dtype)
    image[..., 2] = 7  # constant
    if dtype == np.float32:
        image[500, 1] = np.nan
    mean, divisor = channel_statistics(image)
    assert divisor[2] == pytest.approx(1e-7 * 7, rel=1e-4)  # its std is 0
    expected = keras.ops.convert_to_numpy(Standardize()(image[None]))[0]
    found = np.nan_to_num((image - mean) / divisor)
    assert found == pytest.approx(expected, abs=1e-4)


def test_windows_begin_on_the_stride_of_the_network(small_unet):
    # Windows of 64 at 0, 44 and 86: the columns 64 to 85 are in the middle one only, and farther
    # from its ends than the network sees. At an odd start its pooling grid would be shifted.
    image = draw_sample(0, 40, 150)[0]
    windowed, whole = (predict_logits(small_unet, image, window=side) for side in ((40, 64), None))
    assert windowed[:, 64:86] == pytest.approx(whole[:, 64:86], abs=1e-4)
    assert np.abs(windowed - whole).max() > 1e-3  # where a window ends, it differs


def test_windows_at_the_border_are_cut(small_unet):
    model = Recorder(small_unet)
    image = draw_sample(0, 33, 41)[0]
    assert predict_logits(model, image, window=16).shape == (33, 41, 3)
    assert np.isfinite(predict_logits(small_unet, image, window=16)).all()


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("options", [{}, {"window": 8}, {"resize": Resize((10, 15))}])
def test_values_that_are_not_finite_count_as_the_mean_of_the_others(value, options):
    model = pixelwise_model((100, 50), channels=2)
    image = np.random.default_rng(0).uniform(0, 255, (20, 30, 2)).astype(np.float32)
    image[3, 4, 1] = 0
    filled = np.array(image)
    filled[3, 4, 1] = image[..., 1].sum(dtype=np.float64) / 599
    image[3, 4, 1] = value
    before = np.array(image)
    with pytest.warns(UserWarning, match="predict: 1 of 1200 values are NaN or infinite"):
        found = predict_logits(model, image, **options)
    assert found == pytest.approx(predict_logits(model, filled, **options), abs=1e-4)
    assert np.array_equal(image, before, equal_nan=True)


def test_an_evaluation_names_the_image_with_values_that_are_not_finite():
    images = np.full((2, 4, 4, 1), 50, np.float32)
    images[1, 2, 3] = np.nan
    reader = Arrays(list(images), [np.zeros((4, 4), int)] * 2, ["a", "b"])
    with pytest.warns(UserWarning, match="evaluate: 1: 1 of 16 values are NaN"):
        evaluate(pixelwise_model((100, 50)), reader)


@pytest.mark.parametrize(
    ("normalization", "image", "message"),
    [
        (None, np.full((4, 4, 1), 0.7), "Do not divide images by 255"),
        (None, np.array([[[0.0], [1.0]]], np.float32), "Do not divide images by 255"),
        (None, np.array([[[1.0], [0.0]]]) > 0, "Do not divide images by 255"),
        (None, np.array([[[0], [4000]]], np.uint16), "Convert the images to the range"),
        ((120, 60), np.array([[[0.0], [1.0]]]), "Do not divide images by 255"),
        ((0, 255), np.array([[[0.0], [1.0]]]), "Do not divide images by 255"),
        ((20000, 8000), np.array([[[0], [255]]], np.uint8), "Convert the images to the range"),
        ((0.5, 0.25), np.array([[[0], [255]]], np.uint8), "Convert the images to the range"),
        (None, np.array([[[0], [1]]], np.uint8), None),  # a dark image
        (None, np.array([[[0.0], [250.0]]]), None),
        ((0.5, 0.25), np.array([[[0.0], [1.0]]]), None),
        ((20000, 8000), np.array([[[0], [50000]]], np.uint16), None),
        ((300, 200), np.array([[[0], [9000]]], np.uint16), None),  # a bright spot
        ((300, 200), np.array([[[0], [60000]]], np.uint16), "Convert the images to the range"),
        ((-600, 400), np.array([[[-1024], [3071]]], np.int16), None),
        ("image", np.array([[[0.0], [1.0]]]), None),
    ],
)
def test_images_in_another_range_than_the_model_expects_are_reported(normalization, image, message):
    model = pixelwise_model(normalization)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predict(model, image)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == (message is not None)
    assert message is None or message in texts[0]


@pytest.mark.parametrize(("scale", "count"), [(None, 1), (255.0, 0)])
def test_the_range_of_a_model_inside_a_model_is_that_of_its_images(scale, count):
    before = [] if scale is None else [keras.layers.Rescaling(scale)]
    model = keras.Sequential([keras.Input((None, None, 1)), *before, pixelwise_model(None)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predict(model, np.array([[[0.0], [1.0]]]))
    assert len(caught) == count
