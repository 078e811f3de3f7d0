"""The command as the tests of this folder run it."""

import re
import sys

import pytest

from tfseg import cli


@pytest.fixture
def tfseg(monkeypatch, capsys):
    """Run the command; return (exit code, what it printed on both channels)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tfseg", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return code, re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", printed.out + printed.err))

    monkeypatch.setenv("COLUMNS", "200")
    return run
