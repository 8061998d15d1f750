"""Rows handed to an operator that takes them in the order of time, step by step, for its unit tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

import thalweg as tw
from thalweg.connect import memory
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded.compile import stage_of
from thalweg.engine.embedded.ledger import balance
from thalweg.engine.embedded.rows import TIME, WATERMARK, Rows, visible
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.plan.prune import all_of
from thalweg.testing import VirtualClock

SECOND = 1_000_000
SCHEMA = pa.schema([("k", pa.string()), ("x", pa.int64()), ("ts", TIMESTAMP)])
Row = tuple[str | None, int | None, int]
"""Key, value, second."""


class Steps:
    """An operator, and what it has given.

    Args:
        build: Makes the stream whose last step is looked at.
    """

    def __init__(self, build: Callable[[tw.Stream], tw.Stream]) -> None:
        made = build(tw.App("ordered").read(memory([[]]), schema=SCHEMA, time="ts"))
        self._node = made._node
        self.stage = self._made()
        self.late: list[dict[str, Any]] = []
        self.rejected: list[str] = []

    def take(self, rows: Sequence[Row], watermark: int, before: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Take a step; return the rows it gives, times in seconds, sorted by all columns.

        Args:
            rows: The rows.
            watermark: The operator watermark after them, in seconds.
            before: Each row's ``watermark_before``, in seconds.
        """
        inputs = [_rows(rows, before)] if rows else []
        scaled = watermark * SECOND if abs(watermark) < 2**40 else watermark
        out: Output = self.stage.process(inputs, scaled)
        self.stage.watermark = scaled
        self.late += [row for part in out.late for row in visible(part.rows.frame).to_dicts()]
        self.rejected += [bad.reason for bad in out.rejected]
        self.stage.entry.held = self.stage.held()
        balance([self.stage.entry])
        given = []
        for part in out.rows:
            times = part.frame.get_column(TIME)
            assert part.low <= times.min() and times.max() <= part.high  # type: ignore[operator]  # integers
            given += visible(part.frame).to_dicts()
        return sorted(({name: _plain(value) for name, value in row.items()} for row in given), key=repr)

    def restart(self) -> None:
        """Go on with another operator that takes over the state."""
        old, self.stage = self.stage, self._made()
        self.stage.restore(dict(old.snapshot()))
        self.stage.entry, self.stage.watermark = old.entry, old.watermark
        assert self.stage.held() == old.held()
        assert self.stage.open_windows() == old.open_windows()
        assert self.stage.watermark_out() == old.watermark_out()

    def _made(self) -> Stage:
        def no_outlet(*_: object) -> Any:  # an outlet's type is of no interest here
            raise AssertionError("nothing is written")

        return stage_of(self._node, [self._node], "it", no_outlet, VirtualClock(), {self._node: all_of(self._node)})


def _rows(rows: Sequence[Row], before: Sequence[int] | None) -> Rows:
    kinds: dict[str, Any] = {"k": pl.String, "x": pl.Int64, TIME: pl.Int64}
    frame = pl.DataFrame([(k, x, second * SECOND) for k, x, second in rows], schema=kinds, orient="row")
    frame = frame.select("k", "x", pl.col(TIME).cast(pl.Datetime("us", "UTC")).alias("ts"), TIME)
    if before is not None:
        frame = frame.with_columns(pl.Series(WATERMARK, [mark * SECOND for mark in before], pl.Int64))
    times = frame.get_column(TIME)
    return Rows(frame, int(times.min()), int(times.max()))  # type: ignore[arg-type]  # integers


def _plain(value: Any) -> Any:
    return value.timestamp() if hasattr(value, "timestamp") else value
