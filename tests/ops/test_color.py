import io

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from tfseg.ops import apply_color, blur, color_matrices, jpeg, noise, uniform
from tfseg.ops.color import _quantization_steps

IDENTITY = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def draw(shape=(2, 5, 7, 3), seed=1):
    return (np.random.default_rng(seed).random(shape) * 255).astype("float32")


def vector(*values):
    return ops.convert_to_tensor(np.array(values, "float32"))


def colored(images, pivot=127.5, **change):
    values = [
        vector(*np.broadcast_to(value, len(images))) for value in (IDENTITY | change).values()
    ]
    return ops.convert_to_numpy(
        apply_color(ops.convert_to_tensor(images), *color_matrices(*values, pivot))
    )


def luma(images):
    """Return the luma of ITU-R BT.601."""
    return images.astype("float64") @ (0.299, 0.587, 0.114)


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


# --- affine color maps


def test_identity_values_change_nothing():
    images = draw()
    assert np.array_equal(colored(images), images)


def test_saturation_0_gives_gray_of_the_same_luma():
    images = draw()
    gray = colored(images, saturation=0.0)
    assert gray == pytest.approx(np.repeat(luma(images)[..., None], 3, -1), abs=1e-3)


def test_saturation_is_a_factor_of_the_distance_to_gray():
    images = draw()
    gray = luma(images)[..., None]
    assert colored(images, saturation=1.7) == pytest.approx(gray + 1.7 * (images - gray), abs=2e-3)


@pytest.mark.parametrize("turn", [2 * np.pi, -2 * np.pi, 4 * np.pi])
def test_a_full_rotation_of_hue_changes_nothing(turn):
    images = draw()
    assert colored(images, hue=turn) == pytest.approx(images, abs=1e-3)


@pytest.mark.parametrize("hue", [0.3, -1.2, np.pi])
def test_hue_does_not_change_luma_and_gray(hue):
    images = draw()
    rotated = colored(images, hue=hue)
    assert np.abs(rotated - images).max() > 10
    assert luma(rotated) == pytest.approx(luma(images), abs=2e-3)
    gray = np.repeat(images[..., :1], 3, -1)
    assert colored(gray, hue=hue) == pytest.approx(gray, abs=2e-3)


def test_hue_rotates_cb_and_cr():
    images = draw()
    gray = luma(images)

    def differences(colors):
        return np.stack(
            [(colors[..., 2] - luma(colors)) / 1.772, (colors[..., 0] - luma(colors)) / 1.402]
        )

    blue, red = differences(images)
    cos, sin = np.cos(0.4), np.sin(0.4)
    rotated = colored(images, hue=0.4)
    assert np.stack(differences(rotated)) == pytest.approx(
        np.stack([cos * blue - sin * red, sin * blue + cos * red]), abs=2e-3
    )
    assert luma(rotated) == pytest.approx(gray, abs=2e-3)


def test_two_rotations_of_hue_add():
    images = draw()
    assert colored(colored(images, hue=0.5), hue=0.7) == pytest.approx(
        colored(images, hue=1.2), abs=2e-3
    )


def test_contrast_is_a_factor_of_the_distance_to_the_pivot():
    images = draw()
    assert colored(images, pivot=100.0, contrast=0.6) == pytest.approx(
        100 + 0.6 * (images - 100), abs=1e-3
    )
    assert colored(
        np.full((1, 1, 1, 3), 100, "float32"), pivot=100.0, contrast=3.0
    ) == pytest.approx(100)


def test_brightness_is_added():
    images = draw()
    assert colored(images, brightness=-12.5) == pytest.approx(images - 12.5, abs=1e-4)


def test_contrast_is_first_and_brightness_last():
    images = draw()
    change = {"contrast": 0.6, "saturation": 1.3, "hue": 0.7, "brightness": 20.0}
    one_by_one = images
    for name, value in change.items():
        one_by_one = colored(one_by_one, **{name: value})
    assert colored(images, **change) == pytest.approx(one_by_one, abs=5e-3)


def test_every_image_has_its_own_colors():
    images = draw()
    change = {"contrast": [0.6, 1.0], "hue": [0.7, -2.0], "brightness": [0.0, 20.0]}
    found = colored(images, **change)
    for i in range(2):
        alone = colored(images[i : i + 1], **{name: value[i] for name, value in change.items()})
        assert found[i] == pytest.approx(alone[0], abs=1e-4)


# --- blur


def blurred(images, *sigma):
    return ops.convert_to_numpy(blur(ops.convert_to_tensor(images), vector(*sigma)))


