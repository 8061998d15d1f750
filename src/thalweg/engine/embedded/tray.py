"""Late and rejected rows that the program does not read: counted, and kept for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_table
from thalweg.core.envelope import ERROR_SCHEMA, LATE_SCHEMA
from thalweg.engine.embedded.assign import window_columns
from thalweg.engine.embedded.rows import LATE_REASONS, ROW, TIME, WATERMARK, WHY, visible
from thalweg.engine.embedded.stage import LateRows, RejectedRow
from thalweg.engine.embedded.taps import encode, errors_frame

KEPT_ROWS: Final = 100_000
"""Rows of each kind that a report holds; all are counted, and with a data directory all are kept there."""


class Tray:
    """Rows put aside.

    Args:
        saved: Whether somebody saves all of them, by ``unsaved``.
    """

    def __init__(self, *, saved: bool) -> None:
        self.late_count = 0
        self.error_count = 0
        self._saved = saved
        self._late: list[tuple[str, LateRows]] = []
        self._errors: list[tuple[str, RejectedRow]] = []
        self._kept_late = 0
        self._unsaved_late: list[tuple[str, LateRows]] = []
        self._unsaved_errors: list[tuple[str, RejectedRow]] = []

    def add_late(self, step: str, late: Sequence[LateRows]) -> None:
        """Keep late rows."""
        parts = [(step, part) for part in late]
        if self._saved:
            self._unsaved_late += parts
        for part in parts:
            self.late_count += part[1].rows.frame.height
            if self._kept_late < KEPT_ROWS:
                self._late.append(part)
                self._kept_late += part[1].rows.frame.height

    def add_errors(self, step: str, rejected: Sequence[RejectedRow]) -> None:
        """Keep rejected rows."""
        rows = [(step, row) for row in rejected]
        if self._saved:
            self._unsaved_errors += rows
        self.error_count += len(rows)
        self._errors += rows[: max(KEPT_ROWS - len(self._errors), 0)]

    def late(self) -> pa.Table:
        """Return the late rows that were kept."""
        parts = [_late_table(step, part) for step, part in self._late]
        return pa.concat_tables(parts).slice(0, KEPT_ROWS) if parts else LATE_SCHEMA.empty_table()

    def errors(self) -> pa.Table:
        """Return the rejected rows that were kept."""
        return to_table(errors_frame(self._errors), ERROR_SCHEMA)

    def unsaved(self) -> tuple[pa.Table, pa.Table]:
        """Return the late and the rejected rows since the last call."""
        late, self._unsaved_late = self._unsaved_late, []
        errors, self._unsaved_errors = self._unsaved_errors, []
        parts = [_late_table(step, part) for step, part in late]
        return (
            pa.concat_tables(parts) if parts else LATE_SCHEMA.empty_table(),
            to_table(errors_frame(errors), ERROR_SCHEMA),
        )


def _late_table(step: str, late: LateRows) -> pa.Table:
    frame = late.rows.frame
    names = visible(frame).columns
    bounds: Sequence[str] = ()
    if late.of_windows:
        bounds = names[-2:]  # the window missed is put last
        assert tuple(bounds) in (window_columns(()), window_columns(("window_start",)))
    user = frame.select([name for name in names if name not in bounds])
    origin = late.rows.origin
    numbers = frame.get_column(ROW).to_list() if ROW in names or ROW in frame.columns else []
    places = [origin.place(number) for number in numbers] if origin is not None else []
    encoded = [encode(user[i : i + 1])[0] for i in range(frame.height)]
    why = frame.get_column(WHY).to_list() if WHY in frame.columns else [0] * frame.height
    timestamp = pl.Datetime("us", "UTC")
    columns = pl.DataFrame(
        {
            "step": [step] * frame.height,
            "partition": [partition for partition, _ in places] or [None] * frame.height,
            "position": [place for _, place in places] or [None] * frame.height,
            "reason": [LATE_REASONS[index] for index in why],
            "time": frame.get_column(TIME).cast(timestamp),
            "watermark": frame.get_column(WATERMARK).cast(timestamp),
            "window_start": frame.get_column(bounds[0]) if bounds else [None] * frame.height,
            "window_end": frame.get_column(bounds[1]) if bounds else [None] * frame.height,
            "row": encoded,
            "encoding": ["arrow"] * frame.height,
        },
        schema_overrides={
            "partition": pl.String,
            "position": pl.String,
            "window_start": timestamp,
            "window_end": timestamp,
            "row": pl.Binary,
        },
    )
    return to_table(columns, LATE_SCHEMA)
