"""The source that gives data already in memory: Arrow batches and tables, frames, and rows as dicts."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

import pyarrow as pa

from thalweg.core.errors import PlanError, SourceError, near
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.python_rows import RowError, array_of, decode_rows
from thalweg.core.schema import Schema

Row: TypeAlias = Mapping[str, Any]  # a row's values may be anything that a column can hold


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """A partition of Arrow batches."""

    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self.batches)


_Rows: TypeAlias = tuple[Row, ...]
_Partition: TypeAlias = _Columns | _Rows


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Describes a source of data in memory. Two of them are equal only if they are the same object."""

    data: tuple[_Partition, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """``memory``."""
        return "memory"

    @property
    def final(self) -> bool:
        """Nothing can be added."""
        return True

    @property
    def prefetch(self) -> bool:
        """A read is a slice."""
        return False

    def total_rows(self) -> int:
        """Return the rows of all partitions."""
        return sum(len(partition) for partition in self.data)

    def describe(self) -> str:
        """Return one line for the plan."""
        rows = sum(len(partition) for partition in self.data)
        return f"memory({len(self.data)} partition{'s' * (len(self.data) != 1)}, {rows} rows)"

    def schema(self) -> pa.Schema | None:
        """Return the schema of the Arrow data, else the one that Arrow infers over all rows; None without any.

        Raises:
            SourceError: A column of the rows has values of several types.
        """
        for partition in self.data:
            if isinstance(partition, _Columns):
                return partition.schema
        return _inferred([row for partition in self.data if not isinstance(partition, _Columns) for row in partition])

    def open(self, schema: Schema) -> _OpenMemory:
        """Start to read.

        Raises:
            SourceError: The Arrow data lacks a column of the schema.
        """
        return _OpenMemory(tuple(_selected(partition, schema) for partition in self.data), schema)


def memory(partitions: object) -> Memory:
    """Read data that is in memory already.

    Shape: Arrow data keeps its own types and is never copied. Rows as dicts are turned into the declared schema, or
    into the one that Arrow infers: as strict as typed JSON (text is no number, a float no integer), but for times,
    which may be datetimes or ISO 8601 text (UTC where no zone is given). A key that a row lacks is null; keys that
    the schema lacks are ignored. A row that cannot be turned is rejected.

    Args:
        partitions: One item per partition, each a list of Arrow batches, a list of Arrow tables or frames, one table
            or frame, or a list of dicts. A single table, frame or list of dicts is one partition. ``memory([[]])``
            is an empty partition and needs a declared schema.

    Raises:
        PlanError: Something else was given, or the Arrow data has more than one schema.

    Example:
        >>> memory([{"user": "ann", "price": 3}, {"user": "bob", "price": 4}]).describe()
        'memory(1 partition, 2 rows)'
        >>> memory([[{"user": "ann"}], [{"user": "bob"}]]).describe()
        'memory(2 partitions, 2 rows)'
    """
    if _is_arrow(partitions):
        given: list[object] = [partitions]
    elif isinstance(partitions, (list, tuple)):
        given = list(partitions)
        if not given or isinstance(given[0], Mapping):
            given = [given]
    else:
        raise PlanError(f"memory() was given {_kind(partitions)}; {_ALLOWED}")
    data = tuple(_partition(item, index) for index, item in enumerate(given))
    schemas = [partition.schema for partition in data if isinstance(partition, _Columns)]
    for other in schemas[1:]:
        _check_same(schemas[0], other)
    return Memory(data)


_ALLOWED = (
    "allowed: per partition a list of Arrow batches, Arrow tables or frames, one table or frame, or a list of dicts"
)


def _is_arrow(item: object) -> bool:
    return isinstance(item, (pa.RecordBatch, pa.Table)) or hasattr(item, "__arrow_c_stream__")


def _kind(item: object) -> str:
    return f"a {type(item).__name__}"


def _partition(item: object, index: int) -> _Partition:
    if _is_arrow(item):
        return _columns([item], index)
    if not isinstance(item, (list, tuple)):
        raise PlanError(f"partition {index} of memory() is {_kind(item)}; {_ALLOWED}")
    if item and _is_arrow(item[0]):
        return _columns(list(item), index)
    for row, value in enumerate(item):
        if not isinstance(value, Mapping):
            raise PlanError(f"row {row} of partition {index} of memory() is {_kind(value)}; {_ALLOWED}")
    return tuple(item)


def _columns(items: list[object], index: int) -> _Columns:
    batches: list[pa.RecordBatch] = []
    schema: pa.Schema | None = None
    for item in items:
        if not _is_arrow(item):
            raise PlanError(f"partition {index} of memory() mixes Arrow data with {_kind(item)}; {_ALLOWED}")
        try:
            own = item if isinstance(item, (pa.RecordBatch, pa.Table)) else pa.table(item)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise PlanError(f"partition {index} of memory() holds {_kind(item)} that is no table: {error}") from error
        schema = own.schema if schema is None else schema
        _check_same(schema, own.schema)
        batches += own.to_batches() if isinstance(own, pa.Table) else [own]
    assert schema is not None  # items has at least one
    names = list(schema.names)
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise PlanError(f'partition {index} of memory() has two columns named "{double}"; rename one')
    return _Columns(schema, tuple(batch for batch in batches if batch.num_rows))


def _check_same(first: pa.Schema, other: pa.Schema) -> None:
    if first.names != other.names or first.types != other.types:
        raise PlanError(
            f"memory() was given data of two schemas, ({_shown(first)}) and ({_shown(other)}); cast one to the other"
        )


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _inferred(rows: list[Row]) -> pa.Schema | None:
    names: dict[str, None] = {}  # in the order of their first appearance
    for row in rows:
        names.update(dict.fromkeys(row))
    fields = []
    for name in names:
        try:
            fields.append(pa.field(str(name), array_of([row.get(name) for row in rows], None).type))
        except RowError as error:
            raise SourceError(f'the column "{name}" of memory() has no one type: {error}; declare schema=') from error
    return pa.schema(fields) if fields else None


def _selected(partition: _Partition, schema: Schema) -> _Partition:
    if not isinstance(partition, _Columns) or tuple(partition.schema.names) == schema.names:
        return partition
    for name in schema.names:
        if name not in partition.schema.names:
            raise SourceError(f'the data of memory() has no column "{name}"; {near(name, partition.schema.names)}')
    names = list(schema.names)
    batches = tuple(batch.select(names) for batch in partition.batches)
    return _Columns(pa.schema([partition.schema.field(name) for name in names]), batches)


class _OpenMemory:
    def __init__(self, data: tuple[_Partition, ...], schema: Schema) -> None:
        self._data = data
        self._schema = schema

    def partitions(self) -> Sequence[str]:
        return [str(index) for index in range(len(self._data))]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        if partition not in self.partitions():
            raise SourceError(f'memory() has no partition "{partition}"; {near(partition, self.partitions())}')
        data = self._data[int(partition)]
        row = 0 if position is None else position
        if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row <= len(data):
            raise SourceError(
                f"memory[partition {partition}] cannot be read from the position {position!r}; allowed: 0 to "
                f"{len(data)}, the rows read. Is this the data that the saved state was made from?"
            )
        if isinstance(data, _Columns):
            return _ColumnReader(data, partition, row)
        return _RowReader(data, self._schema, partition, row)

    def replay(self, partition: str, position: Json) -> PartitionReader:
        if isinstance(position, int):
            self.reader(partition, position)  # raises if there are fewer rows
        return self.reader(partition, None)

    def close(self) -> None:
        """The data belongs to the program."""


def _place(partition: str, first: int, index: int) -> str:
    return f"memory[partition {partition}]:{first + index}"


class _ColumnReader:
    """Gives slices of the batches: no row is copied, and a read costs a few microseconds."""

    def __init__(self, data: _Columns, partition: str, row: int) -> None:
        self._batches = data.batches
        self._partition = partition
        self._row = row
        ends = list(accumulate(batch.num_rows for batch in data.batches))
        self._index = bisect.bisect_right(ends, row)
        self._offset = row - (ends[self._index - 1] if self._index else 0)

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        if self._index == len(self._batches):
            return Nothing.EVER
        batch = self._batches[self._index]
        first = self._row
        left = batch.num_rows - self._offset
        if left > max_rows:
            batch = batch.slice(self._offset, max_rows)
            self._offset += max_rows
            self._row += max_rows
        else:
            if self._offset:
                batch = batch.slice(self._offset)
            self._index += 1
            self._offset = 0
            self._row += left
        return SourceBatch(batch, self._row, partial(_place, self._partition, first))

    def close(self) -> None:
        """The data belongs to the program."""


class _RowReader:
    """Turns rows into columns, a read at a time."""

    def __init__(self, rows: _Rows, schema: Schema, partition: str, row: int) -> None:
        self._rows = rows
        self._schema = schema
        self._partition = partition
        self._row = row

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        first = self._row
        rows = self._rows[first : first + max_rows]
        if not rows:
            return Nothing.EVER
        self._row += len(rows)
        decoded = decode_rows(rows, self._schema, partial(_place, self._partition, first))
        return SourceBatch(decoded.data, self._row, decoded.locate, decoded.rejected)

    def close(self) -> None:
        """The data belongs to the program."""
