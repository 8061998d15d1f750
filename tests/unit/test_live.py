"""A live run that a test drives: rows come, time passes, the process dies and is started again as the test says."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import thalweg as tw
from thalweg import PlanError, col, count
from thalweg.connect import files, view
from thalweg.core.errors import CheckError
from thalweg.core.instants import INSTANTS, Instant
from thalweg.testing import Live, live, rows


class Click:
    """A click on a page."""

    page: str
    ts: dt.datetime


CLICKS = rows(
    Click,
    [("/a", "10:00:01"), ("/a", "10:00:05"), ("/b", "10:00:12"), ("/a", "10:00:31")],
    [("/b", "10:00:02"), ("/b", "10:00:40")],
)


def app() -> tw.App:
    made = tw.App("clicks")
    clicks = made.read(files("clicks.ndjson"), schema=Click, time="ts")
    clicks.group_by("page").agg(n=count()).write(view("pages"))
    clicks.group_by("page").window("10s").agg(n=count()).select("page", "n").write(files("out/"))
    clicks.filter(col("page") == "/b").select("ts").write(files("b/"))
    return made


def driven() -> Live:
    return live(app(), clicks=CLICKS)


def counts(run: Live) -> dict[str, int]:
    return {row["page"]: row["n"] for row in run.view("pages")}


def test_rows_come_when_they_are_given() -> None:
    with driven() as run:
        assert counts(run) == {}
        run.give(1)
        assert counts(run) == {"/a": 1, "/b": 1}
        run.give(1, "clicks", 0)
        assert counts(run) == {"/a": 2, "/b": 1}
        run.give()
        assert counts(run) == {"/a": 3, "/b": 3}


def test_a_crash_loses_what_came_since_the_last_checkpoint_and_a_restart_reads_it_again() -> None:
    with driven() as run:
        run.give(1)
        run.checkpoint()
        run.give(1, partition=0)
        assert counts(run) == {"/a": 2, "/b": 1}
        run.crash()
        run.restart()
        assert counts(run) == {"/a": 2, "/b": 1}, "the row is there to be read again"
        report = run.end()
    assert {row["page"]: row["n"] for row in report.view("pages").to_pylist()} == {"/a": 3, "/b": 3}
    assert report.rows_in < 6, "what was committed was not read again"


def test_a_sink_gets_rows_with_their_checkpoint() -> None:
    with driven() as run:
        run.give(1)
        assert run.written("b") == []
        run.checkpoint()
        assert len(run.written("b")) == 1


@pytest.mark.parametrize("at", INSTANTS)
def test_a_crash_at_any_instant_of_a_checkpoint_repeats_and_loses_nothing(at: Instant) -> None:
    with driven() as run:
        run.give(1)
        run.checkpoint()
        run.give(1)
        run.crash(at)
        run.restart()
        run.give()
        run.checkpoint()
        assert counts(run) == {"/a": 3, "/b": 3}
        assert [row["ts"].second for row in run.written("b")] == [2, 12, 40]
        report = run.end()
        with pytest.raises(PlanError, match=r"the run has ended; restart\(\) starts it again"):
            run.give()
        run.restart()
        windows = [(row["page"], row["n"]) for row in run.written("out")]
    assert windows == [("/a", 1), ("/a", 2), ("/b", 1), ("/b", 1), ("/b", 1)]
    assert report.late_rows == 0


def closed(run: Live) -> list[tuple[str, int]]:
    run.checkpoint()
    return [(row["page"], row["n"]) for row in run.written("out")]


def test_a_partition_that_is_idle_holds_no_window_open() -> None:
    with driven() as run:
        run.give(1)
        run.give(partition=0)
        assert closed(run) == [], "partition 1 is at 10:00:02"
    with driven() as run:
        run.give(1)
        run.idle("clicks")
        run.give(partition=0)
        assert closed(run) == [("/a", 2), ("/b", 1), ("/b", 1)]


def test_time_passes_as_the_test_says() -> None:
    with driven() as run:
        run.give(1)
        run.advance("20s")
        run.give(partition=0)
        assert closed(run) == []
        run.advance("15s")
        assert closed(run) == [("/a", 2), ("/b", 1), ("/b", 1)], "partition 1 has been silent for more than 30 s"


def test_what_cannot_be_is_said() -> None:
    with driven() as run:
        with pytest.raises(PlanError, match='give: the program reads no source "clix"; did you mean "clicks"'):
            run.give(1, "clix")
        with pytest.raises(PlanError, match="give: clicks have no partition 7"):
            run.give(1, "clicks", 7)
        with pytest.raises(PlanError, match=r"crash\('nap'\): allowed are write, written, rename"):
            run.crash("nap")  # type: ignore[arg-type]  # what the test is about
        with pytest.raises(PlanError, match='0 sinks are called "bb"'):
            run.written("bb")
        with pytest.raises(PlanError, match=r"restart: the run is alive; crash\(\) ends it"):
            run.restart()
        run.checkpoint()
        with pytest.raises(CheckError, match='the run came to no "renamed"'):
            run.crash("renamed")


def test_what_ends_a_run_is_told() -> None:
    class Stop(BaseException):
        pass

    def stops(row: dict[str, Any]) -> dict[str, Any]:
        raise Stop

    made = tw.App("clicks")
    clicks = made.read(files("clicks.ndjson"), schema=Click, time="ts")
    clicks.map(stops, schema=clicks.schema).write(view("v"))
    with live(made, clicks=CLICKS) as run, pytest.raises(Stop):
        run.give()
