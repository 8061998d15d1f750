"""Late and rejected rows as streams of their own."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from thalweg.engine.embedded.rows import TIME, Rows, visible
from thalweg.engine.embedded.stage import LateRows, Output, RejectedRow, Stage
from thalweg.plan.nodes import Node


class Tap(Stage):
    """Passes on the rows that another stage put aside."""

    def __init__(self, node: Node, name: str) -> None:
        super().__init__(node, name)
        self._waiting: list[Rows] = []

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        return Output(rows=self.drain())

    def give(self, rows: list[Rows]) -> None:
        """Take rows that were put aside."""
        self._waiting += rows

    def reject(self, step: str, rejected: Sequence[RejectedRow]) -> None:
        """Take rows that a source rejected."""
        self.give(error_rows(step, rejected))

    def drain(self) -> list[Rows]:
        """Return the rows since the last step."""
        rows, self._waiting = self._waiting, []
        count = sum(part.frame.height for part in rows)
        entry = self.entry
        entry.rows_in += count
        entry.pairs += count
        entry.passed += count
        entry.rows_out += count
        return rows


def late_rows(late: Sequence[LateRows]) -> list[Rows]:
    """Return late rows as a stream's: the input's columns and the bounds of the window missed."""
    return [Rows(visible(part.rows.frame)) for part in late]


def error_rows(step: str, rejected: Sequence[RejectedRow]) -> list[Rows]:
    """Return rejected rows as a stream's: ``step, place, column, reason, traceback, time, row, encoding``."""
    return [Rows(errors_frame([(step, row) for row in rejected]))] if rejected else []


def errors_frame(rejected: Sequence[tuple[str, RejectedRow]]) -> pl.DataFrame:
    """Return rejected rows as a frame."""
    encoded = [encode(row.row) for _, row in rejected]
    columns = {
        "step": [step for step, _ in rejected],
        "place": [row.place for _, row in rejected],
        "column": [row.column for _, row in rejected],
        "reason": [row.reason for _, row in rejected],
        "traceback": [row.trace for _, row in rejected],
        "time": [_time(row.row) for _, row in rejected],
        "row": [data for data, _ in encoded],
        "encoding": [encoding for _, encoding in encoded],
    }
    kinds: dict[str, pl.DataType | type[pl.DataType]] = {"row": pl.Binary, "time": pl.Datetime("us", "UTC")}
    return pl.DataFrame(columns, schema={name: kinds.get(name, pl.String) for name in columns})


def _time(row: bytes | pl.DataFrame) -> int | None:
    """Return a row's event time, where it has one."""
    return None if isinstance(row, bytes) or TIME not in row.columns else int(row.get_column(TIME)[0])


def encode(row: bytes | pl.DataFrame) -> tuple[bytes, str]:
    """Return a row as bytes, and how: as it was received, or as an Arrow stream of one row."""
    if isinstance(row, bytes):
        return row, "received"
    table = visible(row).to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes(), "arrow"
