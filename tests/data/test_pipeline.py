import gc

import numpy as np
import pytest
from conftest import draw_sample

from tfseg.data import Arrays, Augment, pipeline

NAMES = ["ground", "disc", "band"]


def arrays(count=5, sizes=((48, 56),)):
    samples = [draw_sample(i, *sizes[i % len(sizes)]) for i in range(count)]
    return Arrays(*zip(*samples, strict=True), NAMES)


def epochs(dataset, count):
    return [[(image.numpy(), mask.numpy()) for image, mask in dataset] for _ in range(count)]


def same(first, second):
    return all(np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))


def augmented(reader, batch_size=2, **options):
    return pipeline(reader, batch_size, Augment(32, scale=(0.8, 1.3), rotate=10, flip="both"), **options)


def test_without_augmentation_every_sample_comes_once_in_order():
    reader = arrays()
    dataset = pipeline(reader, batch_size=2)
    assert len(dataset) == 3
    images, masks = (np.concatenate(part) for part in zip(*epochs(dataset, 1)[0], strict=True))
    assert np.array_equal(images, [reader[i]["image"] for i in range(5)])
    assert np.array_equal(masks, [reader[i]["mask"] for i in range(5)])


def test_images_of_many_sizes_are_batched_by_size():
    reader = arrays(7, sizes=((48, 56), (50, 40), (48, 56)))
    dataset = pipeline(reader, batch_size=4)
    batches = epochs(dataset, 1)[0]
    assert len(dataset) == len(batches) == 3  # five and two of each size
    assert sorted(image.shape for image, _ in batches) == [(1, 48, 56, 3), (2, 50, 40, 3), (4, 48, 56, 3)]
    assert sum(mask.sum(dtype=int) for _, mask in batches) == sum(reader[i]["mask"].sum() for i in range(7))


def test_the_seed_and_the_epoch_fix_every_batch():
    reader = arrays()
    first, again = (epochs(augmented(reader, seed=3), 3) for _ in range(2))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], first[1])
    assert not same(first[0], epochs(augmented(reader, seed=4), 1)[0])


def test_a_later_start_continues_the_stream():
    reader = arrays()
    assert same(epochs(augmented(reader), 3)[2], epochs(augmented(reader, first_step=4), 1)[0])


def test_the_epoch_counter_outlives_its_python_name():
    dataset = augmented(arrays()).map(lambda image, mask: (image, mask))
    gc.collect()
    assert not same(*epochs(dataset, 2))


def test_an_epoch_visits_samples_at_most_once():
    reader = Arrays([np.full((40, 40, 1), i, np.uint8) for i in range(7)], [np.zeros((40, 40), np.uint8)] * 7, NAMES)
    for epoch in epochs(pipeline(reader, 3, Augment(8)), 4):
        values = [value for image, _ in epoch for value in image[:, 0, 0, 0]]
        assert len(epoch) == 2
        assert len(set(values)) == 6


def test_a_set_smaller_than_a_batch_repeats_itself():
    dataset = augmented(arrays(3), batch_size=8)
    assert len(dataset) == 1
    assert epochs(dataset, 1)[0][0][0].shape == (8, 32, 32, 3)


@pytest.mark.parametrize("size", [(20, 300), (9, 9), (200, 200)])
def test_pictures_smaller_and_larger_than_the_window_fit(size):
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 256, (*size, 1), np.uint8) for _ in range(4)]
    reader = Arrays(images, [np.ones(size, np.uint8)] * 4, NAMES)
    (image, mask), *_ = epochs(pipeline(reader, 4, Augment(32)), 1)[0]
    inside = mask == 1
    assert set(np.unique(mask)) <= {1, 255}
    assert inside.sum((1, 2)).tolist() == [min(size[0], 32) * min(size[1], 32)] * 4
    assert np.array_equal(image[..., 0] > 0, inside)


def test_floating_and_many_channel_images_pass():
    images = np.random.default_rng(0).normal(size=(4, 40, 40, 5)).astype(np.float32)
    reader = Arrays(images, np.zeros((4, 40, 40), np.uint8), NAMES)
    assert epochs(augmented(reader), 1)[0][0][0].shape == (2, 32, 32, 5)
    assert np.array_equal(epochs(pipeline(reader, 4), 1)[0][0][0], images)


def test_the_end_of_an_epoch_does_not_wait_for_tensorflow_s_tuner():
    # with its thread asleep, dropping an iterator took up to a minute: too rare and too long to be timed here
    for dataset in (augmented(arrays()), pipeline(arrays())):
        assert dataset.options().autotune.enabled is False
