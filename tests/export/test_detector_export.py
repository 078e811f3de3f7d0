"""A detector as a SavedModel and as files of other formats."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from export.c_api import library_path, run_client
from export.detector_models import (
    EMPTY,
    IMAGES,
    REQUESTS,
    detections_of,
    images_of,
    small_detector,
)
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from tfseg.export import (
    fold_batch_norm,
    inspect,
    litert,
    litert_runner,
    onnx,
    onnx_runner,
    openvino,
    saved_model,
)
from tfseg.export.detection_parity import require_matches
from tfseg.export.detection_signatures import detection_file_signature, detection_signature
from tfseg.export.encoded_client import encode_png
from tfseg.export.parity import keras_runner, parity
from tfseg.models import tiny_unet, with_thresholds
from tfseg.ops import paste_masks

EXPORT = sys.modules["tfseg.export.detector_export"]
CLIENT = sys.modules["tfseg.export.detection_client"]


def test_arrays_give_the_detections_of_the_model(detector, detector_version, detector_answers):
    assert detector_version.parts[-2:] == ("cells", "1")
    expected = detections_of(detector, IMAGES)
    assert (expected["num_detections"] > 0).all()
    assert (expected["num_detections"] < 6).any()  # the threshold leaves some out
    found = detector_answers["floats"]
    assert found.keys() == expected.keys()
    assert found["classes"].dtype == found["num_detections"].dtype == np.int32
    for name, tolerance in {
        "num_detections": 0,
        "classes": 0,
        "boxes": 1e-3,
        "scores": 1e-4,
        "masks": 1e-4,
    }.items():
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance)
        np.testing.assert_array_equal(detector_answers["uint8"][name], found[name])


@pytest.mark.skipif(
    library_path() is None, reason="the installed TensorFlow contains no libtensorflow_cc.so.2"
)
def test_the_c_api_gives_the_same_detections(detector_version, detector_answers):
    # with TensorFlow's graph optimizer, which `detector_answers` leave out: it changes the rounding
    names = ("detection", "files", "no files", "detection, no images")
    found = run_client(detector_version, [REQUESTS[name] for name in names])
    for name, outputs in zip(names, found, strict=True):
        expected = detector_answers[name]
        assert outputs.keys() == expected.keys()
        for key, value in expected.items():
            served = outputs[key]
            assert (served.shape, served.dtype) == (value.shape, value.dtype), key
            if value.dtype == object:
                assert (served == b"").tolist() == (value == b"").tolist(), key
            else:
                np.testing.assert_allclose(served, value, rtol=0, atol=1e-3, err_msg=key)


@pytest.mark.parametrize("name", EMPTY)
def test_batches_without_pixels_have_no_detections(name, detector_answers):
    count = EMPTY[name][0]
    outputs = detector_answers[f"uint8, {name}"]
    assert {key: value.shape for key, value in outputs.items()} == {
        "boxes": (count, 6, 4),
        "scores": (count, 6),
        "classes": (count, 6),
        "masks": (count, 6, 28, 28),
        "num_detections": (count,),
    }
    assert outputs["classes"].tolist() == [[-1] * 6] * count
    outputs = detector_answers[f"detection, {name}"]
    assert not np.any(outputs["detection_scores"])
    assert outputs["num_detections"].shape == (count,)


def test_clients_of_the_object_detection_api_find_its_names_and_units(detector, detector_answers):
    expected = detections_of(detector, IMAGES)
    found = dict(detector_answers["detection"])
    assert {value.dtype for value in found.values()} == {np.dtype("float32")}
    # such a client cuts all outputs at the number of detections and scales y by the height
    count = int(found.pop("num_detections")[0])
    assert count == expected["num_detections"][0]
    found = {name: value[0, :count] for name, value in found.items()}
    y_min, x_min, y_max, x_max = found["detection_boxes"].T
    boxes = np.stack([x_min * 90, y_min * 70, x_max * 90, y_max * 70], 1)
    np.testing.assert_allclose(boxes, expected["boxes"][0, :count], atol=1e-3)
    np.testing.assert_allclose(found["detection_scores"], expected["scores"][0, :count], atol=1e-4)
    assert found["detection_classes"].tolist() == (expected["classes"][0, :count] + 1).tolist()
    assert found["detection_masks"].shape == (count, 28, 28)


def test_files_of_mixed_sizes_have_boxes_and_masks_at_their_size(detector, detector_answers):
    coco = pytest.importorskip("pycocotools.mask")
    outputs = detector_answers["files"]
    for row, image in ((0, IMAGES[0]), (2, images_of(1, 51, 83)[0])):
        expected = detections_of(detector, image[None])
        count = expected["num_detections"][0]
        assert outputs["num_detections"][row] == count
        np.testing.assert_allclose(outputs["boxes"][row], expected["boxes"][0], atol=1e-3)
        size = image.shape[:2]
        masks = paste_masks(expected["masks"][0], expected["boxes"][0], *size)[:count] > 0.5
        texts = outputs["masks_rle_bytes"][row]
        runs = [json.loads(text) for text in texts[:count]]
        found = np.array([coco.decode(coco.frPyObjects(run, *size)) for run in runs])
        assert found.any()
        assert np.mean(found != masks) < 1e-3  # probabilities of almost 0.5
        assert not any(texts[count:])
        numbers = np.asarray(Image.open(io.BytesIO(outputs["masks_png_bytes"][row])))
        assert numbers.shape == size
        assert np.array_equal(numbers > 0, found.any(0))


def test_a_broken_file_has_no_detections_and_a_reason(detector_answers):
    outputs = detector_answers["files"]
    assert outputs["ok"].tolist() == [True, False, True]
    assert outputs["reason"].tolist() == [b"", b"The file is not a JPEG or PNG.", b""]
    assert outputs["num_detections"][1] == 0
    assert outputs["classes"][1].tolist() == [-1] * 6
    assert outputs["masks_png_bytes"][1] == b""
    assert not any(outputs["masks_rle_bytes"][1])


def test_no_files_have_no_outputs(detector_answers):
    assert detector_answers["no files"]["boxes"].shape == (0, 6, 4)
    assert detector_answers["no files"]["masks_rle_bytes"].shape == (0, 6)


def test_an_export_describes_itself(detector_version, served_detector):
    metadata = served_detector[1]
    assert metadata["object_names"] == ["cell", "dust"]
    assert metadata["head"] == metadata["model"] == "mask_rcnn"
    assert metadata["thresholds"] == {
        "score_threshold": 0.7,
        "nms_iou": 0.5,
        "max_detections": 6,
    }
    assert len(metadata["palette"]) == 2
    assert "ignore_index" not in metadata
    warmup = detector_version / "assets.extra/tf_serving_warmup_requests"
    requests = [record.numpy() for record in tf.data.TFRecordDataset(str(warmup))]
    assert sum(b"input_tensor" in request for request in requests) == 1
    assert len(requests) == 4


@pytest.mark.slow
def test_a_litert_file_gives_the_detections_of_the_model(detector, tmp_path):
    images = images_of(2, 64, 96)
    run = litert_runner(litert(detector, tmp_path / "m.tflite", size=(64, 96)))
    found = run(images)
    assert found["masks"].shape == (2, 6, 28, 28)
    require_matches(detections_of(detector, images), found, "litert", 1)
    rows = parity({"Keras": keras_runner(detector), "litert": run}, images)
    assert all(row.agreement == 1 and row.smallest_iou > 0.99 for row in rows)
    assert rows[0].detections > 0


def test_other_formats_get_the_images_and_their_size(detector, tmp_path, monkeypatch):
    given = []
    for name in ("_write", "_compare"):
        monkeypatch.setattr(EXPORT, name, lambda *_: None)
    monkeypatch.setattr(EXPORT, "write_formats", lambda *arguments: given.append(arguments))
    images = list(images_of(2, 64, 96))
    names = ["cell", "dust"]
    options = {"formats": ("litert",), "images": images, "size": (64, 96)}
    saved_model(detector, tmp_path / "name", metadata={"object_names": names}, **options)
    [(_, model, *rest)] = given
    assert model.name == detector.name
    assert rest == [("litert",), images, names, (64, 96), None]


def test_a_saved_model_has_no_gradient_of_its_own(detector_version):
    # TensorFlow would warn at each loading that the gradient of RoIAlign is not saved
    content = saved_model_pb2.SavedModel.FromString(
        (detector_version / "saved_model.pb").read_bytes()
    )
    functions = content.meta_graphs[0].graph_def.library.function
    nodes = [node for function in functions for node in function.node_def]
    assert len(nodes) > 1000
    assert not [node.name for node in nodes if "_gradient_op_type" in node.attr]


@pytest.mark.slow
def test_the_export_of_keras_serves_a_detector(detector, tmp_path):
    detector.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))  # owns the variables that `serve` reads
    found = loaded.serve(IMAGES.astype(np.float32))
    require_matches(detections_of(detector, IMAGES), found, "model.export", 1)


@pytest.mark.slow
def test_an_onnx_file_gives_the_detections_of_the_model(detector, tmp_path):
    images = images_of(2, 64, 96)
    file = onnx(detector, tmp_path / "m.onnx", size=(64, 96), class_names=["cell", "dust"])
    require_matches(detections_of(detector, images), onnx_runner(file)(images), "onnx", 1)


def test_all_normalization_of_heads_that_leave_out_padding_is_folded():
    model = small_detector(layout="v2")
    folded = fold_batch_norm(model)
    assert not [layer.name for layer in folded.layers if "Norm" in type(layer).__name__]
    images = images_of(1).astype(np.float32)
    require_matches(model(images, training=False), folded(images, training=False), "v2", 1)


def test_signatures_that_disagree_are_found(detector_version, monkeypatch):
    def answers(*_):
        found = {"boxes": np.ones((1, 2, 4)) * [0, 0, 9, 9], "scores": np.ones((1, 2))}
        first = found | {"classes": np.array([[0, 1]])}
        return {"serving_default": first, "uint8": found | {"classes": np.array([[1, 1]])}}

    monkeypatch.setattr(CLIENT, "answers", answers)
    with pytest.raises(RuntimeError, match="its signatures do not agree"):
        inspect(detector_version)


def test_an_export_that_disagrees_with_the_model_is_rejected(detector, tmp_path, monkeypatch):
    def shifted(_, images, limit):
        found = detections_of(detector, images)
        return {"uint8": found | {"boxes": found["boxes"] + 5}}

    monkeypatch.setattr(EXPORT, "_write", lambda *_: None)
    monkeypatch.setattr(EXPORT, "_compare_candidates", lambda *_: None)
    loaded = SimpleNamespace(signatures={})
    monkeypatch.setattr(EXPORT.tf.saved_model, "load", lambda _: loaded)
    monkeypatch.setattr(EXPORT, "answers", shifted)
    with pytest.raises(RuntimeError, match=r"\(uint8\)\) agrees with the model on 0.00%"):
        saved_model(detector, tmp_path / "name", images=images_of(1))
    assert list(tmp_path.iterdir()) == []


def test_an_inference_copy_that_disagrees_is_rejected(detector, monkeypatch):
    other = with_thresholds(small_detector(num_classes=2), nms_iou=0.1)
    monkeypatch.setattr(EXPORT, "fold_batch_norm", lambda _: other)
    with pytest.raises(RuntimeError, match="its inference copy"):
        EXPORT._compare_candidates(detector, images_of(1))


def test_a_detector_of_fixed_size_takes_files_of_any_size():
    def detect(images):
        assert images.shape[1:] == (32, 48, 3)
        return {"boxes": tf.constant([[[6.0, 8, 24, 32]]]), "num_detections": tf.constant([1])}

    serve = detection_file_signature(detect, (32, 48, 3), 10**6)
    # 64 x 96 is twice as high and as wide, 96 x 48 three times as high
    files = [encode_png(images_of(1, *size)[0]) for size in ((64, 96), (96, 48))]
    boxes = serve(tf.constant(files))["boxes"].numpy()
    assert boxes.tolist() == [[[12, 16, 48, 64]], [[6, 24, 24, 96]]]


def test_gray_images_are_not_broadcast():
    serve = detection_signature(lambda image: {"scores": image[:, 0]}, (None, None, 3), tf.float32)
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        serve(tf.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 64}, "got outputs=.* and window=64 for a detector"),
        ({"outputs": ("rle",)}, r"got outputs=\('rle',\) .* for a detector"),
        ({"dtype": "bfloat16"}, "got dtype='bfloat16' for a detector"),
        ({"metadata": {"object_names": ["cell"]}}, "got 1 object names"),
        ({"formats": ("litert",), "images": images_of(1)}, "got the detector .* without `size`"),
        ({"score_threshold": 1.5}, "score_threshold=1.5 must be"),
        ({"max_pixels": 0}, "max_pixels=0 must be"),
    ],
)
def test_invalid_arguments_are_rejected(options, message, detector, tmp_path):
    with pytest.raises(ValueError, match=message):
        saved_model(detector, tmp_path / "name", **options)
    assert not (tmp_path / "name").exists()


def test_other_files_are_refused_with_the_reason(detector, tmp_path):
    for quantize in ("float16", "dynamic", "int8"):
        with pytest.raises(ValueError, match=f"litert: got quantize='{quantize}' for the detector"):
            litert(detector, tmp_path / "m.tflite", quantize, images_of(1), size=(64, 96))
    with pytest.raises(ValueError, match="onnx: got the detector 'mask_rcnn' without `size`"):
        onnx(detector, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="openvino: got the detector .* as ONNX or LiteRT"):
        openvino(detector, tmp_path / "m.xml", size=(64, 96))


def test_thresholds_are_refused_for_segmentation(tmp_path):
    message = "got score_threshold, max_detections for the model 'tiny_unet'"
    with pytest.raises(ValueError, match=message):
        saved_model(tiny_unet(2), tmp_path, score_threshold=0.5, max_detections=3)
