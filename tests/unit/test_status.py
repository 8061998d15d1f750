"""What a run's status says, and how it is shown."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

import thalweg as tw
from thalweg.connect import flights, memory, nexmark, view
from thalweg.core.ports import Source
from thalweg.engine.contract import Progress, Report
from thalweg.observe.status import Meter, Status, block, following, span_text, time_text, total_rows, watching

START = Progress(
    seconds=0.0,
    rows_in=0,
    rows_out=0,
    watermark_us=None,
    holder=None,
    open_windows=0,
    held=0,
    late=0,
    rejected=0,
    epoch=0,
)


def after(seconds: float, rows_in: int, rows_out: int = 0, **more: object) -> Progress:
    return replace(START, seconds=seconds, rows_in=rows_in, rows_out=rows_out, **more)  # type: ignore[arg-type]  # fields of Progress


class SteppingRun:
    """A run that has read a row more each time that it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.stopped = threading.Event()

    def progress(self) -> Progress:
        self.asked += 1
        return after(self.asked * 0.1, self.asked)

    def stop(self, *, soon: threading.Event | None = None) -> None:
        self.stopped.set()

    def run(self) -> Report:
        raise AssertionError("only its progress is of interest")

    def view(self, name: str) -> object:
        raise AssertionError("only its progress is of interest")


def shown(status: Status, width: int = 110) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(block(status))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_the_first_look_gives_the_rate_since_the_start() -> None:
    status = Meter(live=True).look(after(2.0, 100, 10), wall_us=0)
    assert (status.in_per_s, status.out_per_s) == (50.0, 5.0)


def test_rates_are_of_the_last_seconds() -> None:
    meter = Meter(live=True)
    for tenth in range(100):
        meter.look(after(tenth / 10, tenth * 100), 0)
    status = meter.look(after(10.0, 9_900), 0)  # no row in the last tenth of a second
    assert status.in_per_s == pytest.approx(966.7, rel=0.01)
    assert meter.look(after(20.0, 9_900), 0).in_per_s == 0


def test_lag_is_the_wall_clock_less_the_watermark_and_only_of_live_runs() -> None:
    now = after(1.0, 1, watermark_us=7_000_000)
    assert Meter(live=True).look(now, wall_us=10_500_000).lag_s == 3.5
    assert Meter(live=False).look(now, wall_us=10_500_000).lag_s is None
    assert Meter(live=True).look(after(1.0, 1), wall_us=10_500_000).lag_s is None


def test_a_known_size_gives_progress_and_the_time_left() -> None:
    status = Meter(live=False, total_rows=400).look(after(2.0, 100), 0)
    assert (status.fraction, status.left_s) == (0.25, 6.0)
    done = Meter(live=False, total_rows=400).look(after(2.0, 400), 0)
    assert (done.fraction, done.left_s) == (1.0, None)
    # A source may give more rows than it said.
    assert Meter(live=False, total_rows=400).look(after(2.0, 500), 0).fraction == 1.0
    assert Meter(live=False, total_rows=0).look(after(2.0, 0), 0).fraction is None


def test_nothing_read_yet_is_no_time_left() -> None:
    status = Meter(live=False, total_rows=400).look(after(0.0, 0), 0)
    assert (status.fraction, status.left_s) == (0.0, None)


def test_the_block_names_everything() -> None:
    now = after(62.0, 73_402, 2_310, watermark_us=1_772_359_235_000_000, holder="clicks[0]")
    now = replace(now, open_windows=31, held=1_204, late=3, rejected=2, epoch=12)
    text = shown(Status(now, 1_204.0, 87.0, lag_s=3.25, fraction=0.81, left_s=14.4))
    for part in (
        "73,402 events",
        "1,204/s",
        "2,310 events",
        "87/s",
        "2026-03-01 10:00:35.000",
        "held by clicks[0]",
        "lag 3.2 s",
        "31 windows open",
        "1,204 rows held",
        "checkpoint 12",
        "errors 2",
        "62 s",
        "81%",
        "14 s left",
    ):
        assert part in text, part


