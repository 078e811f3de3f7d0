"""Instance models without boxes as SavedModels, which a process without tfseg serves."""

import functools
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from exact_instances import star_model
from export.instance_models import (
    IMAGES,
    ODD,
    answers_of_another_process,
    finding_model,
)
from instance_runs import small_model
from PIL import Image

from tfseg.data.readers.objects import boxes_around
from tfseg.export import inspect, litert, onnx, openvino, saved_model
from tfseg.export.detection_parity import match_detections
from tfseg.export.encoded_client import encode_png
from tfseg.export.instance_graph import nearest_in_graph
from tfseg.export.instance_parity import instances_runner, require_same_objects
from tfseg.export.instance_signatures import (
    instance_file_signature,
    instance_signature,
    object_decoder,
)
from tfseg.export.object_files import label_map_files
from tfseg.inference import predict_instances
from tfseg.models import decode_instances, tiny_unet, with_object_thresholds
from tfseg.ops import nearest_centers

EXPORT = sys.modules["tfseg.export.instance_export"]
# Tracing of star polygons takes longer than all else: `test_a_graph_finds_star_objects` is quick.
HEADS = (pytest.param("star", marks=pytest.mark.slow), "center")
THRESHOLDS = {"star": {"nms_overlap": 0.3}, "center": {"object_threshold": 0.105}}


@pytest.fixture(scope="module")
def models():
    return {
        head: with_object_thresholds(finding_model(head), **thresholds)
        for head, thresholds in THRESHOLDS.items()
    }


@pytest.fixture(scope="module")
def version_of(tmp_path_factory):
    """The function head -> its export, whose thresholds are set at export."""
    folder = tmp_path_factory.mktemp("instances")
    names = {"star": {}, "center": {"class_names": ["sky", "cell", "wall", "dust", "sea"]}}

    @functools.cache
    def export(head):
        return saved_model(
            finding_model(head),
            folder / head,
            metadata=names[head],
            images=[IMAGES[0]],
            **THRESHOLDS[head],
        )

    return export


@pytest.fixture(scope="module")
def answers_of(version_of, tmp_path_factory):
    """The function head -> answers of its export to `REQUESTS`."""

    @functools.cache
    def serve(head):
        return answers_of_another_process(version_of(head), tmp_path_factory.mktemp("server"))

    return serve


def assert_same(outputs, row, expected):
    """Compare a row of the outputs of a signature with the result of `predict_instances`."""
    count = len(expected["scores"])
    assert outputs["num_detections"][row] == count
    np.testing.assert_allclose(outputs["scores"][row, :count], expected["scores"], atol=1e-5)
    np.testing.assert_array_equal(outputs["classes"][row, :count], expected["classes"])
    boxes = boxes_around(expected["instances"])
    np.testing.assert_array_equal(outputs["boxes"][row, :count], boxes)
    assert (outputs["classes"][row, count:] == -1).all()
    assert not outputs["scores"][row, count:].any()
    assert not outputs["boxes"][row, count:].any()


@pytest.mark.parametrize("head", HEADS)
def test_batches_and_odd_sizes_give_the_objects_of_the_model(head, models, answers_of):
    counts = []
    for name, images in (("floats", IMAGES), ("uint8", IMAGES), ("odd", ODD[None])):
        outputs = answers_of(head)[name]
        assert outputs["instances"].dtype == outputs["classes"].dtype == np.int32
        for row, image in enumerate(images):
            expected = predict_instances(models[head], image)
            np.testing.assert_array_equal(outputs["instances"][row], expected["instances"])
            assert_same(outputs, row, expected)
            counts.append(len(expected["scores"]))
            if head == "center":
                np.testing.assert_array_equal(outputs["mask"][row], expected["mask"])
    assert counts[0] != counts[1]  # so that rows of padding are needed
    assert min(counts) > 1


