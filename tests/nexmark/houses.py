"""Auction houses for tests: small ones whose answers are not trivial, and how their rows are dealt to partitions."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import polars as pl
import pyarrow as pa

from benchmarks.nexmark.answers import ANSWERS
from benchmarks.nexmark.auction_house import TABLES, House, TableName, auction_house, database
from benchmarks.nexmark.queries import QUERIES
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

BY_NAME: Final = {query.name: query for query in QUERIES}
PARTITIONS: Final = ("0", "1")
# Whether a bid counts in a day, or by its hour, shows only where there are several days.
_OF_DAYS: Final = ("q10", "q14", "q15", "q16", "q17")
_STRETCH: Final = 13
_FIRST_US: Final = 1_436_918_400_000_000

Dealt = Mapping[TableName, tuple[pa.RecordBatch, ...]]


@cache
def house_of(query: str) -> House:
    """Return what a query is tested with: 200 seconds of event time, or three days."""
    if query == "q5":
        return _without_hot_auctions()
    return _days() if query in _OF_DAYS else _seconds()


@cache
def answer_of(query: str) -> pl.DataFrame:
    """Return a query's answer over all of its house."""
    return asked(query, house_of(query).tables)


def asked(query: str, tables: Mapping[TableName, pa.Table]) -> pl.DataFrame:
    """Return a query's answer over some tables, by DuckDB."""
    with database(House(tables, "0s")) as ask:
        frame = pl.from_arrow(ask(ANSWERS[query]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def dealt(house: House, seed: int) -> Dealt:
    """Return each table's rows dealt to two partitions at random; in each they keep their order."""
    rng = random.Random(seed)
    made: dict[TableName, tuple[pa.RecordBatch, ...]] = {}
    for name in TABLES:
        table = house.tables[name]
        first = pa.array([rng.random() < 0.5 for _ in range(table.num_rows)], pa.bool_())
        parts = [table.filter(first), table.filter(pa.compute.invert(first))]
        made[name] = tuple(pa.Table.combine_chunks(part).to_batches()[0] for part in parts)
    return made


@dataclass(frozen=True, slots=True)
class Growing:
    """An auction house of which more and more is there.

    Attributes:
        parts: Its rows, dealt to partitions.
        sources: Its tables, as sources that show a part of their rows.
    """

    parts: Dealt
    sources: Mapping[TableName, Scripted]

    @classmethod
    def of(cls, parts: Dealt) -> Growing:
        """Return one of which nothing is there yet."""
        sources = {}
        for name, batches in parts.items():
            pieces = {
                number: [Piece(batch, partial(_place, name, number))]
                for number, batch in zip(PARTITIONS, batches, strict=True)
            }
            sources[name] = Scripted(name, batches[0].schema, pieces)
        return cls(parts, sources)

    def show(self, share: float, rng: random.Random) -> Mapping[TableName, pa.Table]:
        """Show about a share of each partition, and return the rows that are there then."""
        there: dict[TableName, pa.Table] = {}
        for name, source in self.sources.items():
            rows = {
                number: max(source.shown(number), round(batch.num_rows * min(1.0, share * rng.uniform(0.8, 1.2))))
                for number, batch in zip(PARTITIONS, self.parts[name], strict=True)
            }
            source.show(rows)
            shown = [part.slice(0, rows[number]) for number, part in zip(PARTITIONS, self.parts[name], strict=True)]
            there[name] = pa.Table.from_batches(shown)
        return there


def _place(name: str, partition: str, row: int) -> str:
    return f"{name}[partition {partition}]:{row}"


@cache
def _seconds() -> House:
    return _coarse(auction_house(20_000, rate=100, disorder="3s"))


@cache
def _without_hot_auctions() -> House:
    """Return events of which no auction gets half of the bids: in many windows several have the most."""
    house = _seconds()
    bids = house.tables["bids"]
    cold = pl.DataFrame(bids).filter(pl.col("auction") % 100 != 0).to_arrow().cast(bids.schema)
    return House({**house.tables, "bids": cold}, house.lateness)


@cache
def _days() -> House:
    """Return events so far apart that twenty thousand fill three days."""
    house = _coarse(auction_house(20_000, rate=1, disorder="30s"))

    def later(name: str) -> pl.Expr:
        return (
            pl.from_epoch((pl.col(name).to_physical() - _FIRST_US) * _STRETCH + _FIRST_US, "us")
            .dt.replace_time_zone("UTC")
            .alias(name)
        )

    tables: dict[TableName, pa.Table] = {}
    for name, table in house.tables.items():
        times = [column for column in ("date_time", "expires") if column in table.column_names]
        tables[name] = pl.DataFrame(table).with_columns(map(later, times)).to_arrow().cast(table.schema)
    return House(tables, f"{30 * _STRETCH}s")


def _coarse(house: House) -> House:
    """Return the same with prices of one digit and zeros, so that many bids have one price."""
    digit = 10 ** (pl.col("price").log10().floor().cast(pl.Int64))
    bids = house.tables["bids"]
    coarse = pl.DataFrame(bids).with_columns(pl.col("price") // digit * digit).to_arrow().cast(bids.schema)
    return House({**house.tables, "bids": coarse}, house.lateness)
