"""Arrow batches brought to a schema: the one place that says what may be coerced, for every source.

============================  ==============================================================
from                          to
============================  ==============================================================
integer                       an integer type that holds the value; a float or decimal that is equal to it
float                         the other float size (to the nearest, refused where it becomes infinite)
decimal                       a decimal that is equal to it
timestamp                     microseconds in UTC: naive is UTC, zones are converted, nanoseconds dropped
date                          date; timestamp at midnight UTC
time, duration                microseconds, nanoseconds dropped
text, bytes                   other layouts of the same
dictionary                    its values
list, struct                  item by item and field by field, by name
null                          any type
============================  ==============================================================

All else is refused: float to integer, text to number, number to text, boolean to number. A value
that does not fit makes its row a bad one; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.rules import RuleSet, shown
from thalweg.core.schema import TIMESTAMP, Schema

Mask: TypeAlias = "pa.BooleanArray | None"
"""Where values could not be converted; None: nowhere."""

Convert: TypeAlias = Callable[[pa.Array, pa.DataType], "tuple[pa.Array, Mask]"]

_EXACT_IN_FLOAT = {pa.float32(): 2**24, pa.float64(): 2**53}
_INTEGER_RANGE = {
    kind: (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
} | {kind: (0, 2**kind.bit_width - 1) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())}

_TRUE, _FALSE = pa.scalar(True, pa.bool_()), pa.scalar(False, pa.bool_())


class BadRow(NamedTuple):
    """A row that does not conform: its index in the input, the column at fault, the reason."""

    row: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Conformed:
    """A batch brought to a schema.

    Attributes:
        data: The rows that conform, in order, with exactly the schema's columns and types.
        bad: The rows that do not, in order, each once, with the first column at fault.
        rows: For each row of ``data`` its index in the input; None where all rows conform.
    """

    data: pa.RecordBatch
    bad: tuple[BadRow, ...] = ()
    rows: pa.Int64Array | None = None

    def origin(self, row: int) -> int:
        """Return the index in the input of a row of ``data``."""
        return row if self.rows is None else int(self.rows[row].as_py())


class Conformer:
    """Brings batches to one schema; what can be prepared is prepared once.

    Raises:
        PlanError: A rule of the schema does not fit its column.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._target = schema.arrow
        self._rules = RuleSet(schema)

    def conform(self, batch: pa.RecordBatch) -> Conformed:
        """Return the batch with the schema's columns and types, and the rows that cannot have them.

        Shape:
            Columns are picked by name; ones that the schema lacks are dropped; ones that the batch
            lacks are null. Rows that do not conform are left out of ``data``.
        """
        bad: dict[int, BadRow] = {}
        if batch.schema.equals(self._target, check_metadata=True):
            data = batch
        else:
            columns = []
            for field in self._schema:
                given = _column(batch, field.name)
                if given is None:
                    columns.append(pa.nulls(batch.num_rows, field.type))
                    continue
                column, failed = convert(given, field.type)
                columns.append(column)
                for row in () if failed is None else pc.indices_nonzero(failed).to_pylist():
                    reason = f"{_value(given[row])} of type {given.type} is not a value of type {field.type}"
                    bad.setdefault(row, BadRow(row, field.name, reason))
            data = pa.RecordBatch.from_arrays(columns, schema=self._target)
        for value in self._rules.check(data):
            bad.setdefault(value.row, BadRow(value.row, value.column, value.reason))
        if not bad:
            return Conformed(data)
        keep = _all_but(batch.num_rows, bad)
        rows = pc.indices_nonzero(keep).cast(pa.int64())
        return Conformed(data.filter(keep), tuple(bad[row] for row in sorted(bad)), rows)


def conform(batch: pa.RecordBatch, schema: Schema) -> Conformed:
    """Return a batch brought to a schema; who has many batches of one schema keeps a ``Conformer``.

    Example:
        >>> from thalweg.core.schema import Field
        >>> schema = Schema((Field("price", pa.float64(), False),))
        >>> done = conform(pa.record_batch({"price": [3, None], "extra": ["x", "y"]}), schema)
        >>> done.data.to_pydict(), done.bad[0].row, done.bad[0].reason
        ({'price': [3.0]}, 1, 'null, but the column must have a value')
    """
    return Conformer(schema).conform(batch)


