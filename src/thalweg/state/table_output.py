"""An output in a table of a database: rows and the record of their epoch in one transaction.

The databases differ in their drivers and types; what makes an output exactly once is the same for all, and here. The
record is a row of the table ``_thalweg_sinks`` beside the output's own. A table has one output: whoever writes to it
replaces, or goes on with, all of it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Final, Protocol

import pyarrow as pa

from thalweg.core.errors import PlanError, SinkError, near, short
from thalweg.core.ports import WriteRequest
from thalweg.core.schema import Schema
from thalweg.core.sink_record import SinkRecord, goes_on, may_apply

RECORDS: Final = "_thalweg_sinks"
WEIGHT: Final = "_weight"
_STAGE, _NET, _AT = "_thalweg_stage", "_thalweg_net", "__at"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Database(Protocol):
    """An open connection to a database, and what its SQL has of its own."""

    same: str
    """The comparison by which null equals null."""
    indexed: bool
    """Whether a table needs an index for its rows to be found by their key."""

    def told(self, doing: str) -> AbstractContextManager[None]:
        """Turn the driver's errors into ``SinkError``."""
        ...

    def begin(self) -> None:
        """Begin a transaction in which nobody else writes what this one does."""
        ...

    def commit(self) -> None:
        """Make what the transaction did durable and visible, all of it."""
        ...

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        ...

    def ask(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        ...

    def add(self, table: str, rows: pa.Table) -> None:
        """Add rows to a table, by the names of its columns."""
        ...

    def rows(self, table: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """Return the rows of a table, in columns of a schema.

        Raises:
            TypeError: It has values that such columns have not.
            ValueError: The same.
        """
        ...

    def types(self, schema: pa.Schema) -> Sequence[str]:
        """Return the types that columns have in this database."""
        ...

    def columns(self, table: str) -> dict[str, str] | None:
        """Return a table's columns with their types; None if there is no such table."""
        ...

    def fits(self, has: str, wanted: str) -> bool:
        """Tell whether a column of a type takes what one of another takes, unchanged."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class TableWriter:
    """Writes an output to a table.

    Args:
        database: The database; the writer closes it.
        target: What the table is called in messages.
        table: Its name.
        key: The columns that name a row; None: rows are only added.
        request: What is about to come.

    Raises:
        SinkError: The table cannot be written, has other columns, or another's output.
    """

    def __init__(
        self, database: Database, target: str, table: str, key: tuple[str, ...] | None, request: WriteRequest
    ) -> None:
        self._db = database
        self._target = target
        self._table = table
        self._key = key
        self._request = request
        fields = [field for field in request.schema if not (request.changing and field.name == WEIGHT)]
        self._schema = pa.schema(fields)
        self._begun = not request.fresh
        try:
            with self._transaction():
                database.ask(
                    f"CREATE TABLE IF NOT EXISTS {RECORDS} "
                    "(name VARCHAR PRIMARY KEY, app VARCHAR, run VARCHAR, term BIGINT, epoch BIGINT)"
                )
            # A batch replaces everything at its end, in one act: before, it only looks whether it may.
            with self._transaction(keep=self._begun):
                self._own = self._claimed()
                if key is not None:
                    self._make_stage()
        except BaseException:
            database.close()
            raise

    def last_epoch(self) -> int:
        """Return the last epoch that the table has."""
        return self._own.epoch

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Write an epoch's rows and their record in one transaction."""
        # Without a state rows come as they are made: others shall not wait for as long as that takes.
        whole = nullcontext(rows) if self._request.term else _gathered(rows, self._request.schema)
        with whole as parts, self._transaction():
            if not self._begun:
                self._own = self._claimed()
                if self._key is not None:
                    self._make_stage()
            if not may_apply(self._record(), self._own, epoch, previous, self._target):
                return
            if self._key is None:
                for part in parts:
                    self._db.add(self._table, part)
            else:
                self._merge(self._key, parts)
            after = replace(self._own, epoch=epoch)
            self._note(after)
        # Only now: until the commit the target has what it had.
        self._own, self._begun = after, True

    def rows(self) -> Iterator[pa.Table]:
        """Return the rows that the table has.

        Raises:
            SinkError: The database cannot be read, or somebody else has put other values there.
        """
        try:
            with self._db.told(f"{self._target} cannot be read"):
                yield from self._db.rows(self._table, self._schema)
        except (TypeError, ValueError) as error:
            raise SinkError(f"{self._target} has values that the stream has not: {error}") from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # ------------------------------------------------------------------ whose the table is

    def _claimed(self) -> SinkRecord:
        """Make the table this start's, or refuse to; return its record."""
        has = self._db.columns(self._table)
        # A table that was dropped has nothing, whatever the record says.
        found = self._record() if has is not None else None
        empty = has is None or not self._db.ask(f"SELECT 1 FROM {quoted(self._table)} LIMIT 1")
        request = self._request
        mine = goes_on(found, request, self._target, empty=empty)
        if mine:
            assert found is not None, "who goes on has found something"
            own = replace(found, term=request.term)
        else:
            own = SinkRecord(request.app, request.run, request.term, 0)
        if has is None:
            self._create()
        else:
            self._check_columns(has)
        if not (mine or empty):
            self._db.ask(f"DELETE FROM {quoted(self._table)}")
        self._note(own)
        return own

    def _record(self) -> SinkRecord | None:
        found = self._db.ask(f"SELECT app, run, term, epoch FROM {RECORDS} WHERE name = ?", [self._table])
        return SinkRecord(*found[0]) if found else None

    def _note(self, record: SinkRecord) -> None:
        values = [record.app, record.run, record.term, record.epoch, self._table]
        if self._record() is None:
            self._db.ask(f"INSERT INTO {RECORDS} (app, run, term, epoch, name) VALUES (?, ?, ?, ?, ?)", values)
        else:
            self._db.ask(f"UPDATE {RECORDS} SET app = ?, run = ?, term = ?, epoch = ? WHERE name = ?", values)

    # ------------------------------------------------------------------ the table

    def _create(self) -> None:
        self._db.ask(f"CREATE TABLE {quoted(self._table)} ({self._declared(self._schema)})")
        if self._key is not None and self._db.indexed:
            index = quoted(f"{self._table}_key")
            self._db.ask(f"CREATE UNIQUE INDEX {index} ON {quoted(self._table)} ({listed(self._key)})")

    def _check_columns(self, has: dict[str, str]) -> None:
        wanted = dict(zip(self._schema.names, self._db.types(self._schema), strict=True))
        for name, kind in wanted.items():
            if name not in has:
                what = f'has no column "{name}" ({kind}, for {self._schema.field(name).type})'
            elif not self._db.fits(has[name], kind):
                arrow = self._schema.field(name).type
                what = f'has the column "{name}" as {has[name] or "no type"}, and {arrow} of the stream needs {kind}'
            else:
                continue
            break
        else:
            more = next((name for name in has if name not in wanted), None)
            if more is None:
                return
            what = f'has the column "{more}", which the stream has not'
        raise SinkError(f"{self._target} {what}; select its columns, change or drop the table, or name another")

    def _make_stage(self) -> None:
        extra = [pa.field(name, pa.int64(), nullable=False) for name in (WEIGHT, _AT)]
        self._db.ask(f"DROP TABLE IF EXISTS {_STAGE}")
        self._db.ask(f"CREATE TEMP TABLE {_STAGE} ({self._declared(pa.schema([*self._schema, *extra]))})")

    def _declared(self, schema: pa.Schema) -> str:
        columns = zip(schema, self._db.types(schema), strict=True)
        return ", ".join(
            f"{quoted(field.name)} {kind}{'' if field.nullable else ' NOT NULL'}" for field, kind in columns
        )

    # ------------------------------------------------------------------ rows with a key

    def _merge(self, key: tuple[str, ...], rows: Iterator[pa.Table]) -> None:
        """Bring the table to what an epoch's rows make of it.

        Raises:
            SinkError: The key names two rows.
        """
        ask, table, columns = self._db.ask, quoted(self._table), listed(self._schema.names)
        ask(f"DELETE FROM {_STAGE}")
        at = 0
        for part in rows:
            weights = part[WEIGHT] if self._request.changing else pa.repeat(pa.scalar(1, pa.int64()), part.num_rows)
            staged = part.select(self._schema.names).append_column(WEIGHT, weights)
            numbers = pa.array(range(at, at + part.num_rows), pa.int64())
            self._db.add(_STAGE, staged.append_column(_AT, numbers))
            at += part.num_rows
        ask(f"DROP TABLE IF EXISTS {_NET}")
        if self._request.changing:
            ask(
                f"CREATE TEMP TABLE {_NET} AS SELECT {columns}, sum({WEIGHT}) AS {WEIGHT} FROM {_STAGE} "
                f"GROUP BY {columns} HAVING sum({WEIGHT}) <> 0"
            )
            gone = f"WHERE {_NET}.{WEIGHT} < 0"
        else:
            # The last row of a key to come stays.
            ask(
                f"CREATE TEMP TABLE {_NET} AS SELECT {columns}, {WEIGHT} FROM (SELECT *, row_number() OVER "
                f"(PARTITION BY {listed(key)} ORDER BY {_AT} DESC) AS __n FROM {_STAGE}) AS numbered WHERE __n = 1"
            )
            gone = ""
        here = " AND ".join(f"{table}.{quoted(name)} {self._db.same} {_NET}.{quoted(name)}" for name in key)
        ask(f"DELETE FROM {table} WHERE rowid IN (SELECT {table}.rowid FROM {_NET} JOIN {table} ON {here} {gone})")
        # As text: not every driver can give every type back.
        shown = ", ".join(f"CAST({_NET}.{quoted(name)} AS VARCHAR)" for name in key)
        put = f"{_NET}.{WEIGHT} > 0"
        self._check_key(key, f"SELECT {shown} FROM {_NET} JOIN {table} ON {here} WHERE {put} LIMIT 1")
        twice = f"GROUP BY {listed(key, _NET)} HAVING sum({WEIGHT}) > 1"
        self._check_key(key, f"SELECT {shown} FROM {_NET} WHERE {put} {twice} LIMIT 1")
        ask(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {_NET} WHERE {WEIGHT} > 0")

    def _check_key(self, key: tuple[str, ...], query: str) -> None:
        if found := self._db.ask(query):
            shown = ", ".join(f"{name}={value!r}" for name, value in zip(key, found[0], strict=True))
            raise SinkError(
                f"{self._target}: two rows have the key {shown}, so it does not name a row (or somebody else has "
                "changed the table); give key= the columns that do, such as those that the stream is grouped by"
            )

    @contextmanager
    def _transaction(self, *, keep: bool = True) -> Iterator[None]:
        with self._db.told(f"{self._target} cannot be written"):
            self._db.begin()
            try:
                yield
                if keep:
                    self._db.commit()
            finally:
                self._db.rollback()


@contextmanager
def _gathered(rows: Iterator[pa.Table], schema: pa.Schema) -> Iterator[Iterator[pa.Table]]:
    """Take rows as they come into a file, and give them when all are there."""
    with tempfile.TemporaryFile() as file:
        with pa.ipc.new_stream(pa.PythonFile(file, "w"), schema) as writer:
            for part in rows:
                writer.write_table(part.cast(schema))
        file.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(file, "r")) as reader:
            yield (pa.Table.from_batches([batch]) for batch in reader)


def table_name(function: str, table: object) -> str:
    """Return the name of a table that a program gave.

    Raises:
        PlanError: It cannot be one.
    """
    if not isinstance(table, str) or not _NAME.fullmatch(table) or table.lower().startswith(("_thalweg", "sqlite_")):
        raise PlanError(
            f"{function}(table={short(table)}): a table's name is made of letters, digits and _, does not start with a "
            "digit, _thalweg or sqlite_"
        )
    return table


def table_key(function: str, key: object) -> tuple[str, ...] | None:
    """Return the key columns that a program gave.

    Raises:
        PlanError: They cannot be a key.
    """
    if key is None:
        return None
    columns = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, (list, tuple)) else ()
    if not columns or len(set(columns)) < len(columns) or not all(isinstance(name, str) for name in columns):
        raise PlanError(f"{function}(key={short(key)}): allowed are a column's name, or several different ones")
    return columns


def check_table(function: str, schema: Schema, key: tuple[str, ...] | None) -> None:
    """Raise where rows of a schema cannot stand in a table.

    Raises:
        PlanError: A column of the key is missing, or two names differ in case only, which SQL does not tell apart.
    """
    for name in key or ():
        if name not in schema:
            raise PlanError(f'{function}(key=…): the stream has no column "{name}"; {near(name, schema.names)}')
    seen: dict[str, str] = {}
    for name in schema.names:
        folded = name.casefold()
        if folded in seen:
            raise PlanError(f'{function}: the columns "{seen[folded]}" and "{name}" are one name in SQL; rename one')
        if folded == "rowid":
            raise PlanError(f'{function}: the column "{name}" has the name by which databases find rows; rename it')
        seen[folded] = name


def quoted(name: str) -> str:
    """Return a name as SQL has it.

    Example:
        >>> quoted('the "best" one')
        '"the ""best"" one"'
    """
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str], table: str = "") -> str:
    """Return names as a list in SQL."""
    return ", ".join(f"{table}.{quoted(name)}" if table else quoted(name) for name in names)
