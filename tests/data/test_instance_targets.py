"""Targets of instance heads, in eager batches and mapped over a pipeline."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("pipelines are TensorFlow's", allow_module_level=True)

import tensorflow as tf
from object_scenes import Scenes

from tfseg.data import Augment, center_targets, pipeline, star_targets
from tfseg.losses import INSTANCE_LOSSES, CrossEntropy
from tfseg.models import instances
from tfseg.ops import object_probabilities, star_distances


def labels_of(**arrays):
    return {name: tf.constant(value) for name, value in arrays.items()}


def targets_of(function, **labels):
    image = tf.zeros([1, 4, 6, 3])
    images, targets = function(image, labels_of(**labels))
    assert images is image
    return {name: value.numpy() for name, value in targets.items()}


# Object 1 of category 2 and object 2 of category 0; the last column is ignored.
INSTANCES = np.array(
    [[[1, 1, 0, 2, 2, 2], [1, 1, 0, 2, 2, 2], [1, 1, 0, 2, 2, 2], [0, 0, 0, 0, 0, 0]]], np.int32
)
CLASSES = np.array([[2, 0, -1]], np.int32)
MASK = np.where(INSTANCES > 0, 1, 0).astype(np.uint8)
MASK[..., 5] = 255


def test_star_targets_of_samples():
    targets = targets_of(star_targets(4, 2, 3), instances=INSTANCES, classes=CLASSES, mask=MASK)
    # Samples: rows 0 and 2, columns 0, 2, 4. Rays: right, down, left, up.
    distances = [[1.5, 2.5, 0.5, 0.5], [0] * 4, [1.5, 2.5, 1.5, 0.5]]
    assert targets["distances"][0, 0, :, :4] == pytest.approx(np.array(distances))
    # Of the samples 1 0 2 / 1 0 2, each is 1 from another object.
    assert targets["object_logits"][0, :, :, 0].tolist() == [[1, 0, 1], [1, 0, 1]]
    assert targets["distances"][..., 4].tolist() == [[[1, 0, 1], [1, 0, 1]]]
    assert targets["class_logits"].tolist() == [[[2, 255, 0], [2, 255, 0]]]


def test_star_targets_where_the_mask_is_ignored():
    targets = targets_of(star_targets(4, 1), instances=INSTANCES, mask=MASK)
    assert targets.keys() == {"object_logits", "distances"}
    probability = object_probabilities(INSTANCES)
    assert (targets["object_logits"][..., 5, 0] == -1).all()
    assert (targets["distances"][..., 5, 4] == 0).all()
    assert targets["object_logits"][..., :5, 0] == pytest.approx(probability[..., :5])
    assert targets["distances"][..., :5, 4] == pytest.approx(probability[..., :5])
    assert targets["distances"][..., :4] == pytest.approx(star_distances(INSTANCES, 4))


def test_center_targets_of_things():
    function = center_targets(3, sigma=1)
    targets = targets_of(function, instances=INSTANCES, classes=CLASSES, mask=MASK)
    row = [3, 3, 0, 1, 1, 255]
    assert targets["class_logits"].tolist() == [[row, row, row, [0, 0, 0, 0, 0, 255]]]
    # Centers (1, 0.5) and (1, 4): the peaks are at columns 0 (rounded to even) and 4.
    heat = targets["center_logits"][0, 1, :, 0]
    assert heat[[0, 4]].tolist() == [1, 1]
    assert heat[[1, 3]] == pytest.approx([np.exp(-0.5)] * 2)
    assert (targets["center_logits"][0, :, 5] == -1).all()
    assert targets["offsets"][0, 2, 1].tolist() == [-1, -0.5, 1]
    assert targets["offsets"][0, 0, 3].tolist() == [1, 1, 1]
    assert targets["offsets"][0, 0, 2].tolist() == [0, 0, 0]
    assert targets["offsets"][0, 0, 5, 2] == 0  # ignored


def test_center_targets_of_things_and_stuff():
    # Ids: 0 sky and 2 road are stuff, 1 and 3 are things. Row 3 shows a crowd of 3 on the right.
    mask = np.zeros((1, 4, 6), np.uint8)
    mask[INSTANCES == 1], mask[INSTANCES == 2] = 3, 1
    mask[0, 3] = [2, 2, 2, 3, 3, 255]
    targets = targets_of(center_targets(4, [1, 3]), instances=INSTANCES, mask=mask)
    assert np.array_equal(targets["class_logits"], mask)
    ignored = np.zeros((4, 6), bool)
    ignored[3, 3:] = True
    assert np.array_equal(targets["center_logits"][0, :, :, 0] == -1, ignored)
    assert np.array_equal(targets["offsets"][..., 2], INSTANCES > 0)


def test_many_classes_have_another_ignored_id():
    mask = np.full((1, 4, 6), 300, np.int32)
    mask[0, 0, 0] = 65535
    nothing = np.zeros((1, 4, 6), np.int32)
    function = center_targets(400, [300], ignore_index=65535)
    targets = targets_of(function, instances=nothing, mask=mask)
    assert targets["class_logits"][0, 0, :2].tolist() == [65535, 300]
    assert (targets["center_logits"] == -1).all()  # things without an object
    classes = np.array([[299]], np.int32)
    targets = targets_of(star_targets(4, 2, 300), instances=INSTANCES % 2, classes=classes)
    assert targets["class_logits"][0, 0].tolist() == [299, 65535, 65535]


@pytest.mark.parametrize("function", [star_targets(4), center_targets()])
def test_images_without_objects(function):
    nothing = np.zeros((1, 4, 6), np.int32)
    targets = targets_of(function, instances=nothing, classes=np.zeros((1, 0), np.int32))
    assert not any(value.any() for value in targets.values())


@pytest.mark.usefixtures("without_xla")
def test_models_are_trained_on_augmented_batches():
    batches = pipeline(Scenes(range(4)), 2, Augment(16, flip="both"))
    for head, function in {"star": star_targets(6, 2, 2), "center": center_targets(2)}.items():
        mapped = batches.map(function, num_parallel_calls=2)
        model = instances(2, head, filters=(2, 4), rays=6, head_width=4)
        spec = mapped.element_spec[1]
        assert spec.keys() == model.output.keys()
        side = 8 if head == "star" else 16
        assert all(value.shape[:3] == [2, side, side] for value in spec.values())
        losses = {
            "object_logits": INSTANCE_LOSSES["object_probability"](),
            "distances": INSTANCE_LOSSES["star_distance"](),
            "class_logits": CrossEntropy(),
            "center_logits": INSTANCE_LOSSES["center_heatmap"](),
            "offsets": INSTANCE_LOSSES["center_offset"](),
        }
        losses = {name: losses[name] for name in spec}
        model.compile("sgd", losses, run_eagerly=True)
        history = model.fit(mapped, verbose=0).history
        assert np.isfinite(history["loss"]).all()


def test_missing_labels_are_an_error():
    image = tf.zeros([1, 4, 6, 3])
    with pytest.raises(ValueError, match="star_targets: got labels a mask without instances"):
        star_targets()(image, tf.zeros([1, 4, 6], tf.uint8))
    labels = labels_of(instances=INSTANCES, mask=MASK)
    with pytest.raises(ValueError, match=r"center_targets: got labels \[.*\] without classes"):
        center_targets(2)(image, labels)
    del labels["mask"]
    with pytest.raises(ValueError, match="without mask"):
        center_targets(3, [1])(image, labels)


@pytest.mark.parametrize("options", [{"rays": 0}, {"grid": 0}, {"num_classes": 0}])
def test_invalid_arguments_are_an_error(options):
    with pytest.raises(ValueError, match="must be a whole number of at least 1"):
        star_targets(**options)


def test_an_invalid_sigma_is_an_error():
    with pytest.raises(ValueError, match="center_targets: sigma=0 must be a finite number above 0"):
        center_targets(sigma=0)
