"""A table of a SQLite database as a sink."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from thalweg.columnar.cells import cells_of, values_of
from thalweg.core.errors import PlanError, SinkError, SinkUnavailable
from thalweg.core.ports import EpochWriter, WriteRequest
from thalweg.core.schema import Schema
from thalweg.core.version import table_of
from thalweg.state.table_output import TableWriter, check_table, listed, quoted, table_key, table_name

_PATIENCE_S: Final = 30.0
"""How long a transaction of somebody else is waited for."""

_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Sqlite:
    """A table to write to; made by ``sqlite``."""

    path: str
    table: str
    key: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table

    @property
    def changes(self) -> Literal["refused", "applied"]:
        """With a key the table follows a changing stream; without one rows are only added."""
        return "refused" if self.key is None else "applied"

    @property
    def target(self) -> str:
        """The database's path, absolute, and the table."""
        return f"{Path(self.path).absolute()}#{self.table}"

    @property
    def recorded(self) -> str:
        """Rows and epoch are committed together."""
        return "the epoch in the same transaction"

    def beside(self, version: str) -> Sqlite:
        """Return the table of a version: ``page_views_v2`` beside ``page_views``."""
        return replace(self, table=table_of(self.table, version))

    def describe(self) -> str:
        """Return one line for the plan."""
        key = "" if self.key is None else f", key={', '.join(self.key)}"
        return f"sqlite({self.path}, table={self.table}{key})"

    def check_write(self, schema: Schema) -> None:
        """Raise where rows of a schema cannot stand in a table of SQLite.

        Raises:
            PlanError: A type has values that SQLite has not, a column of the key is missing, or names clash.
        """
        check_table(self.describe(), schema, self.key)
        for field in schema:
            if pa.types.is_uint64(field.type):
                raise PlanError(
                    f'{self.describe()}: the column "{field.name}" is uint64, and integers of SQLite end at '
                    "9223372036854775807; cast it to int64, or to text"
                )

    def open(self, request: WriteRequest) -> EpochWriter:
        """Open the database, which is made if there is none.

        Raises:
            SinkError: It cannot be opened or written, or the table has other columns, or another's output.
        """
        target = f"the table {self.table} in {self.path}"
        return TableWriter(_Connection(self.path, target), target, self.table, self.key, request)


class _Connection:
    """A connection to SQLite.

    Raises:
        SinkError: The database cannot be opened.
    """

    same = "IS"
    indexed = True

    def __init__(self, path: str, target: str) -> None:
        self._path = path
        with self.told(f"{target} cannot be opened"):
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            # Opened by one thread, used by another, never by two at once.
            self._connection = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
            try:
                self.ask("PRAGMA journal_mode=WAL")
                self.ask("PRAGMA synchronous=FULL")  # else a commit can be lost with the power
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SinkError:
            raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise SinkUnavailable(
                    f"{doing}: another program has been writing to {self._path} for more than {_PATIENCE_S:g} s and "
                    "holds its lock; let it commit, or stop it"
                ) from error
            raise SinkError(f"{doing}: {error}") from error
        except (sqlite3.Error, OverflowError, OSError) as error:
            raise SinkError(f"{doing}: {error}") from error

    def begin(self) -> None:
        self.ask("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.ask("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.ask("ROLLBACK")

    def ask(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, tuple(values)).fetchall()

    def add(self, table: str, rows: pa.Table) -> None:
        names = rows.column_names
        statement = f"INSERT INTO {quoted(table)} ({listed(names)}) VALUES ({', '.join('?' * len(names))})"
        for start in range(0, rows.num_rows, _BATCH_ROWS):
            columns = [cells_of(column) for column in rows.slice(start, _BATCH_ROWS).columns]
            # The driver takes rows, and takes them from columns here: nothing in between makes one.
            self._connection.executemany(statement, zip(*columns, strict=True))

    def rows(self, table: str, schema: pa.Schema) -> Iterator[pa.Table]:
        cursor = self._connection.execute(f"SELECT {listed(schema.names)} FROM {quoted(table)}")
        while rows := cursor.fetchmany(_BATCH_ROWS):
            columns = zip(zip(*rows, strict=True), schema.types, strict=True)
            yield pa.Table.from_arrays([values_of(cells, kind) for cells, kind in columns], schema=schema)

    def types(self, schema: pa.Schema) -> Sequence[str]:
        return [_type_of(field.type) for field in schema]

    def columns(self, table: str) -> dict[str, str] | None:
        return {name: kind for _, name, kind, *_ in self.ask(f"PRAGMA table_info({quoted(table)})")} or None

    def fits(self, has: str, wanted: str) -> bool:
        return _affinity(has) == wanted

    def close(self) -> None:
        self._connection.close()


def _type_of(kind: pa.DataType) -> str:
    t = pa.types
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_duration(kind):
        return "INTEGER"
    return "REAL" if t.is_floating(kind) else "BLOB" if t.is_binary(kind) else "TEXT"


def _affinity(declared: str) -> str:
    """Return what SQLite makes of a column's declared type (its documentation, "Determination of column affinity")."""
    words = declared.upper()
    if "INT" in words:
        return "INTEGER"
    if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in words or not words:
        return "BLOB"
    return "REAL" if any(word in words for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def sqlite(path: str | os.PathLike[str], *, table: str, key: str | Sequence[str] | None = None) -> Sqlite:
    """Write to a table of a SQLite database, each row once.

    The table is made if there is none; one that is there must have the stream's columns. It is this output's alone.

    Shape: without ``key`` rows are added. With it, the table follows a changing stream (a row that is withdrawn is
    deleted), and of a stream that only grows the last row of a key to come stays. Integers and booleans are INTEGER,
    durations too (microseconds), floats REAL (NaN, which SQLite lacks, is the text ``NaN``), bytes BLOB; text, times
    in ISO 8601 with ``Z``, decimals, and lists and structs as JSON are TEXT.

    Order and delivery: exactly once: a checkpoint's rows and its epoch are committed in one transaction. ``batch``
    replaces the rows of an earlier one. The database is in WAL mode: others may read it while it is written.

    Args:
        path: The database's file.
        table: The table's name.
        key: The column or columns that name a row.

    Raises:
        PlanError: The table's name or the key cannot be used.

    Example:
        >>> sqlite("shop.db", table="sales", key="product").describe()
        'sqlite(shop.db, table=sales, key=product)'
    """
    return Sqlite(os.fspath(path), table_name("sqlite", table), table_key("sqlite", key))
