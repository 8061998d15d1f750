"""A query as a contestant: events through the pipeline, in steps of a size, and proof that it was a stream."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

import thalweg as tw
from benchmarks.nexmark.auction_house import PER_MILLE, House, TableName, streams
from benchmarks.nexmark.queries import Query
from benchmarks.outcome import WrongAnswerError
from benchmarks.streamed import Watched
from thalweg.connect import call, files, memory
from thalweg.core.ports import Source
from thalweg.engine.contract import Pick, RunOptions
from thalweg.engine.embedded.pace import MOST_STEP_ROWS, STEP_ROWS
from thalweg.plan.nodes import Plan, Read

SOONEST: Final = 0.25
"""Before which part of the input is read the first result must come; no step is more than a tenth of it."""


class Streamed:
    """A query over an auction house whose tables arrive side by side, each with its share of a step's rows.

    Args:
        query: The query.
        house: What it reads.
        step_rows: The rows of a step, over the tables that it reads; None: as many as of a backlog.
    """

    def __init__(self, query: Query, house: House, step_rows: int | None) -> None:
        self._query = query
        self._house = house
        self._step_rows = step_rows
        self._sources = {name: memory(table) for name, table in house.tables.items()}
        self._engine = Watched()
        self._tables: list[pa.Table] = []
        self._first_at: int | None = None
        self._latest_first = 0

    @property
    def rows(self) -> int:
        """How many rows it reads."""
        return sum(self._house.tables[name].num_rows for name in self._query.columns)

    @property
    def note(self) -> str:
        """When the first result came, in the run where it came last."""
        return f"first result after {self._latest_first / self.rows:.1%} of the input"

    def run(self) -> None:
        self._tables, self._first_at, self._engine = [], None, Watched()
        app = tw.App("nexmark")
        made = streams(app, self._sources, self._house.lateness, self._query.columns)
        self._query.build(made).write(call(self._take))
        options = RunOptions(until="end", pick=in_order(app.plan, self._sources, self._step_rows, self.rows))
        app.start(options, engine=self._engine)

    def answer(self) -> pl.DataFrame:
        tables, self._tables = self._tables, []
        if self._engine.rows_in != self.rows:
            raise WrongAnswerError(f"{self._query.name} read {self._engine.rows_in} rows, not {self.rows}")
        if self._first_at is None:
            raise WrongAnswerError(f"{self._query.name} gave no rows")
        if self._first_at >= self.rows * SOONEST:
            raise WrongAnswerError(
                f"the first result of {self._query.name} came when {self._first_at} of {self.rows} rows had been read; "
                f"a stream gives it before {SOONEST:.0%} of them"
            )
        self._latest_first = max(self._latest_first, self._first_at)
        return added_up(tables)

    def _take(self, table: pa.Table) -> None:
        if self._first_at is None:
            self._first_at = self._engine.rows_in
        self._tables.append(table)


class Logged:
    """A query whose rows are kept in Parquet files, which other programs see whole, with checkpoints on the way.

    Args:
        query: The query.
        house: What it reads.
        step_rows: The rows of a step, over the tables that it reads; None: as many as of a backlog.
        folder: Where the files and the state are; both are made anew in each run.
    """

    note = "Parquet files in checkpoints of a second"

    def __init__(self, query: Query, house: House, step_rows: int | None, folder: Path) -> None:
        self._query = query
        self._house = house
        self._step_rows = step_rows
        self._folder = folder
        self._sources = {name: memory(table) for name, table in house.tables.items()}

    @property
    def rows(self) -> int:
        """How many rows it reads."""
        return sum(self._house.tables[name].num_rows for name in self._query.columns)

    def run(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        app = tw.App("nexmark")
        made = streams(app, self._sources, self._house.lateness, self._query.columns)
        self._query.build(made).write(files(self._folder / "bids", format="parquet"))
        pick = in_order(app.plan, self._sources, self._step_rows, self.rows)
        app.start(RunOptions(data=self._folder / "state", until="end", pick=pick))

    def answer(self) -> pl.DataFrame:
        return parquet_rows(self._folder / "bids")


def in_order(plan: Plan, sources: Mapping[TableName, Source], step_rows: int | None, rows: int) -> Pick:
    """Return what steps read: so many rows, of each table its share, so that the tables stay side by side.

    Args:
        plan: What runs.
        sources: The tables.
        step_rows: The rows of a step. None: steps grow as those of a backlog do, up to a tenth of all rows.
        rows: How many rows there are.
    """
    reads = {
        str(number): name
        for node, number in plan.numbers().items()
        for name, source in sources.items()
        if isinstance(node, Read) and node.source is source
    }
    whole = sum(PER_MILLE[name] for name in reads.values())
    sizes = repeat(step_rows) if step_rows is not None else _growing(rows // 10)

    def pick(partitions: Sequence[str]) -> Sequence[tuple[str, int]]:
        step = next(sizes)
        return [(each, max(1, step * PER_MILLE[reads[each.split("/")[0]]] // whole)) for each in partitions]

    return pick


def _growing(most: int) -> Iterator[int]:
    size = min(STEP_ROWS, most)
    while True:
        yield size
        size = min(2 * size, most, MOST_STEP_ROWS)


def added_up(tables: Sequence[pa.Table]) -> pl.DataFrame:
    """Return the rows that a stream gave; of a changing one the table that its changes add up to.

    Raises:
        WrongAnswerError: A row was withdrawn more often than it was given.
    """
    frame = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(frame, pl.DataFrame)
    if "_weight" not in frame.columns:
        return frame
    names = [name for name in frame.columns if name != "_weight"]
    summed = frame.group_by(names).agg(pl.col("_weight").sum()).filter(pl.col("_weight") != 0)
    if summed.height and summed["_weight"].min() < 0:  # type: ignore[operator]  # integers
        raise WrongAnswerError(f"rows were withdrawn that were not there, such as {summed.sort('_weight').row(0)}")
    return summed.select(pl.exclude("_weight").repeat_by("_weight").explode())


def parquet_rows(folder: Path) -> pl.DataFrame:
    """Return the rows of a folder of Parquet files, whatever partitions it has."""
    frame = pl.from_arrow(ds.dataset(folder, format="parquet", partitioning="hive").to_table())
    assert isinstance(frame, pl.DataFrame)
    return frame
