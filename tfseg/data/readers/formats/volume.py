"""One NIfTI file, reoriented to the axes that all files share."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.data.readers.mask_values import whole_numbers


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
        ValueError: it does not have three or four axes, its values are not real numbers, or its
            affine does not place the voxels in space.
    """

    def __init__(self, path: Path):
        nibabel = checks.require_package("nibabel", "nifti")
        self.path = path
        try:
            image = _open(nibabel, path)
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
        _check_affine(image.affine, path)
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

    def load_labels(self):
        """Return the (X, Y, Z) class ids of a mask, with the scale applied.

        Raises:
            OSError: the file is damaged.
            ValueError: the values are not whole numbers.
        """
        values = self.load()[..., 0]
        if values.dtype.kind in "iu" and not self._scale:
            return values
        try:
            return whole_numbers(self._scaled(values), self.path)
        except ValueError as error:
            raise ValueError(f"{error}{self._scale_hint()}") from error

    def _scale_hint(self):
        if not self._scale:
            return ""
        slope, intercept = self._scale
        return (
            f" The header scales the stored integers: scl_slope is {slope:g}, scl_inter is "
            f"{intercept:g}. Save masks as integers without a scale."
        )

    def _scaled(self, values):
        """Return stored values as the header scales them."""
        if not self._scale:
            return values
        slope, intercept = self._scale
        return (values * float(slope) + float(intercept)).astype(np.float32)

    def cut(self, values, axis: int, position: int):
        """Cut one slice out of values: the second of the other axes points up, the first right."""
        return np.rot90(np.moveaxis(values, axis, 0)[position])  # a view: `take` would copy all

    def slice(self, values, axis: int, position: int):
        """Cut one slice out of the values that `load` returned.

        Returns:
            (H, W, C): of the two other axes the second points up, the first to the right.
        """
        image = self._scaled(self.cut(values, axis, position))
        return np.ascontiguousarray(image, dtype=self.dtype)


def _open(nibabel, path):
    try:
        return nibabel.load(path)
    except FileNotFoundError:
        # nibabel looks for "a.nii" if a file is called "a.Nii".
        if not path.is_file():
            raise
        holder = nibabel.FileHolder(filename=str(path))
        return nibabel.Nifti1Image.from_file_map({"image": holder})


def _check_affine(affine, path):
    """Raise a ValueError unless an affine maps voxels to different points in space."""
    if np.isfinite(affine).all() and np.linalg.matrix_rank(affine[:3, :3]) == 3:
        return
    raise ValueError(
        f"{path} has the affine {affine[:3].tolist()}, which does not place the voxels in space. "
        "Expected finite numbers and three independent axes: correct sform and qform, for example "
        "from the DICOM files, or save the file again with the affine of its volume."
    )
