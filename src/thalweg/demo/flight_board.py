"""The board of the flights: a live run's view, looked at four times a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from thalweg.app import App
from thalweg.engine.contract import Report, Run
from thalweg.observe.status import Meter, Status, block, time_text, watching
from thalweg.observe.watched import Watched

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

_LINES: Final = 12
_HOURS: Final = 5
_LIVE_S: Final = 0.25
_PLAIN_S: Final = 1.0

Row = dict[str, Any]  # a row of a view


def watch(app: App, seconds: float) -> None:
    """Run the app live for some seconds, show its view of delays, and end with its totals.

    On a terminal the hours fill before your eyes; elsewhere a line a second says how it goes.
    """
    console = Console()
    engine = Watched(lambda run, plan, options: _shown(run, console, seconds))
    report = app.run(data=None, quiet=True, engine=engine)
    console.print(totals(report))
    late = f"; {report.late_rows} came too late for their hour (kept in report.late)" if report.late_rows else ""
    print(f"{report.rows_in:,} flights in {report.seconds:.1f} s{late}")


@contextmanager
def _shown(run: Run, console: Console, seconds: float) -> Iterator[None]:
    meter = Meter(live=False)
    if not console.is_terminal:

        def line(status: Status) -> None:
            sys.stdout.write(line_of(status, run.view("delays").to_pylist()) + "\n")
            sys.stdout.flush()
            _stop_after(run, status, seconds)

        with watching(run, meter, line, _PLAIN_S):
            yield
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(status: Status) -> None:
            live.update(board(status, run.view("delays").to_pylist()), refresh=True)
            _stop_after(run, status, seconds)

        with watching(run, meter, show, _LIVE_S):
            yield


def _stop_after(run: Run, status: Status, seconds: float) -> None:
    if status.progress.seconds >= seconds:
        run.stop()


def board(status: Status, rows: list[Row]) -> RenderableType:
    """Return the board: a line per carrier at an airport, a column per hour, and below it the run's status."""
    hours = sorted({row["window_start"] for row in rows})[-_HOURS:]
    cells = {(row["origin"], row["carrier"], row["window_start"]): row for row in rows if row["window_start"] in hours}
    busy: dict[tuple[str, str], int] = {}
    for (origin, carrier, _), row in cells.items():
        busy[origin, carrier] = busy.get((origin, carrier), 0) + row["flights"]
    first = sorted(busy, key=lambda line: (-busy[line], line))[:_LINES]
    title = "New York departures: flights in the hour, mean delay, ✗ cancelled"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("from", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for hour in hours:
        table.add_column(f"{hour:%d %b %Hh}", justify="right", min_width=10, no_wrap=True)
    for origin, carrier in first:
        table.add_row(origin, carrier, *(_cell(cells.get((origin, carrier, hour))) for hour in hours))
    return Group(table, block(status))


def _cell(row: Row | None) -> Text:
    if row is None:
        return Text("")
    cell = Text(f"{row['flights']}")
    if row["mean_delay"] is not None:
        delay = row["mean_delay"]
        cell.append(f" {round(delay):+4d}", style="red" if delay >= 15 else "green" if delay < 5 else "yellow")
    if row["cancelled"]:
        cell.append(f" ✗{row['cancelled']}", style="bold red")
    return cell


def line_of(status: Status, rows: list[Row]) -> str:
    """Return one line: the watermark, what was read, and the latest hour's busiest line."""
    now = status.progress
    mark = "" if now.watermark_us is None else f"{time_text(now.watermark_us)[:16]}  "
    text = f"{mark}{now.rows_in:>6,} flights, {len(rows):,} hours of carriers, {now.late} late"
    if not rows:
        return text
    latest: datetime = max(row["window_start"] for row in rows)
    row = max((row for row in rows if row["window_start"] == latest), key=lambda row: row["flights"])
    delay = "" if row["mean_delay"] is None else f", mean delay {round(row['mean_delay']):+d} min"
    return f"{text}; {latest:%d %b %Hh} {row['origin']} {row['carrier']}: {row['flights']}{delay}"


def totals(report: Report) -> Table:
    """Return the final table: what the run has counted so far, the busiest first."""
    rows = report.view("totals").sort_by([("flights", "descending"), ("origin", "ascending")])
    table = Table(
        title=f"Departures until now: {pc.sum(rows['flights']).as_py() or 0:,}", title_justify="left", box=SIMPLE_HEAD
    )
    for name in ("from", "carrier"):
        table.add_column(name, no_wrap=True)
    for name in ("flights", "cancelled", "mean delay", "longest"):
        table.add_column(name, justify="right")
    for row in rows.slice(0, _LINES).to_pylist():
        mean = "" if row["mean_delay"] is None else f"{row['mean_delay']:+.1f} min"
        longest = "" if row["max_delay"] is None else f"{row['max_delay']:,} min"
        table.add_row(row["origin"], row["carrier_name"], f"{row['flights']:,}", f"{row['cancelled']:,}", mean, longest)
    return table
