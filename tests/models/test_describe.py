import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfseg.models import describe, fpn, lraspp, pspnet, tiny_unet, unet

pytestmark = pytest.mark.usefixtures("plain_encoders")


def chain(*steps, shape=(None, None, 3)):
    image = keras.Input(shape)
    x = image
    for step in steps:
        x = step(x)
    return keras.Model(image, x)


def test_the_costs_of_the_default_u_net():
    # 7.77 M parameters and 24 GFLOPs for an image of 256 x 256, measured with another tool. By
    # hand: multiply-adds per pixel of the image, two 3 x 3 convolutions per level:
    # 9 (3 32 + 32 32) + 9 (32 64 + 64 64) / 4 + ... / 16 / 64 / 256
    pixels = 256 * 256
    widths = [3, 32, 64, 128, 256, 512]
    levels = list(itertools.pairwise(widths))
    total = sum(9 * b * (a + b) / 4**level for level, (a, b) in enumerate(levels))
    # up, 2 x 2 with stride 2: each output pixel reads one input pixel, b>a; then 2 a>a>a
    total += sum((a * b + 9 * a * 3 * a) / 4**level for level, (a, b) in enumerate(levels[1:]))
    total += 32 * 2  # classes
    model = unet(2)
    facts = describe(model, (256, 256))
    assert facts.gflops == pytest.approx(2 * total * pixels / 1e9, rel=1e-9)
    assert round(facts.gflops) == 24
    assert facts.trainable + facts.frozen == model.count_params()
    assert round(model.count_params() / 1e6, 2) == 7.77
    # mean and variance of each batch normalization
    assert facts.frozen == 2 * 2 * (32 + 64 + 128 + 256) * 2 + 2 * 512 * 2
    assert (facts.output_stride, facts.whole_image) == (16, False)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # 10 x 6 pixels of 4 channels
        (layers.Conv2D(5, 3, padding="same"), 60 * 9 * 4 * 5),
        (layers.Conv2D(5, 3, strides=2, padding="same"), 15 * 9 * 4 * 5),
        (layers.Conv2D(6, 3, groups=2, dilation_rate=2, padding="same"), 60 * 9 * 2 * 6),
        (layers.Conv2D(5, (3, 1)), 48 * 3 * 4 * 5),
        (layers.DepthwiseConv2D(5, depth_multiplier=2, padding="same"), 60 * 25 * 4 * 2),
        (layers.SeparableConv2D(7, 3, padding="same"), 60 * (9 * 4 + 4 * 7)),
        (layers.Conv2DTranspose(5, 3, strides=2, padding="same"), 60 * 9 * 4 * 5),
        (layers.Dense(5), 60 * 4 * 5),
        (layers.EinsumDense("bhwc,cnd->bhwnd", (10, 6, 2, 3)), 60 * 4 * 2 * 3),
        (layers.EinsumDense("...c,cd->...d", 5), 60 * 4 * 5),
        (lambda x: ops.matmul(x, ops.swapaxes(x, 2, 3)), 10 * 6 * 6 * 4),
        (lambda x: ops.einsum("bhwc,bhvc->bhwv", x, x), 10 * 6 * 6 * 4),
        (layers.BatchNormalization(), 0),
        (layers.MaxPooling2D(), 0),
        (layers.UpSampling2D(2), 0),
        # a nested model
        (
            keras.Sequential([layers.Conv2D(5, 3, padding="same"), layers.ReLU(), layers.Dense(2)]),
            60 * (180 + 10),
        ),
    ],
)
def test_multiply_adds_of_layers(step, expected):
    model = chain(step, shape=(10, 6, 4))
    assert describe(model, (10, 6)).gflops == pytest.approx(2 * expected / 1e9)


def test_multiply_adds_of_attention():
    # 12 tokens of 4 channels, 2 heads of 3: query, key and value 12 * 4 * 6 each; scores and
    # weighted sum 12 * 12 * 6 each; output 12 * 6 * 4
    tokens = layers.Reshape((12, 4))
    attention = layers.MultiHeadAttention(2, 3)
    model = chain(tokens, lambda x: attention(x, x), shape=(4, 3, 4))
    expected = 3 * 12 * 4 * 6 + 2 * 12 * 12 * 6 + 12 * 6 * 4
    assert describe(model, (4, 3)).gflops == pytest.approx(2 * expected / 1e9)


