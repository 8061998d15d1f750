"""Partitions that fall silent and partitions that are found later: recorded, named, and repeated by a replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import thalweg as tw
from tests.unit.clocks import SECOND, Live, scripted
from thalweg import Report, count
from thalweg.connect import view
from thalweg.engine.contract import RunOptions, TimeException
from thalweg.testing import Scripted

Counts = dict[int, int]


def counting(*sources: Scripted, idle: str | None = "30s", window: str = "10s") -> tw.App:
    """Counts rows of all sources in windows of ten seconds."""
    app = tw.App("counting")
    first, *others = [app.read(source, time="ts", lateness="0s", idle_timeout=idle) for source in sources]
    stream = first.union(*others) if others else first
    stream.group_by().window(window).agg(n=count()).write(view("v"))
    return app


def counts(rows: list[dict[str, Any]]) -> Counts:
    """Rows per window, by the second of its end; a window that closed twice is a mistake."""
    found: Counts = {}
    for row in rows:
        end = int(row["window_end"].timestamp())
        assert end not in found, f"the window that ends at {end} s closed twice"
        found[end] = row["n"]
    return found


def late(report: Report) -> list[tuple[str, int, str]]:
    """Partition, second and reason of each late row."""
    columns = report.late.select(["partition", "time", "reason"]).to_pylist()
    return [(row["partition"], int(row["time"].timestamp()), row["reason"]) for row in columns]


def replayed(report: Report, source: Scripted) -> Report:
    """The same input again, to the end, with what was recorded."""
    source.show(None)
    return counting(source).start(RunOptions(replay=report.exceptions, until="end"))


def test_a_silent_partition_holds_the_watermark_until_its_timeout() -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2]})
    with Live(counting(source), source) as run:
        run.give(a=2, b=1)
        assert counts(run.view("v")) == {}
        assert run.progress.holder == "clicks[b]"
        run.silence("29s")
        run.give(a=3)
        assert counts(run.view("v")) == {}
        run.silence("29s")  # b has been silent for 58 s, a for 29
        run.until(lambda: counts(run.view("v")) == {10: 2, 20: 1})
        assert run.progress.holder == "clicks[a]"
    assert run.report.exceptions == ()  # nothing came late of it: nothing to record


def test_a_partition_that_wakes_is_held_up_to_what_has_closed_and_that_is_recorded() -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2, 12, 33, 41]})
    with Live(counting(source), source) as run:
        run.give(a=2, b=1)
        run.silence("29s")
        run.give(a=3)
        run.silence("29s")
        run.until(lambda: counts(run.view("v")) == {10: 2, 20: 1})
        run.give(b=2)  # 12 s, in a window that has closed
        run.give(b=4)
        assert counts(run.view("v")) == {10: 2, 20: 1}
    report = run.report
    (known,) = report.exceptions
    assert (known.partition, known.row, known.floor, known.why) == ("b", 1, 35 * SECOND, "idle")
    assert late(report) == [("b", 12, "idle")]
    again = replayed(report, source)
    assert counts(again.view("v").to_pylist()) == {10: 2, 20: 1, 40: 2, 50: 1}
    assert late(again) == late(report)
    assert again.exceptions == report.exceptions


def test_rows_of_a_woken_partition_that_are_above_its_floor_count() -> None:
    source = scripted("clicks", {"a": [1, 35], "b": [2, 39]})
    with Live(counting(source), source) as run:
        run.give(a=1, b=1)
        run.silence("29s")
        run.give(a=2)
        run.silence("29s")
        run.until(lambda: counts(run.view("v")) == {10: 2})
        run.give(b=2)
    assert late(run.report) == []
    again = replayed(run.report, source)
    assert counts(again.view("v").to_pylist()) == {10: 2, 40: 2}


def test_if_all_partitions_are_idle_the_watermark_stays() -> None:
    source = scripted("clicks", {"a": [1, 15], "b": [2, 3]})
    with Live(counting(source), source) as run:
        run.give(a=2, b=1)
        run.silence("5m")
        assert counts(run.view("v")) in ({}, {10: 2})  # which of the two is idle first is the clock's affair
        before = counts(run.view("v"))
        run.silence("60m")
        assert counts(run.view("v")) == before
        assert run.progress.open_windows + len(before) == 2


@pytest.mark.parametrize("idle", [None, "1h"])
def test_without_a_timeout_a_silent_partition_holds_its_windows(idle: str | None) -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2]})
    with Live(counting(source, idle=idle), source) as run:
        run.give(a=3, b=1)
        run.silence("10m")
        run.silence("10m")
        assert counts(run.view("v")) == {}


def test_a_partition_found_later_starts_at_what_has_closed_and_that_is_recorded() -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2, 38, 41]})
    with Live(counting(source), source) as run:
        run.give(a=3)
        run.until(lambda: counts(run.view("v")) == {10: 1, 20: 1})
        run.silence("2s")
        run.give(b=2)  # a new partition; its first row is in a window that has closed
        assert counts(run.view("v")) == {10: 1, 20: 1}
    report = run.report
    (known,) = report.exceptions
    assert (known.partition, known.row, known.floor, known.why) == ("b", 0, 35 * SECOND, "new")
    assert late(report) == [("b", 2, "new")]
    again = replayed(report, source)
    assert counts(again.view("v").to_pylist()) == {10: 1, 20: 1, 40: 2, 50: 1}
    assert late(again) == late(report)


def test_without_the_record_a_batch_over_the_same_rows_counts_them_all() -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2, 38, 41]})
    source.show(None)
    report = counting(source).batch()
    assert counts(report.view("v").to_pylist()) == {10: 2, 20: 1, 40: 2, 50: 1}
    assert report.exceptions == ()


def test_a_partition_that_was_idle_before_a_restart_is_held_up_when_it_wakes_after_it(tmp_path: Path) -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2, 12, 47]})
    with Live(counting(source), source, tmp_path) as run:
        run.give(a=2, b=1)
        run.silence("29s")
        run.give(a=3)
        run.silence("29s")
        run.until(lambda: counts(run.view("v")) == {10: 2, 20: 1})
    assert run.report.exceptions == ()
    with Live(counting(source), source, tmp_path) as run:
        run.give(b=2)  # 12 s: its window has closed in the run before
        run.silence("1s")
        assert counts(run.view("v")) == {10: 2, 20: 1}
    assert [(e.partition, e.row, e.why) for e in run.report.exceptions] == [("b", 1, "idle")]
    assert late(run.report) == [("b", 12, "idle")]


def test_a_restart_does_not_take_a_partition_for_idle_before_it_was_silent_again(tmp_path: Path) -> None:
    source = scripted("clicks", {"a": [1, 15, 35, 95, 96], "b": [2, 38, 97]})
    with Live(counting(source), source, tmp_path) as run:
        run.give(a=2, b=1)
        run.silence("29s")
        run.give(a=3)
        run.silence("29s")
        run.until(lambda: counts(run.view("v")) == {10: 2, 20: 1})
    source.show(None)
    turns = iter(["1/a"] * 3 + ["1/b"] * 3)  # what is read first must not matter

    def pick(names: Sequence[str]) -> list[tuple[str, int]]:
        return [(next(turns, "1/a"), 1)]

    report = counting(source).start(RunOptions(data=tmp_path, until="caught-up", pick=pick))
    assert late(report) == []  # 38 s is above what had closed
    assert counts(report.view("v").to_pylist()) == {10: 2, 20: 1, 40: 2}


def test_windows_closed_by_silence_are_committed(tmp_path: Path) -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2]})
    with Live(counting(source), source, tmp_path) as run:
        run.give(a=2, b=1)
        run.silence("29s")
        run.give(a=3)
        run.silence("5s")
        before = run.progress.epoch
        assert before > 0
        run.silence("24s")
        run.until(lambda: counts(run.view("v")) == {10: 2, 20: 1})
        run.silence("5s")
        assert run.progress.epoch > before
    report = counting(source).run(data=tmp_path, until="caught-up", quiet=True)
    assert counts(report.view("v").to_pylist()) == {10: 2, 20: 1}


def test_exceptions_outlive_a_restart(tmp_path: Path) -> None:
    source = scripted("clicks", {"a": [1, 15, 35], "b": [2, 3, 39]})
    with Live(counting(source), source, tmp_path) as run:
        run.give(a=3)
        run.until(lambda: counts(run.view("v")) == {10: 1, 20: 1})
        run.silence("2s")
        run.give(b=1)
    first = run.report
    assert [e.why for e in first.exceptions] == ["new"]
    with Live(counting(source), source, tmp_path) as run:
        run.give(b=3)
        assert counts(run.view("v")) == {10: 1, 20: 1}
    assert run.report.exceptions == first.exceptions
    assert late(run.report) == [("b", 3, "new")]  # still below the floor of the run before


def test_a_source_that_is_silent_as_a_whole_does_not_hold_what_another_feeds() -> None:
    busy, quiet = scripted("busy", {"a": [1, 15, 35]}), scripted("quiet", {"z": [2, 3]})
    with Live(counting(busy, quiet), quiet) as run:
        run.give(z=1)
        run.source = busy
        run.give(a=2)
        assert counts(run.view("v")) == {}
        run.silence("29s")
        run.give(a=3)
        run.silence("29s")
        run.until(lambda: counts(run.view("v")) == {10: 2, 20: 1})
        run.source = quiet
        run.give(z=2)
        assert counts(run.view("v")) == {10: 2, 20: 1}
    assert late(run.report) == [("z", 3, "idle")]


def test_a_new_partition_is_held_up_to_the_window_s_watermark_and_no_further() -> None:
    fast, slow = scripted("fast", {"a": [1, 95], "b": [42, 91]}), scripted("slow", {"z": [2, 35]})
    with Live(counting(fast, slow, idle=None), slow) as run:
        run.give(z=2)
        run.source = fast
        run.give(a=2)
        assert counts(run.view("v")) == {10: 2}  # slow holds the windows at 35 s
        run.silence("2s")
        run.give(b=2)  # 42 s: its window is open
    assert late(run.report) == []
    assert [(e.partition, e.floor) for e in run.report.exceptions] == [("b", 35 * SECOND)]


def test_the_wall_clock_set_back_changes_nothing() -> None:
    results = []
    for jump in (None, "8760h"):
        source = scripted("clicks", {"a": [1, 15, 35, 55], "b": [2, 12, 33, 41]})
        with Live(counting(source), source) as run:
            run.give(a=2, b=2)
            if jump:
                run.clock.set_back(jump)
            run.give(a=4, b=3)
            run.give(b=4)
            found = counts(run.view("v"))
        results.append((found, late(run.report), run.report.exceptions))
    assert results[0] == results[1]
    assert results[0][0] == {10: 2, 20: 2, 40: 2}


def test_an_exception_of_another_read_is_not_replayed_here() -> None:
    source = scripted("clicks", {"a": [1, 15, 35]})
    source.show(None)
    known = TimeException(7, "a", 0, 90 * SECOND, "idle")
    report = counting(source).start(RunOptions(replay=(known,), until="end"))
    assert late(report) == []
    assert report.exceptions == ()


def test_a_batch_of_rejected_rows_alone_reaches_those_who_read_errors() -> None:
    source = scripted("clicks", {"a": [1, None, None]})  # two rows without a time
    app = tw.App("errors")
    stream = app.read(source, time="ts")
    stream.write(view("good"))
    stream.errors.write(view("bad"))
    with Live(app, source) as run:
        run.give(a=1)
        run.give(a=3)
        run.until(lambda: len(run.view("bad")) == 2)
