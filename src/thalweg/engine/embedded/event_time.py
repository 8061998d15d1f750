"""Event time at the door: each row's time, each partition's running maximum, rows without a usable time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.expressions import compile_expr, reason_of
from thalweg.columnar.frames import to_frame
from thalweg.core.duration import duration_text
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded.rows import LENGTH, NEVER
from thalweg.engine.embedded.stage import without_bad_rows
from thalweg.plan.expr import Column, infer
from thalweg.plan.nodes import Read

EARLIEST_US: Final = -62_135_596_800_000_000
"""0001-01-01 00:00 UTC."""
LATEST_US: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

_TO_US = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True, slots=True)
class Timed:
    """Rows with their event times.

    Attributes:
        data: The rows that have a usable time.
        times: Their times (Int64), where they are not simply a column of ``data``.
        low: The least time.
        high: The greatest time.
        bad: Row numbers and reasons of the others.
        rows: For each row of ``data`` its number before; None where none was left out.
    """

    data: pa.RecordBatch
    times: pl.Series | None
    low: int
    high: int
    bad: Sequence[tuple[int, str]] = ()
    rows: Sequence[int] | None = None


class EventTime:
    """Finds the event time of a source's rows.

    Args:
        read: The plan's node; it has a time.
    """

    def __init__(self, read: Read) -> None:
        assert read.time is not None
        self._jump_us = read.max_jump_us
        self._unit = read.time_unit
        self._kind = infer(read.time, read.schema).type
        simple = isinstance(read.time, Column) and self._kind == TIMESTAMP
        self.column = read.schema.names.index(read.time.name) if simple and isinstance(read.time, Column) else None
        """The number of the column that is the time, where it is simply one."""
        self._expr = compile_expr(read.time, read.schema)
        self._named = read.time.name if isinstance(read.time, Column) else "the time"

    def of(self, batch: pa.RecordBatch, running_max: int) -> Timed:
        """Return the rows' times; ``running_max`` is the greatest time before them in their partition."""
        if self.column is not None:
            times = batch.column(self.column)
            if times.null_count == 0:
                least_and_greatest = pc.min_max(times)
                low, high = least_and_greatest["min"].value, least_and_greatest["max"].value
                jump = None if self._jump_us is None or running_max == NEVER else running_max + self._jump_us
                if low >= EARLIEST_US and high <= LATEST_US and self._jump_us is None:
                    return Timed(batch, None, low, high)
                if jump is not None and low >= EARLIEST_US and high <= min(jump, LATEST_US):
                    return Timed(batch, None, low, high)
        return self._checked(batch, running_max)

    def _checked(self, batch: pa.RecordBatch, running_max: int) -> Timed:
        parts, failed = without_bad_rows(to_frame(batch), self._in_us)
        bad = [(row, f"{self._named} cannot be computed: {reason_of(error)}") for row, error in failed]
        times = pl.concat(parts).to_series() if parts else pl.Series([], dtype=pl.Int64)
        if failed:
            missing = {row for row, _ in failed}
            given = iter(times.to_list())
            times = pl.Series(
                [None if row in missing else next(given) for row in range(batch.num_rows)], dtype=pl.Int64
            )
        known = {row for row, _ in bad}
        for row in times.is_null().arg_true().to_list():
            if row not in known:
                bad.append((row, f"{self._named} is null; every row needs an event time"))
        range_low, range_high = (times < EARLIEST_US).fill_null(False), (times > LATEST_US).fill_null(False)
        for row in (range_low | range_high).arg_true().to_list():
            bad.append((row, f"{self._named} lies outside the years 1 to 9999; is its unit right?"))
        if self._jump_us is not None:
            good = (times.is_not_null() & ~range_low & ~range_high).to_list()
            bad += self._jumps(times.to_list(), good, running_max)
        if not bad:
            return Timed(batch, times, int(times.min()), int(times.max()))  # type: ignore[arg-type]  # integers, none null
        wrong = {row for row, _ in bad}
        rows = [row for row in range(batch.num_rows) if row not in wrong]
        kept = times.gather(rows)
        low, high = (int(kept.min()), int(kept.max())) if rows else (NEVER, NEVER)  # type: ignore[arg-type]  # as above
        return Timed(batch.take(pa.array(rows, pa.int64())), kept, low, high, tuple(sorted(bad)), rows)

    def _jumps(self, times: Sequence[int], good: Sequence[bool], running_max: int) -> list[tuple[int, str]]:
        """Return the rows that jump ahead; each is measured against the rows before it that did not."""
        found = []
        limit = self._jump_us or 0
        for row, (time, usable) in enumerate(zip(times, good, strict=True)):
            if not usable:
                continue
            if running_max != NEVER and time > running_max + limit:
                ahead = duration_text(time - running_max)
                reason = (
                    f"{self._named} is {ahead} ahead of all rows before it, more than max_jump={duration_text(limit)}; "
                    "a clock may be wrong"
                )
                found.append((row, reason))
            else:
                running_max = max(running_max, time)
        return found

    def _in_us(self, frame: pl.DataFrame) -> pl.DataFrame:
        length = pl.int_range(pl.len()).alias(LENGTH)  # a constant time is as long as the frame
        computed = frame.lazy().select(self._expr.alias("t"), length).collect(engine="in-memory")
        return pl.DataFrame({"t": self._scaled(computed.get_column("t"))})

    def _scaled(self, value: pl.Series) -> pl.Series:
        if isinstance(value.dtype, pl.Datetime):
            return value.to_physical()
        if isinstance(value.dtype, pl.Date):
            return value.cast(pl.Datetime("us")).to_physical()
        wide = pl.lit(value).cast(pl.Int128)
        scaled = wide // 1_000 if self._unit == "ns" else wide * pl.lit(_TO_US[self._unit or "us"], pl.Int128)
        # What 64 bits cannot hold lies outside the years 1 to 9999 anyway.
        return pl.select(scaled.clip(-(2**62), 2**62).cast(pl.Int64)).to_series()
