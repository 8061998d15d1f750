"""How compositions are run: in one batch, in steps, from their state on; and what they must say then."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import compositions as of
from tests.oracle.multisets import differences
from tests.oracle.tables import plain_rows
from tests.oracle.values import Row, canonical
from tests.oracle.windows import Read
from tests.property.compositions import Composition, Late, Meaning, shown
from thalweg.columnar.frames import to_table
from thalweg.engine.contract import Pick, Report, RunOptions
from thalweg.engine.embedded import arrangement, intake, interval, keyed, open_groups, ranked, ranking, slabs, weighted
from thalweg.engine.embedded.graph import Graph
from thalweg.engine.embedded.loop import Embedded
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.plan.nodes import Plan, ViewOutput, Write


@contextmanager
def insides(*, few_are_many: bool) -> Iterator[None]:
    """Let every batch be a step; and a few rows be treated as many are: sorted, in runs, looked up by index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "GATHER_ROWS", 1)
        if few_are_many:
            for module, name, value in _FEW_ARE_MANY:
                patch.setattr(module, name, value)
        yield


_FEW_ARE_MANY: Sequence[tuple[object, str, int]] = (
    (arrangement, "FEW_ROWS", 0),
    (keyed, "FEW_ROWS", 0),
    (keyed, "_SCAN", 0),
    (keyed, "_PATIENCE", 1),
    (weighted, "FEW_ROWS", 0),
    (weighted, "_SCAN", 0),
    (ranking, "_FEW", 0),
    (ranked, "_FIRST_TRIM", 2),
    (ranked, "_SORTED_TWICE", 1),
    (interval, "_MANY_PAIRS", 0),
    (interval, "_FEW_EACH", 0),
    (slabs, "FEW_ROWS", 2),
    (slabs, "_SCAN", 1),
    (open_groups, "FEW_ROWS", 0),
    (open_groups, "_FEW_DEAD", 0),
    (open_groups, "_PLAIN_FROM", 0),
    (open_groups, "_SORTED_FROM", 0),
)


def picker(rng: random.Random, most: int) -> Pick:
    """Return what picks some partitions at random, and how many rows of each."""

    def pick(names: Sequence[str]) -> Sequence[tuple[str, int]]:
        chosen = [name for name in names if rng.random() < 0.6] or list(names[:1])
        rng.shuffle(chosen)
        return [(name, rng.randint(1, most)) for name in chosen]

    return pick


def in_steps(case: Composition, rng: random.Random, most: int) -> Report:
    """Run to the end, partitions in any order, in steps of a few rows."""
    plan = case.app(case.sources()).plan
    return Embedded().start(plan, RunOptions(until="end", pick=picker(rng, most))).run()


@dataclass(slots=True)
class Restarted:
    """What a series of runs that go on from each other's state says at its end."""

    report: Report
    late: Late
    errors: int


def with_restarts(case: Composition, data: Path, rng: random.Random, most: int, stops: int) -> Restarted:
    """Run a few times until caught up, each time with more to read, then to the end."""
    sources = case.sources()
    shown_rows = [dict.fromkeys(source.pieces, 0) for source in sources]
    late: Late = Counter()
    errors = 0
    report: Report | None = None
    for stop in range(stops + 1):
        for source, rows in zip(sources, shown_rows, strict=True):
            for name in rows:
                rows[name] = source.rows(name) if stop == stops else rng.randint(rows[name], source.rows(name))
            source.show(rows)
        until: Any = "end" if stop == stops else "caught-up"
        options = RunOptions(data=data, until=until, pick=picker(rng, most))
        report = Embedded().start(case.app(sources).plan, options).run()
        late += late_of(report)
        errors += report.error_rows
    assert report is not None, "the last run goes to the end"
    return Restarted(report, late, errors)


def assert_agrees(
    case: Composition, report: Report, found: Meaning, how: str, earlier: Restarted | None = None
) -> None:
    """Fail unless a report has the rows that the oracle says, and as many late and rejected ones."""
    wrong = []
    for number, (node, expected) in enumerate(zip(case.outputs, found.tables, strict=True)):
        rows = plain_rows(report.view(f"v{number}"))
        wrong += [f"v{number}: {line}" for line in differences(rows, expected, node.kinds)]
    late = late_of(report) if earlier is None else earlier.late
    if late != found.late:
        wrong.append(f"late rows: missing {found.late - late}, too many {late - found.late}")
    errors = report.error_rows if earlier is None else earlier.errors
    if found.errors is not None and errors != found.errors:
        reasons = [row["reason"] for row in report.errors.to_pylist()]
        wrong.append(f"{errors} rows are rejected, expected {found.errors}: {reasons}")
    for line in report.ledger.to_pylist():
        if line["absorbed"] != line["released"] + line["held"]:
            wrong.append(f"the ledger does not balance: {line}")
    if wrong:
        raise AssertionError("\n".join([f"{how}, {len(wrong)} differences:", *wrong[:12], *shown(case)]))