def test_a_graph_finds_star_objects(models):
    model = models["star"]
    serve = instance_signature(object_decoder(model), model, (None, None, 3), tf.uint8)
    outputs = {name: value.numpy() for name, value in serve(IMAGES).items()}
    for row, image in enumerate(IMAGES):
        expected = predict_instances(model, image)
        np.testing.assert_array_equal(outputs["instances"][row], expected["instances"])
        assert_same(outputs, row, expected)
    assert np.unique(outputs["num_detections"]).size == 2
    assert {name: value.shape for name, value in serve(IMAGES[:0]).items()} == {
        "instances": (0, 64, 64),
        "scores": (0, 0),
        "classes": (0, 0),
        "boxes": (0, 0, 4),
        "num_detections": (0,),
    }


@pytest.mark.parametrize("head", HEADS)
def test_images_without_objects_or_pixels(head, models, answers_of):
    expected = predict_instances(models[head], np.zeros((20, 30, 3), np.uint8))
    assert_same(answers_of(head)["black"], 0, expected)
    for name, shape in (("no images", (0, 20, 30)), ("no rows", (2, 0, 30))):
        outputs = answers_of(head)[name]
        assert outputs["instances"].shape == shape
        assert outputs["scores"].shape == outputs["classes"].shape == (shape[0], 0)
        assert outputs["boxes"].shape == (shape[0], 0, 4)
        assert outputs["num_detections"].tolist() == [0] * shape[0]
        if head == "center":
            assert outputs["mask"].shape == shape


def pixels_of(run_lengths, size):
    """Return the mask (H, W) of COCO's uncompressed run lengths."""
    stored = json.loads(run_lengths)
    assert stored["size"] == list(size)
    counts = stored["counts"]
    return np.repeat(np.arange(len(counts)) % 2, counts).reshape(size[::-1]).T.astype(bool)


def read_png(file):
    return np.asarray(Image.open(io.BytesIO(file)))


@pytest.mark.parametrize("head", HEADS)
def test_files_of_mixed_sizes_have_run_lengths_and_pngs(head, models, answers_of):
    outputs = answers_of(head)["files"]
    for row, image in ((0, IMAGES[0]), (2, ODD)):
        expected = predict_instances(models[head], image)
        assert_same(outputs, row, expected)
        numbers = read_png(outputs["masks_png_bytes"][row])
        assert numbers.dtype == np.uint16
        np.testing.assert_array_equal(numbers, expected["instances"])
        count, texts = len(expected["scores"]), outputs["masks_rle_bytes"][row]
        for number, text in enumerate(texts[:count], 1):
            np.testing.assert_array_equal(pixels_of(text, image.shape[:2]), numbers == number)
        assert not any(texts[count:])
        if head == "center":
            mask = read_png(outputs["mask_png_bytes"][row])
            np.testing.assert_array_equal(mask, expected["mask"])


@pytest.mark.parametrize("head", HEADS)
def test_a_broken_file_has_no_objects_and_a_reason(head, answers_of):
    outputs = answers_of(head)["files"]
    assert outputs["ok"].tolist() == [True, False, True]
    assert outputs["reason"].tolist() == [b"", b"The file is not a JPEG or PNG.", b""]
    assert outputs["num_detections"][1] == 0
    assert (outputs["classes"][1] == -1).all()
    assert outputs["masks_png_bytes"][1] == b""
    assert not any(outputs["masks_rle_bytes"][1])
    outputs = answers_of(head)["no files"]
    assert outputs["boxes"].shape == (0, 0, 4)
    assert outputs["masks_rle_bytes"].shape == (0, 0)
    assert outputs["masks_png_bytes"].shape == (0,)


