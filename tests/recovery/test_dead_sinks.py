"""R1, R5: sinks in other processes that hang, refuse, and lose what was said; memory, disk, and every row once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.recovery.far_server import BadLine, Far, FarServer
from thalweg.connect import _sqlite, call, sqlite
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import Progress
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

PATIENCE_S = 60.0
BACK_S = 30.0
OUTBOX_BYTES = 4 * 2**20
ROWS = 1_500_000
MIB = 2**20

PROGRAM = """
import sys
import thalweg as tw
from tests.recovery.far_server import Far
from thalweg.connect import nexmark
from thalweg.engine.embedded import posting

posting.OUTBOX_BYTES = {outbox}
app = tw.App("far")
bids = app.read(nexmark("bids", events={events}))
bids.select("auction", "price").write(Far({port}))
"""


def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < patience_s, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - begun


class Running:
    """A program that runs in a process of its own, and its last status."""

    def __init__(self, program: Path, folder: Path) -> None:
        command = [sys.executable, "-m", "thalweg", "run", str(program), "--json", "--data", str(folder / "data")]
        # Small allocations go back to the machine, so that what is measured is what is held.
        environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
        self.process = subprocess.Popen(
            [*command, "--checkpoint", "100ms", "--memory", "256MiB"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.status: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.status = json.loads(line).get("status", self.status)

    def anonymous_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1]) * 1024

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._thread.join()
        return code


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FarServer]:
    server = FarServer(tmp_path / "far")
    server.start()
    yield server
    server.kill()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is read from /proc")
def test_a_sink_that_takes_nothing_pauses_the_sources_and_all_goes_on_when_it_does(
    tmp_path: Path, torture: bool
) -> None:
    dead_s = 600 if torture else 30
    server = FarServer(tmp_path / "far")
    program = tmp_path / "far.py"
    events = ROWS * 50 // 46
    program.write_text(PROGRAM.format(outbox=OUTBOX_BYTES, events=events, port=server.port))
    server.start(hangs=True)
    assert server.process is not None
    running = Running(program, tmp_path)
    try:
        until(lambda: bool(running.status.get("paused")))
        read, epoch = running.status["rows_in"], running.status["epoch"]
        assert read < ROWS
        most, held = running.anonymous_bytes(), running.status["rows_in"]
        begun = time.monotonic()
        while time.monotonic() - begun < dead_s:
            time.sleep(0.25)
            most = max(most, running.anonymous_bytes())
        outbox = sum(path.stat().st_size for path in (tmp_path / "data" / "outbox").iterdir())
        status = running.status
        assert status["paused"]
        assert status["rows_in"] - held <= 2 * 262_144, "nothing more is read but what a step had begun"
        assert outbox <= OUTBOX_BYTES + 64 * MIB
        assert most < 400 * MIB
        assert any("takes nothing" in each["reason"] for each in status["outages"])
        assert status["waiting_bytes"] >= OUTBOX_BYTES
        os.kill(server.process.pid, signal.SIGCONT)
        back_s = until(
            lambda: running.status["rows_in"] > status["rows_in"] or running.process.poll() is not None, BACK_S
        )
        assert running.end() == 0
    finally:
        running.kill()
        server.kill()
    prices = server.values("price")
    assert len(prices) == running.status["rows_in"] == expected_rows(events)
    print(f"paused at {read:,} rows, epoch {epoch}; most memory {most / MIB:.0f} MiB; back in {back_s:.2f} s")


def expected_rows(events: int) -> int:
    return sum(1 for n in range(events) if n % 50 >= 4)


# ---------------------------------------------------------------------- in this process

SCHEMA = pa.schema([("v", pa.int64()), ("ts", TIMESTAMP)])


def numbers(rows: int) -> Scripted:
    columns = [pa.array(range(rows), pa.int64()), pa.array([n * 1_000_000 for n in range(rows)], TIMESTAMP)]
    return Scripted("events", SCHEMA, {"0": [Piece(pa.record_batch(columns, schema=SCHEMA), "events:{}".format)]})


def started(app: tw.App, **options: Any) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def main() -> None:
        try:
            app.run(quiet=True, **options)
        except BaseException as error:  # looked at by the test
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    until(lambda: app._current is not None or not thread.is_alive())
    return thread, errors


def progress(app: tw.App) -> Progress:
    assert app._current is not None
    return app._current.progress()


def test_over_a_line_that_is_cut_again_and_again_each_row_arrives_once(
    tmp_path: Path, server: FarServer, rng: random.Random, torture: bool
) -> None:
    cuts = 200 if torture else 3
    batches = 7 * cuts
    line = BadLine(server.port, rng, cuts)
    source = numbers(batches * 100)
    source.show({"0": 0})
    app = tw.App("cut")
    app.read(source, time="ts").write(Far(line.port, timeout_s=5))
    thread, errors = started(app, data=tmp_path / "data", checkpoint="1ms")
    try:
        for batch in range(1, batches + 1):
            source.show({"0": batch * 100})
            until(lambda rows=batch * 100: server.rows() == rows)  # type: ignore[misc]  # binds rows
    finally:
        app.stop()
        thread.join(PATIENCE_S)
        line.close()
    assert (thread.is_alive(), errors, line.cuts) == (False, [], 0)
    assert server.values("v") == list(range(batches * 100))


def test_a_server_that_is_gone_is_waited_for_and_has_each_row_once(tmp_path: Path, server: FarServer) -> None:
    source = numbers(300)
    source.show({"0": 100})
    app = tw.App("gone")
    app.read(source, time="ts").write(Far(server.port))
    thread, errors = started(app, data=tmp_path / "data", checkpoint="1ms")
    until(lambda: server.values("v") == list(range(100)))
    server.kill()
    source.show({"0": 200})
    until(lambda: any("refused" in each.reason or "hung up" in each.reason for each in progress(app).outages))
    # Without it the run goes on.
    until(lambda: progress(app).rows_in == 200 and progress(app).waiting_bytes > 0)
    server.start()
    source.show({"0": 300})
    until(lambda: server.values("v") == list(range(300)), BACK_S)
    app.stop()
    thread.join(PATIENCE_S)
    assert (thread.is_alive(), errors, progress(app).outages) == (False, [], ())


def test_a_database_that_another_program_writes_to_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shared.sqlite"

    def values() -> list[int]:
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as reader:
            there = reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'numbers'").fetchall()
            return [v for (v,) in reader.execute("SELECT v FROM numbers ORDER BY v")] if there else []

    monkeypatch.setattr(_sqlite, "_PATIENCE_S", 0.05)
    source = numbers(200)
    source.show({"0": 100})
    app = tw.App("locked")
    app.read(source, time="ts").write(sqlite(path, table="numbers"))
    thread, errors = started(app, data=tmp_path / "data", checkpoint="1ms")
    until(lambda: values() == list(range(100)))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        source.show({"0": 200})
        until(lambda: any("holds its lock" in each.reason for each in progress(app).outages))
        assert values() == list(range(100))
        other.execute("ROLLBACK")
    until(lambda: values() == list(range(200)), BACK_S)
    app.stop()
    thread.join(PATIENCE_S)
    assert (thread.is_alive(), errors, progress(app).outages) == (False, [], ())


def test_a_function_is_called_again_with_the_rows_that_it_could_not_send(tmp_path: Path, server: FarServer) -> None:
    sent: list[int] = []

    def send(rows: pa.Table) -> None:
        connection = Far(server.port, timeout_s=5).open(None)  # type: ignore[arg-type]  # it is not looked at
        try:
            connection.last_epoch()
        finally:
            connection.close()
        sent.extend(rows["v"].to_pylist())

    source = numbers(200)
    source.show({"0": 100})
    app = tw.App("calls")
    app.read(source, time="ts").write(call(send))
    thread, errors = started(app, data=tmp_path / "data", checkpoint="1ms")
    until(lambda: sent == list(range(100)))
    server.kill()
    source.show({"0": 200})
    until(lambda: any("refused" in each.reason for each in progress(app).outages))
    assert sent == list(range(100))
    server.start()
    until(lambda: sent == list(range(200)), BACK_S)
    app.stop()
    thread.join(PATIENCE_S)
    assert (thread.is_alive(), errors) == (False, [])


def test_a_run_that_is_stopped_while_its_sink_is_gone_keeps_the_rows_for_the_next(
    tmp_path: Path, server: FarServer
) -> None:
    source = numbers(200)
    source.show({"0": 100})
    app = tw.App("stopped")
    app.read(source, time="ts").write(Far(server.port))
    thread, errors = started(app, data=tmp_path / "data", checkpoint="1ms", stop_timeout="300ms")
    until(lambda: server.values("v") == list(range(100)))
    server.kill()
    source.show({"0": 200})
    until(lambda: progress(app).rows_in == 200 and progress(app).waiting_bytes > 0)
    app.stop()
    thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [tw.SinkUnavailable]
    assert "wait for it in" in str(errors[0])
    assert "the next run gives them to it" in str(errors[0])
    server.start()
    app.run(data=tmp_path / "data", until="caught-up", quiet=True)
    assert server.values("v") == list(range(200))


def test_a_sink_that_is_not_there_at_the_start_ends_the_run_at_once(tmp_path: Path, server: FarServer) -> None:
    server.kill()
    app = tw.App("wrong")
    app.read(numbers(1), time="ts").write(Far(server.port))
    for _ in range(7):  # and is no crash loop
        with pytest.raises(ConnectionRefusedError):
            app.run(data=tmp_path / "data", quiet=True)
