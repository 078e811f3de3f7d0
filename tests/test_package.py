import subprocess
import sys

import pytest

import tfseg


def loaded_after(statement, *modules):
    script = f"import sys; {statement}; print([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_tfseg_loads_nothing_heavy():
    heavy = ("tensorflow", "keras", "cv2", "matplotlib", "nibabel", "rich", "typer", "PIL")
    assert loaded_after("import tfseg", *heavy) == "[]"


def test_the_command_starts_without_tensorflow():
    assert loaded_after("import tfseg.cli", "tensorflow", "keras", "matplotlib") == "[]"


def test_rooms_are_attributes():
    assert "models" in dir(tfseg)
    assert tfseg.viz.overlay
    with pytest.raises(AttributeError, match="no attribute 'utils'. It has: classical, data"):
        _ = tfseg.utils
