import keras
import numpy as np
import pytest
from detector_runs import small_detector
from object_scenes import NAMES, Scenes

from tfseg.data import Arrays
from tfseg.inference import detect
from tfseg.models import tiny_unet
from tfseg.training import DetectionScores, compile_for

pytestmark = pytest.mark.usefixtures("eager")


class Found(Scenes):
    """Scenes whose objects are what a model detects in them."""

    def __init__(self, indices, model):
        super().__init__(indices, masks=False)
        for scene in self._scenes:
            found = detect(model, scene["image"])
            scene["boxes"], scene["classes"] = found["boxes"], found["classes"]
            scene["crowd"] = np.zeros(len(found["boxes"]), bool)
            scene["areas"] = np.full(len(found["boxes"]), 50.0, np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = small_detector(masks=False)
    compile_for(model, "sgd", schedule="constant", average=0.5)
    model.run_eagerly = True
    return model


def test_detections_that_are_the_objects_have_an_ap_of_1(model):
    scores, logs = DetectionScores(Found(range(2), model)), {"loss": 1.0}
    scores.set_model(model)
    scores.on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "val_ap": pytest.approx(1.0), "val_ap50": pytest.approx(1.0)}


def test_weights_that_are_not_finite_are_not_scored(model):
    scores, logs = DetectionScores(Found(range(1), model)), {"loss": 1.0}
    scores.set_model(model)
    kept = model.get_weights()
    model.set_weights([np.full_like(kept[0], np.inf), *kept[1:]])
    scores.on_epoch_end(0, logs)  # `Run.callbacks` stop the training
    assert logs == {"loss": 1.0}
    model.set_weights(kept)


def test_the_averaged_weights_are_scored(model):
    found = Found(range(2), model)
    scores, logs = DetectionScores(found), {}
    scores.set_model(model)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    kept = model.get_weights()
    averages = optimizer._model_variables_moving_average
    for average, variable in zip(averages, optimizer._trainable_variables, strict=True):
        average.assign(variable)
        variable.assign(keras.ops.zeros_like(variable))  # the weights themselves find nothing
    scores.on_epoch_end(0, logs)
    assert logs["val_ap"] == pytest.approx(1.0)
    assert not any(variable.numpy().any() for variable in model.trainable_variables)
    model.set_weights(kept)


def test_what_cannot_be_scored_is_refused(model):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="provides image, mask; expected boxes and classes"):
        DetectionScores(Arrays(images, images[..., 0], NAMES))
    scores = DetectionScores(Scenes(range(2)))
    with pytest.raises(ValueError, match="'tiny_unet' predicts no boxes, but the reader has 2: r"):
        scores.set_model(tiny_unet(2, filters=4))
    with pytest.raises(ValueError, match="predicts 2 classes, but the reader has 3: a, b, c"):
        DetectionScores(Three(range(1))).set_model(model)


class Three(Scenes):
    object_names = ("a", "b", "c")
