"""The app: reads, runs, stops, and what a run says afterwards."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import PlanError, StateError, UnsupportedError, col, count
from thalweg.connect import call, memory, view
from thalweg.engine.contract import RunOptions
from thalweg.testing import Scripted, rows

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TIMED = [{"user": "ann", "ts": DAY + dt.timedelta(seconds=n)} for n in (1, 30, 59, 61)]


def per_minute(name: str = "app") -> tw.App:
    app = tw.App(name)
    stream = app.read(memory(TIMED), time="ts")
    stream.group_by("user").window("1m").agg(n=count()).write(view("v"))
    return app


class Number:
    n: int


def live() -> tuple[tw.App, Scripted]:
    """An app over a source that does not end."""
    source = Scripted.of("numbers", rows(Number, [(n,) for n in range(100)]))
    app = tw.App("live")
    app.read(source).agg(total=col("n").sum()).write(view("v"))
    return app, source


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within twenty seconds"
        time.sleep(0.005)


@pytest.mark.parametrize("name", ["clicks", "a", "clicks-2026.v1_x", "9lives"])
def test_a_name_of_letters_digits_and_some_signs_is_good(name: str) -> None:
    assert tw.App(name).name == name


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x", "a b", "ä", "x\n", None, 3])
def test_a_name_that_cannot_be_a_folder_is_refused(name: Any) -> None:
    with pytest.raises(PlanError, match="a name is made of letters, digits"):
        tw.App(name)


def test_a_batch_runs_to_the_end_and_can_run_again() -> None:
    app = per_minute()
    first, second = app.batch(), app.batch(max_step_rows=1)
    assert first.view("v").equals(second.view("v"))
    assert [row["n"] for row in first.view("v").to_pylist()] == [3, 1]
    assert (first.rows_in, first.open_windows, first.sealed) == (4, 0, False)
    assert first.seconds >= 0


def test_a_batch_keeps_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    per_minute().batch()
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_its_state_under_the_app_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    per_minute("visits").run(until="caught-up", quiet=True)
    assert (tmp_path / ".thalweg" / "apps" / "visits" / "manifests" / "00000001.json").is_file()


def test_a_run_without_data_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    per_minute().run(data=None, until="end", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_caught_up_leaves_windows_open_where_more_may_come() -> None:
    class Click:
        user: str
        ts: dt.datetime

    source = Scripted.of("clicks", rows(Click, [("ann", "10:00:01"), ("ann", "10:01:01")]))
    app = tw.App("clicks")
    app.read(source, time="ts").group_by("user").window("1m").agg(n=count()).write(view("v"))
    report = app.run(data=None, until="caught-up", quiet=True)
    assert (report.view("v").num_rows, report.open_windows) == (1, 1)
    report = app.run(data=None, until="end", quiet=True)
    assert (report.view("v").num_rows, report.open_windows) == (2, 0)


def test_data_in_memory_ends_even_a_live_run() -> None:
    report = per_minute().run(data=None, quiet=True)
    assert [row["n"] for row in report.view("v").to_pylist()] == [3, 1]


def test_stop_ends_a_live_run_from_another_thread() -> None:
    app, _ = live()
    reports: list[tw.Report] = []
    thread = threading.Thread(target=lambda: reports.append(app.run(data=None, quiet=True)))
    thread.start()
    until(lambda: app._current is not None and app.view("v").to_pylist() == [{"total": 4950}])
    app.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert reports[0].view("v").to_pylist() == [{"total": 4950}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_run_cleanly_and_handlers_are_put_back(number: int) -> None:
    app, _ = live()
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def send() -> None:
        until(lambda: app._current is not None and app.view("v").num_rows == 1)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    report = app.run(data=None, quiet=True)
    thread.join(20)
    assert report.view("v").to_pylist() == [{"total": 4950}]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_run_that_is_stopped_before_it_has_begun_stops_as_it_does() -> None:
    app, _ = live()
    app.stop()
    assert app.run(data=None, quiet=True).rows_in == 0


def test_the_stop_of_one_run_is_not_that_of_the_next() -> None:
    app, _ = live()
    app.stop()
    app.run(data=None, quiet=True)
    assert app.run(data=None, until="caught-up", quiet=True).rows_in == 100


def test_a_view_can_be_looked_at_while_the_run_goes_on() -> None:
    app, source = live()
    source.show({"0": 10})
    thread = threading.Thread(target=lambda: app.run(data=None, quiet=True))
    thread.start()
    until(lambda: app._current is not None and app.view("v").to_pylist() == [{"total": 45}])
    source.show({"0": 20})
    until(lambda: app.view("v").to_pylist() == [{"total": 190}])
    app.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_a_run_that_fails_gives_its_locks_back(tmp_path: Path) -> None:
    app = tw.App("fails")

    def fail(table: pa.Table) -> None:
        raise RuntimeError("no")

    app.read(memory([{"n": 1}])).write(call(fail))
    for _ in range(2):
        with pytest.raises(tw.SinkError, match="no"):
            app.run(data=tmp_path / "state", until="end", quiet=True)


def test_two_runs_do_not_share_one_state(tmp_path: Path) -> None:
    app, _ = live()
    thread = threading.Thread(target=lambda: app.run(data=tmp_path, quiet=True))
    thread.start()
    until(lambda: app._current is not None and app.view("v").num_rows == 1)
    other, _ = live()
    with pytest.raises(StateError, match=f"process {os.getpid()}"):
        other.run(data=tmp_path, until="caught-up", quiet=True)
    app.stop()
    thread.join(20)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda app: app.run(until="never"), r"app\.run\(until='never'\): allowed are None"),
        (lambda app: app.run(checkpoint="1 month"), "months are not of one length"),
        (lambda app: app.run(max_step_rows=0), "max_step_rows=0: a whole number from 1"),
        (lambda app: app.batch(max_step_rows=1.5), "a whole number from 1"),
        (lambda app: app.batch(max_step_rows="2"), "a whole number from 1"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_runs(
    build: Callable[[tw.App], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match=words):
        build(per_minute())
    assert list(tmp_path.iterdir()) == []


def test_redelivery_is_dropped_only_where_there_is_one() -> None:
    with pytest.raises(UnsupportedError, match=r"can seek, so nothing is delivered twice"):
        tw.App("a").read(memory([{"n": 1}]), id="n")


def test_looking_at_a_view_before_the_first_run_is_a_mistake() -> None:
    with pytest.raises(PlanError, match="has not been run yet"):
        per_minute().view("v")


def test_an_app_may_read_several_sources() -> None:
    app = tw.App("two")
    ones, twos = app.read(memory([{"n": 1}] * 3)), app.read(memory([{"n": 2}] * 2))
    ones.union(twos).agg(total=col("n").sum()).write(view("v"))
    report = app.batch()
    assert report.view("v").to_pylist() == [{"total": 7}]
    assert report.rows_in == 5


def test_a_read_that_nothing_uses_is_not_read() -> None:
    app = tw.App("unused")
    app.read(memory([{"n": 1}] * 3))
    app.read(memory([{"n": 2}] * 2)).write(view("v"))
    assert app.batch().rows_in == 2


def test_the_wall_clock_of_the_machine_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumpy:
        def __init__(self) -> None:
            self.calls = 0

        def now_us(self) -> int:
            self.calls += 1
            return 10**15 * (self.calls % 2)  # some thirty years to and fro

        def monotonic_s(self) -> float:
            return time.monotonic()

        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            return event.wait(timeout_s)

    expected = per_minute().batch()
    found = per_minute().start(RunOptions(until="end", fresh=True, clock=Jumpy(), max_step_rows=1))
    assert found.view("v").equals(expected.view("v"))
    assert found.late.equals(expected.late)
