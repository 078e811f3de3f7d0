"""The reader of a folder of images and a folder of XML files in the format of Pascal VOC."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from tfseg.checks import is_background
from tfseg.data.readers.annotated_images import annotation_files, pair_annotations
from tfseg.data.readers.base import Reader, check_class_names
from tfseg.data.readers.file_names import same_form
from tfseg.data.readers.formats.voc_xml import names_in, parse_xml, read_objects
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.image_listing import printable
from tfseg.data.readers.objects import BOX_FIELDS, object_arrays
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import format_problems


class VocXml(Reader):
    """A folder of images and a folder of XML files of Pascal VOC, as LabelImg writes them.

    The folders need no lists of names: the samples are the images that have an XML file, by its
    name or by its <filename>. Boxes count pixels from 1 and include their last pixel, see `Voc`.

    Ids depend on the files: pass `class_names=train.class_names` to the reader of another folder.

    Args:
        images: folder of images.
        annotations: folder of XML files; it may be the same folder.
        class_names: names of the objects in the order of their ids, with or without the background
            at the front. None: all names that occur, in alphabetical order.
        difficult: whether to keep objects marked as difficult.

    Attributes:
        dropped: list of (name of the sample, reason) of boxes without area.

    Raises:
        FileNotFoundError: a folder is missing, or contains no image or no XML file.
        ValueError: files are damaged, belong to no image or to the same one, do not match it, or
            contain names that are not in `class_names`; every one is named.
        OSError: a file is not an image.

    Example:
        >>> import pathlib, warnings, tfseg
        >>> box = "<xmin>9</xmin><ymin>5</ymin><xmax>24</xmax><ymax>20</ymax>"
        >>> xml = f"<object><name>leaf</name><bndbox>{box}</bndbox></object>"
        >>> pathlib.Path("xml").mkdir()
        >>> _ = pathlib.Path("xml/leaf0.xml").write_text(f"<annotation>{xml}</annotation>")
        >>> warnings.simplefilter("ignore")  # three images have no file
        >>> tfseg.data.VocXml("photos", "xml")[0]["boxes"].tolist()
        [[8.0, 4.0, 24.0, 20.0]]
    """

    fields = ("image", *BOX_FIELDS)

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        class_names: Sequence[str] | None = None,
        difficult: bool = True,
    ):
        folder = Path(annotations)
        files = annotation_files(folder, ".xml")
        pairs = pair_annotations("VocXml", Path(images), {path: _listed(path) for path in files})
        self._files = [image for image, _ in pairs]
        if class_names is None:
            names = sorted(names_in(folder))
            if not names:
                raise ValueError(
                    f"VocXml: no file in '{folder}' has an object. Label objects, or pass "
                    "class_names."
                )
        else:
            names = check_class_names(class_names)
            names = names[1:] if is_background(names[0]) else names
        super().__init__(names, *read_headers([(image,) for image in self._files]))
        self.dropped = []
        self._objects = self._read_objects([path for _, path in pairs], difficult)

    def _read_objects(self, files, difficult):
        """Return (boxes, classes) per image; fill `dropped`."""
        class_ids = {name: number for number, name in enumerate(self.object_names)}
        objects, problems = [], []
        for index, path in enumerate(files):
            size = self.sizes[index].tolist()
            try:
                boxes, classes, reasons = read_objects(path, size, class_ids, difficult)
            except ValueError as error:
                problems.append(str(error))
                continue
            objects.append((boxes, classes))
            self.dropped += [(self.name(index), reason) for reason in reasons]
        if problems:
            raise ValueError(format_problems(problems))
        return objects

    def __getitem__(self, index: int) -> dict:
        image = read_image(self._files[index], self.channels)
        return {
            "image": image.astype(self.dtype, copy=False),
            **object_arrays(*self._objects[index]),
        }

    def name(self, index: int) -> str:
        """Return the image's file name without its suffix."""
        return printable(same_form(self._files[index].stem))

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index]


def _listed(path):
    """Return the <filename> of an XML file, or None."""
    try:
        return (parse_xml(path).findtext("filename") or "").strip() or None
    except ElementTree.ParseError:
        return None  # reported when the objects are read
