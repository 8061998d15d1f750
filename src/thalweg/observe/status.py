"""The status block of a live run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from thalweg.engine.contract import Progress, Run

if TYPE_CHECKING:
    from rich.console import RenderableType

_PER_SECOND = 4


@contextmanager
def following(run: Run, *, quiet: bool) -> Iterator[None]:
    """Show how a run is going, on standard error, for as long as the context is open."""
    if quiet:
        yield
        return
    from rich.console import Console
    from rich.live import Live

    done = threading.Event()
    with Live(console=Console(file=sys.stderr), refresh_per_second=_PER_SECOND, transient=False) as live:

        def follow() -> None:
            before = run.progress()
            while not done.wait(1 / _PER_SECOND):
                now = run.progress()
                live.update(block(now, before))
                before = now

        thread = threading.Thread(target=follow, name="thalweg-status", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            last = run.progress()
            live.update(block(last, Progress(0, 0, 0, None, None, 0, 0, 0, 0, 0)))


def block(now: Progress, before: Progress) -> RenderableType:
    """Return the status block: what came in and went out since ``before``, and where the run stands."""
    from rich.table import Table

    span = max(now.seconds - before.seconds, 1e-9)
    rate_in, rate_out = (now.rows_in - before.rows_in) / span, (now.rows_out - before.rows_out) / span
    table = Table.grid(padding=(0, 2))
    table.add_row("in", f"{now.rows_in:,}", f"{rate_in:,.0f}/s", "out", f"{now.rows_out:,}", f"{rate_out:,.0f}/s")
    mark = "none yet" if now.watermark_us is None else time_text(now.watermark_us)
    table.add_row("watermark", mark, now.holder or "", "windows", f"{now.open_windows:,}", "open")
    table.add_row("held", f"{now.held:,}", "rows", "late", f"{now.late:,}", f"rejected {now.rejected:,}")
    table.add_row("time", f"{now.seconds:,.1f}", "s", "epoch", f"{now.epoch:,}", "")
    return table


def time_text(us: int) -> str:
    """Return a time in microseconds since 1970 as text.

    Example:
        >>> time_text(1_500_000)
        '1970-01-01 00:00:01.500'
    """
    whole = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{us % 1_000_000 // 1000:03d}"
