"""NDJSON to Arrow: a vectorised reader for what is in order, a strict one for the lines that are not.

Arrow's reader is fast and strict about types, but it fails as a whole, reads two objects on a line as
two rows, accepts NaN, and takes a number for a date. So it is only given text of which it was checked
that every line starts and ends as an object, and its answer only counts when there is a row for every
line and every value is within bounds. Otherwise the lines are sorted: those that a quick typed
parse accepts go to Arrow again, by halves where it still refuses; the rest is decided by
``json_rows``, line by line. Whatever Arrow accepts, ``json_rows`` accepts with the same values, so it
makes no difference where a text is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from thalweg.columnar.conform import Conformer, Mask, by_part, either, masked
from thalweg.columnar.decoded import Decoded
from thalweg.columnar.json_lines import bare, is_object, objects_in_order
from thalweg.columnar.json_rows import JsonFault, JsonRows, Unknown
from thalweg.columnar.text import in_years, parse
from thalweg.core.ports import Rejected
from thalweg.core.schema import Schema

_BLOCK_BYTES = 1 << 20  # what one thread parses at a time
_FEW = 32  # lines that are decided one by one sooner than by further halves


class JsonDecoder:
    r"""Decodes runs of NDJSON lines to one schema.

    Lines of spaces are no rows. Timestamps, dates and times are ISO 8601 text, bytes are base64,
    durations whole microseconds, decimals numbers or text; NaN and infinities are the texts
    ``"NaN"``, ``"Infinity"``, ``"-Infinity"``. Columns that a line lacks are null. A line is rejected
    where it is not one JSON object, has another type in a column, a column twice, or breaks the
    schema's rules.

    Args:
        schema: What the rows are to be.
        unknown: What becomes of fields that the schema does not have, in objects inside of rows too.

    Raises:
        PlanError: A rule of the schema does not fit its column.

    Example:
        >>> from thalweg.core.schema import Field
        >>> decoder = JsonDecoder(Schema((Field("n", pa.int64()),)))
        >>> done = decoder.decode(b'{"n": 1}\n{"n": 1.5}\n{"n": 2}\n', 1, "x.ndjson:{}".format)
        >>> done.data.to_pydict(), done.rejected[0].place, done.rejected[0].reason
        ({'n': [1, 2]}, 'x.ndjson:2', 'column "n" takes a whole number (int64), this is the number 1.5')
    """

    def __init__(self, schema: Schema, unknown: Unknown = "drop") -> None:
        self._conformer = Conformer(schema)
        self._rows = JsonRows(schema, unknown)
        self._likely = _likely_decoder(schema, unknown)
        self._unknown = "error" if unknown == "refuse" else "ignore"  # as Arrow's reader calls it
        self._target = pa.schema([pa.field(field.name, field.type) for field in schema])
        self._direct = pa.schema([pa.field(field.name, _read_as(field.type, False)) for field in schema])
        self._as_text = pa.schema([pa.field(field.name, _read_as(field.type, True)) for field in schema])
        self._by_text = False  # a choice of speed: which of the two readers the last chunk needed

    def whole(self, text: bytes, *, final: bool) -> int:
        """Return how many bytes of a text are whole lines; with ``final`` all of them."""
        return len(text) if final else text.rfind(b"\n") + 1

    def decode(self, lines: bytes, first_line: int, place: Callable[[int], str]) -> Decoded:
        """Decode whole lines.

        Args:
            lines: The text; the last line may lack its newline.
            first_line: The number of the first line.
            place: Gives the place of a line number, for people.
        """
        rows: list[bytes] | None = None
        numbers: Sequence[int]
        faults: dict[int, JsonFault] = {}
        data = self._in_order(lines)
        if data is not None:
            numbers = range(first_line, first_line + data.num_rows)
        else:
            split = lines.split(b"\n")
            numbers = [number for number, line in enumerate(split, first_line) if bare(line)]
            rows = [split[number - first_line] for number in numbers]
            data = self._sorted_out(rows, faults)
        conformed = self._conformer.conform(data)
        if not faults and not conformed.bad:
            return Decoded(conformed.data, numbers)
        if conformed.bad:
            good = [row for row in range(len(numbers)) if row not in faults] if faults else range(len(numbers))
            faults |= {
                good[bad.row]: JsonFault(f'column "{bad.column}": {bad.reason}', bad.column) for bad in conformed.bad
            }
        if rows is None:
            rows = lines.split(b"\n")
        at = tuple(sorted(faults))
        rejected = tuple(
            Rejected(place(numbers[row]), faults[row].reason, rows[row].removesuffix(b"\r"), faults[row].column)
            for row in at
        )
        return Decoded(conformed.data, numbers, rejected, at)

    def decode_objects(self, lines: bytes, count: int) -> pa.RecordBatch | None:
        """Decode lines of which each is known to be one JSON object; None where one of them is no row of the schema.

        Shape: The schema's columns, which its rules have not been applied to.
        """
        found = self._read(lines, count)
        return found[0] if found is not None and found[1] is None else None

    def _in_order(self, lines: bytes) -> pa.RecordBatch | None:
        """Read all lines at once if that is certain to give each its row."""
        if b"\r" in lines:
            lines = lines.replace(b"\r\n", b"\n")  # no newline can stand inside a JSON value
        if not lines.endswith(b"\n"):
            lines += b"\n"
        count = objects_in_order(lines)
        return None if count is None else self.decode_objects(lines, count)

    def _sorted_out(self, rows: list[bytes], faults: dict[int, JsonFault]) -> pa.RecordBatch:
        """Decode lines of which some are odd; name the rows at fault."""
        likely: list[int] = []
        odd: list[int] = []
        for row, line in enumerate(rows):
            (likely if self._is_likely(bare(line)) else odd).append(row)
        parts: list[tuple[list[int], pa.RecordBatch]] = []
        pending = [likely]
        while pending:
            group = pending.pop()
            if len(group) <= _FEW:
                odd += group
                continue
            found = self._read(b"\n".join([bare(rows[row]) for row in group]) + b"\n", len(group))
            if found is None:
                pending += [group[: len(group) // 2], group[len(group) // 2 :]]
                continue
            batch, failed = found
            if failed is not None:
                odd += [group[at] for at in pc.indices_nonzero(failed).to_pylist()]
                keep = pc.invert(failed)
                group = [group[at] for at in pc.indices_nonzero(keep).to_pylist()]
                batch = batch.filter(keep)
            parts.append((group, batch))
        values: list[dict[str, Any]] = []
        decided: list[int] = []
        for row in odd:
            try:
                values.append(self._rows.decode(rows[row]))
                decided.append(row)
            except JsonFault as fault:
                faults[row] = fault
        parts.append((decided, pa.RecordBatch.from_pylist(values, schema=self._target)))
        together = pa.concat_batches([batch for _, batch in parts])
        return together.take(pc.array_sort_indices(pa.array([row for group, _ in parts for row in group], pa.int64())))

    def _is_likely(self, line: bytes) -> bool:
        """Say whether the fast reader may be given a line: it is one JSON object, and probably of the schema."""
        if not is_object(line):
            return False
        try:
            self._likely.decode(line)
        except (msgspec.MsgspecError, RecursionError):
            return False
        return True

    def _read(self, lines: bytes, count: int) -> tuple[pa.RecordBatch, Mask] | None:
        """Read lines that were checked to be an object each; the mask names rows that are out of bounds."""
        for by_text in (True,) if self._by_text else (False, True):
            schema = self._as_text if by_text else self._direct
            table = _read_arrow(lines, schema, self._unknown)
            if table is None or table.num_rows != count:
                if schema.equals(self._as_text):
                    break
                continue
            batch, failed = self._finished(table)
            if failed is not None and not by_text and not self._direct.equals(self._as_text):
                continue
            self._by_text = by_text and failed is None
            return batch, failed
        return None

    def _finished(self, table: pa.Table) -> tuple[pa.RecordBatch, Mask]:
        columns = []
        failed: Mask = None
        for field in self._target:
            chunks = table.column(field.name)
            column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
            if _is_checked(field.type):
                column, failed_here = by_part(column, field.type, _checked)
                failed = either(failed, failed_here)
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, schema=self._target), failed


def _read_arrow(lines: bytes, schema: pa.Schema, unknown: str) -> pa.Table | None:
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unknown)
    for block_size in (_BLOCK_BYTES, len(lines) + 1):
        # One block is read sooner by one thread.
        reading = pa.json.ReadOptions(use_threads=len(lines) > block_size, block_size=block_size)
        try:
            return pa.json.read_json(pa.BufferReader(lines), reading, options)
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):  # else: a line is longer than a block
                return None
    return None


def _checked(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Finish what the fast reader left as text, and mark what it should not have accepted."""
    t = pa.types
    if t.is_floating(target):
        # 1e400, or a thousand digits
        return values, masked(pc.fill_null(pc.invert(pc.is_finite(values)), False))
    if t.is_timestamp(values.type):
        return values, in_years(values)
    if t.is_decimal(target):
        return values, _too_long(values)
    if t.is_duration(target):
        return values.view(target), None
    if not values.type.equals(target):
        return parse(values, target)
    return values, None


