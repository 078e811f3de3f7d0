import copy
import io
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_runs import small_detector
from instance_runs import small_model
from object_scenes import NAMES as OBJECT_NAMES
from object_scenes import Scenes
from PIL import Image

from conftest import draw_sample
from tfseg import viz
from tfseg.data import Arrays, pipeline
from tfseg.inference import detect, evaluate, predict
from tfseg.losses import CrossEntropy
from tfseg.metrics import ConfusionMetrics
from tfseg.training import (
    DetectionScores,
    InstanceScores,
    TensorBoard,
    compile_for,
    instance_targets,
)

pytestmark = pytest.mark.usefixtures("eager")

NAMES = ["ground", "disc", "low band", "cloud"]  # no mask has a cloud
READER = Arrays(*zip(*[draw_sample(i) for i in range(4)], strict=True), NAMES)
SAMPLES = [READER[0], READER[3]]


def compiled(metrics, channels=4, loss=None):
    """Classify pixels by color, never as the last class."""
    keras.utils.set_random_seed(2)
    image = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(channels, 1)
    model = keras.Model(image, layer(keras.layers.Rescaling(1 / 128, -1)(image)))
    layer.bias.assign([0.0] * (channels - 1) + [-50.0])
    rate = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    model.compile(keras.optimizers.SGD(rate), loss=loss or CrossEntropy(), metrics=metrics)
    return model


def fit(model, *callbacks, epochs=2, val=True, initial_epoch=0):
    val = pipeline(READER, 2) if val else None
    batches = pipeline(READER.select(["0", "1"]), 1)
    return model.fit(
        batches,
        validation_data=val,
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[*callbacks],
        shuffle=False,
    )


def read(folder):
    """Return {tag: {step: array}} of the event files in a folder."""
    found = {}
    for record in tf.data.TFRecordDataset([str(file) for file in sorted(folder.iterdir())]):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def decode(value):
    width, height, *pngs = value
    assert len(pngs) == 1
    image = np.asarray(Image.open(io.BytesIO(pngs[0])))
    assert (int(width), int(height)) == image.shape[1::-1]
    return image


def drawn(model):
    images, masks = [s["image"] for s in SAMPLES], [s["mask"] for s in SAMPLES]
    file = io.BytesIO()
    viz.samples(images, masks, [predict(model, image) for image in images], NAMES).savefig(
        file, format="png"
    )
    return np.asarray(Image.open(file).convert("RGB"))


class Witness(keras.callbacks.Callback):
    """Scores and draws the model by other means, and makes its metric count something else."""

    def __init__(self):
        super().__init__()
        self.rows, self.images = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({row["class"]: row for row in evaluate(self.model, READER).rows()})
        self.images.append(drawn(self.model))
        self.model.evaluate(pipeline(READER.select(["1"]), 1), verbose=0)


def test_event_files_have_the_logs_the_learning_rate_the_class_curves_and_the_images(tmp_path):
    witness = Witness()
    logs = fit(
        compiled([ConfusionMetrics(4)]), witness, TensorBoard(tmp_path, SAMPLES, NAMES)
    ).history
    train, val = read(tmp_path / "train"), read(tmp_path / "validation")

    metrics = ["loss", "mean_dice", "mean_iou", "pixel_accuracy"]
    assert sorted(train) == sorted(f"epoch_{name}" for name in [*metrics, "learning_rate"])
    for name in metrics:
        for found, values in ((train, logs[name]), (val, logs[f"val_{name}"])):
            assert found[f"epoch_{name}"] == pytest.approx(dict(enumerate(values)))
    # halved after each step, and an epoch has two
    assert train["epoch_learning_rate"] == pytest.approx({0: 0.5 / 4, 1: 0.5 / 16})

    for score in ("iou", "dice"):
        for name in NAMES[:3]:
            expected = {epoch: rows[name][score] for epoch, rows in enumerate(witness.rows)}
            assert val[f"{score}/{name}"] == pytest.approx(expected)
        assert np.isnan(witness.rows[0]["cloud"][score])
        assert f"{score}/cloud" not in val  # no score, no point

    for epoch, expected in enumerate(witness.images):
        np.testing.assert_array_equal(decode(val["samples"][epoch]), expected)
    assert (witness.images[0] != witness.images[1]).any()


