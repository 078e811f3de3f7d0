"""What all commands have in common."""

import sys
import types

import pytest

from tfseg import cli


@pytest.mark.parametrize(
    "command", ["demo", "doctor", "train", "evaluate", "tune", "predict", "export"]
)
def test_help_has_an_example(tfseg, command):
    code, printed = tfseg(command, "--help")
    assert code == 0
    assert f"tfseg {command}" in printed.split("Example", 1)[1]


@pytest.mark.parametrize("command", [("predict", "x.png"), ("evaluate",), ("export",), ("tune",)])
def test_commands_without_a_run_say_so(tfseg, tmp_path, command):
    code, printed = tfseg(*command, "--run", tmp_path / "none")
    assert code == 1
    assert "has no run. Start one with `tfseg train" in printed


class ResourceExhaustedError(Exception):
    """Has the name of TensorFlow's error."""


def test_errors_end_in_one_message_and_bugs_in_a_traceback(monkeypatch, capsys):
    def fail(error):
        def app():
            raise error

        monkeypatch.setattr(cli, "app", app)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    assert fail(OSError("no [such] file")) == (1, "Error: no [such] file\n")
    code, printed = fail(ResourceExhaustedError("OOM when allocating"))
    assert (code, "Out of memory. Lower --batch-size" in printed) == (1, True)
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


def test_tensorflow_is_imported_without_its_messages(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    with cli.quiet_start():
        import os

        os.write(2, b"noise")
    os.write(2, b"message")
    assert capfd.readouterr().err == "message"
