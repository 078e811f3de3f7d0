"""How much memory a training takes, predicted from the shapes of its network."""

from bisect import bisect_right
from math import prod

import keras

from tfseg import checks
from tfseg.data import batch_for, window_for
from tfseg.models import is_detector, is_instance_model
from tfseg.models.activation_memory import prediction_bytes, tensor_bytes, training_bytes
from tfseg.models.trace import trace

MIB = 2**20
# Fitted to the peak memory of 13 trainings on 2 CPU cores (`tests/benchmarks/training_memory.py`):
# Python with TensorFlow, the graphs of one trainable variable (forward, backward, optimizer; train
# and test step), and what TensorFlow's allocator takes for each byte of tensors.
BASE_BYTES = 1013 * MIB
VARIABLE_BYTES = 2.74 * MIB
ALLOCATED = 1.27
# Cross entropy + Dice: `tests/benchmarks/losses.py`, and ten float32 maps, such as the weights.
LOSS_COPIES, LOSS_MAPS = 2.3, 10
METRIC_MAPS = 8  # of 4 bytes per pixel: labels, predicted classes and their pairs
BATCHES_IN_FLIGHT = 5  # two prefetched, two in the making, one in the train step
SLOTS = {"adam": 2, "adamw": 2, "sgd": 1}  # variables of the optimizer per trainable one


def predict_memory(
    model: keras.Model,
    crop_size: tuple[int, int],
    batch_size: int,
    val_size: tuple[int, int],
    val_batch_size: int | None = None,
    optimizer: str = "adam",
    average: bool = False,
) -> int:
    """Predict the peak memory of a training on a CPU, in bytes of resident memory of the process.

    It is the sum of

    - Python and TensorFlow, and the graphs of train and test step;
    - weights, optimizer variables, and their copy when the state of an epoch is saved;
    - the larger of two: the tensors of a train step, and those of a validation step with the
      largest images. TensorFlow keeps the memory of both for later steps;
    - the batches that the pipeline prepares.

    The tensors are counted from the shapes of the layers, see `models.activation_memory`, in at
    most 0.3 s. The 17 trainings that were not used to fit the constants took 1.4 to 3.8 GiB, all
    within 9% of the prediction. Samples that `cache="memory"` keeps are not included.

    Args:
        model: a network for masks, or one of `tfseg.models.instances`.
        crop_size: (H, W) of the training crops.
        batch_size: number of crops per step.
        val_size: (H, W) of the largest validation images. Like `train`, images above two megapixels
            are validated as tiles, and large images in smaller batches.
        val_batch_size: number of images per validation step; None for `batch_size`.
        optimizer: see `compile_for`.
        average: whether averages of the weights are kept, see `compile_for`.

    Raises:
        ValueError: the model is a detector, or the optimizer is unknown.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.unet(2)
        >>> round(predict_memory(model, (256, 256), 8, (512, 512)) / 2**30, 2)
        3.09
    """
    checks.one_of("predict_memory", "optimizer", optimizer, tuple(SLOTS))
    if is_detector(model):
        raise ValueError(
            f"predict_memory: the model {model.name!r} is a detector, whose memory depends on the "
            "objects. Pass a network for masks, or one of tfseg.models.instances."
        )
    train = _step_bytes(model, crop_size, batch_size, training_bytes)
    size, batch = _validation_batch(model, val_size, val_batch_size or batch_size)
    val = _step_bytes(model, size, batch, prediction_bytes)
    graphs = VARIABLE_BYTES * len(model.trainable_weights)
    state = _state_bytes(model, SLOTS[optimizer] + average)
    return round(BASE_BYTES + graphs + 2 * state + max(train, val))


def largest_batch(
    model: keras.Model,
    crop_size: tuple[int, int],
    memory_bytes: int,
    val_size: tuple[int, int],
    val_batch_size: int | None = None,
    optimizer: str = "adam",
    average: bool = False,
    most: int = 16,
) -> int:
    """Return the largest batch size whose training takes at most `memory_bytes`.

    Args:
        model, crop_size, val_size, val_batch_size, optimizer, average: see `predict_memory`.
        memory_bytes: memory for the process of the training.
        most: largest batch size to consider.

    Returns:
        The batch size, from 1 to `most`; 0 if there is not enough memory for one crop.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.unet(2)
        >>> largest_batch(model, (256, 256), 4 * 2**30, (512, 512))
        12
    """

    def predict(batch_size):
        options = val_size, val_batch_size, optimizer, average
        return predict_memory(model, crop_size, batch_size, *options)

    return bisect_right(range(1, most + 1), memory_bytes, key=predict)


def _validation_batch(model, size, batch_size):
    """Return the (H, W) and the number of images or tiles that are validated at once."""
    window = window_for([size])
    if window is not None:
        size = [min(side, window) for side in size]
    batch_size = 1 if is_instance_model(model) else batch_for([size], batch_size)
    return size, batch_size


def _step_bytes(model, size, batch_size, tensors):
    """Return the bytes of a step and of the batches that wait for it.

    Args:
        model: the network.
        size: (H, W) of the images.
        batch_size: number of images.
        tensors: function of the traced model and the bytes of the loss, to bytes.
    """
    channels = model.input_shape[-1]
    traced = trace(model, [(batch_size, *size, channels)])
    float_map = 4 * batch_size * prod(size)
    loss = LOSS_COPIES * sum(map(tensor_bytes, traced.outputs)) + LOSS_MAPS * float_map
    waiting = BATCHES_IN_FLIGHT * channels * float_map
    return ALLOCATED * tensors(traced, loss) + waiting + METRIC_MAPS * float_map


def _state_bytes(model, slots):
    """Return the bytes of the weights and the variables of the optimizer."""
    sizes = [prod(weight.shape) for weight in model.trainable_weights]
    return 4 * (model.count_params() + slots * sum(sizes))
