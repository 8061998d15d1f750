"""Programs that change: how they are drawn, built and run, and sinks that tell what they got."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

import thalweg as tw
from thalweg import Stream, col, count
from thalweg.connect import view
from thalweg.core.ports import EpochWriter, WriteRequest
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import Report, RunOptions
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

SECOND = 1_000_000
SCHEMA = pa.schema([("k", pa.string()), ("v", pa.int64()), ("ts", TIMESTAMP)])
SOURCES = ("a", "b")

Row = tuple[str, int, int | None]
"""Key, value, second."""
Shown = Mapping[str, Mapping[str, int]]
"""By source and partition, how many rows there are."""
Input = Mapping[str, Sequence[Sequence[Row]]]
"""By source, the rows of each partition."""

OPERATORS = ("rows", "tumbling", "hopping", "sessions", "dedupe", "table", "first", "top", "of table", "joined", "late")
CHANGING = ("table", "first", "top", "of table")
"""Those whose result is a changing table."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One stream of a program.

    Attributes:
        output: What its view and sinks are called.
        reads: The sources that it unites.
        least: Values below are filtered out.
        operator: What is computed.
        seconds: How long its windows are.
        mean: Whether a mean is computed too.
        sunk: Whether it is written to a sink as well.
    """

    output: str
    reads: tuple[str, ...]
    least: int
    operator: str
    seconds: int
    mean: bool
    sunk: bool


@dataclass(slots=True)
class Target:
    """What outputs hold, by name: they outlive the runs that write them."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A sink that records epochs: rows in a list, or the rows of a changing stream as a table."""

    label: str
    into: Target = field(repr=False, compare=False)
    changes: Literal["refused", "applied"] = "refused"
    target: None = None

    @property
    def name(self) -> str:
        return self.label

    def describe(self) -> str:
        return f"kept({self.label})"

    def open(self, request: WriteRequest) -> EpochWriter:
        writer: EpochWriter = Table(self, request.schema) if self.changes == "applied" else _List(self)
        return writer


@dataclass(slots=True)
class _List:
    sink: Kept

    def last_epoch(self) -> int:
        return self.sink.into.epochs.get(self.sink.label, 0)

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        if epoch > self.last_epoch():
            self.take([row for table in rows for row in table.to_pylist()])
            self.sink.into.epochs[self.sink.label] = epoch

    def take(self, rows: list[dict[str, Any]]) -> None:
        self.sink.into.rows.setdefault(self.sink.label, []).extend(rows)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Table(_List):
    schema: pa.Schema

    def take(self, rows: list[dict[str, Any]]) -> None:
        net = Counter(counted(self.sink.into.rows.get(self.sink.label, ())))
        for row in rows:
            weight = row.pop("_weight")
            net[next(iter(counted([row])))] += weight
        assert all(weight >= 0 for weight in net.values()), "a row was withdrawn that the table has not"
        self.sink.into.rows[self.sink.label] = [dict(row) for row in net.elements()]

    def rows(self) -> Iterator[pa.Table]:
        columns = pa.schema([each for each in self.schema if each.name != "_weight"])
        yield pa.Table.from_pylist(self.sink.into.rows.get(self.sink.label, []), schema=columns)


def counted(rows: Sequence[Mapping[str, Any]]) -> Counter[tuple[tuple[str, Any], ...]]:
    return Counter(tuple(sorted(row.items())) for row in rows)


def source_of(name: str, partitions: Sequence[Sequence[Row]], shown: Mapping[str, int] | None) -> Scripted:
    pieces = {}
    for number, rows in enumerate(partitions):
        columns = [
            pa.array([key for key, _, _ in rows], pa.string()),
            pa.array([value for _, value, _ in rows], pa.int64()),
            pa.array([None if second is None else second * SECOND for _, _, second in rows], TIMESTAMP),
        ]
        data = pa.record_batch(columns, schema=SCHEMA)
        pieces[str(number)] = [Piece(data, lambda row, n=number: f"{name}[{n}]:{row}")]  # type: ignore[misc]  # binds n
    source = Scripted(name, SCHEMA, pieces)
    source.show(shown)
    return source


def built(stream: Stream, branch: Branch) -> Stream:
    """Return what a branch computes of its rows."""
    means = {"m": col("v").mean()} if branch.mean else {}
    keyed, long = stream.group_by("k"), f"{branch.seconds}s"
    match branch.operator:
        case "rows":
            return stream.with_columns(w=col("v") * branch.seconds)
        case "tumbling":
            return keyed.window(long).agg(n=count(), t=col("v").sum(), **means)
        case "hopping":
            return keyed.window(tw.hopping(long, every="4s")).agg(n=count(), **means)
        case "sessions":
            return keyed.window(tw.session(long)).agg(n=count(), **means)
        case "dedupe":
            return stream.dedupe("k", within=long)
        case "table":
            return keyed.agg(n=count(), t=col("v").sum(), most=col("v").max(), **means)
        case "first":
            return stream.dedupe("k")
        case "top":
            return keyed.agg(n=count(), t=col("v").sum(), **means).top_k(1, by=["t", "k"])
        case "of table":
            return keyed.agg(n=count(), t=col("v").sum(), **means).group_by("n").agg(keys=count(), most=col("t").max())
        case "joined":
            return stream.filter(col("v") > 0).join(stream.select("k", w=col("v")), on="k", within=long)
        case "late":
            return keyed.window(long).agg(n=count()).late.select("k", "v", "window_end")
        case other:
            raise AssertionError(other)


