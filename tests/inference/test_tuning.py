import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import layers

from tfseg.data import Arrays, Resize
from tfseg.inference import evaluate, predict_logits, tune_offsets, with_offsets
from tfseg.inference.tuning import GRID, SCORES, _fit, _matrices, _matrix, _mean


def bare(channels):
    """A model whose logits are the image itself."""
    image = keras.Input((None, None, channels))
    return keras.Model(image, layers.Rescaling(1.0)(image))


def reader_of(images, masks, classes=2):
    return Arrays(
        list(images), list(masks), [f"c{i}" for i in range(classes)] if classes > 1 else ["thing"]
    )


def test_a_rare_class_that_is_chosen_too_late():
    # Logits of class 0 are 0. As it is three of the four things are missed: IoU 10/13 and 1/4. An offset above 1
    # finds them, and makes one of the ten background pixels wrong: IoU 9/10 and 4/5.
    row = np.array([-5] * 9 + [-0.4, -1, -1, -1, 1])
    image = np.stack([np.zeros(14), row], -1)[None].astype(np.float32)
    mask = np.array([[0] * 10 + [1] * 4], np.uint8)
    tuning = tune_offsets(bare(2), reader_of([image] * 2, [mask] * 2), folds=2)
    assert tuning.before == pytest.approx((10 / 13 + 1 / 4) / 2)
    # both images are alike: what one gives holds for the other
    assert tuning.after == pytest.approx((9 / 10 + 4 / 5) / 2)
    assert tuning.offsets[1] - tuning.offsets[0] == 1.0625
    tuned = evaluate(with_offsets(bare(2), tuning.offsets), reader_of([image], [mask]))
    assert tuned.means()["mean_iou"] == pytest.approx(tuning.after)


def test_a_sigmoid_has_a_threshold():
    image = np.array([[-3, -0.6, -0.5, -0.5, 2.0]], np.float32)[..., None]
    mask = np.array([[0, 0, 1, 1, 1]], np.uint8)
    tuning = tune_offsets(bare(1), reader_of([image] * 4, [mask] * 4, 1), "mean_dice", folds=2)
    assert tuning.before == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert tuning.after == 1
    (offset,) = tuning.offsets
    assert 0.5 < offset <= 0.6
    assert np.array_equal(
        predict_logits(with_offsets(bare(1), [offset]), image)[..., 0] > 0, mask == 1
    )


def test_what_holds_for_some_images_only_is_seen():
    # the first images want class 1 later, the last ones earlier
    image = np.array([[0.3, -0.3]], np.float32)[..., None]
    masks = [np.array([[0, 0]], np.uint8)] * 3 + [np.array([[1, 1]], np.uint8)] * 3
    tuning = tune_offsets(bare(1), reader_of([image] * 6, masks, 1), folds=2)
    assert tuning.before == pytest.approx(1 / 3)
    assert tuning.after < tuning.before


def test_ignored_pixels_and_absent_classes_do_not_count():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 9, 8, 4)).astype(np.float32)
    images[..., 3] -= 100  # never found, never true
    masks = rng.integers(0, 3, (3, 9, 8)).astype(np.uint8)
    masks[:, :4] = 255
    plain = tune_offsets(bare(4), reader_of(images, masks, 4), folds=3)
    assert plain.before == pytest.approx(
        evaluate(bare(4), reader_of(images, masks, 4)).means()["mean_iou"]
    )
    images[:, :4] = np.roll(images[:, :4], 1, -1)
    assert tune_offsets(bare(4), reader_of(images, masks, 4), folds=3) == plain


LOGITS = arrays.arrays(np.float32, (12, 3), elements=st.integers(-8, 8).map(lambda x: x / 4))
TRUTH = arrays.arrays(np.int64, 12, elements=st.integers(0, 2))


@given(LOGITS, TRUTH, st.integers(0, 2), st.sampled_from([(0, 0, 0), (0.5, -1, 0.25)]))
def test_each_offset_of_the_grid_has_the_matrix_of_its_own(logits, truth, number, offsets):
    offsets = np.array(offsets, np.float32)
    matrices = _matrices(logits, truth, offsets, number)
    for value, matrix in zip(GRID, matrices, strict=True):
        moved = offsets.copy()
        moved[number] = value
        assert np.array_equal(matrix, _matrix(logits + moved, truth))


