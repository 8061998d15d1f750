"""The events that the queries read: three tables that belong together, as streams and as tables of DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

import duckdb
import pyarrow as pa

import thalweg as tw
from thalweg.connect import memory, nexmark
from thalweg.core.ports import Nothing, Source
from thalweg.core.schema import schema_of
from thalweg.stream import Stream

TableName = Literal["persons", "auctions", "bids"]
TABLES: Final[tuple[TableName, ...]] = get_args(TableName)
PER_MILLE: Final[Mapping[TableName, int]] = {"persons": 20, "auctions": 60, "bids": 920}
"""How many of a thousand events are rows of a table."""

SCHEMAS: Final[Mapping[TableName, pa.Schema]] = {name: nexmark(name).schema() for name in TABLES}
SIDE_KEYS: Final = 10_000
Columns = Mapping[TableName, Sequence[str]]


@dataclass(frozen=True, slots=True)
class House:
    """What happened in an auction house.

    Attributes:
        tables: Persons, auctions and bids in the order of arrival, one Arrow table each.
        lateness: How far a row may come behind a later one of its table: none is late with it.
    """

    tables: Mapping[TableName, pa.Table]
    lateness: str

    @property
    def events(self) -> int:
        """How many rows the tables hold."""
        return sum(table.num_rows for table in self.tables.values())


@dataclass(frozen=True, slots=True)
class Streams:
    """The auction house as streams, and the reference that q13 looks up.

    Attributes:
        persons: New people.
        auctions: New auctions.
        bids: Bids.
        side: ``key`` and ``value`` for the keys from 0 to 9,999.
    """

    persons: Stream
    auctions: Stream
    bids: Stream
    side: Source


def auction_house(events: int, *, rate: int = 10_000, seed: int = 42, disorder: str = "3s") -> House:
    """Return the first events of an auction house, over all three tables.

    Args:
        events: How many.
        rate: Events per second of event time.
        seed: What they are drawn from.
        disorder: By how much an event may come after a later one.
    """
    tables: dict[TableName, pa.Table] = {}
    for name in TABLES:
        source = nexmark(name, events=events, rate=rate, seed=seed, disorder=disorder)
        reader = source.open(schema_of(source.schema())).reader("0", None)
        batches = []
        while not isinstance(batch := reader.read(1 << 16, 0.0), Nothing):
            batches.append(batch.data)
        tables[name] = pa.Table.from_batches(batches, source.schema()).combine_chunks()
    return House(tables, disorder)


@cache
def side_input() -> pa.Table:
    """Return the reference of q13; made once, as the database is given it once."""
    keys = range(SIDE_KEYS)
    return pa.table({"key": pa.array(keys, pa.int64()), "value": [f"value {key}" for key in keys]})


def streams(app: tw.App, sources: Mapping[TableName, Source], lateness: str, columns: Columns) -> Streams:
    """Return an app's reads of the auction house.

    Args:
        app: Reads.
        sources: Where each table comes from.
        lateness: How late its rows may be.
        columns: The columns that are read of each table; all of a table that is not named.
    """

    def read(name: TableName) -> Stream:
        whole = SCHEMAS[name]
        schema = pa.schema([whole.field(column) for column in columns.get(name, whole.names)])
        return app.read(sources[name], schema=schema, time="date_time", lateness=lateness)

    return Streams(read("persons"), read("auctions"), read("bids"), memory(side_input()))


@contextmanager
def database(house: House) -> Iterator[Callable[[str], pa.Table]]:
    """Lend a function that answers SQL over ``persons``, ``auctions``, ``bids`` and ``side``, which stay in Arrow."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in (*house.tables.items(), ("side", side_input())):
            connection.register(name, table)
        yield lambda text: connection.sql(text).to_arrow_table()