def convert(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Return an array with another type, and a mask of the values that cannot have it (null there)."""
    return by_part(values, target, _leaf)


def by_part(values: pa.Array, target: pa.DataType, leaf: Convert) -> tuple[pa.Array, Mask]:
    """Take lists and structs apart, convert what is in them, and put it together again.

    A list or struct of which a part cannot be converted is null as a whole, and marked.
    """
    if pa.types.is_struct(values.type) and pa.types.is_struct(target):
        return _struct(values, target, leaf)
    if _is_list(values.type) and pa.types.is_list(target):
        return _list(values, target, leaf)
    return leaf(values, target)


def _leaf(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    given = values.type
    if given.equals(target):
        return values, None
    if isinstance(given, pa.BaseExtensionType):
        return convert(values.storage, target)
    t = pa.types
    if t.is_null(given):
        return pa.nulls(len(values), target), None
    if t.is_dictionary(given):
        return convert(values.dictionary_decode(), target)
    if t.is_integer(given):
        return _from_integer(values, target)
    if t.is_floating(given) and t.is_floating(target):
        return _float(values, target)
    if t.is_timestamp(given) and t.is_timestamp(target):
        return _timestamp(values)
    if t.is_date(given) and t.is_timestamp(target):
        midnights, failed = cast_where_possible(values, pa.timestamp("us"))
        return midnights.view(target), failed
    if any(kind(given) and kind(target) for kind in (t.is_time, t.is_duration)):
        return cast_where_possible(values, target, safe=given.unit != "ns")
    if any(kind(given) and kind(target) for kind in (t.is_date, t.is_decimal, _is_text, _is_bytes)):
        return cast_where_possible(values, target)
    return pa.nulls(len(values), target), masked(values.is_valid())


def _from_integer(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    if pa.types.is_decimal(target):
        # By way of text: Arrow wants a precision that holds every integer, and only some are here.
        return cast_where_possible(values.cast(pa.string()), target)
    if pa.types.is_floating(target):
        return _float_of_integer(values, target)
    if not pa.types.is_integer(target):
        return pa.nulls(len(values), target), masked(values.is_valid())
    (least, greatest), (given_least, given_greatest) = _INTEGER_RANGE[target], _INTEGER_RANGE[values.type]
    below = pc.less(values, pa.scalar(max(least, given_least), values.type))
    above = pc.greater(values, pa.scalar(min(greatest, given_greatest), values.type))
    return _without(values, pc.or_(below, above), lambda fitting: fitting.cast(target))


def _float_of_integer(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Integers to floats that are equal to them."""
    floats = values.cast(target, safe=False)
    span = pc.min_max(values)
    exact = _EXACT_IN_FLOAT.get(target, 0)
    if not span["min"].is_valid or (-exact <= span["min"].as_py() and span["max"].as_py() <= exact):
        return floats, None
    # A float that was rounded up past the greatest integer has no way back.
    past = pc.greater_equal(floats, pa.scalar(float(_INTEGER_RANGE[values.type][1] + 1), pa.float64()).cast(target))
    back = pc.if_else(past, pa.scalar(0, target), floats).cast(values.type, safe=False)
    return _without(values, pc.or_(past, pc.not_equal(back, values)), lambda fitting: fitting.cast(target, safe=False))


def _float(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    floats = values.cast(target, safe=False)
    if target.bit_width >= values.type.bit_width:
        return floats, None
    became_infinite = pc.and_(pc.is_inf(floats), pc.is_finite(values))
    return _without(values, became_infinite, lambda fitting: fitting.cast(target, safe=False))


def _timestamp(values: pa.Array) -> tuple[pa.Array, Mask]:
    # The stored number counts from 1970 in UTC whatever the zone, and a naive one is UTC: only the unit matters.
    naive = values.view(pa.timestamp(values.type.unit))
    if values.type.unit == "ns":
        naive = pc.floor_temporal(naive, unit="microsecond")
    micros, failed = cast_where_possible(naive, pa.timestamp("us"))
    return micros.view(TIMESTAMP), failed


def either(first: Mask, second: Mask) -> Mask:
    """Return where at least one of two masks says that a value could not be converted."""
    if first is None or second is None:
        return first if second is None else second
    return pc.or_(first, second)


def masked(failed: pa.BooleanArray) -> Mask:
    """Return a mask, or None where it marks nothing."""
    return failed if failed.true_count else None


def _struct(values: pa.StructArray, target: pa.StructType, leaf: Convert) -> tuple[pa.Array, Mask]:
    failed: Mask = None
    parts = dict(zip((field.name for field in values.type), values.flatten(), strict=True))
    columns = []
    for field in target:
        if (part := parts.get(field.name)) is None:
            columns.append(pa.nulls(len(values), field.type))
            continue
        column, failed_part = by_part(part, field.type, leaf)
        columns.append(column)
        failed = either(failed, failed_part)
    return pa.StructArray.from_arrays(columns, fields=list(target), mask=_nulls(values, failed)), failed


def _list(values: pa.Array, target: pa.ListType, leaf: Convert) -> tuple[pa.Array, Mask]:
    items, failed_items = by_part(values.flatten(), target.value_type, leaf)
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths.cast(pa.int32()))])
    failed: Mask = None
    if failed_items is not None:
        rows = pc.list_parent_indices(values).filter(failed_items)
        failed = pc.is_in(pa.array(range(len(values)), pa.int64()), value_set=rows.cast(pa.int64()))
    return pa.ListArray.from_arrays(offsets, items, type=target, mask=_nulls(values, failed)), failed


