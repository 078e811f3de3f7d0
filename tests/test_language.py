"""All text in code and guides is plain American English with the field's terms."""

import io
import json
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    r"\bpictures?\b": "image",
    r"\bshall\b": "must, or is",
    r"\btold of\b|\btells of\b": "reported",
    r"\bone an? [a-z]+\b": "one per",
    r"\bcame\b(?! (from|with|to|before|after)\b)": "got, received",
    r"(?<!there )\bis no [a-z]+": "is not a",
    r"\bcolour": "color",
    r"\bgrey": "gray",
    r"\bcentre|\bcentring": "center",
    r"\b(normal|initial|optim|general|serial|quant|raster|equal)is(e|ed|es|ing|ation)\b": "-ize",
    r"\b(recogn|summar|minim|maxim)is(e|ed|es|ing)\b": "-ize",
    r"\bneighbour": "neighbor",
    r"labell(ed|ing)": "labeled",
    r"\blearnt\b": "learned",
    r"\bbehaviour": "behavior",
    r"\blicence": "license",
    r"\bdata set": "dataset",
    r"\brooms?\b": "package, module",
    r"\bneed be\b": "needed",
    r"\bstrokes?\b": "scribbles",
    r"(?<!ground )(?<!ground-)\btruths?\b(?! table)": "ground truth",
    r"\bthe largest logit\b": "argmax",
    r"\b(is|are|was|were|be) told\b": "reported",
}
# Words that code needs: arguments of other libraries, and this list itself.
ALLOWED = re.compile(r"withStroke|truth=|`truth`|truth,|truth:|\(truth\b")


def python_texts(path):
    """Yield (line number, text) of the comments, strings and function names of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def notebook_texts(path):
    """Yield (cell number, text) of a notebook."""
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        yield number, "".join(cell["source"])


def forbidden_words(path):
    """Return a list of "file:line: word -> better" for one file."""
    if path.suffix == ".py":
        texts = python_texts(path)
    elif path.suffix == ".ipynb":
        texts = notebook_texts(path)
    else:
        texts = enumerate(path.read_text("utf-8").splitlines(), 1)
    found = []
    for line, text in texts:
        # a sentence may continue on the next line of a docstring
        joined = re.sub(r"\s+", " ", ALLOWED.sub("", text))
        for pattern, better in FORBIDDEN.items():
            for match in re.finditer(pattern, joined, re.IGNORECASE):
                found.append(f"{path.relative_to(ROOT)}:{line}: {match[0]!r}, write {better!r}")
    return found


PLACES = [
    "tfseg",
    "tests",
    "notebooks",
    "conftest.py",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]


@pytest.mark.parametrize("place", PLACES)
def test_language(place):
    top = ROOT / place
    suffixes = (".py", ".ipynb", ".md")
    files = [top] if top.is_file() else [p for p in top.rglob("*") if p.suffix in suffixes]
    files = [p for p in files if p != Path(__file__) and ".ipynb_checkpoints" not in p.parts]
    assert files
    problems = [problem for path in sorted(files) for problem in forbidden_words(path)]
    assert not problems, f"{len(problems)} places:\n" + "\n".join(problems)


def test_a_forbidden_word_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "example.py"
    path.write_text(
        'def test_one_colour():\n    """Give one weight a\n    class."""  # 3 weights came\n'
    )
    words = [problem.split("'")[1] for problem in forbidden_words(path)]
    assert words == ["colour", "came"]