def late_of(report: Report) -> Late:
    """Return time, watermark and window of the late rows."""
    return Counter(
        (row["time"], row["watermark"], row["window_start"], row["window_end"])
        for row in plain_rows(report.late.select(["time", "watermark", "window_start", "window_end"]))
    )


@dataclass(slots=True)
class Watched:
    """What each output has shown up to each step.

    Attributes:
        tables: By step, the table of each output; a step in which none changed is left out.
        weights: By output, the net weights of rows as they stand.
    """

    tables: list[list[list[Row]]] = field(default_factory=list)
    weights: list[dict[tuple[Any, ...], tuple[int, Row]]] = field(default_factory=list)

    def take(self, plan: Plan, vertices: Sequence[Any]) -> None:
        """Take what a step has given to the outputs.

        Raises:
            AssertionError: A row is withdrawn that is not there.
        """
        writes = {
            id(write): int(write.output.name[1:]) for write in plan.writes if isinstance(write.output, ViewOutput)
        }
        self.weights = self.weights or [{} for _ in writes]
        some = False
        for vertex in vertices:
            if not isinstance(vertex.node, Write):
                continue
            table = self.weights[writes[id(vertex.node)]]
            names, changes = vertex.node.schema.names, Counter[tuple[Any, ...]]()
            for given in (rows for source in vertex.inputs for rows in source.given):
                some = some or given.frame.height > 0
                frame = given.frame
                weights = frame.get_column(WEIGHT).to_list() if WEIGHT in frame.columns else [1] * frame.height
                rows = plain_rows(to_table(frame.select(names), vertex.node.schema.arrow))
                for row, weight in zip(rows, weights, strict=True):
                    key = tuple(canonical(value) for value in row.values())
                    assert weight, "a row that is given has a weight"
                    changes[key] += weight
                    table[key] = (table.get(key, (0, row))[0] + weight, row)
            below = [row for weight, row in table.values() if weight < 0]
            assert not below, f"withdrawn, but not there: {below} of {vertex.name}"
        if some:
            self.tables.append([_present(table) for table in self.weights])


def _present(table: dict[tuple[Any, ...], tuple[int, Row]]) -> list[Row]:
    return [row for weight, row in table.values() for _ in range(weight)]


def watched(case: Composition, rng: random.Random, most: int) -> Watched:
    """Run in steps of a few rows; return what the outputs showed after each."""
    plan = case.app(case.sources()).plan
    seen = Watched()
    true = Graph.step

    def step(self: Graph, *given: Any) -> None:
        true(self, *given)
        seen.take(plan, self.vertices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Graph, "step", step)
        Embedded().start(plan, RunOptions(until="end", pick=picker(rng, most))).run()
    return seen


Prefix = tuple[int, ...]
"""How many rows of each partition."""


def assert_advances(case: Composition, tables: Sequence[Sequence[Sequence[Row]]]) -> None:
    """Fail unless after each step all outputs are the answers over one prefix, none shorter than the one before."""
    sizes = [len(rows) for read in case.reads for rows in read.partitions]
    answers: dict[Prefix, list[list[Row]]] = {}

    def is_answer(prefix: Prefix, given: Sequence[Sequence[Row]]) -> bool:
        if prefix not in answers:
            answers[prefix] = _of_prefix(case, prefix)
        return all(
            not differences(table, answer, node.kinds)
            for table, answer, node in zip(given, answers[prefix], case.outputs, strict=True)
        )

    reached: set[Prefix] = {(0,) * len(sizes)}
    tried: list[Prefix] = sorted(_prefixes(sizes), key=sum)
    for number, given in enumerate(tables):
        later = [p for p in tried if any(all(a >= b for a, b in zip(p, old, strict=True)) for old in reached)]
        reached = {prefix for prefix in later if is_answer(prefix, given)}
        if not reached:
            whole = [
                differences(t, a, n.kinds) for t, a, n in zip(given, answers[tuple(sizes)], case.outputs, strict=True)
            ]
            raise AssertionError(
                "\n".join(
                    [f"after step {number} there is what no prefix gives: {given}; to all: {whole}", *shown(case)]
                )
            )
    last = tables[-1] if tables else [[] for _ in case.outputs]
    assert is_answer(tuple(sizes), last), "\n".join([f"the last step is not the whole answer: {last}", *shown(case)])


def _prefixes(sizes: Sequence[int]) -> list[Prefix]:
    found: list[Prefix] = [()]
    for size in sizes:
        found = [(*prefix, end) for prefix in found for end in range(size + 1)]
    return found


def _of_prefix(case: Composition, prefix: Prefix) -> list[list[Row]]:
    ends = iter(prefix)
    reads = [
        Read(
            read.columns,
            read.time,
            tuple(rows[: next(ends)] for rows in read.partitions),
            read.lateness_us,
            read.required,
            read.max_jump_us,
        )
        for read in case.reads
    ]
    run = of.Run(reads)
    return [of.rows_of(node, run) for node in case.outputs]
