import json
import re
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import one_conv

from tfseg.export import fold_batch_norm, inspect, saved_model
from tfseg.export.metadata import METADATA_FILE, files_sha256, read_metadata, write_metadata
from tfseg.inference import with_offsets
from tfseg.models import unet

MODULE = sys.modules["tfseg.export.saved_model"]  # the function of that name hides it


@pytest.fixture
def version(one_conv_version, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(one_conv_version, tmp_path / "1")


def metadata_of(model, folder):
    """Return the metadata of a model without exporting it."""
    write_metadata(folder, model, {})
    return read_metadata(folder)


def test_an_export_describes_itself(unet_version):
    metadata = inspect(unet_version)
    assert metadata["class_names"] == ["sky", "road", "car"]
    assert metadata["metrics"] == {"iou": 0.7}
    assert metadata["source"] == "run"
    assert metadata["image_shape"] == [None, None, 3]
    assert metadata["outputs"] == ["class_ids", "probabilities", "uncertainty", "rle"]
    assert metadata["ignore_index"] == 255
    assert len(metadata["palette"]) == 3
    assert metadata["window"] is None
    assert metadata["versions"]["tensorflow"] == tf.__version__
    assert metadata["files_sha256"].keys() >= {
        "saved_model.pb",
        "assets.extra/tf_serving_warmup_requests",
    }
    assert "parity" not in metadata
    assert "offsets" not in metadata


def test_parity_is_reported_if_images_were_passed(tmp_path):
    images = [np.random.default_rng(i).uniform(0, 255, (30 + i, 40, 1)) for i in range(2)]
    model = one_conv(2, (None, None, 1))
    rows = inspect(saved_model(model, tmp_path, images=images))["parity"]
    assert [row["format"] for row in rows] == ["Keras", "SavedModel"]


def test_the_sha256_of_the_weights_identifies_the_model(tmp_path):
    model = one_conv()
    first = metadata_of(model, tmp_path)["weights_sha256"]
    assert metadata_of(model, tmp_path)["weights_sha256"] == first
    bias = model.get_layer("classes").bias
    bias.assign(bias + 1)
    assert metadata_of(model, tmp_path)["weights_sha256"] != first


@pytest.mark.parametrize(("classes", "ignored"), [(2, 255), (255, 255), (256, 65535)])
def test_the_value_of_ignored_pixels_is_not_a_class(classes, ignored, tmp_path):
    assert metadata_of(one_conv(classes), tmp_path)["ignore_index"] == ignored


@pytest.mark.parametrize(
    ("classes", "metadata", "names"),
    [
        (1, None, ["0", "1"]),
        (1, {"class_names": ["nucleus"]}, ["background", "nucleus"]),
        (3, {}, ["0", "1", "2"]),
    ],
)
def test_class_names_default_to_numbers(classes, metadata, names):
    details = MODULE._checked_details(one_conv(classes), (), metadata, None, 100, "float32")
    assert details["class_names"] == names


SMALL_VALUES = ((0.000312, 0.0213), (0.0000278, 0.0125))


@pytest.mark.parametrize(
    ("channels", "normalization", "mean", "std"),
    [(1, (40.0, 25.0), [40.0], [25.0]), (2, SMALL_VALUES, *map(list, SMALL_VALUES))],
)
def test_normalization_is_reported_with_its_digits(channels, normalization, mean, std, tmp_path):
    model = unet(2, (None, None, channels), filters=(2, 4), normalization=normalization)
    assert metadata_of(model, tmp_path)["normalization"] == {"mean": mean, "std": std}


def test_normalization_per_image_is_reported_and_kept(tmp_path):
    model = unet(2, filters=(2, 4), normalization="image")
    assert metadata_of(model, tmp_path)["normalization"] == "image"
    images = np.random.default_rng(0).integers(0, 100, (2, 9, 7, 3)).astype(np.float32)
    folded_model = fold_batch_norm(model)
    assert np.allclose(folded_model(images), folded_model(2 * images), atol=1e-3)


def test_logit_offsets_are_reported(tmp_path):
    tuned = with_offsets(with_offsets(one_conv(), (0.5, 0, 1)), (1, 0, -2))
    assert metadata_of(tuned, tmp_path)["offsets"] == [1.5, 0, -1]


@pytest.mark.parametrize("where", [0.5, -1])
def test_a_changed_byte_is_found(version, where):
    file = version / "saved_model.pb"
    content = bytearray(file.read_bytes())
    content[int(where * len(content)) if where > 0 else where] ^= 1
    file.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"saved_model.pb has changed. Export the model again"):
        inspect(version)


def test_missing_and_added_files_are_found(version):
    (version / "fingerprint.pb").unlink()
    (version / "more.txt").write_text("x")
    message = r"fingerprint.pb is missing. more.txt was not written by the export."
    with pytest.raises(RuntimeError, match=message):
        inspect(version)


def test_a_folder_that_is_not_an_export_is_rejected(tmp_path):
    message = re.escape(f"'{tmp_path}' is not an export of tfseg")
    with pytest.raises(FileNotFoundError, match=message):
        inspect(tmp_path)


def wrong_uint8():
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")
    return tf.function(
        lambda image: {"class_ids": tf.ones(tf.shape(image)[:3], tf.uint8) * 9},
        input_signature=[spec],
    )


def wrong_encoded():
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    mask = tf.io.encode_png(9 * tf.ones((33, 33, 1), tf.uint8))
    return tf.function(
        lambda image_bytes: {"mask_png_bytes": tf.fill([1], mask)}, input_signature=[spec]
    )


@pytest.mark.parametrize(("name", "wrong"), [("uint8", wrong_uint8), ("encoded", wrong_encoded)])
def test_signatures_that_disagree_are_found(name, wrong, version):
    # replace one signature, and update the checksums
    module = tf.Module()
    module.kept = loaded = tf.saved_model.load(str(version))
    tf.saved_model.save(module, str(version), {**loaded.signatures, name: wrong()})
    metadata = json.loads((version / METADATA_FILE).read_text())
    metadata["files_sha256"] = files_sha256(version)
    (version / METADATA_FILE).write_text(json.dumps(metadata))
    with pytest.raises(RuntimeError, match="its signatures do not agree"):
        inspect(version)
