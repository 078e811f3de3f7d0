"""One NIfTI file, reoriented to the axes that all files share."""

from pathlib import Path

import numpy as np

from tfseg import checks


class Volume:
    """A volume. The constructor reads only its header.

    Args:
        path: .nii or .nii.gz file.

    Attributes:
        shape: (X, Y, Z) voxels. X points to the patient's right, Y to the front, Z to the crown,
            as closely as the grid allows.
        channels: number of values per voxel: the length of the fourth axis, or 1.
        dtype: dtype of the slices: that of the file, or float32 if it has a scale to apply.

    Raises:
        OSError: the file is not a NIfTI.
        ValueError: it does not have three or four axes, or its values are not real numbers.
    """

    def __init__(self, path: Path):
        nibabel = checks.require_package("nibabel", "nifti")
        self.path = path
        try:
            image = nibabel.load(path)
        except Exception as error:  # errors of gzip, zlib and nibabel share no base class
            raise OSError(
                f"{path} cannot be read as a NIfTI ({error}). Copy it again from its source."
            ) from error
        stored = image.get_data_dtype()
        if not 3 <= len(image.shape) <= 4 or stored.kind not in "iuf":
            raise ValueError(
                f"{path} has dtype {stored} and shape {image.shape}. Expected real numbers on "
                "three axes, or on four with channels last."
            )
        self._file = image
        self._orientation = nibabel.io_orientation(image.affine)
        reorientation = nibabel.orientations.inv_ornt_aff(self._orientation, image.shape[:3])
        self.affine = image.affine @ reorientation
        order = np.argsort(self._orientation[:, 0])
        self.shape = tuple(np.array(image.shape[:3])[order].tolist())
        self.channels = image.shape[3] if len(image.shape) == 4 else 1
        scale = (image.dataobj.slope, image.dataobj.inter)
        self._scale = None if scale == (1, 0) else scale
        self.dtype = np.dtype(np.float32) if self._scale else stored.newbyteorder("=")

    def distance(self, other: "Volume") -> float:
        """Return how far the corners of another volume of this shape are from those of this one.

        Returns:
            The largest difference along an axis of this volume, in voxels.
        """
        last = [length - 1 for length in self.shape]
        corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*last, 1]
        shift = np.linalg.inv(self.affine) @ (other.affine - self.affine) @ corners.T
        return float(np.abs(shift[:3]).max())

    def slice_size(self, axis: int) -> tuple[int, int]:
        """Return (height, width) of the slices across an axis."""
        width, height = [length for i, length in enumerate(self.shape) if i != axis]
        return height, width

    def load(self):
        """Return the (X, Y, Z, C) values as stored, without the scale.

        The values of an uncompressed file stay on disk, mapped into memory.

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
        return apply_orientation(values, self._orientation).reshape(*self.shape, self.channels)

    def slice(self, values, axis: int, position: int):
        """Cut one slice out of the values that `load` returned.

        Returns:
            (H, W, C): of the two other axes the second points up, the first to the right.
        """
        plane = np.moveaxis(values, axis, 0)[position]  # a view: `take` would copy the volume
        image = np.rot90(plane)
        if self._scale:
            slope, intercept = self._scale
            return (image * float(slope) + float(intercept)).astype(np.float32)
        return np.ascontiguousarray(image, dtype=self.dtype)
