"""Aggregates of the user's own functions: states per group, kept as bytes or as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import polars_type, to_table
from thalweg.core.errors import FunctionError
from thalweg.core.python_rows import RowError, array_of
from thalweg.core.schema import Field, Schema
from thalweg.engine.embedded.partial import Side
from thalweg.plan.expr import UserAggregate

_STATE: Final = "__state"
_EXACT: Final = {pa.int64(): int, pa.float64(): float, pa.string(): str, pa.bool_(): bool}
"""Python types whose values always fit."""

_PACKED, _TEXT = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row on which a user's function raised."""

    row: int
    error: Exception


class RowsFailed(Exception):
    """User code raised on some rows; the rest can be folded without them."""

    def __init__(self, rows: Sequence[FailedRow]) -> None:
        super().__init__(f"{len(rows)} rows failed")
        self.rows = tuple(rows)


class UserState(Side):
    """An aggregate made by ``thalweg.aggregate``: a state per group, encoded as MessagePack.

    Integers that MessagePack cannot hold are written as JSON instead.
    """

    runs_user_code = True

    def __init__(
        self, number: int, keys: Sequence[str], arguments: Sequence[Field], ties: Sequence[str], user: UserAggregate
    ) -> None:
        super().__init__(number, keys)
        self._arguments = list(arguments)
        self._ties = list(ties)
        self._user = user

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        names = [field.name for field in self._arguments]
        wanted = list(dict.fromkeys([*self.keys, *self._ties, *names]))
        ordered = rows.select(*wanted).with_row_index("__i").sort(self._ties)
        groups = ordered.group_by(self.keys, maintain_order=True).agg(*names, "__i")
        failed: list[FailedRow] = []
        states = [self._stepped(group, failed) for group in self._groups(groups, names)]
        if failed:
            raise RowsFailed(failed)
        return self._with_states(groups.select(self.keys), states)

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        groups = side.group_by(self.keys, maintain_order=True).agg(_STATE)
        states = []
        for encoded in groups.get_column(_STATE).to_list():
            state = self._decoded(encoded[0])
            for other in encoded[1:]:
                state = self._called("merge", self._user.merge, state, self._decoded(other))
            states.append(state)
        return self._with_states(groups.select(self.keys), states)

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        states = side.get_column(_STATE).to_list()
        results = [self._called("finish", self._user.finish, self._decoded(state)) for state in states]
        try:
            values = pl.Series(self.result_name, results, dtype=polars_type(self._user.type))
        except (TypeError, pl.exceptions.PolarsError, OverflowError) as error:
            raise FunctionError(
                f"finish of the aggregate {self._user.name} gave a value that is not {self._user.type}: {error}"
            ) from error
        return side.select(self.keys).with_columns(values)

    def _called(self, what: str, function: Callable[..., Any], *states: Any) -> Any:
        try:
            return function(*states)
        except Exception as error:  # no single row is at fault, so the run cannot go on without one
            raise FunctionError(
                f"{what} of the aggregate {self._user.name} raised {type(error).__name__} on {states!r}: {error}"
            ) from error

    def _groups(self, groups: pl.DataFrame, names: Sequence[str]) -> Iterator[tuple[list[Any], list[int]]]:
        """Give each group's arguments (columns of values, or Arrow arrays) and row numbers."""
        numbers = groups.get_column("__i").to_list()
        columns = [groups.get_column(name) for name in names]
        for index, rows in enumerate(numbers):
            if self._user.batches:
                frame = pl.DataFrame({name: column[index] for name, column in zip(names, columns, strict=True)})
                table = to_table(frame, Schema(tuple(self._arguments)).arrow)
                yield [column.combine_chunks() for column in table.columns], rows
            else:
                yield [column[index].to_list() for column in columns], rows

    def _stepped(self, group: tuple[list[Any], list[int]], failed: list[FailedRow]) -> Any:
        columns, rows = group
        state = self._user.init()
        if self._user.batches:
            try:
                return self._user.step(state, *columns)
            except Exception as error:  # the user's code may raise anything; the rows are rejected with it
                failed += [FailedRow(row, error) for row in rows]
                return state
        for row, *values in zip(rows, *columns, strict=True):
            try:
                state = self._user.step(state, *values)
            except Exception as error:  # as above
                failed.append(FailedRow(row, error))
        return state

    def _with_states(self, keys: pl.DataFrame, states: Iterable[Any]) -> pl.DataFrame:
        return keys.with_columns(pl.Series(_STATE, [_encoded(state) for state in states], dtype=pl.Binary))

    def _decoded(self, encoded: bytes) -> Any:
        decode = msgspec.msgpack.decode if encoded[:1] == _PACKED else msgspec.json.decode
        value = decode(encoded[1:])
        kind = type(self._user.init())
        return value if isinstance(value, kind) or value is None else msgspec.convert(value, kind, strict=False)