def test_the_block_without_a_watermark_or_a_size_leaves_them_out() -> None:
    text = shown(Status(after(1.0, 5), 5.0, 0.0))
    assert "none" in text
    assert "progress" not in text
    assert "lag" not in text


def test_for_machines_every_value_has_a_name() -> None:
    now = after(1.23456, 5, watermark_us=1_500_000, holder="m[0]")
    status = Status(now, 4.04, 0.0, lag_s=None, fraction=0.5, left_s=1.0)
    assert status.as_json() == {
        "seconds": 1.235,
        "rows_in": 5,
        "rows_out": 0,
        "in_per_second": 4.0,
        "out_per_second": 0.0,
        "watermark": "1970-01-01T00:00:01.500Z",
        "holder": "m[0]",
        "lag_seconds": None,
        "open_windows": 0,
        "held": 0,
        "late": 0,
        "errors": 0,
        "epoch": 0,
        "state_bytes": 0,
        "state_limit_bytes": None,
        "waiting_bytes": 0,
        "paused": False,
        "outages": [],
        "fraction": 0.5,
        "seconds_left": 1.0,
    }


def test_a_run_is_looked_at_again_and_again_and_at_the_end() -> None:
    run, seen, thrice = SteppingRun(), list[int](), threading.Event()

    def show(status: Status) -> None:
        seen.append(status.progress.rows_in)
        if len(seen) == 3:
            thrice.set()

    with watching(run, Meter(live=True), show, 0.001):
        assert thrice.wait(10)
    assert seen == list(range(1, run.asked + 1))


def test_a_display_that_fails_stops_the_run_and_is_raised() -> None:
    run = SteppingRun()

    def broken(status: Status) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), watching(run, Meter(live=True), broken, 0.001):
        assert run.stopped.wait(10)


def test_a_run_that_fails_is_not_hidden_by_its_display() -> None:
    shows: list[Status] = []
    with pytest.raises(tw.SourceError, match="gone"), watching(SteppingRun(), Meter(live=True), shows.append, 60):
        raise tw.SourceError("gone")
    assert shows == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_printed_in_a_run_stands_above_the_block_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, out = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", out)
    with following(SteppingRun(), quiet=False):
        assert sys.stdout.isatty()  # stdout() prints tables there
        print("a row")
    assert sys.stdout is out
    assert "a row" in errors.getvalue()
    assert "watermark" in errors.getvalue()


def test_what_goes_to_a_pipe_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", out)
    with following(SteppingRun(), quiet=False):
        print("a row")
    assert out.getvalue() == "a row\n"
    assert "a row" not in errors.getvalue()


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run = SteppingRun()
    with following(run, quiet=True):
        pass
    assert capsys.readouterr() == ("", "")
    assert run.asked == 0


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        (lambda: memory([[{"n": 1}, {"n": 2}], [{"n": 3}]]), 3),
        (flights, 336_776),
        (lambda: nexmark("bids", events=1_000, partitions=3), 920),
        (lambda: nexmark("persons", events=1_001), 21),
        (lambda: nexmark(events=999), 999),
        (lambda: nexmark(), None),
    ],
)
def test_sources_that_know_their_size_say_it(source: Callable[[], Source], rows: int | None) -> None:
    app = tw.App("sized")
    app.read(source()).agg(n=tw.count()).write(view("n"))
    assert total_rows(app.plan) == rows
    if rows is not None:
        assert app.batch().rows_in == rows


def test_one_source_of_unknown_size_makes_the_whole_unknown() -> None:
    app = tw.App("sized")
    app.read(nexmark("bids")).agg(n=tw.count()).write(view("bids"))
    app.read(memory([{"n": 1}])).write(view("n"))
    assert total_rows(app.plan) is None


def test_times_and_spans_are_short() -> None:
    assert time_text(-1) == "1969-12-31 23:59:59.999"
    assert time_text(-(2**62)) == "before the year 1"
    assert [span_text(s) for s in (0, -3.04, 9.99, 119, 121, 7_199, 172_799, 172_800)] == [
        "0.0 s",
        "-3.0 s",
        "10.0 s",
        "119 s",
        "2 min",
        "120 min",
        "48.0 h",
        "2.0 days",
    ]
