"""All text in code and guides is plain American English with the field's terms."""

import io
import itertools
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
# Python 3.12 and later split an f-string into its start, its texts and expressions, and its end.
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
SKIPPED = {
    tokenize.NL,
    getattr(tokenize, "FSTRING_START", tokenize.NL),
    getattr(tokenize, "FSTRING_END", tokenize.NL),
}
DELIMITERS = re.compile(r"""^#+|^[bfru]*["']+|["']+$""", re.IGNORECASE)


def python_texts(path):
    """Yield (line number, text) of the comments, strings and test names of a Python file.

    Adjacent strings are one text, and so are comments on consecutive lines.
    """
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    tokens = [token for token in tokens if token.type not in SKIPPED]
    for kind, group in itertools.groupby(tokens, text_kind):
        group = list(group)
        text = "".join(DELIMITERS.sub("", token.string) for token in group)
        if kind == "test name":
            yield group[0].start[0], text.replace("_", " ")
        elif kind is not None:
            yield group[0].start[0], text


def text_kind(token):
    """Return "string", "comment" or "test name", or None for other code."""
    if token.type in STRINGS:
        return "string"
    if token.type == tokenize.COMMENT:
        return "comment"
    is_test_name = token.type == tokenize.NAME and token.string.startswith("test_")
    return "test name" if is_test_name else None


def notebook_texts(path):
    """Yield (cell number, text) of a notebook."""
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        yield number, "".join(cell["source"])


def paragraphs(path):
    """Yield (line number, text) of the paragraphs of a text file."""
    line = 1
    for paragraph in path.read_text("utf-8").split("\n\n"):
        yield line, paragraph
        line += paragraph.count("\n") + 2


TEXTS = {".py": python_texts, ".ipynb": notebook_texts}


def forbidden_words(path):
    """Return a list of "file:line: word, write better" for one file.

    The line is where the paragraph, the comment or the string starts.
    """
    found = []
    for line, text in TEXTS.get(path.suffix, paragraphs)(path):
        # a sentence may continue on the next line
        joined = re.sub(r"\\n|\s+", " ", text)
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
    "Makefile",
    "setup.cfg",
    "saved_models/README.md",
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


EXAMPLE = '''
def test_one_colour():
    """Give one weight a
    class."""  # 3 weights came
    # The loss is told
    # of by the callback.
    raise ValueError(f"Expected a pic" "ture: it is no " f"file {1}.")
'''


def test_forbidden_words_are_found_across_lines_and_strings(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "example.py"
    path.write_text(EXAMPLE)
    found = [problem.split(", write")[0] for problem in forbidden_words(path)]
    assert found == [
        "example.py:2: 'colour'",
        "example.py:4: 'came'",
        "example.py:5: 'told of'",
        "example.py:5: 'is told'",
        "example.py:7: 'picture'",
        "example.py:7: 'is no file'",
    ]
