"""What is told of an error, and with which exit code."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thalweg.cli import main
from thalweg.cli.failures import FAILED, WRONG, failure_of
from thalweg.core.errors import LedgerError, PlanError, SinkError, SourceError, StateError, user_place

GOOD = """
import thalweg as tw
from thalweg.connect import call, memory, view

app = tw.App("good")
rows = app.read(memory([{"n": 1}]))
rows.write(view("rows"))
"""

STOPPING = """
import signal
import thalweg as tw
from thalweg.connect import files, memory, view

class Row:
    n: int

def stop(row) -> Row:
    signal.raise_signal(signal.SIGINT)
    return row

app = tw.App("stopping")
rows = app.read(memory([{"n": 1}])).map(stop)
rows.write(view("rows"))
rows.write(files("out", format="ndjson"))
"""

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """Run a command on a program; give its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def run(program: str, *tokens: str) -> tuple[int, str, str]:
        Path("program.py").write_text(program, encoding="utf-8")
        code = main([tokens[0], "program.py", *tokens[1:]])
        return (code, *capsys.readouterr())

    yield run
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_mistake_in_the_program_is_told_with_its_line_and_no_trace(told: Told) -> None:
    code, out, err = told(GOOD + '\nrows.filter(tw.col("m") > 1)\n', "batch")
    assert (code, out) == (WRONG, "")
    assert err == 'program.py:9: there is no column "m"; there are: n\n    rows.filter(tw.col("m") > 1)\n'


def test_for_machines_a_mistake_is_an_object(told: Told, tmp_path: Path) -> None:
    code, out, err = told(GOOD + '\nrows.filter(tw.col("m") > 1)\n', "batch", "--json")
    assert (code, out) == (WRONG, "")
    assert json.loads(err) == {
        "error": "PlanError",
        "message": 'there is no column "m"; there are: n',
        "file": str(tmp_path / "program.py"),
        "line": 9,
        "traceback": None,
        "exit_code": 2,
    }


def test_what_the_program_raises_is_told_with_its_own_frames_only(told: Told) -> None:
    program = 'import json\ndef settings():\n    return json.loads("{")\nsettings()\n'
    code, _, err = told(program, "plan")
    assert code == WRONG
    assert err.startswith("program.py raised JSONDecodeError while it was loaded:\n")
    assert 'program.py", line 4, in <module>' in err
    assert 'program.py", line 3, in settings' in err
    assert err.count("File ") == 2
    assert err.rstrip().endswith(
        "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


def test_causes_and_groups_have_their_own_frames_only(told: Told) -> None:
    program = (
        "import json\ntry:\n    json.loads('{')\nexcept ValueError as error:\n"
        "    raise ExceptionGroup('several', [KeyError('k')]) from error\n"
    )
    _, _, err = told(program, "plan")
    assert err.count("File ") == 2
    assert "KeyError: 'k'" in err


def test_a_syntax_error_shows_the_place(told: Told) -> None:
    code, _, err = told("x = (1\n", "plan")
    assert code == WRONG
    assert "x = (1" in err
    assert "'(' was never closed" in err


def test_a_function_that_raises_in_a_sink_fails_the_run_with_its_line(told: Told) -> None:
    program = GOOD + "\ndef boom(table):\n    raise KeyError('page')\n\nrows.write(call(boom))\n"
    code, _, err = told(program, "batch")
    assert code == FAILED
    assert err.startswith("program.py:10: the function boom raised KeyError")
    assert "Traceback" not in err


def test_an_error_that_nobody_expected_has_its_whole_trace(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("thalweg.app.App.batch", broken)
    code, _, err = told(GOOD, "batch")
    assert code == FAILED
    assert err.startswith("the run failed with an error that Thalweg did not expect: RuntimeError: a fault\nTraceback")
    assert "RuntimeError: a fault" in err


def test_a_second_stop_ends_at_once(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("thalweg.app.App.run", stopped)
    code, _, err = told(GOOD, "run")
    assert code == FAILED
    assert err.startswith("thalweg: stopped at once")


def test_a_stopped_batch_writes_nothing(told: Told) -> None:
    code, out, err = told(STOPPING, "batch")
    assert (code, out) == (FAILED, "")
    assert err.startswith("thalweg: the batch was stopped before its end")
    assert not Path("out").exists() or not list(Path("out").iterdir())


def test_signals_have_their_old_meaning_after_the_command(told: Told) -> None:
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    told(GOOD, "plan")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceError("gone"), FAILED),
        (SinkError("full"), FAILED),
        (StateError("locked"), FAILED),
        (LedgerError("lost"), FAILED),
        (PlanError("wrong"), WRONG),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    failure = failure_of(error, user_place())
    assert failure.code == code
    assert failure.text() == f"thalweg: {error.args[0]}"
    assert failure.kind == type(error).__name__


def test_an_argument_of_the_python_call_is_named_as_on_the_command_line() -> None:
    assert failure_of(StateError("name another directory with data=")).message.endswith("with --data")
