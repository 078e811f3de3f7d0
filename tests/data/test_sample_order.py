import numpy as np

from tfseg.data.sample_order import batch_ranges, endless_order


def test_samples_of_one_size_share_a_batch():
    order, firsts, ends = batch_ranges(np.array([[2, 2], [3, 3], [2, 2], [2, 2]]), 2, pad=False)
    assert order.tolist() == [0, 2, 3, 1]
    assert (firsts, ends) == ([0, 2, 3], [2, 3, 4])


def test_padded_samples_keep_their_order():
    order, firsts, ends = batch_ranges(np.array([[2, 2], [3, 3], [2, 2]]), 2, pad=True)
    assert order.tolist() == [0, 1, 2]
    assert (firsts, ends) == ([0, 2], [2, 3])


def test_a_later_start_continues_the_stream():
    def numbered(first_step, passes):
        dataset, steps = endless_order(5, 2, seed=0, first_step=first_step)
        assert steps == 2
        return [(int(i), int(n)) for _ in range(passes) for i, n in dataset.unbatch()]

    whole = numbered(0, 3)
    assert [number for _, number in whole] == list(range(12))
    assert len({index for index, _ in whole[:4]}) == 4  # of 5 samples, none twice in an epoch
    assert numbered(3, 1) == whole[6:10]
