"""Logs that are written, rotated and truncated while they are followed: every line once, in order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import thalweg as tw
from tests.unit.tail_follower import Follower
from thalweg.connect import call, tail

WRITER = """
import logging, logging.handlers, sys, time
path, lines, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handler = logging.handlers.RotatingFileHandler(path, maxBytes=size, backupCount=400)
log = logging.getLogger("app")
log.addHandler(handler)
log.setLevel(logging.INFO)
for number in range(lines):
    log.info("line %d", number)
    if number % 200 == 0:
        time.sleep(0.002)
"""


class Log(RuleBasedStateMachine):
    """A writer and a follower of one log, step by step."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.count = 0
        self.folder = Path(self.root) / str(next(NUMBERS))  # type: ignore[attr-defined]
        self.folder.mkdir()
        self.path = self.folder / "app.log"
        self.written: list[str] = []
        self.half = ""
        # The pattern names the rotated files too: those of before the first look count.
        self.follower = Follower(f"{self.path}*", partition="app.log")

    def _append(self, text: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text)

    @rule(lines=st.integers(1, 5), half=st.booleans())
    def write(self, lines: int, half: bool) -> None:
        text = ""
        for _ in range(lines):
            line = f"line {self.count} {'x' * (self.count % 7 * 50)}"
            self.count += 1
            text += (line[len(self.half) :] if self.half else line) + "\n"
            self.written.append(line)
            self.half = ""
        if half:
            self.half = f"line {self.count} "
            text += self.half
        self._append(text)

    @precondition(lambda self: not self.half)
    @rule()
    def rename(self) -> None:
        self._shift()
        if self.path.exists():
            self.path.rename(self.path.with_name("app.log.1"))

    @precondition(lambda self: not self.half)
    @rule()
    def copy_and_truncate(self) -> None:
        self._shift()
        if self.path.exists():
            self.path.with_name("app.log.1").write_bytes(self.path.read_bytes())
            os.truncate(self.path, 0)

    def _shift(self) -> None:
        numbers = sorted((int(p.suffix[1:]) for p in self.folder.glob("app.log.*")), reverse=True)
        for number in numbers:
            (self.folder / f"app.log.{number}").rename(self.folder / f"app.log.{number + 1}")

    @rule(max_rows=st.integers(1, 4))
    def read(self, max_rows: int) -> None:
        self.follower.step(max_rows)

    @rule()
    def catch_up(self) -> None:
        self.follower.catch_up()
        assert self.follower.rows == self.written

    @rule()
    def restart(self) -> None:
        self.follower.start()

    @invariant()
    def each_line_once_and_in_order(self) -> None:
        if hasattr(self, "follower"):
            assert self.follower.rows == self.written[: len(self.follower.rows)]
            assert self.follower.rejected == []

    def teardown(self) -> None:
        if hasattr(self, "follower"):
            self.follower.start()
            self.follower.catch_up()
            self.follower.stop()
            assert self.follower.rows == self.written
            assert self.follower.rejected == []


NUMBERS = iter(range(10**9))


def test_every_line_is_given_once_and_in_order(tmp_path: Path) -> None:
    Log.root = str(tmp_path)  # type: ignore[attr-defined]
    examples = max(settings.default.max_examples // 2, 1) if settings.default is not None else 100
    case = Log.TestCase
    case.settings = settings(max_examples=examples, stateful_step_count=30)
    case().runTest()


def lines_of(table: Any) -> list[str]:
    return list(table.column("line").to_pylist())


@pytest.mark.parametrize("stops", [0, 3])
def test_a_rotating_writer_in_another_process(tmp_path: Path, stops: int) -> None:
    """Python's own rotating handler, small files, and runs that are stopped and go on from their state."""
    count, path = 12_000, tmp_path / "app.log"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(count), "4000"])
    came: list[str] = []
    try:
        for turn in range(stops + 1):
            app = tw.App("lines")
            app.read(tail(f"{path}*")).write(call(lambda table: came.extend(lines_of(table))))
            ended = threading.Event()
            stopper = threading.Thread(
                target=stop_when, args=(app, came, count * (turn + 1) // (stops + 1), ended), daemon=True
            )
            stopper.start()
            report = app.run(data=tmp_path / "state", quiet=True)
            ended.set()
            stopper.join()
            assert report.errors.num_rows == 0
    finally:
        writer.wait(60)
    assert writer.returncode == 0
    assert came == [f"line {number}" for number in range(count)]


def stop_when(app: tw.App, came: list[str], enough: int, ended: threading.Event) -> None:
    deadline = time.monotonic() + 60
    while len(came) < enough and time.monotonic() < deadline:
        time.sleep(0.01)
    while not ended.wait(0.01):  # there may be no run to stop yet
        app.stop()