@settings(max_examples=25, deadline=None)
@given(LOGITS, TRUTH, st.sampled_from(sorted(SCORES)))
def test_the_score_never_falls_and_no_single_offset_is_better(logits, truth, score):
    measure = SCORES[score]
    offsets = _fit(logits, truth, measure)
    best = _mean(_matrix(logits + offsets, truth), measure)
    assert best >= _mean(_matrix(logits, truth), measure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfseg.inference.tuning.ROUNDS", 50)  # until none is left
        offsets = _fit(logits, truth, measure)
    best = _mean(_matrix(logits + offsets, truth), measure)
    for number, value in itertools.product(range(3), GRID[::10]):
        moved = offsets.copy()
        moved[number] = value
        assert _mean(_matrix(logits + moved, truth), measure) <= best + 1e-6


def test_images_count_by_their_pixels():
    # 6 of 8 pixels of the large images are right, 1 of 8 of the small ones; as many of each are drawn as there are
    large = np.full((40, 40, 1), 1, np.float32), np.tile([[0, 1, 1, 1]], (40, 10)).astype(np.uint8)
    small = np.full((4, 4, 1), 1, np.float32), np.tile([[0, 0, 0, 1]], (4, 1)).astype(np.uint8)
    images, masks = zip(*[large, small] * 3, strict=True)
    reader = reader_of(images, masks, 1)
    whole = evaluate(bare(1), reader).means()["mean_iou"]
    assert tune_offsets(bare(1), reader, pixels=3000, folds=2).before == pytest.approx(
        whole, abs=0.02
    )


def test_a_image_is_seen_as_in_use():
    image = np.array([[-1, -1, 3, 3], [-1, -1, 3, 3]], np.float32)[..., None]
    mask = (image[..., 0] > 0).astype(np.uint8)
    reader = reader_of([image] * 2, [mask] * 2, 1)
    halved = Resize((1, 1))  # the mean, 1, for all
    assert tune_offsets(bare(1), reader, folds=2).before == 1
    assert tune_offsets(bare(1), reader, resize=halved, folds=2).before == pytest.approx(0.25)
    assert tune_offsets(bare(1), reader, window=2, folds=2).before == 1


def test_offsets_are_saved_with_the_model(tmp_path):
    model = with_offsets(bare(3), (0.5, 0.0, -1.0))
    model.save(tmp_path / "m.keras")
    image = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    again = keras.saving.load_model(tmp_path / "m.keras")
    twice = with_offsets(again, (0, 0, 2))
    assert np.allclose(predict_logits(twice, image), image + np.array([0.5, 0, 1]), atol=1e-6)
    assert np.allclose(predict_logits(again, image), image + np.array([0.5, 0, -1]), atol=1e-6)


def test_what_cannot_be_is_refused():
    image, mask = np.zeros((4, 4, 2), np.float32), np.zeros((4, 4), np.uint8)
    reader = reader_of([image] * 3, [mask] * 3)
    with pytest.raises(ValueError, match="score='iou' is unknown"):
        tune_offsets(bare(2), reader, "iou")
    assert tune_offsets(bare(2), reader) == tune_offsets(bare(2), reader, folds=3)  # one an image
    with pytest.raises(ValueError, match="folds=1 of 3 images"):
        tune_offsets(bare(2), reader, folds=1)
    with pytest.raises(ValueError, match="folds=1 of 1 images"):
        tune_offsets(bare(2), reader_of([image], [mask]))
    with pytest.raises(
        ValueError, match="of 3 parts fewer than two hold pixels that are not ignored"
    ):
        tune_offsets(bare(2), reader_of([image] * 3, [mask + 255, mask, mask + 255]), folds=3)
    assert tune_offsets(bare(2), reader, pixels=1, folds=3).before == 1
    with pytest.raises(ValueError, match="2 offsets came for 3 channels"):
        with_offsets(bare(3), (1, 2))
    with pytest.raises(ValueError, match="offsets=.* are not all finite"):
        with_offsets(bare(2), (1, np.nan))
    nan = reader_of([image * np.nan] * 3, [mask] * 3)
    with pytest.raises(ValueError, match="logits that are not finite"):
        tune_offsets(bare(2), nan, folds=2)
    two = keras.Model(model := bare(2).input, [model, model * 2])
    for call in (lambda: tune_offsets(two, reader, folds=2), lambda: with_offsets(two, (1, 2))):
        with pytest.raises(ValueError, match="has 2 outputs, expected logits alone"):
            call()