def measured(model, side=128):
    """Return the receptive field in columns, by trying all columns.

    With positive kernels and no bias, one bright column makes exactly those outputs positive that
    depend on it.
    """
    for weight in model.weights:
        if "kernel" in weight.path or "gamma" in weight.path or "variance" in weight.path:
            weight.assign(ops.ones_like(weight) / np.prod(weight.shape[:-1] or 1) * 10)
        else:
            weight.assign(ops.zeros_like(weight))
    images = np.zeros((side, 32, side, 3), "float32")
    images[np.arange(side), :, np.arange(side)] = 1e4
    outputs = ops.convert_to_numpy(model(images, training=False))
    seen = outputs.max((1, 3)) > 0  # (bright column, output column)
    middle = seen[:, side * 3 // 8 : side * 5 // 8]
    first, last = middle.argmax(0), side - 1 - middle[::-1].argmax(0)
    assert first.min() > 0
    assert last.max() < side - 1
    return (last - first).max() + 1


@pytest.mark.parametrize(
    "build",
    [
        lambda: tiny_unet(1, filters=2, normalization=(0, 1)),
        lambda: unet(1, filters=(2, 2, 2), normalization=(0, 1)),
        lambda: chain(
            layers.ZeroPadding2D(((0, 1), (1, 0))),
            layers.Conv2D(1, 3, strides=2, dilation_rate=1, padding="same"),
            layers.DepthwiseConv2D(3, dilation_rate=3, padding="same"),
            layers.UpSampling2D(2),
            layers.AveragePooling2D(3, 2, padding="same"),
            layers.Cropping2D(((1, 1), (2, 2))),
            layers.Conv2DTranspose(1, 5, strides=2, padding="same"),
            layers.Conv2DTranspose(1, 3, strides=2),
            layers.UpSampling2D(2, interpolation="bilinear"),
        ),
    ],
)
def test_the_receptive_field_is_equal_to_a_measured_one(build):
    model = build()
    facts = describe(model, (64, 64))
    assert facts.receptive_field == measured(model)
    assert not facts.whole_image


def test_the_receptive_field_of_two_convolutions_is_five():
    assert (
        describe(chain(*[layers.Conv2D(2, 3, padding="same") for _ in range(2)])).receptive_field
        == 5
    )


def test_a_receptive_field_can_be_larger_than_the_image():
    # dilation 512: three pixels 512 apart, twice
    steps = [layers.Conv2D(2, 3, dilation_rate=512, padding="same") for _ in range(2)]
    assert describe(chain(*steps), (32, 32)).receptive_field == 1 + 4 * 512


@pytest.mark.parametrize("build", [pspnet, lraspp, fpn])
def test_pooling_and_group_normalization_depend_on_the_whole_image(build):
    facts = describe(build(2, "plain"), (64, 96))
    assert facts.whole_image
    assert facts.receptive_field > 63
    assert "pixels and the whole image" in repr(facts)


def test_attention_depends_on_the_whole_image_only():
    attention = layers.MultiHeadAttention(1, 2)
    steps = (layers.Conv2D(4, 3, strides=4), layers.Reshape((-1, 4)), lambda x: attention(x, x))
    facts = describe(chain(*steps, shape=(None, None, 3)), (32, 32))
    assert (facts.receptive_field, facts.whole_image) == (None, True)
    assert "receptive field  the whole image" in repr(facts)


def test_a_model_of_fixed_size():
    model = chain(
        layers.Conv2D(2, 9, padding="same"),
        layers.Flatten(),
        layers.Reshape((10, 6, 2)),
        shape=(10, 6, 3),
    )
    assert describe(model, (10, 6)).receptive_field is None
    odd = keras.Sequential([layers.Conv2D(5, 3, padding="same")])
    assert describe(chain(odd, shape=(10, 6, 3)), (10, 6)).receptive_field == 3


def test_mix_transformers_depend_on_the_whole_image():
    from tfseg.models import segformer

    facts = describe(segformer(150), (512, 512))
    assert facts.whole_image
    # arXiv:2105.15203, table 1: 8.4 GFLOPs, where a multiply-add counts once and the matrix
    # products of attention do not count
    assert 8.4 * 0.8 < facts.gflops / 2 < 8.4 * 1.3


def test_the_output_stride_is_that_of_the_coarsest_map():
    assert describe(unet(2, filters=(2, 2, 2)), (32, 32)).output_stride == 4
    assert describe(pspnet(2, "plain", width=4), (32, 32)).output_stride == 8
    assert describe(fpn(2, "plain", width=4), (32, 32)).output_stride == 32


def test_activations_are_the_outputs_of_all_layers():
    # 8 x 4 pixels: convolution 5 channels float32, pooling 2 x 4 x 2, in all 32 * 5 * 4 + 8 * 5 * 4
    model = chain(layers.Conv2D(5, 3, padding="same"), layers.MaxPooling2D())
    assert describe(model, (8, 4), batch_size=3).activation_bytes == 3 * (640 + 160)
    half = chain(layers.Conv2D(5, 3, padding="same", dtype="mixed_bfloat16"))
    assert describe(half, (8, 4)).activation_bytes == 320


def test_describing_does_not_change_the_model():
    model = unet(2, filters=(2, 4))
    model.compile("sgd", "mse")
    # `layer.output` raises for a layer that was called twice
    before = [layer.output.shape for layer in model.layers]
    describe(model)
    assert [layer.output.shape for layer in model.layers] == before


def test_the_table():
    facts = describe(tiny_unet(2, filters=4), (32, 48), batch_size=2)
    # 3 x 3 3>4 112, 4>8 296; up 2 x 2 8>4 132; classes 8>2 18
    # multiply-adds of 1536 pixels: 108 + 288 / 4 + 32 + 16
    assert repr(facts) == (
        "tiny_unet at 32 x 48\n"
        "  parameters       558\n"
        "    trainable      558\n"
        "  GFLOPs per image 0.0007\n"
        f"  activations      {facts.activation_bytes / 2**20:.1f} MiB at batch size 2\n"
        "  receptive field  8 pixels\n"
        "  output stride    2"
    )
    assert facts.gflops == pytest.approx(2 * 1536 * 228 / 1e9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: describe(tiny_unet(2), (0, 32)), "describe: size=0 must be a whole number"),
        (lambda: describe(tiny_unet(2), (32, 32), 0), "describe: batch_size=0 must be"),
        (
            lambda: describe(tiny_unet(2, (32, 48, 3)), (48, 32)),
            r"describe: 'tiny_unet' takes images of size \(32, 48\), not \(48, 32\). Pass size=",
        ),
        (
            lambda: describe(keras.Sequential(), (32, 32)),
            "must be a functional keras.Model with one input",
        ),
        (
            lambda: describe(chain(layers.Dense(2), shape=(5,))),
            r"must be a functional keras.Model with one input \(B, H",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
