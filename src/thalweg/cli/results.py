"""What a run made, for people and for machines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from thalweg.cli.tables import table_lines, value_text, values_of
from thalweg.core.version import FIRST
from thalweg.engine.contract import Report

SHOWN_ROWS: Final = 40
"""Rows of a view that are printed as a table."""
_SHOWN_FAULTS: Final = 5
_JSON_FAULTS: Final = 100
_BATCH_ROWS: Final = 10_000
_RATED_ROWS: Final = 1_000
"""Of fewer rows a rate says nothing."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a run made.

    Attributes:
        app: The app's name.
        report: The run's report.
        data: Where its state is, if it kept one.
        fresh: Whether it was a batch.
        version: The version of the app that it was.
    """

    app: str
    report: Report
    data: Path | None
    fresh: bool = False
    version: str = FIRST

    def print_tables(self) -> None:
        """Print the views as tables on standard output."""
        for name, table in self.report.views.items():
            rows = table.num_rows
            print(f"{name}: {rows:,} row{'s' * (rows != 1)}")
            for line in table_lines(table.slice(0, SHOWN_ROWS)):
                print(line)
            if rows > SHOWN_ROWS:
                print(f"… and {rows - SHOWN_ROWS:,} more; --json prints all")
            print()

    def print_json(self, *, with_report: bool) -> None:
        """Print the views, and the report if it is wanted, as JSON objects on standard output."""
        out = sys.stdout
        for name, table in self.report.views.items():
            out.writelines(f"{json_line(row)}\n" for row in _view_rows(name, table))
        if with_report:
            out.write(json_line({"report": self.as_json()}) + "\n")
        out.flush()

    def as_json(self) -> dict[str, Any]:  # a JSON object
        """Return the report as a JSON object; of late and rejected rows it has the first hundred."""
        report = self.report
        places = report.errors.select(["step", "place", "column", "reason"])
        missed = report.late.drop_columns(["row", "encoding"])
        return {
            "app": self.app,
            "rows_in": report.rows_in,
            "seconds": round(report.seconds, 3),
            "late_rows": report.late_rows,
            "error_rows": report.error_rows,
            "open_windows": report.open_windows,
            "sealed": report.sealed,
            "data": None if self.data is None else str(self.data),
            "version": self.version,
            "late": missed.slice(0, _JSON_FAULTS).to_pylist(),
            "errors": places.slice(0, _JSON_FAULTS).to_pylist(),
            "ledger": report.ledger.to_pylist(),
        }

    def summary(self) -> str:
        """Return what people want to know after a run."""
        return "\n".join(self._summary())

    def _summary(self) -> Iterator[str]:
        report = self.report
        if report.sealed:
            yield (
                f"{self.app}: nothing was read. An earlier run with --until end declared the input of this state "
                f"complete. To start again, delete {self.data} or name another directory with --data."
            )
            return
        rated = report.rows_in >= _RATED_ROWS and report.seconds
        rate = f", {report.rows_in / report.seconds:,.0f} rows/s" if rated else ""
        yield f"{self.app}: {_rows(report.rows_in)} read in {report.seconds:.2f} s{rate}"
        if report.late_rows:
            yield f"  late: {_rows(report.late_rows)}, for a window that had closed"
            yield from self._late()
        if report.error_rows:
            yield f"  rejected: {_rows(report.error_rows)}"
            yield from self._rejected()
        if report.open_windows:
            go_on = "; the next run goes on with them" if self.data is not None else ""
            yield f"  open windows: {report.open_windows:,}{go_on}"
        for exception in report.exceptions[:_SHOWN_FAULTS]:
            what = f"partition {exception.partition} was {exception.why}"
            yield f"  {what}: it did not hold windows open from row {exception.row}"
        if self.data is not None:
            yield f"  state: {self.data}"

    def _late(self) -> Iterator[str]:
        # Late rows that the program sends somewhere are there, not in the report.
        late = self.report.late.slice(0, _SHOWN_FAULTS).to_pylist()
        for row in late:
            place = row["position"] or row["step"]
            yield (
                f"    {place}: {value_text(row['time'])} came when the watermark was {value_text(row['watermark'])}; "
                f"its window ended {value_text(row['window_end'])}"
            )
        if late:
            yield from _more(self.report.late_rows - len(late))

    def _rejected(self) -> Iterator[str]:
        rejected = self.report.errors.slice(0, _SHOWN_FAULTS).to_pylist()
        for row in rejected:
            yield f"    {row['place'] or row['step']}: {row['reason']}"
        yield from _more(self.report.error_rows - len(rejected))


def json_line(value: Any) -> str:  # whatever JSON can hold
    """Return a value as JSON: times in ISO 8601, bytes in base64, NaN and infinities as null."""
    return msgspec.json.encode(value).decode()


def _view_rows(name: str, table: pa.Table) -> Iterator[dict[str, Any]]:
    # The view's name takes the field "view"; a column of that name makes room.
    names = ["view_" if column == "view" else column for column in table.column_names]
    for batch in table.rename_columns(names).to_batches(max_chunksize=_BATCH_ROWS):
        columns = [values_of(column) for column in batch.columns]
        for row in zip(*columns, strict=True):
            yield {"view": name, **dict(zip(names, row, strict=True))}


def _more(rows: int) -> Iterator[str]:
    if rows > 0:
        yield f"    … and {rows:,} more"


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"