@pytest.mark.parametrize("head", HEADS)
def test_an_export_describes_itself_and_its_parity(head, version_of):
    metadata = inspect(version_of(head))
    assert metadata["head"] == head
    assert metadata["outputs"][:2] == ["instances", "scores"]
    if head == "star":
        assert metadata["thresholds"] == {"object_threshold": 0.5, "nms_overlap": 0.3}
        assert metadata["object_names"] == ["0", "1", "2"]
        assert len(metadata["palette"]) == 3
    else:
        assert metadata["thresholds"] == {"object_threshold": 0.105}
        assert metadata["class_names"][2] == "wall"
    rows = metadata["parity"]
    assert [row["format"] for row in rows] == ["Keras", "SavedModel"]
    assert all(row["agreement"] == 1 and row["smallest_iou"] > 0.99 for row in rows)
    assert rows[0]["detections"] > 1
    warmup = version_of(head) / "assets.extra/tf_serving_warmup_requests"
    assert len(list(tf.data.TFRecordDataset(str(warmup)))) == 3


@pytest.mark.parametrize("head", THRESHOLDS)
def test_an_export_that_disagrees_with_the_model_is_rejected(head, models, tmp_path, monkeypatch):
    def shifted(_, images, limit):
        found = instances_runner(models[head])(images)
        return {"uint8": found | {"instances": np.roll(found["instances"], 1, axis=1)}}

    monkeypatch.setattr(EXPORT, "_write", lambda *_: None)
    monkeypatch.setattr(EXPORT, "_compare_candidates", lambda *_: None)
    monkeypatch.setattr(EXPORT.tf.saved_model, "load", lambda _: SimpleNamespace(signatures={}))
    monkeypatch.setattr(EXPORT, "answers", shifted)
    with pytest.raises(RuntimeError, match=r"\(uint8\)\) agrees with the model on"):
        saved_model(models[head], tmp_path / "name", images=[IMAGES[0]])
    assert list(tmp_path.iterdir()) == []


def test_an_inference_copy_that_disagrees_is_rejected(models, monkeypatch):
    other = small_model("star", 3)
    monkeypatch.setattr(EXPORT, "fold_batch_norm", lambda _: other)
    with pytest.raises(RuntimeError, match="its inference copy"):
        EXPORT._compare_candidates(models["star"], IMAGES)


def test_another_mask_is_rejected(models):
    expected = instances_runner(models["center"])(IMAGES)
    other = expected | {"mask": expected["mask"] + (np.arange(64) < 2)}
    with pytest.raises(RuntimeError, match=r"on the class of 96.88% of the pixels"):
        require_same_objects(expected, other, "copy")


def test_what_does_not_fit_is_refused(models, tmp_path):
    model, folder = models["star"], tmp_path / "name"
    only = "SavedModel is the only format"
    for options, message in (
        ({"formats": ("onnx",), "images": [IMAGES[0]]}, f"formats=\\('onnx',\\), but .*{only}"),
        ({"size": (64, 64)}, f"size=\\(64, 64\\), but .*{only}"),
        ({"window": 64}, "window=64 for an instance model, whose outputs are fixed"),
        ({"score_threshold": 0.5}, "got score_threshold for the model .*only detectors"),
        ({"object_threshold": 1.5}, "object_threshold=1.5 must be"),
        ({"metadata": {"object_names": ["cell"]}}, "got 1 object names .* 3 object categories"),
    ):
        with pytest.raises(ValueError, match=message):
            saved_model(model, folder, **options)
    with pytest.raises(ValueError, match="got nms_overlap for the model 'tiny_unet'"):
        saved_model(tiny_unet(2, filters=4), folder, nms_overlap=0.3)
    with pytest.raises(ValueError, match="got 2 class names .* 5 classes in its mask"):
        saved_model(models["center"], folder, metadata={"class_names": ["a", "b"]})
    for write, file in ((litert, "m.tflite"), (onnx, "m.onnx"), (openvino, "m.xml")):
        with pytest.raises(ValueError, match=only):
            write(model, tmp_path / file)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_fixed_size_takes_files_of_any_size():
    model = small_model("center", input_shape=(32, 48, 3))
    decode = object_decoder(model)
    serve = instance_file_signature(model, decode, model, (32, 48, 3), 10**6)
    large = np.kron(IMAGES[0, :32, :48], np.ones((2, 3, 1), np.uint8))  # 64 x 144
    outputs = serve(tf.constant([encode_png(large)]))
    resized = tf.image.resize(large[None].astype(np.float32), (32, 48), antialias=True)
    found = {name: value[0].numpy() for name, value in model(resized).items()}
    expected = decode_instances(model, found, (32, 48))["instances"]
    assert expected.max() > 1
    numbers = read_png(outputs["masks_png_bytes"][0].numpy())
    np.testing.assert_array_equal(numbers, np.kron(expected, np.ones((2, 3), int)))
    np.testing.assert_array_equal(outputs["boxes"][0], boxes_around(numbers))