def _too_long(values: pa.Array) -> Mask:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:  # the reader lets pass one digit too many
        given = values.type
        limit = pa.scalar(Decimal(10) ** (given.precision - given.scale), pa.decimal256(76, given.scale))
        return masked(pc.fill_null(pc.greater_equal(pc.abs(values.cast(limit.type)), limit), False))
    return None


def _is_checked(given: pa.DataType) -> bool:
    t = pa.types
    if t.is_list(given):
        return _is_checked(given.value_type)
    if t.is_struct(given):
        return any(_is_checked(field.type) for field in given)
    return bool(t.is_floating(given) or t.is_temporal(given) or t.is_binary(given) or t.is_decimal(given))


def _read_as(given: pa.DataType, times_as_text: bool) -> pa.DataType:
    """Return the type that the fast reader is asked for."""
    t = pa.types
    if t.is_list(given):
        return pa.list_(pa.field("item", _read_as(given.value_type, times_as_text)))
    if t.is_struct(given):
        return pa.struct([pa.field(field.name, _read_as(field.type, times_as_text)) for field in given])
    if t.is_duration(given):
        return pa.int64()
    # The reader takes numbers for dates and times, and text for bytes.
    as_text = t.is_date(given) or t.is_time(given) or t.is_binary(given) or (times_as_text and t.is_timestamp(given))
    return pa.string() if as_text else given


