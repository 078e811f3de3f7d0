"""The doctor's report as a self-contained HTML file with images of the findings."""

import base64
import io
from html import escape
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tfseg import viz
from tfseg.checks import ignore_index_for
from tfseg.doctor.dataset_report import COLUMN_FORMATS, NO_CLASS, Report, short_path

SIDE = 260  # pixels, longer side of a thumbnail
MAX_THUMBNAILS = 6  # per finding
NO_CLASS_COLOR = (255, 0, 255)  # RGB
BOX_COLOR = (230, 159, 0)

STYLE = """
:root {
  --ink: #1d2430; --soft: #5d6675; --line: #dfe3ea; --paper: #fff; --ground: #f4f6f9;
  --error: #c0392b; --warning: #b7791f; --note: #2b6cb0; --fine: #2f855a }
* { box-sizing: border-box }
body {
  margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px }
h1 { font-size: 26px; margin: 0 12px 0 0; display: inline }
h2 { font-size: 18px; margin: 32px 0 10px }
h3 { font-size: 16px; margin: 0 0 4px }
p { margin: 4px 0 }
.badge {
  color: #fff; border-radius: 99px; padding: 2px 11px; font-size: 13px; font-weight: 600;
  white-space: nowrap }
.error > .badge, .badge.error { background: var(--error) }
.badge.warning { background: var(--warning) }
.badge.note { background: var(--note) }
.badge.fine { background: var(--fine) }
.card {
  background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; margin: 12px 0 }
.finding { border-left: 5px solid var(--note) }
.finding.error { border-left-color: var(--error) }
.finding.warning { border-left-color: var(--warning) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0 }
dt { color: var(--soft) }
dd { margin: 0; min-width: 0 }
code {
  background: #eef1f6; border-radius: 5px; padding: 2px 6px;
  font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
.fix { display: block; padding: 8px 12px; margin-top: 8px }
.fix::before { content: "fix "; color: var(--fine); font-weight: 700 }
table { border-collapse: collapse; width: 100% }
td, th { padding: 4px 10px; text-align: right; white-space: nowrap }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--line) }
td:nth-child(2), th:nth-child(2) { text-align: left }
td.bar { width: 38%; padding-right: 0 }
.bar i {
  display: block; height: 12px; border-radius: 3px; min-width: 2px;
  box-shadow: inset 0 0 0 1px #0002 }
.swatch {
  display: inline-block; width: 14px; height: 14px; border-radius: 4px; border: 1px solid #0003;
  vertical-align: -2px; margin-right: 8px }
.thumbnails { display: flex; flex-wrap: wrap; gap: 14px; margin-top: 12px }
figure { margin: 0; max-width: 100% }
figure img {
  display: inline-block; border-radius: 6px; margin-right: 4px; max-height: 140px;
  vertical-align: top; background: #ddd }
figcaption { color: var(--soft); font-size: 12px; max-width: 260px; overflow-wrap: anywhere }
.unreadable {
  width: 150px; height: 90px; border: 1px dashed var(--soft); border-radius: 6px; display: grid;
  place-items: center; color: var(--soft); font-size: 13px }
.more, .small { color: var(--soft); font-size: 13px }
"""


def write_html(report: Report, file: str | Path, title: str = "Dataset"):
    """Write a report as a self-contained HTML file.

    Args:
        report: a `Report` of `diagnose`; its files are read again for at most six thumbnails per
            finding.
        file: path of the HTML file.
        title: heading of the page.

    Example:
        >>> from pathlib import Path
        >>> import tfseg
        >>> report = tfseg.doctor.diagnose(("photos", "labels"), ["background", "leaf"])
        >>> tfseg.doctor.write_html(report, "report.html", "leaves")
        >>> "<h1>leaves</h1>" in Path("report.html").read_text()
        True
    """
    severity = report.findings[0].severity if report.findings else "fine"
    badge = f"<span class='badge {severity}'>{escape(report.verdict())}</span>"
    body = [
        f"<h1>{escape(title)}</h1>{badge}",
        _facts_section(report),
        _class_section(report),
        _sample_section(report),
        *_finding_sections(report),
    ]
    head = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{STYLE}</style>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
    )
    html = f"{head}<main>{''.join(body)}</main></html>\n"
    # "replace": the names of files need not be valid UTF-8
    Path(file).write_text(html, encoding="utf-8", errors="replace")


def _facts_section(report):
    rows = []
    for label, text in report.facts().items():
        value = f"<code>{escape(text)}</code>" if "=" in text else escape(text)
        rows.append(f"<dt>{escape(label)}</dt><dd>{value}</dd>")
    return f"<dl class=card style='margin-top:18px'>{''.join(rows)}</dl>"


