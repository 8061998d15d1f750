"""A table of a DuckDB database as a sink; needs the extra ``duckdb``."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from thalweg.core.errors import PlanError, SinkError
from thalweg.core.folders import sync_folder
from thalweg.core.ports import EpochWriter, WriteRequest
from thalweg.core.schema import Schema
from thalweg.core.version import table_of
from thalweg.state.table_output import TableWriter, check_table, listed, quoted, table_key, table_name

_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Duckdb:
    """A table to write to; made by ``duckdb``."""

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

    def beside(self, version: str) -> Duckdb:
        """Return the table of a version: ``page_views_v2`` beside ``page_views``."""
        return replace(self, table=table_of(self.table, version))

    def describe(self) -> str:
        """Return one line for the plan."""
        key = "" if self.key is None else f", key={', '.join(self.key)}"
        return f"duckdb({self.path}, table={self.table}{key})"

    def check_write(self, schema: Schema) -> None:
        """Raise where rows of a schema cannot stand in a table.

        Raises:
            PlanError: A column of the key is missing, or names clash.
        """
        check_table(self.describe(), schema, self.key)

    def open(self, request: WriteRequest) -> EpochWriter:
        """Open the database, which is made if there is none.

        Raises:
            SinkError: It cannot be opened or written, or the table has other columns, or another's output.
        """
        target = f"the table {self.table} in {self.path}"
        return TableWriter(_Connection(self.path, target), target, self.table, self.key, request)


class _Connection:
    """A connection to DuckDB.

    Raises:
        SinkError: The database cannot be opened.
    """

    same = "IS NOT DISTINCT FROM"
    indexed = False  # a table is searched by column, and keys are told apart by what is written

    def __init__(self, path: str, target: str) -> None:
        self._client = importlib.import_module("duckdb")
        self._open = False
        with self.told(f"{target} cannot be opened"):
            if not os.path.exists(path):
                self._make(Path(path))
            self._connection = self._client.connect(path)

    def _make(self, path: Path) -> None:
        """Make an empty database, there at once as a whole: DuckDB does not open one that it died while making."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"_{path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        try:
            self._client.connect(str(beside)).close()
            with suppress(OSError):  # another process was first, or there are no links: DuckDB makes it in its place
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SinkError:
            raise
        except self._client.IOException as error:
            held = "; a DuckDB file is one process's at a time: close it there" if "lock" in str(error) else ""
            raise SinkError(f"{doing}: {_line(error)}{held}") from error
        except (self._client.Error, OSError) as error:
            raise SinkError(f"{doing}: {_line(error)}") from error

    def begin(self) -> None:
        self.ask("BEGIN TRANSACTION")
        self._open = True

    def commit(self) -> None:
        # A commit that fails has undone its transaction.
        self._open = False
        self.ask("COMMIT")

    def rollback(self) -> None:
        if self._open:
            self._open = False
            self.ask("ROLLBACK")

    def ask(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(statement, list(values)).fetchall()
        return found

    def add(self, table: str, rows: pa.Table) -> None:
        names = listed(rows.column_names)
        self._connection.register("_thalweg_rows", _plain(rows))
        self.ask(f"INSERT INTO {quoted(table)} ({names}) SELECT {names} FROM _thalweg_rows")
        # Where that fails the transaction is over, and takes this no more; the error is what counts.
        self._connection.unregister("_thalweg_rows")

    def rows(self, table: str, schema: pa.Schema) -> Iterator[pa.Table]:
        found = self._connection.sql(f"SELECT {listed(schema.names)} FROM {quoted(table)}")
        for batch in found.to_arrow_reader(_BATCH_ROWS):
            yield pa.Table.from_batches([batch]).cast(schema)

    def types(self, schema: pa.Schema) -> Sequence[str]:
        self._connection.register("_thalweg_rows", _plain(schema.empty_table()))
        found = [kind for _, kind, *_ in self.ask("DESCRIBE SELECT * FROM _thalweg_rows")]
        self._connection.unregister("_thalweg_rows")
        return found

    def columns(self, table: str) -> dict[str, str] | None:
        found = self.ask(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? "
            "AND schema_name = current_schema() AND database_name = current_database() ORDER BY column_index",
            [table],
        )
        return dict(found) or None

    def fits(self, has: str, wanted: str) -> bool:
        return has == wanted

    def close(self) -> None:
        self._connection.close()


def _plain(rows: pa.Table) -> pa.Table:
    """Return rows with durations as microseconds: intervals of DuckDB do not hold all of them."""
    fields = [field.with_type(pa.int64()) if pa.types.is_duration(field.type) else field for field in rows.schema]
    return rows.cast(pa.schema(fields))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def duckdb(path: str | os.PathLike[str], *, table: str, key: str | Sequence[str] | None = None) -> Duckdb:
    """Write to a table of a DuckDB database, each row once. Needs ``pip install "thalweg[duckdb]"``.

    The table is made if there is none; one that is there must have the stream's columns. It is this output's alone.

    Shape: without ``key`` rows are added. With it, the table follows a changing stream (a row that is withdrawn is
    deleted), and of a stream that only grows the last row of a key to come stays. Types are DuckDB's own for Arrow's:
    times are TIMESTAMP WITH TIME ZONE, lists and structs are what they are; durations are BIGINT, microseconds.

    Order and delivery: exactly once: a checkpoint's rows and its epoch are committed in one transaction. ``batch``
    replaces the rows of an earlier one. A DuckDB file is one process's at a time: while a run goes on, no other can
    open it.

    Args:
        path: The database's file.
        table: The table's name.
        key: The column or columns that name a row.

    Raises:
        PlanError: DuckDB is not installed, or the table's name or the key cannot be used.

    Example:
        >>> duckdb("shop.duckdb", table="sales").describe()
        'duckdb(shop.duckdb, table=sales)'
    """
    if importlib.util.find_spec("duckdb") is None:
        raise PlanError('duckdb(…) needs the package duckdb, which is an extra: pip install "thalweg[duckdb]"')
    return Duckdb(os.fspath(path), table_name("duckdb", table), table_key("duckdb", key))