@pytest.mark.parametrize("sigma", [0.5, 1.3, 4.0])
@pytest.mark.parametrize("size", [(31, 40), (17, 23)])
def test_blur_matches_opencv(sigma, size):
    image = draw((1, *size, 3))
    # cv2.BORDER_REFLECT repeats the border pixel; the kernel has a radius of 5 sigma, limited by
    # the size of the smaller image
    size_of_kernel = 2 * min(int(np.ceil(5 * sigma)), 16) + 1
    theirs = cv2.GaussianBlur(
        image[0], (size_of_kernel, size_of_kernel), sigma, borderType=cv2.BORDER_REFLECT
    )
    assert blurred(image, sigma)[0] == pytest.approx(theirs, abs=0.05)


def test_sigma_0_changes_nothing():
    images = draw((2, 6, 9, 3))
    assert np.array_equal(blurred(images, 0, 0), images)
    mixed = blurred(images, 0, 2)
    assert np.array_equal(mixed[0], images[0])
    assert mixed[1].std() < images[1].std() / 2


def test_every_image_has_its_own_blur():
    images = draw((2, 8, 9, 2))
    found = blurred(images, 0.7, 2.1)
    for i, sigma in enumerate((0.7, 2.1)):
        assert found[i] == pytest.approx(blurred(images[i : i + 1], sigma)[0], abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (3, 5)])
def test_blur_of_small_images(size):
    image = draw((1, *size, 1))
    found = blurred(image, 0.8)
    theirs = cv2.GaussianBlur(image[0, ..., 0], (9, 9), 0.8, borderType=cv2.BORDER_REFLECT)
    assert found.shape == image.shape
    assert found[0, ..., 0] == pytest.approx(theirs, abs=0.5)
    if size == (1, 1):
        assert found == pytest.approx(image)


def test_blur_does_not_change_a_constant():
    assert blurred(np.full((1, 6, 5, 2), 77, "float32"), 3.0) == pytest.approx(77, abs=1e-3)


# --- noise


def noisy(images, sigma, keys):
    return ops.convert_to_numpy(
        noise(ops.convert_to_tensor(images), vector(*sigma), ops.convert_to_tensor(keys))
    )


KEYS = np.array([[0, 0], [0, 1], [5, 0], [-3, 2**31 - 1]], "int32")


def test_mean_and_std_of_noise():
    images = np.full((4, 100, 100, 3), 50, "float32")
    sigma = 1.0, 8.0, 0.0, 20.0
    added = noisy(images, sigma, KEYS) - 50
    for values, std in zip(added, sigma, strict=True):
        # of 30000 values, the std of the mean is 0.006 sigma, that of the std 0.004 sigma
        assert abs(values.mean()) <= 0.02 * std
        assert values.std() == pytest.approx(std, rel=0.01)
    # the extremes are 4 bytes of 0 or 255: 510 / sqrt(4 (256**2 - 1) / 12) = 3.4506
    drawn = added[3] / 20
    assert 3 < np.abs(drawn).max() <= 3.4507
    # the sum of 4 uniform numbers has a kurtosis of 3 - 1.2 / 4
    assert (drawn**4).mean() == pytest.approx(2.7, abs=0.1)
    assert abs((drawn**3).mean()) < 0.05


def test_noise_of_images_pixels_and_channels_is_independent():
    added = noisy(np.zeros((4, 100, 100, 3), "float32"), (1.0,) * 4, KEYS)
    pairs = {
        "images": (added[0], added[1]),
        "seeds": (added[0], added[2]),
        "channels": (added[..., 0], added[..., 1]),
        "columns": (added[:, :, 1:], added[:, :, :-1]),
        "rows": (added[:, 1:], added[:, :-1]),
    }
    for name, (a, b) in pairs.items():
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size), name
        assert abs(np.corrcoef(a.ravel() ** 2, b.ravel() ** 2)[0, 1]) < 4 / np.sqrt(a.size), name


def test_equal_keys_give_equal_noise():
    images, sigma = draw((4, 6, 7, 3)), (1.0, 2.0, 3.0, 4.0)
    first = noisy(images, sigma, KEYS)
    assert np.array_equal(noisy(images, sigma, KEYS), first)
    assert np.array_equal(noisy(images[1:2], sigma[1:2], KEYS[1:2]), first[1:2])
    assert np.array_equal(noisy(images, sigma, KEYS.view("uint32")), first)
    arrays = ops.convert_to_tensor(images), vector(*sigma), ops.convert_to_tensor(KEYS)
    assert ops.convert_to_numpy(compiled(noise)(*arrays)) == pytest.approx(first, abs=1e-4)


