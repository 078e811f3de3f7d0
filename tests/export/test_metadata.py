import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tfseg.export import inspect, saved_model
from tfseg.inference import with_offsets
from tfseg.models import cnn_classifier, unet


@pytest.fixture(scope="module")
def model():
    return unet(3, (None, None, 1), filters=(4, 8), normalization=(40.0, 25.0))


@pytest.fixture
def version(model, tmp_path):
    metadata = {
        "class_names": ["sky", "road", "car"],
        "metrics": {"mean_iou": 0.7},
        "source": "run 12",
    }
    return saved_model(model, tmp_path / "name", metadata=metadata, window=64)


def test_an_export_tells_what_it_is(model, version):
    metadata = inspect(version)
    assert metadata["class_names"] == ["sky", "road", "car"]
    assert metadata["metrics"] == {"mean_iou": 0.7}
    assert metadata["source"] == "run 12"
    assert metadata["image_shape"] == [None, None, 1]
    assert metadata["normalization"] == {"mean": [40.0], "std": [25.0]}
    assert metadata["ignore_index"] == 255
    assert len(metadata["palette"]) == 3
    assert metadata["window"] == 64
    assert metadata["versions"]["tensorflow"] == tf.__version__
    assert metadata["files_sha256"].keys() >= {
        "saved_model.pb",
        "assets.extra/tf_serving_warmup_requests",
    }


def test_the_sha256_of_the_weights_tells_models_apart(model, version, tmp_path):
    again = inspect(saved_model(model, tmp_path / "again"))["weights_sha256"]
    assert again == inspect(version)["weights_sha256"]
    layer = model.get_layer("classes")
    bias = layer.bias.numpy()
    layer.bias.assign(bias + 1)
    assert inspect(saved_model(model, tmp_path / "other"))["weights_sha256"] != again
    layer.bias.assign(bias)


def test_names_are_numbers_unless_told(tmp_path):
    metadata = inspect(saved_model(unet(1, filters=(4, 8)), tmp_path / "two"))
    assert metadata["class_names"] == ["0", "1"]
    metadata = inspect(
        saved_model(unet(1, filters=(4, 8)), tmp_path / "one", metadata={"class_names": ["nucleus"]})
    )
    assert metadata["class_names"] == ["background", "nucleus"]
    assert len(metadata["palette"]) == 2


def test_a_classifier_is_proven_too(tmp_path):
    metadata = inspect(saved_model(cnn_classifier(3, filters=(4, 8), hidden=8), tmp_path))
    assert metadata["image_shape"] == [None, None, 3]
    assert len(metadata["palette"]) == 3


def test_a_normalization_of_small_values_keeps_its_digits(tmp_path):
    small = (0.000312, 0.0213), (0.0000278, 0.0125)
    metadata = inspect(
        saved_model(unet(2, (None, None, 2), filters=(4, 8), normalization=small), tmp_path)
    )
    assert metadata["normalization"] == {"mean": [0.000312, 0.0213], "std": [0.0000278, 0.0125]}


def test_images_that_are_normalized_each_by_itself_are_told_of(tmp_path):
    version = saved_model(
        unet(2, filters=(4, 8), normalization="image"), tmp_path, outputs=("probabilities",)
    )
    assert inspect(version)["normalization"] == "image"
    images = np.random.default_rng(0).integers(0, 100, (2, 9, 7, 3)).astype(np.float32)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    assert np.allclose(
        served(image=images)["probabilities"], served(image=2 * images)["probabilities"], atol=1e-3
    )


def test_offsets_of_the_logits_are_told(model, tmp_path):
    assert "offsets" not in inspect(saved_model(model, tmp_path / "plain"))
    tuned = with_offsets(with_offsets(model, (0.5, 0, 1)), (1, 0, -2))
    assert inspect(saved_model(tuned, tmp_path / "tuned"))["offsets"] == [1.5, 0, -1]


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
    with pytest.raises(
        RuntimeError, match=r"fingerprint.pb is missing. more.txt was not written by the export."
    ):
        inspect(version)


def test_another_folder_is_no_export(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{tmp_path}' is no export of tfseg")):
        inspect(tmp_path)


def wrong_numbers():
    spec = tf.TensorSpec((None, None, None, 1), tf.uint8, name="image")
    return tf.function(
        lambda image: {"class_ids": tf.ones(tf.shape(image)[:3], tf.uint8) * 9},
        input_signature=[spec],
    )


def wrong_files():
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    mask = tf.io.encode_png(9 * tf.ones((33, 33, 1), tf.uint8))
    return tf.function(
        lambda image_bytes: {"mask_png_bytes": tf.fill([1], mask)}, input_signature=[spec]
    )


@pytest.mark.parametrize(("name", "wrong"), [("uint8", wrong_numbers), ("encoded", wrong_files)])
def test_signatures_that_disagree_are_found(name, wrong, version):
    # a graph of which one signature answers otherwise, with checksums that fit
    module = tf.Module()
    module.kept = loaded = tf.saved_model.load(str(version))
    tf.saved_model.save(module, str(version), {**loaded.signatures, name: wrong()})
    from tfseg.export.metadata import FILE, _files, _sha256

    metadata = json.loads((version / FILE).read_text())
    metadata["files_sha256"] = {name: _sha256(version / name) for name in _files(version)}
    (version / FILE).write_text(json.dumps(metadata))
    with pytest.raises(RuntimeError, match="its signatures do not agree"):
        inspect(version)


def test_parity_is_told_if_it_was_measured(model, tmp_path):
    images = [np.random.default_rng(i).uniform(0, 255, (30 + i, 40, 1)) for i in range(2)]
    assert "parity" not in inspect(saved_model(model, tmp_path / "without"))
    rows = inspect(saved_model(model, tmp_path / "with", images=images))["parity"]
    assert [row["format"] for row in rows] == ["Keras", "SavedModel"]
