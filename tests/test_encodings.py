"""Text files are UTF-8 on every machine, and any name can be printed on any terminal."""

import ast
import io
import sys
from pathlib import Path

import pytest

import tfseg
from tfseg import cli
from tfseg.cli.console import say

PACKAGE = Path(tfseg.__file__).parent


def calls_without_encoding(code):
    """Yield the line numbers of calls that open a text file in the encoding of the machine."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        method, function = getattr(node.func, "attr", None), getattr(node.func, "id", None)
        if method not in ("open", "read_text", "write_text", "fdopen") and function != "open":
            continue
        call = ast.unparse(node)
        is_text = "'rb'" not in call and "'wb'" not in call and not call.startswith("Image.open")
        if is_text and "utf-8" not in call:
            yield node.lineno


def test_every_text_file_is_opened_with_an_encoding():
    assert list(calls_without_encoding("path.open('w')\npath.open('rb')\nopen(path)")) == [1, 3]
    code = {path: path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    found = {str(path): list(calls_without_encoding(text)) for path, text in code.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_that_lacks_a_character_does_not_end_a_command(monkeypatch, stream):
    terminal = io.TextIOWrapper(io.BytesIO(), "cp1252", write_through=True)
    monkeypatch.setattr(sys, stream, terminal)

    def app():
        say("leaf, 猫")
        raise ValueError("no 猫")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    expected = {"stdout": rb"leaf, \u732b", "stderr": rb"no \u732b"}
    assert expected[stream] in terminal.buffer.getvalue()
