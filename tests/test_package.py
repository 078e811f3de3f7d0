import subprocess
import sys

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


@pytest.mark.parametrize(
    "schedule",
    ["cosine", *(pytest.param(name, marks=pytest.mark.slow) for name in ("poly", "one_cycle"))],
)
def test_a_model_as_training_leaves_it_loads_in_a_process_that_has_named_no_room(
    schedule, tmp_path
):
    model = tfseg.models.unet(2, filters=(4, 8))
    tfseg.training.compile_for(model, schedule=schedule)
    model.save(tmp_path / "m.keras")
    script = f"import keras, tfseg; print(keras.saving.load_model({str(tmp_path / 'm.keras')!r}).loss.name)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (
        loaded_after("import keras, tfseg", "tfseg.data", "tfseg.training") == "[]"
    )  # which take seconds


def test_the_command_starts_without_tensorflow():
    assert loaded_after("import tfseg.cli", "tensorflow", "keras", "matplotlib") == "[]"


def test_rooms_are_attributes():
    assert "models" in dir(tfseg)
    assert tfseg.viz.overlay
    with pytest.raises(AttributeError, match="no attribute 'utils'. It has: classical, data"):
        _ = tfseg.utils
