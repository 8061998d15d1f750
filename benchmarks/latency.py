"""From the making of an event in another process to the call with the changed row, at 10,000 events a second."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

import thalweg as tw
from benchmarks.contest import check_same
from benchmarks.feed import Feed, Flow
from benchmarks.outcome import Benchmark, WrongAnswerError
from thalweg.connect import call
from thalweg.core.ports import Json

TARGET_MS = 10.0
WINDOW = "10s"
WARM_UP_S = 2.0
"""Events of the first seconds are not measured: the process is still loading what it needs."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long events took, in milliseconds.

    Attributes:
        flow: The events.
        steps: How often ``call`` was called.
        measured: How many events were measured.
        p50_ms: The median.
        p99_ms: 99 % took no longer.
        max_ms: The longest.
    """

    flow: Flow
    steps: int
    measured: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.p99_ms <= TARGET_MS

    def lines(self) -> Sequence[str]:
        return [
            f"latency of tumbling {WINDOW}, emit on change, {self.flow.keys} keys, {self.flow.rate} events/s "
            f"for {self.flow.seconds:g} s",
            f"  {self.measured} events in {self.steps} steps: p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, "
            f"max {self.max_ms:.2f} ms",
            f"  p99 {self.p99_ms:.2f} ms, target ≤ {TARGET_MS:g} ms: {'met' if self.met else 'MISSED'}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": "latency",
            "rate": self.flow.rate,
            "seconds": self.flow.seconds,
            "keys": self.flow.keys,
            "steps": self.steps,
            "measured": self.measured,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "target_ms": TARGET_MS,
            "met": self.met,
        }


@dataclass(slots=True)
class Arrivals:
    """What ``call`` was given, and when.

    Attributes:
        tables: The changes, step by step.
        at_ns: The wall clock when each came.
    """

    tables: list[pa.Table] = field(default_factory=list)
    at_ns: list[int] = field(default_factory=list)

    def take(self, table: pa.Table) -> None:
        """Note a step."""
        self.at_ns.append(time.time_ns())
        self.tables.append(table)


def measure(flow: Flow, warm_up_s: float = WARM_UP_S) -> Iterator[Latency]:
    """Run the flow through windows and measure every event.

    Raises:
        WrongAnswerError: The changes don't add up to the answer over the events that were sent.
    """
    feed, arrivals = Feed(flow), Arrivals()
    app = tw.App("latency")
    # A wall clock may be set back a little while the events are made; none of them is late for that.
    events = app.read(feed, time="ts", lateness="1s")
    windows = events.group_by("key").window(WINDOW, emit="on_change")
    windows.agg(n=tw.count(), latest=tw.col("seq").max()).write(call(arrivals.take))
    app.run(data=None, quiet=True)
    sent = pl.from_arrow(pa.Table.from_batches(feed.received))
    assert isinstance(sent, pl.DataFrame)
    if sent.height != flow.events:
        raise WrongAnswerError(f"{sent.height} events were read, {flow.events} were sent")
    check_same(_added_up(arrivals.tables), _answer(sent), "latency")
    yield _latency(flow, sent, arrivals, warm_up_s)


def _added_up(tables: Sequence[pa.Table]) -> pl.DataFrame:
    """Return the table that changes add up to."""
    changes = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(changes, pl.DataFrame)
    names = [name for name in changes.columns if name != "_weight"]
    net = changes.group_by(names).agg(pl.col("_weight").sum()).filter(pl.col("_weight") != 0)
    if not (net.get_column("_weight") == 1).all():
        raise WrongAnswerError("a row was withdrawn more often than added, or added twice")
    return net.select(names)


def _answer(sent: pl.DataFrame) -> pl.DataFrame:
    start = pl.col("ts").dt.truncate(WINDOW).alias("window_start")
    return sent.group_by("key", start).agg(n=pl.len().cast(pl.Int64), latest=pl.col("seq").max())


def _latency(flow: Flow, sent: pl.DataFrame, arrivals: Arrivals, warm_up_s: float) -> Latency:
    # A step shows a prefix of the partition: an event has arrived with the first step that shows it or a later one.
    shown = pl.DataFrame(
        {"seq": [_latest(table) for table in arrivals.tables], "at_ns": arrivals.at_ns},
        schema={"seq": pl.Int64, "at_ns": pl.Int64},
    ).with_columns(pl.col("seq").cum_max())
    events = sent.sort("seq").filter(pl.col("seq") >= int(warm_up_s * flow.rate))
    arrived = events.join_asof(shown, on="seq", strategy="forward")
    took_ms = arrived.select((pl.col("at_ns") - pl.col("made_ns")) / 1e6).to_series()
    if not took_ms.len() or took_ms.null_count():
        raise WrongAnswerError(f"{took_ms.null_count()} of {took_ms.len()} measured events never arrived")
    quantile = {share: took_ms.quantile(share, "higher") for share in (0.5, 0.99, 1.0)}
    p50, p99, longest = (float(value or 0.0) for value in quantile.values())
    return Latency(flow, len(arrivals.tables), took_ms.len(), p50, p99, longest)


def _latest(table: pa.Table) -> int:
    changes = pl.from_arrow(table)
    assert isinstance(changes, pl.DataFrame)
    return int(changes.filter(pl.col("_weight") > 0).get_column("latest").max())  # type: ignore[arg-type]  # an integer


BENCHMARK = Benchmark(
    "latency",
    "from an event in another process to the call with its windowed count",
    full=lambda: measure(Flow(seconds=30.0)),
    quick=lambda: measure(Flow(seconds=6.0)),
)
