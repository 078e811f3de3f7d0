"""Models that were trained on other values than 0..255."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import one_conv

from tfseg.export import inspect, saved_model
from tfseg.export.trained_range import image_dtype, noise, serves_files, serves_uint8
from tfseg.models.blocks import Standardize


def export(folder, value_range, channels=3):
    """Return the metadata and the signatures of a model, after it was inspected."""
    model = one_conv(3, (None, None, channels))
    if value_range is not None:
        # the same classes as for 0..255
        model.get_layer("classes").kernel.assign(
            model.get_layer("classes").kernel * (255 / value_range[1])
        )
    version = saved_model(model, folder, value_range=value_range)
    return inspect(version), tf.saved_model.load(str(version)).signatures


@pytest.mark.parametrize(
    ("value_range", "names"),
    [
        ((12, 201), {"serving_default", "uint8", "encoded"}),
        ((0, 4095), {"serving_default", "encoded"}),
        ((0, 2.3), {"serving_default"}),
    ],
)
def test_a_range_has_the_signatures_that_fit_it(value_range, names, tmp_path):
    metadata, signatures = export(tmp_path, value_range)
    assert set(signatures) == names
    assert metadata["value_range"] == (None if value_range is None else list(value_range))


@pytest.mark.parametrize("value_range", [None, (0, 255), (12, 201)])
def test_images_of_8_bits_have_all_signatures(value_range):
    assert serves_uint8(value_range)
    assert serves_files(one_conv(), value_range)


FLOATS = [(0, 1), (0, 1.8), (0, 2), (0.2, 200.5), (0.2, 300.7), (-1, 255), (-1000, 3000)]


@pytest.mark.parametrize("value_range", [*FLOATS, (0, 70000)])
def test_floats_have_no_signatures_for_integers(value_range):
    assert not serves_uint8(value_range)
    assert not serves_files(one_conv(), value_range)
    assert image_dtype(value_range) == np.float32


def test_a_model_that_standardizes_images_takes_files_of_any_range(tmp_path):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(Standardize()(image)))
    version = saved_model(model, tmp_path, value_range=(0, 60000))
    assert inspect(version)["value_range"] == [0, 60000]
    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == {"serving_default", "uint8", "encoded"}
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 1), np.uint8)
    files = [tf.io.encode_png(pixels), tf.io.encode_png(pixels.astype(np.uint16) * 200)]
    assert signatures["encoded"](image_bytes=tf.stack(files))["ok"].numpy().all()


def test_files_of_8_bits_are_refused_by_a_model_of_12_bits(tmp_path):
    _, signatures = export(tmp_path, (0, 4095))
    image = np.random.default_rng(0).integers(0, 4096, (9, 13, 3), np.uint16)
    files = [tf.io.encode_png(image), tf.io.encode_png((image // 16).astype(np.uint8))]
    outputs = signatures["encoded"](image_bytes=tf.stack(files))
    assert outputs["ok"].numpy().tolist() == [True, False]
    assert b"trained on values from 0 to 4095" in outputs["reason"][1].numpy()
    expected = signatures["serving_default"](image=tf.constant(image[None], tf.float32))
    mask = tf.io.decode_png(outputs["mask_png_bytes"][0])[..., 0]
    assert np.array_equal(mask, expected["class_ids"][0])


@pytest.mark.parametrize(
    ("value_range", "dtype"),
    [(None, np.uint8), ((3, 255), np.uint8), ((5, 4095), np.uint16), ((-1000, 3000), np.float32)],
)
def test_noise_is_in_the_range(value_range, dtype):
    images = noise((2, 40, 50, 1), value_range)
    assert images.dtype == image_dtype(value_range) == dtype
    low, high = (0, 255) if dtype == np.uint8 else value_range
    assert low <= images.min() < images.max() <= high
    assert images.max() - images.min() > 0.9 * (high - low)
