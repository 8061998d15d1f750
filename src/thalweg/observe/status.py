"""How a run is going: what is measured between two looks at it, and the block that shows it at a terminal.

The block, of a live run and of a run over history::

    in         73,402 events       1,204/s   out   2,310 events   87/s
    watermark  2026-03-01 10:00:35 held by clicks[0]              lag 3 s
    state      31 windows open, 1,204 rows held                   checkpoint 12  120.0 MiB of 8.0 GiB
    late       3                             errors 0             62 s
    progress   ━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━  81 %               14 s left
    outbox     1.0 GiB of 1.0 GiB for each sink; nothing is read until it takes some
    waiting    the sink out-1f2e3d4c since 10:00:12, next try 10:00:41: Connection refused
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from thalweg.core.clock import SystemClock
from thalweg.core.outage import Outage
from thalweg.core.sizes import size_text
from thalweg.engine.contract import Progress, Run
from thalweg.plan.nodes import Plan, Read
from thalweg.state.outbox import OUTBOX_BYTES

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PER_SECOND: Final = 4
_SPAN_S: Final = 3.0
"""Rates are means over this long: one step of a backfill can take a second."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@runtime_checkable
class Counted(Protocol):
    """A source that knows how many rows it has; not a part of what a source must be."""

    def total_rows(self) -> int | None:
        """Return how many rows there are in all partitions, from the beginning; None if that is not known."""
        ...