def test_images_are_written_every_few_epochs_and_a_resumed_training_appends(tmp_path):
    model = compiled([ConfusionMetrics(4)])
    fit(model, TensorBoard(tmp_path, SAMPLES, NAMES, every=2), epochs=3)
    fit(model, TensorBoard(tmp_path, SAMPLES, NAMES, every=2), epochs=4, initial_epoch=3)
    val = read(tmp_path / "validation")
    assert sorted(val["samples"]) == [1, 3]
    assert sorted(val["iou/disc"]) == [0, 1, 2, 3]


def test_epochs_without_a_validation_have_no_validation_scalars(tmp_path):
    model, val = compiled([ConfusionMetrics(4)]), pipeline(READER, 2)
    board = TensorBoard(tmp_path, [], NAMES)
    options = {"validation_data": val, "validation_freq": 2, "epochs": 4, "verbose": 0}
    model.fit(pipeline(READER, 2), callbacks=[board], **options)
    found = read(tmp_path / "validation")
    assert sorted(found["epoch_mean_iou"]) == sorted(found["iou/disc"]) == [1, 3]
    assert sorted(read(tmp_path / "train")["epoch_mean_iou"]) == [0, 1, 2, 3]


def test_copies_as_kerastuner_makes_them_write_to_their_own_folder(tmp_path):
    board = TensorBoard(tmp_path / "all", [], NAMES)
    for trial in ("a", "b"):
        again = copy.deepcopy(board)
        again.log_dir = str(tmp_path / trial)
        fit(compiled([ConfusionMetrics(4)]), again, epochs=1)
        assert "epoch_mean_iou" in read(tmp_path / trial / "validation")
        board = again  # a copy of one that has written
    assert not (tmp_path / "all").exists()


def test_without_validation_there_are_only_training_scalars(tmp_path):
    model = compiled([ConfusionMetrics(4)])
    fit(model, TensorBoard(tmp_path, [], NAMES), val=False)
    assert sorted(read(tmp_path / "train")["epoch_mean_iou"]) == [0, 1]
    assert read(tmp_path / "validation") == {}


@pytest.mark.parametrize(("ignore_index", "curves"), [(0, NAMES[1:3]), (None, [])])
def test_ignored_and_invalid_labels_have_no_curves(tmp_path, ignore_index, curves):
    image, mask = draw_sample(0)
    mask = np.where(mask == 255, 1, mask)
    if ignore_index is None:
        mask[0, 0] = 255  # neither a class nor ignored
    data = image[None], mask[None]
    model = compiled([ConfusionMetrics(4, ignore_index=ignore_index)])
    board = TensorBoard(tmp_path, [], NAMES)
    model.fit(*data, validation_data=data, verbose=0, callbacks=[board])
    found = [tag.removeprefix("iou/") for tag in read(tmp_path / "validation") if "iou/" in tag]
    assert found == list(curves)


def test_a_sigmoid_channel_has_two_classes(tmp_path):
    model = compiled(
        ["accuracy", ConfusionMetrics(1)], channels=1, loss=keras.losses.MeanSquaredError()
    )
    discs = [
        {"image": image, "mask": (mask == 1).astype(np.uint8)}
        for image, mask in map(draw_sample, range(2))
    ]
    x, y = (np.stack([s[name] for s in discs]) for name in ("image", "mask"))
    board = TensorBoard(tmp_path, discs, ["ground", "disc"])
    model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[board])
    predicted = [predict(model, disc["image"]) for disc in discs]
    both = np.stack(predicted).astype(bool)
    overlap, union = (both & (y == 1)).sum(), (both | (y == 1)).sum()
    assert read(tmp_path / "validation")["iou/disc"][0] == pytest.approx(overlap / union)
    np.testing.assert_array_equal(board._predict_samples(), predicted)


def test_what_does_not_fit_is_refused_before_the_first_epoch_ends(tmp_path):
    with pytest.raises(ValueError, match=r"a sample has \['image'\]; expected 'image' and 'mask'"):
        TensorBoard(tmp_path, [{"image": SAMPLES[0]["image"]}], NAMES)
    with pytest.raises(ValueError, match="every=0 must be a whole number"):
        TensorBoard(tmp_path, SAMPLES, NAMES, every=0)
    with pytest.raises(
        ValueError, match=r"2 class_names need .* with 2 classes; the model has one with 4 classes"
    ):
        fit(compiled([ConfusionMetrics(4)]), TensorBoard(tmp_path, SAMPLES, NAMES[:2]))
    with pytest.raises(
        ValueError, match=r"has only loss. Compile it with metrics=\[tfseg.metrics.Confus"
    ):
        fit(compiled([]), TensorBoard(tmp_path, SAMPLES, NAMES))
    gray = [{"image": SAMPLES[0]["image"][..., :1], "mask": SAMPLES[0]["mask"]}]
    with pytest.raises(ValueError, match="shape"):
        fit(compiled([ConfusionMetrics(4)]), TensorBoard(tmp_path, gray, NAMES))


