"""The log analysis, killed while logs are written, rotated and posted: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.unit.written_logs import (
    PROGRAM,
    SOURCE,
    as_time,
    expected_alerts,
    free_port,
    per,
    queued,
    queued_lines,
    raised,
    stored,
    writing,
    written,
)
from thalweg.demo import logs
from thalweg.demo.logs_alerts import Alerts
from thalweg.state.manifests import epochs

LINES = 6_000
KILLS = (("collect", 700), ("analyse", 1_500), ("collect", 2_600), ("analyse", 3_600))
"""Which program is killed, after how many lines in the queue."""


class Program:
    """One of the two programs, in a process that can be killed and started again.

    Args:
        folder: Where it works.
        name: ``collect`` or ``analyse``.
        options: What it is started with.
    """

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self._folder = folder
        self._command = [sys.executable, "-m", "thalweg", "run", f"{PROGRAM}:{name}", *options]
        self._errors = folder / f"{name}.txt"
        app = {"collect": "logs-collector", "analyse": "logs"}[name]
        self._state = folder / ".thalweg" / "apps" / app
        self.start()

    def start(self) -> None:
        self._before = epochs(self._state)
        with open(self._errors, "ab") as errors:
            self._process = subprocess.Popen(
                [*self._command, "--checkpoint", "100ms", "--quiet"],
                cwd=self._folder,
                env=os.environ | SOURCE,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def has_saved(self) -> bool:
        """Whether it was far enough, since it was started, to save its state."""
        return epochs(self._state) != self._before

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL, self._errors.read_text()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(60) == 0, self._errors.read_text()


def until(holds: Callable[[], bool], *programs: Program) -> None:
    """Wait for something to hold, while the programs are alive."""
    limit = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < limit
        assert all(program.alive() for program in programs)
        time.sleep(0.02)


def rest(folder: Path, name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let a program do what is left to do; return the rows of its views, and its report."""
    command = [sys.executable, "-m", "thalweg", "run", f"{PROGRAM}:{name}", "--until", "caught-up", "--json"]
    done = subprocess.run(command, cwd=folder, env=os.environ | SOURCE, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [row for row in found if "view" in row], found[-1]["report"]


@pytest.mark.timeout(240)
def test_both_programs_are_killed_twice_while_logs_are_written(tmp_path: Path, rng: random.Random) -> None:
    logs.create_queue(tmp_path)
    log, port = tmp_path / ".thalweg" / "log", free_port()
    programs = {
        "collect": Program(tmp_path, "collect", "--serve", f"127.0.0.1:{port}"),
        "analyse": Program(tmp_path, "analyse"),
    }
    url = f"http://127.0.0.1:{port}/topics/logs/events"
    times = ("--start", "2026-03-01T10:00:00", "--step-ms", "4")
    seed = ("--seed", str(rng.randrange(2**32)))
    made = ("--lines", str(LINES), "--rate", "500", "--rotate", "150", "--url", url, *times, *seed)
    writer = writing(tmp_path / "logs", *made)
    try:
        for name, least in KILLS:
            until(lambda least=least: queued_lines(log) >= least, *programs.values())  # type: ignore[misc]  # bound now
            time.sleep(rng.random() * 0.3)
            programs[name].kill()
            time.sleep(rng.random() * 0.5)
            programs[name].start()
        totals = written(writer)
        until(lambda: queued_lines(log) >= LINES, *programs.values())
        for program in programs.values():
            until(program.has_saved, program)
            program.stop()
    finally:
        if writer.poll() is None:
            writer.kill()
            writer.wait()
        for program in programs.values():
            if program.alive():
                program.kill()

    _, collected = rest(tmp_path, "collect")
    rows, analysed = rest(tmp_path, "analyse")
    assert totals["lines"] == LINES and totals["rotations"] > 15 and totals["posted"] > 1_000
    lines = queued(log)
    assert len(lines) == LINES
    assert len({line["time"] for line in lines}) == LINES  # each line has a time of its own
    assert sum(line["id"] is not None for line in lines) == totals["posted"]
    assert collected["ledger"][0]["rejected"] == totals["odd"]
    assert (analysed["late_rows"], analysed["error_rows"]) == (0, 0)

    def counted(view: str, *keys: str) -> dict[tuple[Any, ...], int]:
        found = [row for row in rows if row["view"] == view]
        by = {tuple(as_time(row[k]) if k == "window_start" else row[k] for k in keys): row["lines"] for row in found}
        assert len(by) == len(found)
        return by

    assert counted("totals", "level", "rule") == per(totals, "level", "rule")
    assert counted("counts", "level", "rule", "window_start") == per(totals, "level", "rule", "window")
    assert stored(tmp_path / "stored") == per(totals, "level", "rule", "window")
    alerts = expected_alerts(totals)
    assert sorted(counted("alerts", "service", "rule", "window_start")) == alerts
    assert raised(tmp_path / "alerts.ndjson") == alerts != []


@pytest.mark.parametrize("forgets", [False, True], ids=["as it is", "planted: alerts that forget"])
def test_alerts_raised_before_a_crash_are_not_raised_again(
    forgets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine dies between the call and the checkpoint, and calls again with the same rows."""
    if forgets:
        monkeypatch.setattr(Alerts, "_read", lambda self: {})
    logs.create_queue(tmp_path)
    with tw.Log(tmp_path / ".thalweg" / "log") as log:
        row = {"time": as_time("2026-03-01T10:00:00Z"), "service": "pay", "level": "ERROR", "message": "timeout"}
        log.topic("logs").append([row] * 30)

    class Killed(BaseException):
        """Stands for the end of the process."""

    class Dies(Alerts):
        def __call__(self, rows: pa.Table) -> None:
            super().__call__(rows)
            if rows.num_rows:
                raise Killed

    path = tmp_path / "alerts.ndjson"
    with pytest.raises(Killed):
        logs.analysis(tmp_path, Dies(path)).run(data=tmp_path / "state", until="caught-up", quiet=True)
    assert len(raised(path)) == 1
    report = logs.analysis(tmp_path, Alerts(path)).run(data=tmp_path / "state", until="caught-up", quiet=True)
    assert report.view("alerts").num_rows == 1
    assert len(raised(path)) == (2 if forgets else 1)
