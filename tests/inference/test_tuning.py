import functools
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import layers

from tfseg.data import Arrays, Resize
from tfseg.inference import (
    Tuning,
    evaluate,
    predict_logits,
    tune_offsets,
    tune_run,
    with_offsets,
)
from tfseg.inference.tuning import (
    OFFSETS,
    SCORES,
    _confusion_matrix,
    _fit_offsets,
    _matrices_by_offset,
    _mean_score,
)


@functools.cache
def identity_model(channels):
    """A model whose logits are the image."""
    image = keras.Input((None, None, channels))
    return keras.Model(image, layers.Rescaling(1.0)(image))


def reader_of(images, masks, num_classes=2):
    names = [f"c{i}" for i in range(num_classes)] if num_classes > 1 else ["thing"]
    return Arrays(list(images), list(masks), names)


def test_a_rare_class_gets_a_bonus():
    # The logits of class 0 are 0. Argmax misses three of the four pixels of class 1: IoU 10/13 and
    # 1/4. An offset above 1 finds them, and makes one of the ten background pixels wrong: IoU 9/10
    # and 4/5.
    row = np.array([-5] * 9 + [-0.4, -1, -1, -1, 1])
    image = np.stack([np.zeros(14), row], -1)[None].astype(np.float32)
    mask = np.array([[0] * 10 + [1] * 4], np.uint8)
    tuning = tune_offsets(identity_model(2), reader_of([image] * 2, [mask] * 2), folds=2)
    assert tuning.score_untuned == pytest.approx((10 / 13 + 1 / 4) / 2)
    # both images are equal, so the offsets of one are right for the other
    assert tuning.score_cv == pytest.approx((9 / 10 + 4 / 5) / 2)
    assert tuning.improves
    assert tuning.offsets[1] - tuning.offsets[0] == 1.0625
    tuned = with_offsets(identity_model(2), tuning.offsets)
    evaluation = evaluate(tuned, reader_of([image], [mask]))
    assert evaluation.means()["mean_iou"] == pytest.approx(tuning.score_cv)


def test_the_offset_of_a_sigmoid_is_a_threshold():
    image = np.array([[-3, -0.6, -0.5, -0.5, 2.0]], np.float32)[..., None]
    mask = np.array([[0, 0, 1, 1, 1]], np.uint8)
    reader = reader_of([image] * 4, [mask] * 4, 1)
    tuning = tune_offsets(identity_model(1), reader, "mean_dice", folds=2)
    assert tuning.score_untuned == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert tuning.score_cv == 1
    (offset,) = tuning.offsets
    assert 0.5 < offset <= 0.6
    logits = predict_logits(with_offsets(identity_model(1), [offset]), image)
    assert np.array_equal(logits[..., 0] > 0, mask == 1)


def test_offsets_that_fit_only_some_images_do_not_improve():
    # the first images need a lower logit of class 1, the last ones a higher one
    image = np.array([[0.3, -0.3]], np.float32)[..., None]
    masks = [np.array([[0, 0]], np.uint8)] * 3 + [np.array([[1, 1]], np.uint8)] * 3
    tuning = tune_offsets(identity_model(1), reader_of([image] * 6, masks, 1), folds=2)
    assert tuning.score_untuned == pytest.approx(1 / 3)
    assert tuning.score_cv < tuning.score_untuned
    assert not tuning.improves


def test_improvement_and_limit_of_a_tuning():
    assert not Tuning("mean_iou", 0.5, 0.5, (0.0,)).improves
    assert Tuning("mean_iou", 0.5, 0.51, (0.0,)).improves
    assert not Tuning("mean_iou", 0.5, 0.6, (2.9375, -1.0)).at_limit
    assert Tuning("mean_iou", 0.5, 0.6, (0.0, -3.0)).at_limit


class RunStub:
    """A run that remembers what is kept."""

    def __init__(self):
        self.kept, self.forgotten = None, 0

    def model(self, tuned):
        assert not tuned
        return identity_model(1)

    def keep_tuned(self, model, tuning):
        self.kept = model, tuning

    def forget_tuning(self):
        self.forgotten += 1