def test_noise_uses_separate_streams():
    # the noise must not depend on other random numbers drawn from the same keys
    keys = np.stack([np.zeros(4000, "int32"), np.arange(4000, dtype="int32")], 1)
    added = noisy(np.zeros((4000, 1, 3, 1), "float32"), (1.0,) * 4000, keys)[:, 0, :, 0]
    drawn = uniform(keys, 3)
    assert np.abs(np.corrcoef(added.T, drawn.T)[:3, 3:]).max() < 4 / np.sqrt(4000)


# --- JPEG


def smooth_image(height, width, channels=3):
    """Return an image with gradients, edges and a little texture, whole numbers."""
    y, x = np.mgrid[:height, :width].astype("float64")
    waves = [120 + 80 * np.sin(x / (5 + i) + i) * np.cos(y / (9 - i)) for i in range(channels)]
    image = (
        np.stack(waves, -1) + 40 * (np.hypot(y - height / 2, x - width / 2) < height / 4)[..., None]
    )
    image += np.random.default_rng(0).normal(0, 6, image.shape)
    return image.clip(0, 255).round().astype("uint8")


def pillow(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
        stream, "JPEG", quality=quality, subsampling=0
    )
    return np.asarray(Image.open(stream)).reshape(image.shape).astype("float32")


def compressed(image, quality):
    found = jpeg(ops.convert_to_tensor(image[None].astype("float32")), vector(quality))
    return ops.convert_to_numpy(found)[0]


@pytest.mark.parametrize(("channels", "bound"), [(3, 0.8), (1, 0.6)])
@pytest.mark.parametrize("size", [(64, 80), (61, 83)])
@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_matches_pillow(quality, size, channels, bound):
    image = smooth_image(*size, channels)
    ours, theirs = compressed(image, quality), pillow(image, quality)
    # Pillow 13.0 with libjpeg-turbo: mean differences are 0.31 to 0.53 for gray, 0.50 to 0.77
    # for color. Its rounding to whole numbers is 0.25 of that, the rest are ties in quantization.
    assert np.abs(ours - theirs).mean() < bound
    assert np.abs(ours - theirs).mean() < np.abs(image - theirs).mean() / 5


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [(9, 7), (3, 2), (1, 1), (1, 17)])
def test_partial_blocks_repeat_the_last_pixels_like_libjpeg(size, channels):
    image = smooth_image(*size, channels)
    ours = compressed(image, 90)
    assert ours.shape == image.shape
    assert np.abs(ours - pillow(image, 90)).mean() < 0.7


def test_quantization_tables_match_libjpeg():
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality, subsampling=0)
        theirs = Image.open(stream).quantization
        ours = ops.convert_to_numpy(_quantization_steps(vector(quality), 3))[0, 0, :, 0]
        for channel, table in enumerate((0, 1, 1)):
            assert ours[..., channel].ravel().tolist() == list(theirs[table]), quality


def test_jpeg_of_quality_100_changes_little():
    image = smooth_image(61, 83)
    assert np.abs(compressed(image, 100) - image).mean() < 0.6
    assert np.abs(compressed(image, 100) - image).max() < 3
    assert np.abs(compressed(image[..., :1], 100) - image[..., :1]).mean() < 0.3


def test_every_image_has_its_own_quality():
    images = np.stack([smooth_image(24, 20)] * 4).astype("float32")
    found = ops.convert_to_numpy(jpeg(ops.convert_to_tensor(images), vector(20, 95, 1, 33.3)))
    losses = np.abs(found - images).mean((1, 2, 3))
    assert losses[1] < losses[3] < losses[0] < losses[2]
    assert found[1] == pytest.approx(compressed(smooth_image(24, 20), 95), abs=1e-2)


def test_jpeg_stays_in_range():
    image = (255 * (np.random.default_rng(0).random((16, 16, 3)) < 0.5)).astype("uint8")
    found = compressed(image, 20)
    assert found.min() == 0
    assert found.max() == 255


def test_a_second_compression_changes_little():
    once = compressed(smooth_image(32, 40, 1), 40)
    # no value was clipped, so all coefficients are already quantized
    assert once.min() > 0
    assert once.max() < 255
    assert compressed(once, 40) == pytest.approx(once, abs=3)


# --- compiled


def test_compiled_equals_eager():
    def change(images, amount):
        x = apply_color(images, *color_matrices(amount * 9, 1 + amount, 1 - amount, amount, 127.5))
        return blur(x, 2 * amount), jpeg(images, 90 - 60 * amount)

    arrays = ops.convert_to_tensor(draw((2, 21, 19, 3))), vector(0.0, 0.6)
    for eager, fused in zip(change(*arrays), compiled(change)(*arrays), strict=True):
        eager, fused = ops.convert_to_numpy(eager), ops.convert_to_numpy(fused)
        # ties in quantization can be rounded either way
        assert np.abs(fused - eager).mean() < 0.05