class ReducedRow(Side):
    """``reduce_by_key``: one row per key, combined two by two by the user's function."""

    runs_user_code = True

    def __init__(self, keys: Sequence[str], schema: Schema, ties: Sequence[str], function: Callable[..., Any]) -> None:
        super().__init__(0, keys)
        self._schema = schema
        self._ties = list(ties)
        self._function = function

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        wanted = list(dict.fromkeys([*self.keys, *self._ties, *self._schema.names]))
        ordered = (
            rows.select(*wanted).with_row_index("__i").sort(self._ties).select(*self.keys, *self._schema.names, "__i")
        )
        # Each row is combined with its group's state, so that a function that raises on a row is found
        # to do so wherever batches are cut.
        if before is not None:
            state = before.with_columns(pl.lit(None, ordered.schema["__i"]).alias("__i")).select(ordered.columns)
            ordered = pl.concat([state, ordered])
        groups = ordered.group_by(self.keys, maintain_order=True).agg(
            pl.struct(self._schema.names).alias("__rows"), "__i"
        )
        failed: list[FailedRow] = []
        reduced = []
        for values, numbers in zip(groups["__rows"].to_list(), groups["__i"].to_list(), strict=True):
            reduced.append(self._combined(values, numbers, failed))
        if failed:
            raise RowsFailed(failed)
        kinds = {field.name: polars_type(field.type) for field in self._schema}
        made = pl.DataFrame(reduced, schema=kinds, orient="row")
        return pl.concat([groups.select(self.keys), made], how="horizontal")

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        # The later state went on from the earlier one.
        return side.unique(self.keys, keep="last", maintain_order=True)

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.select(*self.keys, pl.struct(self._schema.names).alias(self.result_name))

    def _combined(self, values: Sequence[Any], numbers: Sequence[int | None], failed: list[FailedRow]) -> Any:
        state = values[0]
        for row, value in zip(numbers[1:], values[1:], strict=True):
            try:
                state = self._checked(self._function(state, value))
            except Exception as error:  # the user's code may raise anything; the row is rejected with it
                assert row is not None, "only the first row of a group can be its state"
                failed.append(FailedRow(row, error))
        return state

    def _checked(self, row: Any) -> dict[str, Any]:
        if not isinstance(row, dict) or set(row) - set(self._schema.names):
            raise TypeError(
                f"a row is a dict of the columns {', '.join(self._schema.names)}; the function gave {row!r}"
            )
        for field in self._schema:
            value = row.get(field.name)
            if value is not None and type(value) is not _EXACT.get(field.type):
                try:
                    array_of([value], field.type)
                except RowError as error:
                    raise TypeError(f'"{field.name}": {error}') from error
        return row


def _encoded(state: Any) -> bytes:
    try:
        return _PACKED + msgspec.msgpack.encode(state)
    except OverflowError:
        return _TEXT + msgspec.json.encode(state)
