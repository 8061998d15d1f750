"""A run that fails again and again at the same checkpoint is noted, and refused; one that gets past is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import FunctionError, StateError
from thalweg.connect import view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded import crash_loop
from thalweg.engine.embedded.crash_loop import CAREFUL_ROWS, MOST_CRASHES, CrashLoop, is_crash
from thalweg.state.crashes import Crashes, in_flight, note_in_flight
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

SCHEMA = pa.schema([("v", pa.int64()), ("ts", TIMESTAMP)])
ROW = pa.schema([("v", pa.int64()), ("folder", pa.string())])


def numbers(rows: int, shown: int) -> Scripted:
    columns = [pa.array(range(rows), pa.int64()), pa.array([n * 1_000_000 for n in range(rows)], TIMESTAMP)]
    source = Scripted("events", SCHEMA, {"0": [Piece(pa.record_batch(columns, schema=SCHEMA), "events:{}".format)]})
    source.show({"0": shown})
    return source


def end_the_run(row: dict[str, Any]) -> dict[str, Any]:
    """Do what a library does that thinks it is the program."""
    if (Path(row["folder"]) / f"poison-{row['v']}").exists():
        sys.exit(3)
    return row


def app_of(source: Scripted, folder: Path, more: int = 0) -> tw.App:
    app = tw.App("loops")
    rows = app.read(source, time="ts").select("v", folder=tw.lit(str(folder)))
    rows.map(end_the_run, schema=ROW).select(v=tw.col("v") + more).write(view("rows"))
    return app


def run(folder: Path, shown: int = 10, rows: int = 10, more: int = 0, **options: Any) -> tw.Report:
    app = app_of(numbers(rows, shown), folder, more)
    return app.run(**{"data": folder / "data", "until": "caught-up", "quiet": True, "checkpoint": "1h"} | options)


def poison(folder: Path, value: int) -> Path:
    path = folder / f"poison-{value}"
    path.touch()
    return path


def fails(folder: Path, times: int, **given: Any) -> None:
    for _ in range(times):
        with pytest.raises(SystemExit):
            run(folder, **given)


def noted(folder: Path) -> list[dict[str, Any]]:
    path = folder / "data" / "crashes.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["body"]["crashes"] if path.exists() else []
    return found


def refused_after_five(folder: Path) -> None:
    """Fail five times at one place, then be refused; then mend the row and go on."""
    run(folder, shown=3)
    row = poison(folder, 5)
    fails(folder, MOST_CRASHES)
    for _ in range(2):
        with pytest.raises(
            StateError, match=r"the run failed 5 times in a row at checkpoint 1 and got no further"
        ) as e:
            run(folder)
    assert "The last time: SystemExit: 3, while it processed events[0] from 3 to 10." in str(e.value)
    assert "ignore_crash_loop=True (--ignore-crash-loop)" in str(e.value)
    crashes = noted(folder)
    assert [crash["epoch"] for crash in crashes] == [1] * MOST_CRASHES
    assert all("in end_the_run" in crash["trace"] for crash in crashes)
    row.unlink()
    report = run(folder, ignore_crash_loop=True)
    assert report.view("rows")["v"].to_pylist() == list(range(10))
    assert noted(folder) == []


def gets_past(folder: Path) -> None:
    """Fail nine times in a row, but no more than three times at one place."""
    for place in (2, 5, 8):
        row = poison(folder, place)
        fails(folder, 3, checkpoint="0s", max_step_rows=1)
        row.unlink()


def test_the_sixth_start_after_five_failures_at_one_place_is_refused(tmp_path: Path) -> None:
    refused_after_five(tmp_path)


def test_failures_before_a_checkpoint_that_advanced_do_not_count(tmp_path: Path) -> None:
    gets_past(tmp_path)


def test_planted_a_counter_that_is_never_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashLoop, "ended", lambda self: None)
    monkeypatch.setattr(CrashLoop, "advanced", lambda self, epoch: None)
    monkeypatch.setattr(Crashes, "at", lambda self, epoch: list(self.crashes))
    with pytest.raises(StateError, match="failed 5 times in a row"):
        gets_past(tmp_path)


def test_planted_a_failure_that_is_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_loop, "is_crash", lambda error: False)
    with pytest.raises((AssertionError, SystemExit)):
        refused_after_five(tmp_path)


def test_a_changed_program_begins_anew(tmp_path: Path) -> None:
    poison(tmp_path, 5)
    fails(tmp_path, MOST_CRASHES)
    with pytest.raises(StateError, match="at checkpoint 0"):
        run(tmp_path)
    fails(tmp_path, 1, more=1)


def test_a_run_that_is_stopped_or_finds_something_missing_outside_is_no_failure() -> None:
    outside = (tw.SourceError("gone"), tw.SinkError("refused"), StateError("other"), tw.StoppedError("stopped"))
    passing = (ConnectionRefusedError(), KeyboardInterrupt())
    assert not any(is_crash(error) for error in (*outside, *passing))
    assert all(is_crash(error) for error in (ValueError(), FunctionError("x"), MemoryError(), SystemExit(1)))


def test_after_a_failure_steps_are_small_until_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 3 * CAREFUL_ROWS
    row = poison(tmp_path, rows - 1)
    fails(tmp_path, 1, rows=rows, shown=rows)
    assert noted(tmp_path)[0]["rows"] == {"events[0]": f"from the beginning to {rows}"}
    fails(tmp_path, 1, rows=rows, shown=rows)
    assert noted(tmp_path)[1]["rows"] == {"events[0]": f"from {2 * CAREFUL_ROWS} to {rows}"}
    row.unlink()
    report = run(tmp_path, rows=rows, shown=rows)
    assert report.view("rows").num_rows == rows


def test_a_row_that_kills_the_process_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.ndjson").write_text("".join(f'{{"v": {n}}}\n' for n in range(4_000)))
    (tmp_path / "dies.py").write_text(
        "import os\n"
        "import thalweg as tw\n"
        "from thalweg.connect import files, view\n"
        "def die(row: dict) -> dict:\n"
        '    os._exit(9) if row["v"] == 2500 else None\n'
        "    return row\n"
        'app = tw.App("dies")\n'
        'app.read(files("rows.ndjson")).map(die, schema=app._reads[0].schema.arrow).write(view("rows"))\n'
    )
    command = [sys.executable, "-m", "thalweg", "run", "dies.py", "--until", "end", "--quiet", "--checkpoint", "1h"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, env=environment).returncode == 9
    # The first death says nothing of itself, but it makes the next run careful.
    assert dict(in_flight(tmp_path / ".thalweg" / "apps" / "dies")) == {
        "rows[files]": "from file rows.ndjson, line 1, skip 2048 to file rows.ndjson, line 1, skip 3072"
    }


def test_a_process_that_dies_within_a_step_again_and_again_is_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(tmp_path, 5)
    with monkeypatch.context() as patch:
        patch.setattr(CrashLoop, "failed", lambda self, error, intakes: None)  # who is dead notes nothing
        fails(tmp_path, MOST_CRASHES + 1)
    with pytest.raises(StateError, match=r"failed 5 times in a row .* the process died within a step: .* from the beg"):
        run(tmp_path)


def test_a_note_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"in-flight\.json cannot be written"):
        note_in_flight(tmp_path / "gone", {})


def test_a_process_that_is_killed_between_two_steps_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CrashLoop, "ended", lambda self: None)
        for _ in range(MOST_CRASHES + 3):
            run(tmp_path, shown=0)
    assert run(tmp_path).view("rows").num_rows == 10
