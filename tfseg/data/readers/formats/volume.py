"""One NIfTI file, turned to axes that all files share."""

import numpy as np

from tfseg import checks


class Volume:
    """A volume; only its header is read at first.

    Args:
        path: .nii or .nii.gz file.

    Attributes:
        shape: (X, Y, Z) voxels, X towards the patient's right, Y the front, Z the crown (as near as the grid goes).
        channels: values a voxel: the length of the fourth axis, or 1.
        dtype: of the values: the file's, or float32 if a scale is to be applied.

    Raises:
        OSError: the file is no NIfTI.
        ValueError: it has fewer than three axes, more than four, or values that are no real numbers.
    """

    def __init__(self, path):
        nibabel = checks.require_package("nibabel", "nifti")
        self.path = path
        try:
            image = nibabel.load(path)
        except Exception as error:  # gzip's, zlib's and nibabel's have no class in common
            raise OSError(
                f"{path} cannot be read as a NIfTI ({error}). Copy it again from its source."
            ) from error
        if not 3 <= len(image.shape) <= 4 or image.get_data_dtype().kind not in "iuf":
            raise ValueError(
                f"{path} is a {image.get_data_dtype()} of shape {image.shape}. Expected numbers on three axes, or on "
                "four with channels last."
            )
        self._file = image
        self._turn = nibabel.io_orientation(image.affine)
        self.affine = image.affine @ nibabel.orientations.inv_ornt_aff(self._turn, image.shape[:3])
        self.shape = tuple(np.array(image.shape[:3])[np.argsort(self._turn[:, 0])].tolist())
        self.channels = image.shape[3] if len(image.shape) == 4 else 1
        scale = image.dataobj.slope, image.dataobj.inter
        self._scale = None if scale == (1, 0) else scale
        self.dtype = (
            np.dtype(np.float32) if self._scale else image.get_data_dtype().newbyteorder("=")
        )

    def distance(self, other):
        """Return how far apart, at most, a corner voxel of this and of another volume of this shape lie, in voxels."""
        corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [
            *(n - 1 for n in self.shape),
            1,
        ]
        shift = np.linalg.inv(self.affine) @ (other.affine - self.affine) @ corners.T
        return float(np.abs(shift[:3]).max())

    def slice_size(self, axis):
        """Return (height, width) of the slices across an axis."""
        across, up = (n for i, n in enumerate(self.shape) if i != axis)
        return up, across

    def load(self):
        """Return the (X, Y, Z, C) values as stored, without the scale: memory of the file itself if it is not packed.

        Raises:
            OSError: the file is damaged.
        """
        from nibabel.orientations import apply_orientation

        try:
            values = self._file.dataobj.get_unscaled()
        except Exception as error:
            raise OSError(
                f"{self.path} is damaged ({error}). Copy it again from its source, or remove it."
            ) from error
        return apply_orientation(values, self._turn).reshape(*self.shape, self.channels)

    def slice(self, values, axis, place):
        """Cut one slice out of what `load` gave: (H, W, C), the last of the other axes up, the first to the right."""
        picture = np.rot90(
            np.moveaxis(values, axis, 0)[place]
        )  # a view: `take` would copy the volume
        if self._scale:
            slope, inter = self._scale
            return (picture * float(slope) + float(inter)).astype(np.float32)
        return np.ascontiguousarray(picture, dtype=self.dtype)
