"""The rules of nnU-Net."""

import pytest

from tfseg.training.pooling import dataset_batch_limit, level_filters, plan_pooling

# `get_pool_and_conv_props(spacing, size, least, most)` of nnunetv2 2.8.1, 999999 for most "-":
# size; spacing; least; most; poolings; padded size; strides; kernels ("21" is (2, 1))
GOLDENS = """
512 512; 1 1; 4; -; 7 7; 512 512; 11 22 22 22 22 22 22 22; 33 33 33 33 33 33 33 33
256 256; 1 1; 4; -; 6 6; 256 256; 11 22 22 22 22 22 22; 33 33 33 33 33 33 33
360 480; 1 1; 4; -; 6 6; 384 512; 11 22 22 22 22 22 22; 33 33 33 33 33 33 33
301 77; 1 1; 4; -; 5 4; 320 80; 11 22 22 22 22 21; 33 33 33 33 33 33
24 24; 1 1; 4; -; 2 2; 24 24; 11 22 22; 33 33 33
12 12; 1 1; 4; -; 1 1; 12 12; 11 22; 33 33
11 12; 1 1; 4; -; 1 1; 12 12; 11 22; 33 33
11 40; 1 1; 4; -; 1 2; 12 40; 11 22 12; 33 33 33
15 15; 1 1; 4; -; 2 2; 16 16; 11 22 22; 33 33 33
31 62; 1 1; 4; -; 3 3; 32 64; 11 22 22 22; 33 33 33 33
7 7; 1 1; 4; -; 0 0; 7 7; 11; 33
1 1; 1 1; 4; -; 0 0; 1 1; 11; 33
320 256; 1.56 1.56; 4; -; 6 6; 320 256; 11 22 22 22 22 22 22; 33 33 33 33 33 33 33
400 100; 0.5 2.0; 4; -; 6 4; 448 112; 11 21 21 22 22 22 22; 31 31 33 33 33 33 33
400 100; 0.5 1.99; 4; -; 6 4; 448 112; 11 21 22 22 22 22 21; 31 33 33 33 33 33 33
97 640; 3 0.7; 4; -; 4 6; 112 640; 11 12 12 22 22 22 22; 13 13 33 33 33 33 33
256 256; 1 1; 8; -; 5 5; 256 256; 11 22 22 22 22 22; 33 33 33 33 33 33
1000 2048; 1 1; 4; 5; 5 5; 1024 2048; 11 22 22 22 22 22; 33 33 33 33 33 33
512 64; 1 1; 4; 3; 3 3; 512 64; 11 22 22 22; 33 33 33 33
128 128 128; 1 1 1; 4; -; 5 5 5; 128 128 128; 111 222 222 222 222 222; 333 333 333 333 333 333
20 160 128; 3.6 0.62 0.62; 4; -; 2 5 5; 20 160 128; 111 122 122 222 222 122; 133 133 333 333 333 333
40 56 40; 1 1 1; 4; -; 3 3 3; 40 56 40; 111 222 222 222; 333 333 333 333
14 200 220; 10 1.5 1.5; 4; -; 1 5 5; 14 224 224; 111 122 122 222 122 122; 133 133 333 333 333 333
64 192 160; 2.5 0.8 0.8; 4; -; 4 5 5; 64 192 160; 111 122 222 222 222 222; 133 333 333 333 333 333
5 200 300; 5 0.4 0.4; 4; -; 0 5 5; 5 224 320; 111 122 122 122 122 122; 133 133 133 333 333 333
33 65 129; 1 2.5 0.9; 4; -; 3 4 5; 40 80 160; 111 212 222 222 122 122; 313 333 333 333 333 333
160 30 90; 0.7 5 1.3; 2; 4; 4 3 4; 160 32 96; 111 212 212 222 222 121; 313 313 333 333 333 333
16 160 160; 6 0.5 0.5; 4; -; 2 5 5; 16 160 160; 111 122 122 122 222 222; 133 133 133 333 333 333
"""


def parse(text, kind=int):
    return tuple(map(kind, text.split()))


def parse_levels(text):
    return tuple(tuple(map(int, level)) for level in text.split())


@pytest.mark.parametrize("golden", GOLDENS.strip().splitlines())
def test_pooling_is_that_of_nnunet(golden):
    size, spacing, least, most, counts, crop_size, strides, kernels = golden.split("; ")
    most = None if most == "-" else int(most)
    plan = plan_pooling(parse(size), parse(spacing, float), int(least), most)
    assert plan.counts == parse(counts)
    assert plan.crop_size == parse(crop_size)
    assert plan.strides == parse_levels(strides)
    assert plan.kernels == parse_levels(kernels)
    assert plan.multiples == tuple(2**count for count in plan.counts)
    assert plan.levels == len(plan.kernels)


def test_a_crop_is_not_pooled_below_the_least_size():
    # 16 -> 8 -> 4; an axis alone needs 12: (8, 16) -> (4, 8), where 8 alone is not enough
    assert plan_pooling((16, 16), (1, 1)).counts == (2, 2)
    assert plan_pooling((8, 16), (1, 1)).counts == (1, 1)
    assert plan_pooling((8, 24), (1, 1)).counts == (1, 2)


def test_filters_are_doubled_up_to_a_limit():
    # `UNet_base_num_features`, `UNet_max_features_2d` and `UNet_max_features_3d` of nnU-Net
    assert level_filters(1) == (32,)
    assert level_filters(8) == (32, 64, 128, 256, 512, 512, 512, 512)
    assert level_filters(6, most=320) == (32, 64, 128, 256, 320, 320)


def test_a_batch_shows_5_percent_of_a_dataset():
    # 0.05 * 400 * 100 * 100 / (50 * 100) = 40, and 0.05 * 30 * 90 * 90 / (45 * 45) = 6
    assert dataset_batch_limit(400 * 100 * 100, (50, 100)) == 40
    assert dataset_batch_limit(30 * 90 * 90, (45, 45)) == 6
    assert dataset_batch_limit(45 * 45, (45, 45)) == 2