def total_rows(plan: Plan) -> int | None:
    """Return how many rows a plan reads in all; None if one of its sources does not know."""
    total = 0
    for node in plan.nodes():
        if isinstance(node, Read):
            rows = node.source.total_rows() if isinstance(node.source, Counted) else None
            if rows is None:
                return None
            total += rows
    return total


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands.

    Attributes:
        progress: What the run says of itself.
        in_per_s: Rows read per second, lately.
        out_per_s: Rows given to sinks and views per second, lately.
        lag_s: Seconds from the watermark to the wall clock, in a live run.
        fraction: How much of the input is read, where its size is known.
        left_s: How many seconds the rest takes at the present rate.
    """

    progress: Progress
    in_per_s: float
    out_per_s: float
    lag_s: float | None = None
    fraction: float | None = None
    left_s: float | None = None

    def as_json(self) -> dict[str, Any]:  # a JSON object
        """Return the same for machines."""
        now = self.progress
        return {
            "seconds": round(now.seconds, 3),
            "rows_in": now.rows_in,
            "rows_out": now.rows_out,
            "in_per_second": round(self.in_per_s, 1),
            "out_per_second": round(self.out_per_s, 1),
            "watermark": None if now.watermark_us is None else _iso(now.watermark_us),
            "holder": now.holder,
            "lag_seconds": None if self.lag_s is None else round(self.lag_s, 3),
            "open_windows": now.open_windows,
            "held": now.held,
            "late": now.late,
            "errors": now.rejected,
            "epoch": now.epoch,
            "state_bytes": now.state_bytes,
            "state_limit_bytes": now.state_limit_bytes,
            "waiting_bytes": now.waiting_bytes,
            "paused": now.paused,
            "outages": [
                {
                    "what": each.what,
                    "reason": each.reason,
                    "since": _iso(each.since_us),
                    "next_try": _iso(each.next_us),
                }
                for each in now.outages
            ],
            "fraction": None if self.fraction is None else round(self.fraction, 4),
            "seconds_left": None if self.left_s is None else round(self.left_s, 1),
        }


class Meter:
    """Makes a status of each look at a run.

    Args:
        live: Whether the run goes on until it is stopped: then its lag is of interest.
        total_rows: How many rows there are to read, where that is known.
    """

    def __init__(self, *, live: bool, total_rows: int | None = None) -> None:
        self._live = live
        self._total = total_rows
        self._seen: deque[Progress] = deque()

    def look(self, now: Progress, wall_us: int) -> Status:
        """Return the status of a run, given what it says of itself and the wall clock."""
        seen = self._seen
        seen.append(now)
        while len(seen) > 2 and now.seconds - seen[1].seconds >= _SPAN_S:
            seen.popleft()
        first = seen[0] if len(seen) > 1 else None
        begun_s, begun_in, begun_out = (first.seconds, first.rows_in, first.rows_out) if first else (0.0, 0, 0)
        span = max(now.seconds - begun_s, 1e-9)
        rate = (now.rows_in - begun_in) / span
        lag = (wall_us - now.watermark_us) / 1e6 if self._live and now.watermark_us is not None else None
        fraction = min(1.0, now.rows_in / self._total) if self._total else None
        left = (self._total - now.rows_in) / rate if self._total and rate and fraction != 1 else None
        return Status(now, rate, (now.rows_out - begun_out) / span, lag, fraction, left)


@contextmanager
def watching(run: Run, meter: Meter, show: Callable[[Status], None], every_s: float) -> Iterator[None]:
    """Show a run's status from a thread of its own for as long as the context is open, and at last once more.

    What ``show`` raises asks the run to stop, and is raised when the context ends.
    """
    clock = SystemClock()
    done = threading.Event()
    failed: list[BaseException] = []

    def watch() -> None:
        try:
            while not clock.wait(done, every_s):
                show(meter.look(run.progress(), clock.now_us()))
        except BaseException as error:  # it is raised again where the context ends
            failed.append(error)
            run.stop()

    thread = threading.Thread(target=watch, name="thalweg-status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if failed:
        raise failed[0]
    show(meter.look(run.progress(), clock.now_us()))


@contextmanager
def following(run: Run, *, quiet: bool, live: bool = True, total_rows: int | None = None) -> Iterator[None]:
    """Show how a run is going, on standard error, for as long as the context is open.

    Args:
        run: What to follow.
        quiet: Whether to show nothing.
        live: Whether the run goes on until it is stopped.
        total_rows: How many rows there are to read, where that is known.
    """
    if quiet:
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stderr)
    with (
        _printing_above(console),
        Live(console=console, refresh_per_second=_PER_SECOND, redirect_stdout=False) as shown,
        watching(
            run,
            Meter(live=live, total_rows=total_rows),
            lambda status: shown.update(block(status)),
            1 / _PER_SECOND,
        ),
    ):
        yield


def block(status: Status) -> RenderableType:
    """Return the status block."""
    from rich.console import Group
    from rich.table import Table

    now = status.progress
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "in",
        f"{now.rows_in:,} events",
        f"{status.in_per_s:,.0f}/s",
        f"out {now.rows_out:,} events",
        f"{status.out_per_s:,.0f}/s",
    )
    mark = "none" if now.watermark_us is None else time_text(now.watermark_us)
    holder = f"held by {now.holder}" if now.holder else ""
    table.add_row("watermark", mark, holder, "" if status.lag_s is None else f"lag {span_text(status.lag_s)}", "")
    limit = now.state_limit_bytes
    memory = "" if limit is None else f"{size_text(now.state_bytes)} of {size_text(limit)}"
    table.add_row(
        "state", f"{now.open_windows:,} windows open", f"{now.held:,} rows held", f"checkpoint {now.epoch:,}", memory
    )
    table.add_row("late", f"{now.late:,}", f"errors {now.rejected:,}", span_text(now.seconds), "")
    rows: list[RenderableType] = [table]
    if status.fraction is not None:
        rows.append(_progress(status))
    if now.waiting_bytes:
        paused = "; nothing is read until it takes some" if now.paused else ""
        rows.append(f"outbox     {size_text(now.waiting_bytes)} of {size_text(OUTBOX_BYTES)} for each sink{paused}")
    rows += [f"waiting    {outage_text(each)}" for each in now.outages]
    return Group(*rows) if len(rows) > 1 else table


def outage_text(outage: Outage) -> str:
    """Return what is away, since when, when it is tried again, and what it said."""
    since, again = (time_text(us)[11:19] for us in (outage.since_us, outage.next_us))
    return f"{outage.what} since {since}, next try {again}: {outage.reason}"


def _iso(us: int) -> str:
    return time_text(us).replace(" ", "T") + "Z"


def _progress(status: Status) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    assert status.fraction is not None
    left = "" if status.left_s is None else f"{span_text(status.left_s)} left"
    row = Table.grid(padding=(0, 2))
    row.add_row("progress ", ProgressBar(total=1, completed=status.fraction, width=30), f"{status.fraction:.0%}", left)
    return row


@contextmanager
def _printing_above(console: Console) -> Iterator[None]:
    """Let what the program prints appear above the block, where both are at the same terminal.

    A standard output that is a file or a pipe is left alone: its rows are not for the terminal.
    """
    from rich.file_proxy import FileProxy

    class Above(FileProxy):
        def isatty(self) -> bool:
            return True

    before = sys.stdout
    if not before.isatty():
        yield
        return
    sys.stdout = Above(console, before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


def time_text(us: int) -> str:
    """Return a time in microseconds since 1970 as text, in UTC.

    Example:
        >>> time_text(1_500_000)
        '1970-01-01 00:00:01.500'
        >>> time_text(2**62)
        'beyond the year 9999'
    """
    try:
        return f"{_EPOCH + timedelta(milliseconds=us // 1_000):%Y-%m-%d %H:%M:%S}.{us % 1_000_000 // 1_000:03d}"
    except OverflowError:
        return "beyond the year 9999" if us > 0 else "before the year 1"


def span_text(seconds: float) -> str:
    """Return how long something takes, as one number that a person can take in.

    Example:
        >>> span_text(0.2), span_text(75), span_text(7_300), span_text(400_000)
        ('0.2 s', '75 s', '2.0 h', '4.6 days')
    """
    size = abs(seconds)
    if size < 10:
        return f"{seconds:.1f} s"
    if size < 120:
        return f"{seconds:.0f} s"
    if size < 2 * 3_600:
        return f"{seconds / 60:.0f} min"
    if size < 2 * 86_400:
        return f"{seconds / 3_600:.1f} h"
    return f"{seconds / 86_400:,.1f} days"