def _likely_decoder(schema: Schema, unknown: Unknown) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(_likely_struct([(field.name, field.type) for field in schema], unknown))
    except (ValueError, TypeError):  # a name that msgspec cannot have
        return msgspec.json.Decoder(dict[str, Any])


def _likely_struct(fields: Sequence[tuple[str, pa.DataType]], unknown: Unknown) -> type[msgspec.Struct]:
    members = [(f"f{place}", _likely_type(given, unknown), None) for place, (_, given) in enumerate(fields)]
    names = {f"f{place}": name for place, (name, _) in enumerate(fields)}
    return msgspec.defstruct("Line", members, rename=names, gc=False, forbid_unknown_fields=unknown == "refuse")


def _likely_type(given: pa.DataType, unknown: Unknown) -> Any:
    """Return a Python type whose JSON is about that of an Arrow type, or null."""
    t = pa.types
    if t.is_list(given):
        return list[_likely_type(given.value_type, unknown)] | None  # type: ignore[misc]  # a type made at run time
    if t.is_struct(given):
        return _likely_struct([(field.name, field.type) for field in given], unknown) | None
    if t.is_boolean(given):
        return bool | None
    if t.is_integer(given) or t.is_duration(given):
        return int | None
    if t.is_floating(given):
        return float | None
    return Any if t.is_decimal(given) else str | None
