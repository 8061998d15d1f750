"""Each query of Nexmark, streamed in large and in small steps, beside one-shot DuckDB over the same Arrow tables."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from benchmarks.contest import Contestant, OneShot, take_turns
from benchmarks.nexmark.answers import ANSWERS
from benchmarks.nexmark.auction_house import House, auction_house, database
from benchmarks.nexmark.queries import QUERIES, Query
from benchmarks.nexmark.run import Logged, Streamed, parquet_rows
from benchmarks.outcome import Benchmark, Comparison, Outcome
from thalweg import UnsupportedError
from thalweg.core.ports import Json

LEAST: Final = 0.2
"""The ratio that is aimed at for every query, in the large steps."""
MEAN: Final = 0.5
"""The ratio that is aimed at for the geometric mean of all of them."""
_SECONDS: Final = 400  # of event time: forty windows of ten seconds


@dataclass(frozen=True, slots=True)
class Size:
    """What is measured.

    Attributes:
        events: Persons, auctions and bids.
        step_rows: The rows of a step, of those that a query reads; None: as the engine takes them of a backlog, but
            no more than a tenth of them.
        rounds: Timed rounds.
        aimed: Whether the targets are for this size.
    """

    events: int
    step_rows: int | None
    rounds: int
    aimed: bool

    @property
    def steps(self) -> str:
        """How large the steps are, in words."""
        return "steps as of a backlog" if self.step_rows is None else f"steps of {self.step_rows} rows"


@dataclass(frozen=True, slots=True)
class NotYet:
    """A query that the engine cannot run.

    Attributes:
        name: Which.
        reason: Why not.
    """

    name: str
    reason: str

    def lines(self) -> Sequence[str]:
        return [self.name, f"  CANNOT RUN YET: {self.reason}"]

    def record(self) -> dict[str, Json]:
        return {"name": self.name, "unsupported": self.reason}


@dataclass(frozen=True, slots=True)
class Overall:
    """All queries together.

    Attributes:
        size: What was measured.
        ratios: The median ratio of each query that ran, by its name.
        queries: How many there are.
    """

    size: Size
    ratios: dict[str, float]
    queries: int

    @property
    def mean(self) -> float:
        """The geometric mean; it stands for as many queries as could run."""
        return statistics.geometric_mean(self.ratios.values())

    @property
    def met(self) -> bool:
        """Whether every query ran and the mean is reached; each query has its own target beside it."""
        return not self.size.aimed or (len(self.ratios) == self.queries and self.mean >= MEAN)

    def lines(self) -> Sequence[str]:
        slowest = sorted(self.ratios, key=self.ratios.__getitem__)[:3]
        mark = f"target ≥ {MEAN:g}: {'met' if self.met else 'MISSED'}" if self.size.aimed else "no target"
        return [
            f"nexmark, {len(self.ratios)} of {self.queries} queries, {self.size.events} events, {self.size.steps}",
            "  " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in self.ratios.items()),
            "  slowest: " + ", ".join(f"{name} {self.ratios[name]:.2f}" for name in slowest),
            f"  geometric mean of the ratios {self.mean:.2f}, {mark}",
        ]

    def record(self) -> dict[str, Json]:
        return {
            "name": f"nexmark, {self.size.steps}",
            "events": self.size.events,
            "ran": len(self.ratios),
            "queries": self.queries,
            "ratios": dict(self.ratios),
            "geometric_mean": self.mean,
            "target": MEAN if self.size.aimed else None,
            "met": self.met,
        }


class Copied:
    """A query of DuckDB whose rows are kept in Parquet files, in a folder per day."""

    def __init__(self, ask: Callable[[str], object], text: str, folder: Path) -> None:
        self._ask = ask
        self._text = text
        self._folder = folder

    def run(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._ask(
            f"COPY ({self._text}) TO '{self._folder}' (FORMAT parquet, PARTITION_BY (day), WRITE_PARTITION_COLUMNS)"
        )

    def answer(self) -> pl.DataFrame:
        return parquet_rows(self._folder)


def measure(sizes: Sequence[Size], queries: Sequence[Query] = QUERIES) -> Iterator[Outcome]:
    """Compare, size by size and query by query, each size with its geometric mean at the end."""
    for size in sizes:
        house = auction_house(size.events, rate=max(1, size.events // _SECONDS))
        ratios: dict[str, float] = {}
        for query in queries:
            name = f"nexmark {query.name}, {query.about}, {size.steps}"
            try:
                found = _compared(query, house, size, name)
            except UnsupportedError as error:
                yield NotYet(name, str(error))
                continue
            ratios[query.name] = found.ratio
            yield found
        if ratios:
            yield Overall(size, ratios, len(queries))


def _compared(query: Query, house: House, size: Size, name: str) -> Comparison:
    text = ANSWERS[query.name]
    with database(house) as ask, tempfile.TemporaryDirectory() as folder:
        own: Streamed | Logged = Streamed(query, house, size.step_rows)
        reference: Contestant = OneShot(lambda: ask(text))
        if query.name == "q10":
            own = Logged(query, house, size.step_rows, Path(folder, "thalweg"))
            reference = Copied(ask, text, Path(folder, "duckdb"))
        seconds = take_turns({"thalweg": own, "duckdb": reference}, size.rounds, _frame(ask(text)))
    aim = LEAST if size.aimed else None
    return Comparison(name, own.rows, seconds["thalweg"], "duckdb", seconds["duckdb"], aim, own.note)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


BENCHMARK = Benchmark(
    "nexmark",
    "the 23 queries of Nexmark in steps as of a backlog and of 1,000 rows, beside one-shot DuckDB",
    full=lambda: measure([Size(8_000_000, None, 3, aimed=True), Size(400_000, 1_000, 3, aimed=False)]),
    quick=lambda: measure([Size(8_000_000, None, 1, aimed=True), Size(200_000, 1_000, 1, aimed=False)]),
)
