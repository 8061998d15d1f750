"""An operator with two inputs that a test drives step by step, with rows of one source or the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

import thalweg as tw
from thalweg import Stream
from thalweg.connect import memory
from thalweg.engine.embedded import ledger
from thalweg.engine.embedded.rows import TIME, WATERMARK, Rows
from thalweg.engine.embedded.stage import Output, TwoSided
from thalweg.plan import nodes as n

SCHEMA = pa.schema([("k", pa.string()), ("x", pa.int64())])
Row = tuple[str | None, int, int]
"""Key, a number, time."""


def streams() -> tuple[Stream, Stream]:
    """Return two streams with the columns ``k`` and ``x``, timed by the latter."""
    app = tw.App("sides")
    left, right = (app.read(memory([[]]), schema=SCHEMA, time="x", time_unit="us") for _ in range(2))
    return left, right


def node_of(stream: Stream) -> n.Node:
    """Return the node that makes a stream."""
    return stream._node


def rows_of(rows: Sequence[Row], marks: Sequence[int] | None = None) -> list[Rows]:
    """Return rows as an operator takes them, with each one's ``watermark_before`` where it is given."""
    if not rows:
        return []
    frame = pl.DataFrame(list(rows), schema={"k": pl.String, "x": pl.Int64, TIME: pl.Int64}, orient="row")
    if marks is not None:
        frame = frame.with_columns(pl.Series(WATERMARK, list(marks), pl.Int64))
    times = [row[2] for row in rows]
    return [Rows(frame, min(times), max(times))]


class Driven:
    """Runs steps and adds up what comes out.

    Args:
        stage: The operator.
    """

    def __init__(self, stage: TwoSided) -> None:
        self.stage = stage
        self.last = Output()

    def step(
        self,
        left: Sequence[Row] = (),
        right: Sequence[Row] = (),
        watermark: int | None = None,
        marks: Mapping[str, Sequence[int]] | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run a step; return the rows that came out, with their times, sorted."""
        marks = marks or {}
        mark = self.stage.watermark if watermark is None else watermark
        self.last = self.stage.process_sides(rows_of(left, marks.get("left")), rows_of(right, marks.get("right")), mark)
        self.stage.watermark = mark
        self.stage.entry.held = self.stage.held()
        ledger.balance([self.stage.entry])
        out = [row for rows in self.last.rows for row in rows.frame.rows()]
        for rows in self.last.rows:
            times = rows.frame.get_column(TIME)
            assert rows.frame.height
            assert rows.low <= int(times.min()) <= int(times.max()) <= rows.high  # type: ignore[arg-type]  # integers
        return sorted(out, key=lambda row: tuple((value is not None, value) for value in row))

    @property
    def late(self) -> list[tuple[Any, ...]]:
        """The late rows of the last step."""
        return [row for part in self.last.late for row in part.rows.frame.select("k", "x", TIME).rows()]
