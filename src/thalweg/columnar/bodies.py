r"""Rows that arrive together, as one message, decoded so strictly that each is taken or refused by its place.

Three forms: NDJSON, a JSON array, an Arrow stream. A message that cannot be cut into rows is refused as a
whole; a row that is no row of the schema is refused alone, also where it has a field that the schema
lacks: it would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.arrow_stream import LongStreamError, StreamError, read_stream
from thalweg.columnar.conform import Conformer
from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.decoded import Decoded, is_utf8
from thalweg.columnar.json_lines import bare
from thalweg.columnar.json_rows import DEEPEST, depth
from thalweg.columnar.json_shape import elements_at_most
from thalweg.core.errors import near
from thalweg.core.schema import Schema

_OPEN = 0x7B  # {


class UnreadableError(ValueError):
    """A message is not what its form asks for, so that no row of it can be told from the next."""


class UnknownColumnError(ValueError):
    """A message has a column that the schema does not have.

    Attributes:
        column: Its name, with those of the structs that it is in.
    """

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class TooManyRowsError(ValueError):
    """A message has more rows than are taken at once."""


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How large a message may be once it is inflated.

    Attributes:
        rows: Rows in one message; blank lines count.
        depth: How deep lists and objects may be nested in a row.
        bytes: What an Arrow stream may hold when its dictionaries are written out.
    """

    rows: int = 250_000
    depth: int = 64
    bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that is not taken: its index in the message, the column at fault where it is one, and the reason."""

    row: int
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Body:
    """A message, decoded.

    Attributes:
        rows: The rows that are taken, in order, with exactly the schema's columns.
        total: How many rows the message has.
        refused: The others, in order.
    """

    rows: pa.RecordBatch
    total: int
    refused: tuple[RefusedRow, ...] = ()

    def origins(self) -> Sequence[int]:
        """Return for each row of ``rows`` its index in the message."""
        if not self.refused:
            return range(self.total)
        out = {refused.row for refused in self.refused}
        return [row for row in range(self.total) if row not in out]


class RowsDecoder:
    r"""Decodes messages of rows to one schema.

    Args:
        schema: What the rows are to be.
        bounds: How large a message may be.

    Raises:
        PlanError: A rule of the schema does not fit its column.

    Example:
        >>> from thalweg.core.schema import Field
        >>> decoder = RowsDecoder(Schema((Field("n", pa.int64(), False),)))
        >>> body = decoder.array(b'[{"n": 1}, {"n": "2"}, {}]')
        >>> body.rows.to_pydict(), [(bad.row, bad.column) for bad in body.refused]
        ({'n': [1]}, [(1, 'n'), (2, 'n')])
    """

    def __init__(self, schema: Schema, bounds: BodyBounds = BodyBounds()) -> None:  # it is frozen
        self._bounds = bounds
        self._columns = _fields(schema.arrow)
        self._json = JsonDecoder(schema, unknown="refuse")
        self._conformer = Conformer(schema)

    def lines(self, text: bytes) -> Body:
        """Decode NDJSON; blank lines are no rows.

        Raises:
            TooManyRowsError: There are more lines than rows are allowed.
        """
        most = self._bounds.rows
        lines = [] if len(text) > most and text.count(b"\n") > most else text.split(b"\n")
        if not lines or (len(lines) > most and bare(lines[-1])):
            raise TooManyRowsError(f"more than {most} lines")
        if too_deep(lines, self._bounds.depth):
            return self._one_by_one([line for line in lines if bare(line)])
        return self._body(self._json.decode(text, 0, str))

    def array(self, text: bytes) -> Body:
        """Decode a JSON array of objects, or a single object.

        Raises:
            UnreadableError: It is neither.
            TooManyRowsError: It has more elements than are allowed.
        """
        return self.texts(elements(text, self._bounds.rows))

    def arrow(self, data: bytes) -> Body:
        """Decode an Arrow stream; every byte of it is checked before it is used.

        Raises:
            UnreadableError: It is no whole stream, or of a kind that is not taken here.
            UnknownColumnError: It has a column that the schema lacks, or one twice.
            TooManyRowsError: It has more rows than are allowed.
        """
        try:
            batches = read_stream(data, self._bounds.rows, self._bounds.bytes)
        except LongStreamError as error:
            raise TooManyRowsError(str(error)) from error
        except StreamError as error:
            raise UnreadableError(str(error)) from error
        for given in batches[:1]:  # all have one schema
            _check_names(_fields(given.schema), self._columns)
        refused: list[RefusedRow] = []
        kept = []
        total = 0
        for batch in batches:
            conformed = self._conformer.conform(batch)
            refused += [RefusedRow(total + bad.row, bad.column, bad.reason) for bad in conformed.bad]
            kept.append(conformed.data)
            total += batch.num_rows
        rows = pa.concat_batches(kept) if kept else self._conformer.conform(pa.record_batch([], [])).data
        return Body(rows, total, tuple(refused))

    def texts(self, texts: Sequence[bytes]) -> Body:
        """Decode rows that a strict reader has cut apart: each is one JSON value, without newlines.

        Raises:
            TooManyRowsError: There are more than are allowed.
        """
        if len(texts) > self._bounds.rows:
            raise TooManyRowsError(f"{len(texts)} rows; at most {self._bounds.rows} are taken at once")
        if too_deep(texts, min(self._bounds.depth, DEEPEST)):
            return self._one_by_one(texts)
        lines = b"\n".join(texts) + b"\n"
        # A value that starts as an object is one.
        if texts and is_utf8(lines) and {text[0] for text in texts} == {_OPEN}:
            batch = self._json.decode_objects(lines.replace(b"\r", b" "), len(texts))
            if batch is not None:
                conformed = self._conformer.conform(batch)
                refused = [RefusedRow(bad.row, bad.column, bad.reason) for bad in conformed.bad]
                return Body(conformed.data, len(texts), tuple(refused))
        return self._body(self._json.decode(lines if texts else b"", 0, str))

    def _one_by_one(self, texts: Sequence[bytes]) -> Body:
        """Decode rows of which some are nested too deep."""
        deep = set(too_deep(texts, self._bounds.depth))
        at = [row for row in range(len(texts)) if row not in deep]
        body = self._body(self._json.decode(b"".join([texts[row] + b"\n" for row in at]), 0, str))
        refused = [RefusedRow(at[bad.row], bad.column, bad.reason) for bad in body.refused]
        refused += [RefusedRow(row, None, f"nested more than {self._bounds.depth} deep") for row in deep]
        return Body(body.rows, len(texts), tuple(sorted(refused, key=lambda bad: bad.row)))

    @staticmethod
    def _body(decoded: Decoded) -> Body:
        refused = [
            RefusedRow(row, bad.column, without_column(bad.reason, bad.column))
            for row, bad in zip(decoded.rejected_at, decoded.rejected, strict=True)
        ]
        return Body(decoded.data, len(decoded), tuple(refused))


def _check_names(
    given: Sequence[tuple[str, pa.DataType]], known: Sequence[tuple[str, pa.DataType]], path: str = ""
) -> None:
    """Check the columns of a message, and the fields of structs in them, by name.

    Raises:
        UnknownColumnError: One is not known, or is there twice.
    """
    types = dict(known)
    seen: set[str] = set()
    for name, kind in given:
        if name not in types:
            raise UnknownColumnError(f"unknown column; {near(name, types)}", f"{path}{name}")
        if name in seen:
            raise UnknownColumnError("two columns have this name", f"{path}{name}")
        seen.add(name)
        inner, wanted = _item(kind), _item(types[name])
        if pa.types.is_struct(inner) and pa.types.is_struct(wanted):
            _check_names(_fields(inner), _fields(wanted), f"{path}{name}.")


def _fields(of: pa.Schema | pa.StructType) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in of]


def _item(kind: pa.DataType) -> pa.DataType:
    """Return the type of what is in a list, however deep; another type as it is."""
    t = pa.types
    while t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def elements(text: bytes, most: int) -> list[bytes]:
    """Return the elements of a JSON array, each without newlines; a single object is one element.

    Raises:
        UnreadableError: It is no JSON array or object.
        TooManyRowsError: It has more elements than ``most``.
    """
    stripped = bare(text)
    is_one = stripped[:1] == b"{"
    if is_one:
        stripped = b"[" + stripped + b"]"
    elif stripped[:1] != b"[":
        raise UnreadableError("it is neither a JSON array nor an object")
    if not elements_at_most(stripped, most):
        raise TooManyRowsError(f"more than {most} rows")
    try:
        raws = _ELEMENTS.decode(stripped)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise UnreadableError(f"not valid JSON: {error}") from error
    if is_one and len(raws) > 1:
        raise UnreadableError("not valid JSON: more than one value")
    if b"\n" in stripped:
        return [bytes(raw).replace(b"\n", b" ") for raw in raws]  # here newlines stand between tokens only
    return [bytes(raw) for raw in raws]


def too_deep(texts: Sequence[bytes], most: int) -> list[int]:
    """Return the indices of the JSON texts that are nested deeper than allowed."""
    # What is opened is closed as well, or it is no JSON.
    if max(map(len, texts), default=0) <= 2 * most:
        return []
    return [
        row
        for row, text in enumerate(texts)
        if len(text) > 2 * most and text.count(b"{") + text.count(b"[") > most and depth(text, most) > most
    ]


def without_column(reason: str, column: str | None) -> str:
    """Return a reason without the column's name at its start, where that is told beside it."""
    return reason.removeprefix(f'column "{column}" ').removeprefix(f'column "{column}": ') if column else reason


def fill(column: pa.Array, given: pa.Array) -> pa.Array:
    """Return a column with what is null in it taken from another one."""
    return pc.coalesce(column, given) if column.null_count else column
