"""CSV to Arrow: Arrow's reader where a line is certain to be a row, and ``csv_rows`` elsewhere.

Fields are read as text and then converted column by column (see ``text``), so that a field that
cannot be converted costs its own row only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from thalweg.columnar.conform import Conformer
from thalweg.columnar.csv_rows import CsvRow, scan
from thalweg.columnar.decoded import Decoded, is_utf8
from thalweg.columnar.json_rows import JsonFault, convert_value, read_value
from thalweg.columnar.rules import shown
from thalweg.columnar.text import parse, wanted
from thalweg.core.ports import Rejected
from thalweg.core.schema import Schema

_SELF_CONTAINED = r'^(?:"(?:[^"]|"")*"|[^",]*)(?:,(?:"(?:[^"]|"")*"|[^",]*))*\r?$'
_NO_TEXT = pa.scalar(None, pa.string())


class CsvDecoder:
    r"""Decodes runs of CSV rows below one header to one schema.

    Columns are found by the header's names; ones that the schema lacks are not looked at, ones that
    the header lacks are null. A field with nothing in it is null; ``""`` is empty in a column of text
    or bytes and null in others. Lists and structs are JSON. Empty lines are no rows, except where there is one
    column only: there they are null. A row is rejected that has another number of fields than the
    header, a field that is no value of its column's type, or breaks the schema's rules.

    Raises:
        PlanError: A rule of the schema does not fit its column.

    Example:
        >>> from thalweg.core.schema import Field
        >>> decoder = CsvDecoder(Schema((Field("n", pa.int64()),)), ("n", "extra"))
        >>> done = decoder.decode(b"1,a\nx,b\n3,\n", 2, "x.csv:{}".format)
        >>> done.data.to_pydict(), done.rejected[0].place, done.rejected[0].reason
        ({'n': [1, 3]}, 'x.csv:3', 'column "n" takes a whole number (int64), this is \'x\'')
    """

    def __init__(self, schema: Schema, header: Sequence[str]) -> None:
        self._schema = schema
        self._width = len(header)
        self._place_of = {name: place for place, name in enumerate(header)}
        self._read = [self._place_of[field.name] for field in schema if field.name in self._place_of]
        self._conformer = Conformer(schema)

    def whole(self, text: bytes, *, final: bool) -> int:
        """Return how many bytes of a text are whole rows; with ``final`` all of them."""
        if final:
            return len(text)
        lines = text.rfind(b"\n") + 1
        if _is_plain(text[:lines]):
            return lines
        stop = 0
        for row in scan(text, final=False):
            stop = row.stop
        return stop

    def decode(self, text: bytes, first_line: int, place: Callable[[int], str]) -> Decoded:
        """Decode whole rows.

        Args:
            text: The rows; the last one may lack its newline.
            first_line: The number of the first line.
            place: Gives the place of a line number, for people.
        """
        faults: dict[int, tuple[str, str | None]] = {}
        rows: list[CsvRow] | None = None
        numbers: Sequence[int]
        columns = self._by_line(text, faults) if _is_plain(text) else None
        if columns is None:
            faults.clear()
            rows, numbers = self._rows(text, first_line)
            columns = self._by_row(text, rows, faults)
        else:
            numbers = _numbers(text, first_line, self._width)
        good = [row for row in range(len(numbers)) if row not in faults] if faults else range(len(numbers))
        batch, misfits = self._converted(columns, len(good))
        faults |= {good[row]: misfit for row, misfit in misfits.items()}
        if misfits:
            keep = [row for row in range(len(good)) if row not in misfits]
            batch = batch.take(pa.array(keep, pa.int64()))
            good = [good[row] for row in keep]
        conformed = self._conformer.conform(batch)
        faults |= {good[bad.row]: (f'column "{bad.column}": {bad.reason}', bad.column) for bad in conformed.bad}
        if not faults:
            return Decoded(conformed.data, numbers)
        at = tuple(sorted(faults))
        if rows is None:
            rows, _ = self._rows(text, first_line)
        raws = [text[rows[row].start : rows[row].stop].removesuffix(b"\n").removesuffix(b"\r") for row in at]
        rejected = tuple(
            Rejected(place(numbers[row]), faults[row][0], raw, faults[row][1])
            for row, raw in zip(at, raws, strict=True)
        )
        return Decoded(conformed.data, numbers, rejected, at)

    def _by_line(self, text: bytes, faults: dict[int, tuple[str, str | None]]) -> dict[int, pa.StringArray] | None:
        """Read rows of which each is a line; name those of a wrong width."""
        if not text:
            return {place: pa.array([], pa.string()) for place in self._read}

        def wrong_width(row: pa.csv.InvalidRow) -> str:
            faults[row.number - 1] = (self._width_fault(row.actual_columns), None)
            return "skip"

        names = [str(place) for place in range(self._width)]
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(text),
                pa.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
                pa.csv.ParseOptions(invalid_row_handler=wrong_width, ignore_empty_lines=self._width > 1),
                pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                    quoted_strings_can_be_null=False,
                    include_columns=[names[place] for place in self._read] or names[:1],
                ),
            )
        except pa.ArrowInvalid:  # not UTF-8
            return None
        if table.num_rows + len(faults) != len(_numbers(text, 0, self._width)):
            return None
        return {place: _one_chunk(table.column(names[place])) for place in self._read}

    def _rows(self, text: bytes, first_line: int) -> tuple[list[CsvRow], list[int]]:
        rows: list[CsvRow] = []
        numbers: list[int] = []
        line = first_line
        for row in scan(text, final=True):
            if self._width == 1 or row.fault is not None or row.fields != (None,):
                rows.append(row)
                numbers.append(line)
            line += text.count(b"\n", row.start, row.stop)
        return rows, numbers

    def _by_row(
        self, text: bytes, rows: list[CsvRow], faults: dict[int, tuple[str, str | None]]
    ) -> dict[int, pa.StringArray]:
        columns: dict[int, list[str | None]] = {place: [] for place in self._read}
        for number, row in enumerate(rows):
            if row.fault is not None:
                faults[number] = (row.fault, None)
                continue
            if len(row.fields) != self._width:
                faults[number] = (self._width_fault(len(row.fields)), None)
                continue
            try:
                fields = {place: None if (at := row.fields[place]) is None else at.decode() for place in self._read}
            except UnicodeDecodeError as error:
                faults[number] = (f"not UTF-8: byte 0x{error.object[error.start]:02x}", None)
                continue
            for place, field in fields.items():
                columns[place].append(field)
        return {place: pa.array(fields, pa.string()) for place, fields in columns.items()}

    def _converted(
        self, columns: dict[int, pa.StringArray], count: int
    ) -> tuple[pa.RecordBatch, dict[int, tuple[str, str]]]:
        found = []
        misfits: dict[int, tuple[str, str]] = {}
        for field in self._schema:
            place = self._place_of.get(field.name)
            if place is None:
                found.append(pa.nulls(count, field.type))
                continue
            texts = columns[place]
            if not (pa.types.is_string(field.type) or pa.types.is_binary(field.type)):
                empty = pc.fill_null(pc.equal(texts, pa.scalar("", pa.string())), False)
                texts = pc.if_else(empty, _NO_TEXT, texts) if empty.true_count else texts
            nested = pa.types.is_nested(field.type)
            values, failed = _nested(texts, field.type) if nested else parse(texts, field.type)
            found.append(values)
            for row in [] if failed is None else pc.indices_nonzero(failed).to_pylist():
                reason = f'column "{field.name}" takes {wanted(field.type)}, this is {shown(texts[row].as_py())}'
                misfits.setdefault(row, (reason, field.name))
        schema = pa.schema([pa.field(field.name, field.type) for field in self._schema])
        return pa.RecordBatch.from_arrays(found, schema=schema), misfits

    def _width_fault(self, count: int) -> str:
        return f"{count} field{'' if count == 1 else 's'}, where the header has {self._width}"


def read_header(text: bytes) -> tuple[tuple[str, ...], int] | None:
    """Return the names of a CSV text's first row and where the next one starts; None if it is not whole.

    Raises:
        ValueError: The first row cannot be a header; the message says why.
    """
    row = next(scan(text, final=False), None)
    if row is None:
        return None
    if row.fault is not None:
        raise ValueError(row.fault)
    try:
        names = tuple((name or b"").decode() for name in row.fields)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise ValueError(f'two columns have the name "{twice}"')
    return names, row.stop


def _is_plain(text: bytes) -> bool:
    """Return whether every line is a row."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return False
    if not is_utf8(text):
        return False
    if b'"' not in text:
        return True
    lines = pl.Series([text.decode()], dtype=pl.String).str.split("\n").explode()
    return bool(lines.str.contains(_SELF_CONTAINED).all())


def _numbers(text: bytes, first_line: int, width: int) -> Sequence[int]:
    """Return the numbers of the lines that are rows, where every line is one unless it is empty."""
    count = text.count(b"\n") + (not text.endswith(b"\n") and bool(text))
    has_empty = text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text
    if width == 1 or not has_empty:
        return range(first_line, first_line + count)
    lines = text.split(b"\n")
    return [number for number, line in enumerate(lines, first_line) if line.removesuffix(b"\r")]


def _nested(texts: pa.StringArray, target: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    values: list[Any] = []
    failed: list[bool] = []
    for text in texts.to_pylist():
        try:
            values.append(None if text is None else convert_value(read_value(text.encode()), target, ""))
            failed.append(False)
        except JsonFault:
            values.append(None)
            failed.append(True)
    return pa.array(values, target), pa.array(failed, pa.bool_()) if any(failed) else None


def _one_chunk(column: pa.ChunkedArray) -> pa.StringArray:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