@pytest.mark.parametrize("improves", [True, False])
def test_a_run_keeps_offsets_that_improve(improves):
    image = np.array([[-3, -0.5, 2]], np.float32)[..., None]
    right, wrong = np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 0]], np.uint8)
    masks = [right] * 4 if improves else [right] * 2 + [wrong] * 2
    run, reader = RunStub(), reader_of([image] * 4, masks, 1)
    totals = []
    tuning = tune_run(run, reader, track=lambda items, n: totals.append(n) or items)
    assert tuning == tune_offsets(identity_model(1), reader)
    assert tuning.improves == improves
    assert totals == [4]
    if improves:
        model, saved = run.kept
        assert saved == {
            "score": "mean_iou",
            "score_untuned": tuning.score_untuned,
            "score_cv": 1.0,
            "offsets": tuning.offsets,
        }
        assert predict_logits(model, image)[0, 1, 0] > 0
    else:
        assert (run.kept, run.forgotten) == (None, 1)


def test_ignored_pixels_and_absent_classes_do_not_count():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 9, 8, 4)).astype(np.float32)
    images[..., 3] -= 100  # neither predicted nor in the ground truth
    masks = rng.integers(0, 3, (3, 9, 8)).astype(np.uint8)
    masks[:, :4] = 255
    reader = reader_of(images, masks, 4)
    tuning = tune_offsets(identity_model(4), reader, folds=3)
    expected = evaluate(identity_model(4), reader).means()["mean_iou"]
    assert tuning.score_untuned == pytest.approx(expected)
    images[:, :4] = np.roll(images[:, :4], 1, -1)  # only the ignored pixels change
    assert tune_offsets(identity_model(4), reader_of(images, masks, 4), folds=3) == tuning


LOGITS = arrays.arrays(np.float32, (12, 3), elements=st.integers(-8, 8).map(lambda x: x / 4))
LABELS = arrays.arrays(np.int64, 12, elements=st.integers(0, 2))


@settings(max_examples=40, deadline=None)
@given(LOGITS, LABELS, st.integers(0, 2), st.sampled_from([(0, 0, 0), (0.5, -1, 0.25)]))
def test_matrices_by_offset_equal_those_of_shifted_logits(logits, labels, class_id, offsets):
    offsets = np.array(offsets, np.float32)
    matrices = _matrices_by_offset(logits, labels, offsets, class_id)
    for value, matrix in zip(OFFSETS, matrices, strict=True):
        moved = offsets.copy()
        moved[class_id] = value
        assert np.array_equal(matrix, _confusion_matrix(logits + moved, labels))


@settings(max_examples=25, deadline=None)
@given(LOGITS, LABELS, st.sampled_from(sorted(SCORES)))
def test_the_score_never_falls_and_no_other_single_offset_is_better(logits, labels, score):
    class_score = SCORES[score]
    untuned = _mean_score(_confusion_matrix(logits, labels), class_score)
    offsets = _fit_offsets(logits, labels, class_score)
    assert _mean_score(_confusion_matrix(logits + offsets, labels), class_score) >= untuned
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfseg.inference.tuning.MAX_ROUNDS", 50)  # until the score stops rising
        offsets = _fit_offsets(logits, labels, class_score)
    best = _mean_score(_confusion_matrix(logits + offsets, labels), class_score)
    for class_id, value in itertools.product(range(3), OFFSETS[::10]):
        moved = offsets.copy()
        moved[class_id] = value
        matrix = _confusion_matrix(logits + moved, labels)
        assert _mean_score(matrix, class_score) <= best + 1e-6


def test_ties_take_the_offset_closest_to_0():
    # class 0 loses the first pixel below -1 and keeps the second down to -2: all offsets from
    # -1.0625 to -2 are right
    logits = np.array([[0, -1], [0, -2]], np.float32)
    labels = np.array([1, 0])
    offsets = _fit_offsets(logits, labels, SCORES["mean_iou"])
    assert offsets.tolist() == [-1.0625, 0]


def test_scores_of_a_small_matrix():
    # class 0: 3 of 4 found, 1 false; class 1: 4 of 5 found, 1 false; class 2 does not occur
    matrix = np.array([[3, 1, 0], [1, 4, 0], [0, 0, 0]])
    assert _mean_score(matrix, SCORES["mean_iou"]) == pytest.approx((3 / 5 + 4 / 6) / 2)
    assert _mean_score(matrix, SCORES["mean_dice"]) == pytest.approx((6 / 8 + 8 / 10) / 2)