def _class_section(report):
    if not report.classes:
        return ""
    rows = report.to_dict()["classes"]
    colors = viz.palette(len(rows))
    columns = report.class_columns()
    bar = [""] if report.has_pixels else []
    header = "".join(f"<th>{name}</th>" for name in ("id", "class", *bar, *columns))
    lines = [f"<tr>{header}</tr>"]
    largest = max(row["fraction"] for row in rows) or 1
    for row, color in zip(rows, colors, strict=True):
        lines.append(_class_line(row, color, largest, columns))
    note = ""
    if report.has_pixels:
        note += (
            f"{report.ignored_pixels:,} unlabeled pixels. In the images below they keep their own "
            "color; values without a class are magenta."
        )
    if report.with_weights:
        note += " Weight: median frequency / frequency of the class."
    note = f"<p class=small>{note}</p>" if note else ""
    return f"<h2>Classes</h2><div class=card><table>{''.join(lines)}</table>{note}</div>"


def _class_line(row, color, largest, columns):
    paint = f"background:rgb({color[0]},{color[1]},{color[2]})"
    bar = ""
    if "fraction" in columns:
        width = row["fraction"] / largest
        bar = f"<td class=bar><i style='{paint};width:{width:.1%}'></i></td>"
    cells = [COLUMN_FORMATS[column].format(row[column]) for column in columns]
    cells = "".join(f"<td>{cell}</td>" for cell in cells)
    return (
        f"<tr><td>{row['id']}</td>"
        f"<td><span class=swatch style='{paint}'></span>{escape(row['name'])}</td>"
        f"{bar}{cells}</tr>"
    )


def _sample_section(report):
    names = [
        name
        for name, sample in report.samples.items()
        if sample.moments is not None and not sample.val
    ]
    if not names:
        return ""
    spread = np.unique(np.linspace(0, len(names) - 1, MAX_THUMBNAILS).astype(int))
    figures = _figures(report, sorted(names[i] for i in spread))
    return f"<h2>Samples</h2><div class='card thumbnails'>{figures}</div>"


def _finding_sections(report):
    if not report.findings:
        text = "No problems found: the dataset is ready for training."
        return [f"<h2>Findings</h2><div class=card>{text}</div>"]
    return ["<h2>Findings</h2>", *(_finding_section(report, f) for f in report.findings)]


def _finding_section(report, finding):
    omitted = len(finding.files) - MAX_THUMBNAILS
    more = f"<p class=more>and {omitted} more</p>" if omitted > 0 else ""
    return (
        f"<section class='card finding {finding.severity}'>"
        f"<h3>{escape(finding.kind.replace('_', ' '))} "
        f"<span class='badge {finding.severity}'>{finding.severity}</span></h3>"
        f"<p>{escape(finding.message)}</p>"
        f"<code class=fix>{escape(finding.fix)}</code>"
        f"<div class=thumbnails>{_figures(report, finding.files[:MAX_THUMBNAILS])}</div>"
        f"{more}</section>"
    )


def _figures(report, names):
    return "".join(
        f"<figure>{_thumbnails(*report.load(name), len(report.classes))}"
        f"<figcaption title='{escape(name)}'>{escape(short_path(name))}</figcaption></figure>"
        for name in names
    )


def _thumbnails(image, labels, boxes, num_classes):
    """Return an image with its labels as an overlay, or both side by side if the sizes differ."""
    if image is None and labels is None:
        return "<div class=unreadable>cannot be read</div>"
    scale = 1.0
    if image is not None:
        scale = SIDE / max(image.shape[:2])
        image = _resize(viz.as_rgb(image), cv2.INTER_AREA)
    if labels is not None and labels.ndim == 3:  # a mask that contains no class ids
        labels = _resize(viz.as_rgb(labels), cv2.INTER_NEAREST)
    elif labels is not None:
        labels = _resize(labels, cv2.INTER_NEAREST)
        if image is not None and image.shape[:2] == labels.shape:
            image, labels = _overlay(image, labels, num_classes), None
        else:
            labels = _color_labels(labels, num_classes)
    tags = ""
    if image is not None:
        tags += _image_tag(image, "image", None if boxes is None else boxes * scale)
    if labels is not None:
        tags += _image_tag(labels, "mask")
    return tags


def _overlay(image, labels, num_classes):
    unknown = labels == NO_CLASS
    known = np.where(unknown, ignore_index_for(num_classes), labels)
    blended = viz.blend(image, known, num_classes)
    blended[unknown] = NO_CLASS_COLOR
    return blended


def _color_labels(labels, num_classes):
    unknown = labels == NO_CLASS
    known = np.where(unknown, ignore_index_for(num_classes), labels)
    colors = viz.color_labels(known, num_classes)
    colors[unknown] = NO_CLASS_COLOR
    return colors


def _resize(array, interpolation):
    height, width = array.shape[:2]
    scale = SIDE / max(height, width)
    size = [max(1, round(width * scale)), max(1, round(height * scale))]
    return cv2.resize(array, size, interpolation=interpolation)


def _image_tag(array, alt, boxes=None):
    """Return an <img> with the pixels of a uint8 RGB array, and boxes drawn on them."""
    image = Image.fromarray(array)
    if boxes is not None:
        draw = ImageDraw.Draw(image)
        for box in boxes:
            draw.rectangle([round(float(side)) for side in box], outline=BOX_COLOR, width=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt={alt} src='data:image/jpeg;base64,{data}'>"
