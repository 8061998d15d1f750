"""D6, for a run: a full disk is waited for; nothing is torn, lost or written twice, and all goes on by itself."""

from __future__ import annotations

import errno
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import thalweg as tw
from tests.attacks import mounted
from thalweg import StateError, count
from thalweg.connect import files, view
from thalweg.core.schema import TIMESTAMP
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

SCHEMA = pa.schema([("v", pa.int64()), ("ts", TIMESTAMP)])
PAGE = 4096
A_ROUND = 20
PATIENCE_S = 60.0


def numbers(rows: int) -> Scripted:
    columns = [pa.array(range(rows), pa.int64()), pa.array([n * 1_000_000 for n in range(rows)], TIMESTAMP)]
    source = Scripted("events", SCHEMA, {"0": [Piece(pa.record_batch(columns, schema=SCHEMA), "events:{}".format)]})
    source.show({"0": 0})
    return source


def app_of(source: Scripted, folder: Path) -> tw.App:
    app = tw.App("full")
    rows = app.read(source, time="ts")
    rows.write(files(folder / "out", format="ndjson"))
    rows.agg(n=count(), total=tw.col("v").sum()).write(view("total"))
    return app


def written(folder: Path) -> list[int]:
    parts = sorted((folder / "out").glob("part-*.ndjson"))
    return [json.loads(line)["v"] for part in parts for line in part.read_text().splitlines()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def fill(ballast: Path, pages_left: int) -> None:
    """Take all of the space but some pages."""
    size = 0
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                size += file.write(bytes(PAGE))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(max(0, size - pages_left * PAGE))


def survive(folder: Path, rng: random.Random, rounds: int) -> int:
    """Run while the disk fills up again and again; return in how many rounds that was met."""
    source, met = numbers(rounds * A_ROUND), 0
    app = app_of(source, folder)
    errors: list[BaseException] = []

    def main() -> None:
        try:
            app.run(data=folder / "data", quiet=True, checkpoint="1ms")
        except BaseException as error:  # looked at below
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    try:
        until(lambda: app._current is not None)
        assert app._current is not None
        run = app._current
        for number in range(1, rounds + 1):
            fill(folder / "ballast", 0 if number == 1 else rng.randrange(5))
            source.show({"0": number * A_ROUND})
            want = list(range(number * A_ROUND))
            until(  # a run that has failed is looked at below
                lambda want=want: bool(run.progress().outages or errors) or written(folder) == want  # type: ignore[misc]
            )
            outages = run.progress().outages
            met += bool(outages)
            assert all("No space left on device" in each.reason for each in outages)
            (folder / "ballast").unlink()
            until(lambda want=want: written(folder) == want or bool(errors))  # type: ignore[misc]
            assert errors == []
    finally:
        (folder / "ballast").unlink(missing_ok=True)
        app.stop()
        thread.join(PATIENCE_S)
    assert (thread.is_alive(), errors) == (False, [])
    # What is on the disk is whole: another run goes on with it.
    again = app_of(source, folder)
    report = again.run(data=folder / "data", until="end", quiet=True)
    rows = rounds * A_ROUND
    assert report.view("total").to_pylist() == [{"n": rows, "total": rows * (rows - 1) // 2}]
    assert written(folder) == list(range(rows))
    return met


@pytest.fixture
def small(tmp_path: Path, torture: bool) -> object:
    if reason := mounted.why_not():
        pytest.skip(reason)
    try:
        with mounted.small_tmpfs(tmp_path / "small", "96m" if torture else "2m") as folder:
            yield folder
    except PermissionError as e:
        pytest.skip(str(e))


def test_a_run_waits_for_room_and_goes_on_by_itself(small: Path, rng: random.Random, torture: bool) -> None:
    rounds = 2_000 if torture else 50
    met = survive(small, rng, rounds)
    assert met >= 1
    print(f"{met} of {rounds} rounds met a full disk")


def test_a_run_that_is_stopped_while_the_disk_is_full_is_as_at_the_last_checkpoint(small: Path) -> None:
    source = numbers(40)
    app = app_of(source, small)
    errors: list[BaseException] = []

    def main() -> None:
        try:
            app.run(data=small / "data", quiet=True, checkpoint="1ms", stop_timeout="100ms")
        except BaseException as error:  # looked at below
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    until(lambda: app._current is not None)
    source.show({"0": 20})
    until(lambda: written(small) == list(range(20)))
    fill(small / "ballast", 0)
    source.show({"0": 40})
    assert app._current is not None
    until(lambda: bool(app._current and app._current.progress().outages))
    app.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    (error,) = errors
    assert isinstance(error, (StateError, tw.StoppedError))
    (small / "ballast").unlink()
    app_of(source, small).run(data=small / "data", until="end", quiet=True)
    assert written(small) == list(range(40))
