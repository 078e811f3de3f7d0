import numpy as np

from tfseg.data import batch_for, window_for


def test_images_above_two_megapixels_are_processed_in_windows():
    # 2.0 and 2.097 million pixels; the limit is 2**21 = 2,097,152
    assert window_for([(1000, 2000), (1448, 1448)]) is None
    assert window_for([(10, 10), (3000, 4000)]) == 1024
    assert window_for(np.zeros((0, 2))) is None


def test_batches_of_large_images_are_smaller():
    assert batch_for([(360, 480)], 8) == 8
    assert batch_for([(1024, 1024)], 8) == 4
    assert batch_for([(3000, 4000)], 8) == 1
