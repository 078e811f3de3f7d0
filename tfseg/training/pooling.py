"""How deep a U-Net is for its crops: the rules of nnU-Net (arXiv:1809.10486)."""

from dataclasses import dataclass
from math import ceil, prod

LEAST_SIZE = 4  # of the coarsest features
FIRST_FILTERS, MOST_FILTERS = 32, 512  # of nnU-Net's 2-D networks; at most 320 in 3-D
DATASET_FRACTION = 0.05  # of the pixels of the dataset that a batch contains at most
LEAST_BATCH = 2


@dataclass(frozen=True)
class PoolingPlan:
    """The levels of a U-Net; see `plan_pooling`.

    Attributes:
        counts: number of poolings of each axis.
        strides: stride of each axis before each level, 1 or 2; those before the first level are 1.
        kernels: size of the convolutions of each level, 1 or 3 for each axis.
        crop_size: size of the crops, rounded up to `multiples`.
        multiples: what the size of each axis must be a multiple of, 2 ** count.
    """

    counts: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    crop_size: tuple[int, ...]
    multiples: tuple[int, ...]

    @property
    def levels(self) -> int:
        """Number of levels of the U-Net, at full resolution and after each pooling."""
        return len(self.strides)


def plan_pooling(
    crop_size: tuple, spacing: tuple, least_size: int = LEAST_SIZE, most: int | None = None
) -> PoolingPlan:
    """Decide which axes a U-Net pools, and how often: the rule of nnU-Net v2.

    An axis is pooled by 2 as long as at least `least_size` positions remain (an axis that is pooled
    alone, as long as 1.5 times as many remain). Only the axes whose spacing is less than twice the
    smallest one of those that can be pooled are pooled together, so that anisotropic voxels become
    isotropic first. Likewise the convolutions along an axis have size 1 until its spacing is less
    than twice the smallest one, then 3, and at the coarsest level always 3.

    It returns what nnU-Net's `get_pool_and_conv_props` does (nnunetv2 2.8.1).

    Args:
        crop_size: pixels of each axis, of an image (H, W) or a volume (D, H, W).
        spacing: distance of the pixels along each axis, in any unit; (1, 1) for most images.
        least_size: smallest size of the coarsest features.
        most: largest number of poolings of an axis; None for any.

    Example:
        >>> plan = plan_pooling((250, 380), (1, 1))
        >>> plan.counts, plan.crop_size, plan.levels
        ((6, 6), (256, 384), 7)
    """
    size, spacing = list(crop_size), list(spacing)
    counts, kernel = [0] * len(size), [1] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while axes := _axes_to_pool(size, spacing, counts, least_size, most):
        kernel = [3 if s < 2 * min(spacing) else k for k, s in zip(kernel, spacing, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in axes else 1 for axis in range(len(size))))
        for axis in axes:
            size[axis], spacing[axis] = ceil(size[axis] / 2), 2 * spacing[axis]
            counts[axis] += 1
    multiples = tuple(2**count for count in counts)
    padded = tuple(ceil(n / of) * of for n, of in zip(crop_size, multiples, strict=True))
    return PoolingPlan(
        counts=tuple(counts),
        strides=tuple(strides),
        kernels=(*kernels, (3,) * len(size)),
        crop_size=padded,
        multiples=multiples,
    )


def _axes_to_pool(size, spacing, counts, least_size, most):
    """Return the axes that the next level pools; none if this level is the coarsest."""
    axes = [axis for axis, n in enumerate(size) if n >= 2 * least_size]
    finest = min((spacing[axis] for axis in axes), default=0)
    axes = [axis for axis in axes if spacing[axis] < 2 * finest]
    axes = [axis for axis in axes if most is None or counts[axis] < most]
    if len(axes) == 1 and size[axes[0]] < 3 * least_size:
        return []
    return axes


def level_filters(levels: int, first: int = FIRST_FILTERS, most: int = MOST_FILTERS) -> tuple:
    """Return the filters of a plain U-Net: doubled at each level, up to a limit (nnU-Net).

    Args:
        levels: number of levels, see `PoolingPlan.levels`.
        first: filters at full resolution.
        most: largest number of filters.

    Example:
        >>> level_filters(7)
        (32, 64, 128, 256, 512, 512, 512)
    """
    return tuple(min(most, first * 2**level) for level in range(levels))


def dataset_batch_limit(dataset_pixels: float, crop_size: tuple) -> int:
    """Return the largest batch size that shows at most 5% of a dataset in one step (nnU-Net).

    It limits overfitting to small datasets. Two images are always allowed.

    Args:
        dataset_pixels: pixels of all training images. nnU-Net takes their median size times their
            number.
        crop_size: pixels of each axis of the crops.

    Example:
        >>> dataset_batch_limit(30 * 512 * 512, (256, 256))
        6
    """
    limit = round(DATASET_FRACTION * dataset_pixels / prod(crop_size))
    return max(LEAST_BATCH, limit)