def test_hidden_objects_are_left_out():
    model = with_object_thresholds(star_model(), nms_overlap=0.6)
    image = np.zeros((16, 26, 9), np.float32)
    image[..., 0] = -9
    # squares in descending order of scores: the first two hide the third
    for column, half, logit in ((6, 2.2, 4), (10, 2.2, 3), (8, 1.9, 2), (20, 1.9, 1)):
        image[8, column] = [logit, *[half, half * 2**0.5] * 4]
    outputs = {name: value[0].numpy() for name, value in model(image[None]).items()}
    found = object_decoder(model)(outputs, tf.constant([16, 26]))
    expected = decode_instances(model, outputs, (16, 26))["instances"]
    np.testing.assert_array_equal(found["instances"], expected)
    assert np.unique(expected).tolist() == [0, 1, 2, 3]
    assert found["scores"].numpy() == pytest.approx(1 / (1 + np.exp([-4, -3, -1])))


def test_the_nearest_centers_in_a_graph_are_those_of_the_host():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:130, :70]
    targets = np.stack([rows, columns], -1) + rng.normal(0, 9, (130, 70, 2))
    targets = targets.astype(np.float32)
    centers = rng.uniform(0, 130, (300, 2)).astype(np.float32)
    find = tf.function(nearest_in_graph)
    np.testing.assert_array_equal(find(targets, centers), nearest_centers(targets, centers))
    assert not find(targets, centers[:0]).numpy().any()
    broken = targets.copy()
    targets[0, 0], broken[0, 0] = 0, np.nan
    np.testing.assert_array_equal(find(broken, centers), nearest_centers(targets, centers))


def test_pngs_have_no_objects_beyond_16_bits():
    labels = np.array([[0, 65535, 65536]], np.int32)
    files = label_map_files(tf.constant(labels), tf.zeros((0, 4)), tf.constant(0))
    assert read_png(files["masks_png_bytes"].numpy()).tolist() == [[0, 65535, 0]]


def test_label_maps_match_by_their_pixels():
    labels = np.zeros((20, 30), np.int32)
    labels[:, :15] = 1
    labels[:10, 20:] = 2
    labels[15:18, 20:23] = 3
    labels[15:18, 24:27] = 4
    found = {"scores": np.full(4, 0.9), "classes": np.zeros(4, int), "instances": labels}
    found["boxes"] = boxes_around(labels)
    changed = labels.copy()
    changed[5, 4:7] = 0  # 297 of 300 pixels: 99%
    changed[5, 24:27] = 0  # 97 of 100 pixels
    changed[16, 20:22] = 0  # 7 of 9 pixels: rounding may move two
    changed[15:17, 24:26] = 0  # 5 of 9 pixels; in all cases the box is the same
    changed[17, 24] = 4
    matches = match_detections(found, found | {"instances": changed})
    assert matches.pairs.tolist() == [[0, 0], [2, 2]]
    assert matches.ious.tolist() == [0.99, 7 / 9]
    nothing = np.zeros_like(labels)
    assert match_detections(found, found | {"instances": nothing}).agreement == 0