def cast_where_possible(values: pa.Array, target: pa.DataType, *, safe: bool = True) -> tuple[pa.Array, Mask]:
    """Cast, and where that fails halve until the values at fault stand alone."""
    try:
        return values.cast(target, safe=safe), None
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, target), pa.repeat(_TRUE, 1)
    half = len(values) // 2
    parts = [cast_where_possible(part, target, safe=safe) for part in (values.slice(0, half), values.slice(half))]
    masks = [pa.repeat(_FALSE, len(part)) if failed is None else failed for part, failed in parts]
    return pa.concat_arrays([part for part, _ in parts]), pa.concat_arrays(masks)


def _without(values: pa.Array, failed: pa.BooleanArray, cast: Callable[[pa.Array], pa.Array]) -> tuple[pa.Array, Mask]:
    mask = masked(pc.fill_null(failed, False))
    if mask is None:
        return cast(values), None
    return cast(pc.if_else(mask, pa.scalar(None, values.type), values)), mask


def _nulls(values: pa.Array, failed: Mask) -> Mask:
    return either(values.is_null() if values.null_count else None, failed)


def _all_but(count: int, bad: Iterable[int]) -> pa.BooleanArray:
    keep = bytearray(b"\x01") * count
    for row in bad:
        keep[row] = 0
    return pa.Array.from_buffers(pa.uint8(), count, [None, pa.py_buffer(keep)]).cast(pa.bool_())


def _column(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    places = batch.schema.get_all_field_indices(name)
    return batch.column(places[0]) if places else None


def _value(scalar: pa.Scalar) -> str:
    try:
        return shown(scalar.as_py())
    except ValueError:  # Python's times have no nanoseconds
        return str(scalar.cast(pa.string()))


def _is_list(given: pa.DataType) -> bool:
    t = pa.types
    kinds = (t.is_list, t.is_large_list, t.is_fixed_size_list, t.is_list_view, t.is_large_list_view)
    return any(kind(given) for kind in kinds)


def _is_text(given: pa.DataType) -> bool:
    return any(kind(given) for kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_bytes(given: pa.DataType) -> bool:
    t = pa.types
    kinds = (t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary)
    return any(kind(given) for kind in kinds)