def app_of(branches: Sequence[Branch], given: Input, shown: Shown | None, into: Target) -> tw.App:
    """Return the program of some branches over what is shown of the input."""
    app = tw.App("changed")
    reads = {
        name: app.read(source_of(name, given[name], None if shown is None else shown[name]), time="ts", lateness="2s")
        for name in SOURCES
        if any(name in branch.reads for branch in branches)
    }
    for branch in branches:
        stream = reads[branch.reads[0]]
        for other in branch.reads[1:]:
            stream = stream.union(reads[other])
        made = built(stream.filter(col("v") >= branch.least), branch)
        made.write(view(branch.output))
        if branch.sunk:
            made.write(Kept(branch.output, into, "applied" if made.changing else "refused"))
    return app


def picker(rng: random.Random) -> Any:  # a Pick: chooses partitions and rows
    def pick(names: Sequence[str]) -> Sequence[tuple[str, int]]:
        chosen = [name for name in names if rng.random() < 0.7] or list(names[:1])
        rng.shuffle(chosen)
        return [(name, rng.choice([3, 10, 50])) for name in chosen]

    return pick


@dataclass(frozen=True, slots=True)
class Runs:
    """How programs are run over an input."""

    given: Input
    rng: random.Random

    def caught_up(
        self, branches: Sequence[Branch], shown: Shown, data: Path, into: Target, *, loss: bool = False
    ) -> Report:
        options = RunOptions(data, until="caught-up", pick=picker(self.rng), allow_state_loss=loss)
        return app_of(branches, self.given, shown, into).start(options)

    def to_the_end(self, branches: Sequence[Branch], data: Path, into: Target, *, loss: bool = False) -> Report:
        options = RunOptions(data, until="end", pick=picker(self.rng), allow_state_loss=loss)
        return app_of(branches, self.given, None, into).start(options)

    def fresh(self, branches: Sequence[Branch], into: Target) -> Report:
        return app_of(branches, self.given, None, into).start(RunOptions(until="end", fresh=True))


def drawn_branch(rng: random.Random, output: str) -> Branch:
    return Branch(
        output,
        rng.choice([("a",), ("b",), ("a", "b")]),
        rng.randint(-5, 0),
        rng.choice(OPERATORS),
        rng.choice([4, 8]),
        rng.random() < 0.3,
        rng.random() < 0.6,
    )


def changed(rng: random.Random, branch: Branch) -> Branch:
    """Return a branch that does something else with the same output."""
    kind = rng.choice(["filter", "aggregate", "window", "union", "operator", "source"])
    if branch.sunk and kind in ("aggregate", "operator"):
        kind = "filter"  # a sink has rows of one kind
    match kind:
        case "filter":
            return replace(branch, least=branch.least + rng.choice([-1, 1, 3]))
        case "aggregate":
            return replace(branch, mean=not branch.mean)
        case "window":
            return replace(branch, seconds=12 - branch.seconds)
        case "union":
            return replace(branch, reads=tuple(reversed(branch.reads)))
        case "source":
            return replace(branch, reads=("a", "b"))
        case _:
            return replace(branch, operator=rng.choice(OPERATORS))


def drawn_input(rng: random.Random) -> dict[str, list[list[Row]]]:
    def rows() -> list[Row]:
        at, found = 0, []
        for _ in range(rng.choice([0, 6, 25])):
            at += rng.choice([0, 1, 2, 5])
            second = None if rng.random() < 0.05 else max(at - rng.choice([0, 0, 1, 3, 8]), 0)
            found.append((rng.choice("xyz"), rng.randint(-5, 5), second))
        return found

    return {name: [rows() for _ in range(rng.choice([1, 2]))] for name in SOURCES}


def drawn_shown(rng: random.Random, given: Input, least: Shown | None) -> dict[str, dict[str, int]]:
    """Return how much there is of each partition: as much as before or more."""
    found: dict[str, dict[str, int]] = {}
    for name, partitions in given.items():
        found[name] = {}
        for number, rows in enumerate(partitions):
            low = 0 if least is None else least[name][str(number)]
            found[name][str(number)] = rng.randint(low, len(rows))
    return found


def outputs(report: Report) -> dict[str, Counter[tuple[tuple[str, Any], ...]]]:
    """Return a report's views as multisets; floats rounded, as their last bits depend on the pieces."""
    return {name: rounded(table.to_pylist()) for name, table in report.views.items()}


def rounded(rows: Sequence[Mapping[str, Any]]) -> Counter[tuple[tuple[str, Any], ...]]:
    return counted([{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows])
