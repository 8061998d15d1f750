"""Operators that remember nothing: lists taken apart, union, user functions over rows and batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import empty_frame, to_frame, to_table
from thalweg.core.python_rows import decode_rows
from thalweg.engine.embedded.rows import HIDDEN, WEIGHT, Rows, visible
from thalweg.engine.embedded.stage import (
    Output,
    RejectedRow,
    Stage,
    described,
    traced,
    unfit_for_python,
    without_bad_rows,
)
from thalweg.plan.nodes import Explode, MapBatches, MapRows, Union


class Exploded(Stage):
    """A row for each item of a list."""

    uses_time = False

    def __init__(self, node: Explode, name: str) -> None:
        super().__init__(node, name)
        self._column = node.column

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            _through(self, rows.frame.height)
            out.rows.append(rows.replaced(rows.frame.explode(self._column, empty_as_null=True, keep_nulls=True)))
        return out


class United(Stage):
    """The rows of several streams."""

    uses_time = False

    def __init__(self, node: Union, name: str) -> None:
        super().__init__(node, name)
        self._columns = list(node.schema.names)
        self._changing = node.changing

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            _through(self, rows.frame.height)
            frame = rows.frame
            if self._changing and WEIGHT not in frame.columns:
                frame = frame.with_columns(pl.lit(1, pl.Int64).alias(WEIGHT))
            there = set(frame.columns)  # what nobody sees may be left out
            names = [name for name in (*self._columns, *HIDDEN) if name in there]
            out.rows.append(rows.replaced(frame.select(names)))
        return out


class MappedRows(Stage):
    """A user's function over rows as dicts."""

    uses_time = False

    def __init__(self, node: MapRows, name: str) -> None:
        super().__init__(node, name)
        self._function = node.function
        self._flat = node.flat
        self._schema = node.schema
        self._conformer = Conformer(node.schema)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            frame = rows.frame
            hidden = [name for name in HIDDEN if name in frame.columns]
            made: list[dict[str, Any]] = []
            sources: list[int] = []
            bad: dict[int, RejectedRow] = {}
            unfit = unfit_for_python(frame)
            given = visible(frame) if not unfit else _without(visible(frame), unfit)
            numbers = [number for number in range(frame.height) if number not in unfit]
            bad |= {n: replace(row, place=rows.place(frame, n), row=frame[n : n + 1]) for n, row in unfit.items()}
            for number, row in zip(numbers, given.iter_rows(named=True), strict=True):
                try:
                    results = list(self._results(row))
                except Exception as error:  # the user's code may raise anything; the row is rejected with it
                    bad[number] = _rejected(rows, frame, number, error)
                    continue
                made += results
                sources += [number] * len(results)
            result, origins = self._conformed(rows, made, sources, bad)
            self.entry.rows_in += frame.height
            self.entry.pairs += frame.height
            self.entry.rejected += len(bad)
            self.entry.passed += frame.height - len(bad)
            out.rejected += bad.values()
            if result.height:
                beside = frame.select(hidden)[origins] if hidden else None
                out.rows.append(rows.replaced(result if beside is None else result.hstack(beside)))
        return out

    def _results(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not self._flat:
            yield as_dict(self._function(row))
            return
        for result in self._function(row):
            yield as_dict(result)

    def _conformed(
        self, rows: Rows, made: list[dict[str, Any]], sources: list[int], bad: dict[int, RejectedRow]
    ) -> tuple[pl.DataFrame, list[int]]:
        """Return what was made as a frame, without the rows of inputs that made something wrong."""
        while True:
            decoded = decode_rows(made, self._schema, str)
            wrong = {int(bad.place): (bad.reason, bad.column) for bad in decoded.rejected}
            if not wrong:
                conformed = self._conformer.conform(decoded.data)
                wrong = {bad.row: (bad.reason, bad.column) for bad in conformed.bad}
                if not wrong:
                    return to_frame(conformed.data) if made else empty_frame(self._schema), sources
            for index, (reason, column) in wrong.items():
                source = sources[index]
                if source not in bad:
                    told = f"what {self._name} returned does not fit its schema: {reason}"
                    bad[source] = RejectedRow(
                        rows.place(rows.frame, source), told, rows.frame[source : source + 1], column
                    )
            kept = [i for i, source in enumerate(sources) if source not in bad]
            made, sources = [made[i] for i in kept], [sources[i] for i in kept]

    @property
    def _name(self) -> str:
        return getattr(self._function, "__name__", repr(self._function))


class MappedBatches(Stage):
    """A user's function over Arrow tables, as many rows out as in."""

    uses_time = False

    def __init__(self, node: MapBatches, name: str) -> None:
        super().__init__(node, name)
        self._function = node.function
        self._taken = node.input.schema.arrow
        self._conformer = Conformer(node.schema)

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            frame = rows.frame
            hidden = [name for name in HIDDEN if name in frame.columns]

            def attempt(part: pl.DataFrame, hidden: Sequence[str] = hidden) -> pl.DataFrame:
                result = self._mapped(part)
                return result.hstack(part.select(hidden)) if hidden else result

            results, bad = without_bad_rows(frame, attempt)
            self.entry.rows_in += frame.height
            self.entry.pairs += frame.height
            self.entry.rejected += len(bad)
            self.entry.passed += frame.height - len(bad)
            for number, error in bad:
                out.rejected.append(_rejected(rows, frame, number, error))
            out.rows += [rows.replaced(result) for result in results if result.height]
        return out

    def _mapped(self, part: pl.DataFrame) -> pl.DataFrame:
        result = self._function(to_table(part, self._taken))
        if isinstance(result, pa.RecordBatch):
            result = pa.Table.from_batches([result])
        if not isinstance(result, pa.Table):
            name = getattr(self._function, "__name__", "the function")
            raise TypeError(
                f"{name} returned {type(result).__name__}; map_batches wants an Arrow table or record batch"
            )
        if result.num_rows != part.height:
            raise ValueError(
                f"map_batches returned {result.num_rows} rows for {part.height}; it must return as many, in order "
                "(to multiply rows, return a list column and explode it)"
            )
        batch = result.combine_chunks().to_batches()
        conformed = self._conformer.conform(batch[0] if batch else pa.RecordBatch.from_pylist([], result.schema))
        if conformed.bad:
            first = conformed.bad[0]
            raise ValueError(f'row {first.row} of what map_batches returned: column "{first.column}": {first.reason}')
        return to_frame(conformed.data)


def as_dict(result: Any) -> dict[str, Any]:
    """Return a row that a user's function gave as a dict.

    Raises:
        TypeError: It is no row.
    """
    if isinstance(result, dict):
        return result
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if hasattr(result, "model_dump"):
        return dict(result.model_dump())
    if hasattr(result, "__struct_fields__"):
        return {name: getattr(result, name) for name in result.__struct_fields__}
    raise TypeError(f"a row is a dict or an object of the schema's class, not {type(result).__name__}")


def _through(stage: Stage, rows: int) -> None:
    stage.entry.rows_in += rows
    stage.entry.pairs += rows
    stage.entry.passed += rows


def _rejected(rows: Rows, frame: pl.DataFrame, number: int, error: Exception) -> RejectedRow:
    row = frame[number : number + 1]
    return RejectedRow(rows.place(frame, number), described(error), row, None, traced(error))


def _without(frame: pl.DataFrame, rows: Collection[int]) -> pl.DataFrame:
    return frame.with_row_index("__n").filter(pl.col("__n").is_in(list(rows)).not_()).drop("__n")
