"""Small datasets as real tools and habits leave them, for `test_cases.py`.

Each function writes one into an empty folder. Unless it says otherwise, the folders `images` and
`masks` have two samples of 16 x 24 pixels, and the masks have the ids of `IDS`.
"""

import io
import json
import struct
import zlib

import nibabel
import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 16, 24
IDS = np.zeros((HEIGHT, WIDTH), np.uint8)
IDS[4:10, 6:14] = 1
IMAGE = np.where(IDS[..., None], (40, 160, 60), (150, 140, 130)).astype(np.uint8)
BOX = [6, 4, 8, 6]  # of the ones in IDS: x, y, width, height
OUTLINE = [[6, 4, 14, 4, 14, 10, 6, 10]]
BAND_COUNT = 5
EXIF_ORIENTATION = 274
TEXT, SHORT, UNDEFINED = 2, 3, 7  # types of TIFF and EXIF
REDUCED, TRANSPARENCY = 1, 4  # TIFF's NewSubfileType
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1


def save(path, array, **options):
    """Save an array with Pillow; the suffix of the path is the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def write_pairs(folder, image=None, mask=None, suffixes=(".png", ".png")):
    """Write two samples.

    Args:
        folder: an existing folder.
        image, mask: functions of a path that write a file; None for IMAGE and IDS.
        suffixes: of images and masks.
    """
    for name, write, array, suffix in (
        ("images", image, IMAGE, suffixes[0]),
        ("masks", mask, IDS, suffixes[1]),
    ):
        (folder / name).mkdir(exist_ok=True)
        for stem in ("a", "b"):
            path = folder / name / f"{stem}{suffix}"
            if write is None:
                save(path, array)
            else:
                write(path)


# ---- images and masks in folders


def exif_orientation(kind, data):
    """Return a function that writes JPEG images with an EXIF orientation.

    Args:
        kind: number of the TIFF type: 2 text, 3 a number of 16 bits, 7 bytes.
        data: the value, at most 4 bytes.
    """
    count = 1 if kind == SHORT else len(data)
    entry = struct.pack(">HHI4s", EXIF_ORIENTATION, kind, count, data)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)

    def write(folder):
        write_pairs(folder, lambda path: save(path, IMAGE, exif=exif), None, (".jpg", ".png"))

    return write


def png_exif_orientation(folder):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    write_pairs(folder, lambda path: save(path, IMAGE, exif=exif))


def png_with_chunk(kind, content, is_right=True):
    """Return a function that writes PNG images with an additional chunk before the pixels."""

    def write_image(path):
        buffer = io.BytesIO()
        Image.fromarray(IMAGE).save(buffer, "png")
        data = buffer.getvalue()
        checksum = zlib.crc32(kind + content) ^ (not is_right)
        chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
        at = data.index(b"IDAT") - 4
        path.write_bytes(data[:at] + chunk + data[at:])

    def write(folder):
        write_pairs(folder, write_image)

    return write


big_text = png_with_chunk(b"zTXt", b"XML\0\0" + zlib.compress(bytes(3 * 2**20)))
big_profile = png_with_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2 * 2**20)))
wrong_checksum = png_with_chunk(b"tEXt", b"Comment\0hello", is_right=False)


def tiff(path, array, **options):
    options.setdefault("photometric", "rgb" if array.ndim == 3 else "minisblack")
    tifffile.imwrite(path, array, **options)


def image_tiffs(array=IMAGE, **options):
    """Return a function that writes TIFF images."""

    def write(folder):
        def write_image(path):
            tiff(path, array, **options)

        write_pairs(folder, write_image, None, (".tif", ".png"))

    return write


def mask_tiffs(array, **options):
    """Return a function that writes TIFF masks."""

    def write(folder):
        write_pairs(folder, None, lambda path: tiff(path, array, **options), (".png", ".tif"))

    return write


FIVE_BANDS = np.repeat(IMAGE[..., :1], BAND_COUNT, -1)
jpeg_tiffs = image_tiffs(np.tile(IMAGE, (4, 4, 1)), compression="jpeg")
five_bands = image_tiffs(FIVE_BANDS, photometric="minisblack", planarconfig="contig")
gray_alpha = image_tiffs(
    np.stack([IMAGE[..., 0], np.full_like(IDS, 255)], -1),
    photometric="minisblack",
    extrasamples=["assocalpha"],
    planarconfig="contig",
)


def jpeg_scenes(folder):
    """JPEG compression needs blocks of 16 pixels, so images and masks have 64 x 96 pixels."""
    large_ids = np.tile(IDS, (4, 4))
    write_pairs(
        folder,
        lambda path: tiff(path, np.tile(IMAGE, (4, 4, 1)), compression="jpeg", tile=(16, 16)),
        lambda path: tiff(path, large_ids),
        (".tif", ".tif"),
    )


def tiff_pages(page_kind):
    """Return a function that writes TIFF images with a second page: an overview or a mask."""

    def write_image(path):
        with tifffile.TiffWriter(path) as file:
            file.write(IMAGE, photometric="rgb")
            if page_kind == REDUCED:
                file.write(IMAGE[::2, ::2], photometric="rgb", subfiletype=REDUCED)
            else:
                file.write(IDS > 0, photometric="mask", subfiletype=TRANSPARENCY)

    return lambda folder: write_pairs(folder, write_image, None, (".tif", ".png"))


def write_packed_tiff(path, values, bits, photometric=BLACK_IS_ZERO, is_sparse=False):
    """Write a TIFF of 2, 4, 8 or 12 bits per value, (H, W) or (H, W, 3), by the specification.

    A sparse file says that its pixels are at position 0 and have 0 bytes, as GDAL writes them.
    """
    stream = "".join(f"{value:0{bits}b}" for value in values.ravel().tolist())
    data = int(stream, 2).to_bytes(len(stream) // 8, "big")
    samples = values.shape[2] if values.ndim == 3 else 1
    place = (0, 0) if is_sparse else (8, len(data))
    tags = [(256, values.shape[1]), (257, values.shape[0]), (258, bits), (259, 1)]
    tags += [(262, 2 if samples == 3 else photometric), (273, place[0]), (277, samples)]
    tags += [(278, values.shape[0]), (279, place[1])]
    offset = 8 + len(data)
    after = offset + 2 + 12 * len(tags) + 4
    ifd = struct.pack("<H", len(tags))
    for tag, value in tags:
        if tag == 258 and samples == 3:  # three numbers do not fit into the entry
            ifd += struct.pack("<HHII", tag, 3, 3, after)
        else:
            ifd += struct.pack("<HHII", tag, 4, 1, value)
    end = struct.pack("<I3H", 0, *[bits] * 3)
    path.write_bytes(b"II*\0" + struct.pack("<I", offset) + data + ifd + end)


def packed_masks(values, bits, photometric=BLACK_IS_ZERO):
    """Return a function that writes TIFF images and TIFF masks of few bits."""

    def write_mask(path):
        write_packed_tiff(path, values, bits, photometric)

    return lambda folder: write_pairs(
        folder, lambda path: tiff(path, IMAGE), write_mask, (".tif", ".tif")
    )


two_bit_masks = packed_masks(IDS, 2)
white_is_zero_masks = packed_masks(IDS, 8, WHITE_IS_ZERO)


def twelve_bit_images(folder):
    values = IMAGE.astype(int) * 16
    write_pairs(folder, lambda path: write_packed_tiff(path, values, 12), None, (".tif", ".png"))


def sparse_images(folder):
    write_pairs(
        folder,
        lambda path: write_packed_tiff(path, IMAGE, 8, is_sparse=True),
        None,
        (".tif", ".png"),
    )


def jfif_images(folder):
    write_pairs(folder, lambda path: save(path, IMAGE, format="jpeg"), None, (".jfif", ".png"))


def four_bit_masks(folder):
    def write_mask(path):
        rows = (IDS[:, ::2] << 4 | IDS[:, 1::2]).astype(np.uint8)
        pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
        head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 4, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n"
        for kind, content in ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")):
            checksum = struct.pack(">I", zlib.crc32(kind + content))
            data += struct.pack(">I", len(content)) + kind + content + checksum
        path.write_bytes(data)

    write_pairs(folder, None, write_mask)


def gif_masks(folder):
    write_pairs(folder, None, None, (".png", ".gif"))


def lossless_webp_masks(folder):
    def write_mask(path):
        save(path, np.repeat(IDS[..., None], 3, -1), lossless=True)

    write_pairs(folder, None, write_mask, (".png", ".webp"))


def masks_in_alpha(color):
    """Return a function that writes RGBA masks of one color whose shape is in the alpha channel."""
    rgba = np.concatenate([np.full((HEIGHT, WIDTH, 3), color, np.uint8), IDS[..., None] * 255], -1)
    return lambda folder: write_pairs(folder, None, lambda path: save(path, rgba))


def masks_per_class(folder):
    """masks/leaf/a.png and masks/stem/a.png, each 0 and 255."""
    for stem in ("a", "b"):
        save(folder / "images" / f"{stem}.png", IMAGE)
        save(folder / "masks" / "leaf" / f"{stem}.png", IDS * 255)
        save(folder / "masks" / "stem" / f"{stem}.png", IDS[::-1] * 255)


def masks_beside_images(folder):
    """images/a.png and images/a_mask.png, and no other folder."""
    for stem in ("a", "b"):
        save(folder / "images" / f"{stem}.png", IMAGE)
        save(folder / "images" / f"{stem}_mask.png", IDS)


def other_prefixes(folder):
    """images/image_0.png and masks/mask_0.png."""
    for number in range(2):
        save(folder / "images" / f"image_{number}.png", IMAGE)
        save(folder / "masks" / f"mask_{number}.png", IDS)


def nested_folders(folder):
    """A half of the samples is in subfolders called `more`."""
    write_pairs(folder)
    for name, array in (("images", IMAGE), ("masks", IDS)):
        save(folder / name / "more" / "c.png", array)


# ---- annotation files


def coco(change=lambda content: None, categories=("cat", "dog")):
    """Return a function that writes COCO's JSON file of two images, after `change` changed it."""

    def write(folder):
        for number in (1, 2):
            save(folder / "images" / f"{number}.png", IMAGE)
        content = {
            "images": [
                {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH}
                for number in (1, 2)
            ],
            "categories": [
                {"id": number, "name": name} for number, name in enumerate(categories, 1)
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": number,
                    "category_id": number,
                    "segmentation": OUTLINE,
                    "bbox": BOX,
                    "iscrowd": 0,
                }
                for number in (1, 2)
            ],
        }
        change(content)
        (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")

    return write


def add_category(name, super_of=None):
    """Return a change of `coco` that puts a category with the id 0 first."""

    def change(content):
        content["categories"].insert(0, {"id": 0, "name": name, "supercategory": "none"})
        for category in content["categories"][1:]:
            category["supercategory"] = super_of or name

    return change


def turned_coco(folder):
    coco()(folder)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    save(folder / "images" / "1.jpg", IMAGE, exif=exif)
    path = folder / "a.json"
    path.write_text(path.read_text("utf-8").replace('"1.png"', '"1.jpg"'), encoding="utf-8")


def panoptic(change):
    """Return a function that writes a panoptic COCO file of two images."""

    def write(folder):
        entries = []
        for stem in ("a", "b"):
            save(folder / "images" / f"{stem}.png", IMAGE)
            save(folder / "panoptic" / f"{stem}.png", np.stack([IDS + 1, IDS * 0, IDS * 0], -1))
            segments = [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}]
            entries.append(
                {"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments}
            )
        content = {
            "images": [
                {"id": stem, "file_name": f"{stem}.png", "height": HEIGHT, "width": WIDTH}
                for stem in ("a", "b")
            ],
            "categories": [{"id": 1, "name": "ground", "isthing": 0}, {"id": 2, "name": "leaf"}],
            "annotations": entries,
        }
        change(content)
        (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")

    return write


def voc(folder, stems=("a", "b"), names=("cat", "dog"), corner=6, suffix=".jpg", listed="{}\n"):
    """Write a VOC dataset whose sample k has an object of the class names[k]."""
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for stem, name in zip(stems, names, strict=True):
        save(folder / "JPEGImages" / f"{stem}{suffix}", IMAGE, format="jpeg")
        (folder / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{stem}.jpg</filename>"
            f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{corner}</xmin>"
            "<ymin>5</ymin><xmax>14</xmax><ymax>10</ymax></bndbox></object></annotation>",
            encoding="utf-8",
        )
    names = "".join(listed.format(stem) for stem in stems)
    (folder / "ImageSets/Main/train.txt").write_text(names, encoding="utf-8")


def voc_utf16_list(folder):
    voc(folder)
    (folder / "ImageSets/Main/train.txt").write_text("a\nb\n", encoding="utf-16")


def yolo(line="0 0.4 0.4 0.3 0.4\n", suffix=".txt"):
    """Return a function that writes YOLO labels, the same line for both images."""

    def write(folder):
        (folder / "labels").mkdir()
        for stem in ("a", "b"):
            save(folder / "images" / f"{stem}.jpg", IMAGE)
            (folder / "labels" / f"{stem}{suffix}").write_text(line)

    return write


def mixed_case_labels(folder):
    yolo()(folder)
    (folder / "labels" / "a.txt").rename(folder / "labels" / "a.TXT")


def hidden_cityscapes(folder):
    """A Cityscapes split with a file "._..." of macOS beside each image."""
    for number in range(2):
        stem = f"aachen_00000{number}_000019"
        frames = folder / "leftImg8bit" / "train" / "aachen"
        save(frames / f"{stem}_leftImg8bit.png", IMAGE)
        (frames / f"._{stem}_leftImg8bit.png").write_bytes(b"\0\5\x16\7" + bytes(100))
        save(folder / "gtFine/train/aachen" / f"{stem}_gtFine_labelIds.png", IDS + 7)


def nifti(affine=None, mask_type=np.uint8, slope=None, suffix=".nii.gz"):
    """Return a function that writes two volumes whose three slices have the ids of IDS."""

    def write(folder):
        place = np.eye(4) if affine is None else affine
        labels = np.repeat(IDS[..., None], 3, -1)
        for part, voxels in (("images", labels * 100), ("masks", labels.astype(mask_type))):
            (folder / part).mkdir()
            for stem in ("a", "b"):
                volume = nibabel.Nifti1Image(voxels, None)
                volume.header.set_sform(place, 1)
                if part == "masks" and slope is not None:
                    volume.header.set_slope_inter(slope, 0)
                path = folder / part / f"{stem}.nii.gz"
                nibabel.save(volume, path)
                path.rename(folder / part / f"{stem}{suffix}")

    return write


# ---- exports of labeling tools


def cvat_export(folder):
    (folder / "a.json").write_text(
        "<?xml version='1.0' encoding='utf-8'?><annotations><version>1.1</version>"
        "<image id='0' name='a.jpg' width='24' height='16'>"
        "<polygon label='leaf' points='1,1;5,1;5,5'/></image></annotations>"
    )


def label_studio_export(folder):
    result = {"type": "polygonlabels", "value": {"points": [[1, 1]], "polygonlabels": ["leaf"]}}
    task = {"id": 1, "data": {"image": "/data/a.jpg"}, "annotations": [{"result": [result]}]}
    (folder / "a.json").write_text(json.dumps([task]))


def supervisely_export(folder):
    annotation = {"size": {"height": HEIGHT, "width": WIDTH}, "tags": [], "objects": []}
    (folder / "masks").mkdir()
    for stem in ("a", "b"):
        save(folder / "images" / f"{stem}.png", IMAGE)
        (folder / "masks" / f"{stem}.png.json").write_text(json.dumps(annotation))
    (folder / "meta.json").write_text(json.dumps({"classes": [], "tags": []}))