def test_images_count_by_their_pixels():
    # predicted class 1 is right for 3 of 4 pixels of the large images and 1 of 4 of the small ones
    large = np.ones((40, 40, 1), np.float32), np.tile([[0, 1, 1, 1]], (40, 10)).astype(np.uint8)
    small = np.ones((4, 4, 1), np.float32), np.tile([[0, 0, 0, 1]], (4, 1)).astype(np.uint8)
    images, masks = zip(*[large, small] * 3, strict=True)
    reader = reader_of(images, masks, 1)
    expected = evaluate(identity_model(1), reader).means()["mean_iou"]
    tuning = tune_offsets(identity_model(1), reader, pixels=3000, folds=2)
    assert tuning.score_untuned == pytest.approx(expected, abs=0.02)


def test_images_are_resized_and_windowed_as_in_prediction():
    image = np.array([[-1, -1, 3, 3], [-1, -1, 3, 3]], np.float32)[..., None]
    mask = (image[..., 0] > 0).astype(np.uint8)
    reader = reader_of([image] * 2, [mask] * 2, 1)
    assert tune_offsets(identity_model(1), reader, folds=2).score_untuned == 1
    # resized to one pixel, all pixels get the mean 1, which is class 1: IoU 0 and 1/2
    resize = Resize((1, 1))
    tuning = tune_offsets(identity_model(1), reader, resize=resize, folds=2)
    assert tuning.score_untuned == pytest.approx(0.25)
    assert tune_offsets(identity_model(1), reader, window=2, folds=2).score_untuned == 1


def test_offsets_are_saved_with_the_model(tmp_path):
    model = with_offsets(identity_model(3), (0.5, 0.0, -1.0))
    model.save(tmp_path / "m.keras")
    image = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    twice = with_offsets(loaded, (0, 0, 2))
    assert np.allclose(predict_logits(loaded, image), image + np.array([0.5, 0, -1]), atol=1e-6)
    assert np.allclose(predict_logits(twice, image), image + np.array([0.5, 0, 1]), atol=1e-6)


def test_invalid_arguments_are_refused():
    image, mask = np.zeros((4, 4, 2), np.float32), np.zeros((4, 4), np.uint8)
    model, reader = identity_model(2), reader_of([image] * 3, [mask] * 3)
    with pytest.raises(ValueError, match="score='iou' is unknown"):
        tune_offsets(model, reader, "iou")
    # at most one fold per image
    assert tune_offsets(model, reader) == tune_offsets(model, reader, folds=3)
    with pytest.raises(ValueError, match="got folds=1 and 3 images, expected at least two"):
        tune_offsets(model, reader, folds=1)
    with pytest.raises(ValueError, match="got folds=1 and 1 images"):
        tune_offsets(model, reader_of([image], [mask]))
    message = "fewer than two of 3 folds contain pixels that are not ignored"
    with pytest.raises(ValueError, match=message):
        tune_offsets(model, reader_of([image] * 3, [mask + 255, mask, mask + 255]), folds=3)
    assert tune_offsets(model, reader, pixels=1, folds=3).score_untuned == 1
    infinite = keras.Model(model.input, keras.layers.Rescaling(np.inf)(model.output))
    with pytest.raises(ValueError, match="logits that are not finite"):
        tune_offsets(infinite, reader, folds=2)
    unlabeled = reader_of([image] * 3, [mask] * 3)
    unlabeled.fields = ("image",)
    with pytest.raises(ValueError, match="the reader provides image, but no mask to tune with"):
        tune_offsets(model, unlabeled)


def test_invalid_offsets_and_models_are_refused():
    with pytest.raises(ValueError, match="got 2 offsets for 3 logit channels"):
        with_offsets(identity_model(3), (1, 2))
    with pytest.raises(ValueError, match="offsets=.* must all be finite"):
        with_offsets(identity_model(2), (1, np.nan))
    inputs = identity_model(2).input
    two_outputs = keras.Model(inputs, [inputs, inputs * 2])
    image, mask = np.zeros((4, 4, 2), np.float32), np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="tune_offsets: .* has 2 outputs, expected only logits"):
        tune_offsets(two_outputs, reader_of([image] * 3, [mask] * 3), folds=2)
    with pytest.raises(ValueError, match="with_offsets: .* has 2 outputs, expected only logits"):
        with_offsets(two_outputs, (1, 2))