def test_an_evaluation_outside_of_a_training_writes_nothing(tmp_path):
    compiled([ConfusionMetrics(4)]).evaluate(
        pipeline(READER, 2), verbose=0, callbacks=[TensorBoard(tmp_path, SAMPLES, NAMES)]
    )
    assert not list(tmp_path.iterdir())


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"tfseg-keras\[tensorboard\]"):
        TensorBoard(tmp_path, SAMPLES, NAMES)


def test_a_detector_writes_its_scores_and_draws_its_detections(tmp_path):
    model = small_detector(masks=False)
    compile_for(model, "sgd", schedule="constant")
    model.run_eagerly = True
    samples = [Scenes(range(1), masks=False)[0]]
    board = TensorBoard(tmp_path, samples, OBJECT_NAMES)
    board.set_model(model)
    board.on_train_begin()
    board.on_train_batch_end(0)
    board.on_epoch_end(0, {"loss": 2.0, "val_ap": 0.25})
    board.on_train_end()
    found = read(tmp_path / "validation")
    assert set(found) == {"epoch_ap", "samples"}
    assert found["epoch_ap"][0] == 0.25
    file = io.BytesIO()
    detections = [detect(model, samples[0]["image"])]
    viz.object_samples(samples, detections, OBJECT_NAMES, ["sample 1"]).savefig(file, format="png")
    assert np.array_equal(decode(found["samples"][0]), np.asarray(Image.open(file).convert("RGB")))
    with pytest.raises(ValueError, match="a sample has .'classes', 'image'.; expected 'image' and"):
        TensorBoard(tmp_path, [{"image": 0, "classes": 0}], OBJECT_NAMES)


def test_a_detector_writes_its_scores_per_class(tmp_path):
    model = small_detector(masks=False)
    compile_for(model, "sgd", schedule="constant")
    model.run_eagerly = True
    scores = DetectionScores(Scenes(range(1), masks=False))
    board = TensorBoard(tmp_path, [], OBJECT_NAMES)
    for callback in (scores, board):
        callback.set_model(model)
    board.on_train_begin()
    scores.on_epoch_end(0, logs := {"loss": 2.0})
    assert set(model.class_scores) == {"ap", "ap50"}
    board.on_epoch_end(0, logs)
    model.class_scores = {"ap": np.array([0.25, np.nan]), "mask_ap": np.array([0.5, 0.75])}
    board.on_epoch_end(1, logs)
    board.on_train_end()
    found = read(tmp_path / "validation")
    first, second = OBJECT_NAMES
    assert found[f"ap/{first}"][1] == 0.25
    assert 1 not in found.get(f"ap/{second}", {})  # without objects, no score
    assert (found[f"mask_ap/{first}"][1], found[f"mask_ap/{second}"][1]) == (0.5, 0.75)
    in_scene = [values[0] for tag, values in found.items() if tag.startswith("ap50/")]
    assert 0 < len(in_scene) == len(set(Scenes(range(1))[0]["classes"].tolist()))
    assert np.mean(in_scene) == pytest.approx(logs["val_ap50"])


def test_an_instance_model_writes_its_scores_and_draws_its_objects(tmp_path):
    model, reader = small_model(num_classes=2), Scenes(range(2))
    compile_for(model, "sgd", schedule="constant")
    model.run_eagerly = True
    board = TensorBoard(tmp_path, [reader[0], reader[1]], OBJECT_NAMES)
    batches = pipeline(reader, 2).map(instance_targets(model))
    scores = InstanceScores(reader.subset([0]))
    model.fit(batches, verbose=0, callbacks=[scores, board])
    written = read(tmp_path / "validation")
    assert {"epoch_ap", "epoch_ap50", "epoch_pq", "samples"} == set(written)
    drawn = decode(written["samples"][0])
    assert drawn.shape[0] > 400  # two rows of images
