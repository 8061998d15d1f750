"""A small model of an engine, row at a time, that can have each of the bugs: shows that the inputs tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Literal

from tests.oracle.programs import Pipeline
from tests.oracle.values import Row, Value
from tests.oracle.windows import Read, Span, Window, is_late
from tests.property.cases import Case, Cuts

Bug = Literal[
    "none",
    "lateness per batch: at its start",
    "lateness per batch: at its end",
    "watermark of the fastest partition",
    "a partial merged twice",
    "a late hopping row counted",
]
Batch = tuple[int, tuple[Row, ...]]
"""A partition's number and some of its rows."""
Closed = Counter[tuple[Value, Span, int]]
"""Key, window and row count of every row that was given out."""


@dataclass
class Model:
    """One windowed count: takes a batch of each partition per step, then closes windows."""

    window: Window
    lateness_us: int
    partitions: int
    bug: Bug
    greatest: dict[int, int] = field(default_factory=dict)
    open: dict[tuple[Value, Span], list[int]] = field(default_factory=dict)
    closed: Closed = field(default_factory=Counter)

    def step(self, batches: list[Batch]) -> None:
        """Take some batches, then close what the watermark has reached."""
        for partition, rows in batches:
            found: Counter[tuple[Value, Span]] = Counter()
            for row, watermark_us in self._watermarks(partition, rows):
                for span in self._counted(row, watermark_us):
                    found[(row["k"], span)] += 1
            for group, count in found.items():
                self.open.setdefault(group, []).append(count)
        self._close(self._watermark())

    def end(self) -> Closed:
        """Close every window; return all that was given out."""
        self._close(None)
        return self.closed

    def _watermarks(self, partition: int, rows: tuple[Row, ...]) -> Iterator[tuple[Row, int | None]]:
        times = [_time(row) for row in rows]
        start = self.greatest.get(partition)
        end = max(times) if start is None else max(start, *times)
        running = start
        for row, time_us in zip(rows, times, strict=True):
            of_batch = end if self.bug == "lateness per batch: at its end" else start
            judged = of_batch if self.bug.startswith("lateness per batch") else running
            yield row, None if judged is None else judged - self.lateness_us
            running = time_us if running is None else max(running, time_us)
        self.greatest[partition] = end

    def _counted(self, row: Row, watermark_us: int | None) -> list[Span]:
        spans = self.window.spans(_time(row))
        kept = [span for span in spans if not is_late(span, watermark_us)]
        return spans if kept and self.bug == "a late hopping row counted" else kept

    def _watermark(self) -> int | None:
        if self.bug == "watermark of the fastest partition":
            return max(self.greatest.values()) - self.lateness_us
        if len(self.greatest) < self.partitions:
            return -(2**63)
        return min(self.greatest.values()) - self.lateness_us

    def _close(self, watermark_us: int | None) -> None:
        for (key, span), parts in list(self.open.items()):
            if watermark_us is None or span[1] <= watermark_us:
                del self.open[(key, span)]
                twice = parts[-1] if self.bug == "a partial merged twice" and len(parts) > 1 else 0
                self.closed[(key, span, sum(parts) + twice)] += 1


def run_model(case: Case, pipeline: Pipeline, bug: Bug) -> Closed:
    """Return what a model with a bug gives out for one pipeline."""
    (read,), (stage,) = case.program.reads, pipeline.stages
    assert stage.window is not None
    model = Model(stage.window, read.lateness_us, len(read.partitions), bug)
    for batches in _steps(read, case.cuts[0]):
        model.step(batches)
    return model.end()


def _steps(read: Read, cuts: tuple[Cuts, ...]) -> Iterator[list[Batch]]:
    cut = [
        [(number, rows[a:b]) for a, b in pairwise((0, *at, len(rows))) if b > a]
        for number, (rows, at) in enumerate(zip(read.partitions, cuts, strict=True))
    ]
    for batches in zip_longest(*cut):
        yield [batch for batch in batches if batch is not None]


def _time(row: Row) -> int:
    time_us = row["ts"]
    assert isinstance(time_us, int)
    return time_us
