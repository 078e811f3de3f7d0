import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import tfseg


def loaded_after(statement, *modules):
    script = f"import sys; {statement}; print([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_tfseg_loads_nothing_heavy():
    heavy = ("tensorflow", "keras", "cv2", "matplotlib", "nibabel", "rich", "typer", "PIL")
    assert loaded_after("import tfseg", *heavy) == "[]"


def test_a_trained_model_loads_in_a_process_that_only_imports_tfseg(tmp_path):
    model = tfseg.models.tiny_unet(2, filters=4)
    tfseg.training.compile_for(model, steps=10, schedule="cosine", average=0.9)
    file = tmp_path / "m.keras"
    model.save(file)
    # one process for both: which packages `import tfseg` loads, and whether a model loads
    script = f"""
import keras, tfseg, sys
print([name for name in ("tfseg.data", "tfseg.training") if name in sys.modules])
print(keras.saving.load_model({str(file)!r}).loss.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # these two would take seconds
    assert done.stdout.split("\n")[0] == "[]"


def test_the_command_starts_without_tensorflow():
    assert loaded_after("import tfseg.cli", "tensorflow", "keras", "matplotlib") == "[]"


def test_packages_are_attributes():
    assert "models" in dir(tfseg)
    assert tfseg.viz.overlay
    with pytest.raises(AttributeError, match="no attribute 'utils'. It has: classical, data"):
        _ = tfseg.utils


def test_a_file_name_means_one_thing():
    files = Path(tfseg.__file__).parent.rglob("*.py")
    # A command is beside the function that it calls, a recipe beside its dataset.
    shared = {"__init__.py", "__main__.py", "base.py"}
    names = Counter(
        file.name
        for file in files
        if file.parent.name not in ("cli", "recipes") and file.name not in shared
    )
    assert [name for name, count in names.items() if count > 1] == []
