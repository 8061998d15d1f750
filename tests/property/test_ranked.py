"""Top-k and the first row per key agree with the oracle, in one batch, in steps of any size and after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.aggregates import Aggregate
from tests.oracle.expect import Exactly
from tests.oracle.programs import Branch, Pipeline, Program, Stage, meaning
from tests.oracle.ranked import Order, Timed, first_rows, unranked
from tests.oracle.tables import batch_of, plain_rows
from tests.oracle.values import Row, canonical
from tests.oracle.windows import Read, Window, events
from tests.property import cases
from tests.property.cases import Cuts
from tests.property.kinds import KINDS, TIMESTAMP, ColumnKind
from tests.property.rows import TIME, columns, reads, windows
from tests.property.shares import share
from tests.property.test_prefixes import Table, assert_advances
from thalweg import Stream
from thalweg.connect import call, memory, view
from thalweg.core.ports import Source
from thalweg.engine.embedded import arrangement, ranked, ranking
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

STEP_ROWS = st.sampled_from([1, 2, 3, 5, 8, 13, 60])
Bag = Counter[tuple[Hashable, ...]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A top-k and what it is over.

    Attributes:
        read: The source.
        schema: Its declared schema.
        cuts: Where its partitions are cut.
        timed: Whether its rows have an event time.
        stage: The aggregate whose result is ranked; None: the source's rows are.
        order: The top-k.
        dedupe: Whether it is written as ``dedupe``.
    """

    read: Read
    schema: pa.Schema
    cuts: tuple[Cuts, ...]
    timed: bool
    stage: Stage | None
    order: Order
    dedupe: bool = False

    def batches(self) -> list[list[pa.RecordBatch]]:
        """Return the source's partitions as batches."""
        loose = pa.schema([pa.field(field.name, field.type) for field in self.schema])
        return [
            [batch_of(rows[a:b], loose) for a, b in pairwise((0, *at, len(rows)))]
            for rows, at in zip(self.read.partitions, self.cuts, strict=True)
        ]

    def built(self, source: Source, write: Callable[[Stream], object]) -> tw.App:
        """Return the app, its result written as is told."""
        app = tw.App("ranked")
        time: dict[str, Any] = {"time": TIME, "lateness": cases.duration(self.read.lateness_us)} if self.timed else {}
        stream = app.read(source, schema=self.schema, **time)
        if self.stage is not None:
            stream = cases.result(stream, Pipeline("v", (self.stage,)))
        order = self.order
        if self.dedupe:
            stream = stream.dedupe(list(order.per))
        else:
            stream = stream.top_k(order.rows, list(order.by), list(order.reverse), list(order.per) or None)
        write(stream)
        return app

    def rows(self) -> list[Timed]:
        """Return what is ranked, at the end of the input."""
        if self.stage is None:
            if self.timed:
                return [(event.time_us, event.row) for event in events(self.read)[0]]
            every = [row for rows in self.read.partitions for row in rows]
            return [(0, row) for row in every if all(row[name] is not None for name in self.read.required)]
        program = Program((self.read,), (Branch(0),), (Pipeline("v", (self.stage,)),))
        results = meaning(program).outcomes["v"].rows.values()
        rows = [{name: may.value for name, may in row.items() if isinstance(may, Exactly)} for row in results]
        return [(0 if self.stage.changing else _end(row) - 1, row) for row in rows]

    def expected(self) -> Bag:
        """Return the result's rows."""
        found = first_rows(self.order, self.rows())
        return bag(unranked(found) if self.dedupe else found)


def _end(row: Row) -> int:
    end = row["window_end"]
    assert isinstance(end, int)
    return end


def bag(rows: Iterable[Mapping[str, object]]) -> Bag:
    """Return rows as a multiset."""
    return Counter(tuple(canonical(value) for value in row.values()) for row in rows)


@st.composite
def orders(draw: st.DrawFn, kinds: Mapping[str, ColumnKind], *, per: Sequence[str] | None = None) -> Order:
    """Draw a top-k over columns."""
    names = list(kinds)
    by = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    reverse = [draw(st.booleans()) for _ in by]
    keys = draw(st.lists(st.sampled_from(names), max_size=2, unique=True)) if per is None else per
    return Order(draw(st.integers(1, 4)), tuple(by), tuple(reverse), tuple(keys), tuple(names))


@st.composite
def of_rows(draw: st.DrawFn) -> Ranked:
    """Draw a top-k over a source."""
    given_ = draw(columns())
    read, cuts = draw(reads(given_, draw(windows())))
    return Ranked(_all(read), given_.schema, cuts, draw(st.booleans()), None, draw(orders(given_.kinds)))


@st.composite
def of_keys(draw: st.DrawFn) -> Ranked:
    """Draw the first row per key."""
    given_ = draw(columns())
    read, cuts = draw(reads(given_, draw(windows())))
    names = list(given_.kinds)
    keys = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
    order = Order(1, (), (), keys, tuple(names))
    return Ranked(_all(read), given_.schema, cuts, draw(st.booleans()), None, order, dedupe=True)


@st.composite
def of_aggregates(draw: st.DrawFn, emit: Literal["on_close", "on_change"]) -> Ranked:
    """Draw a top-k over a changing table, or over windows' final rows, per window."""
    given_ = draw(columns())
    window: Window = draw(windows())
    read, cuts = draw(reads(given_, window))
    keys = tuple(draw(st.lists(st.sampled_from(list(given_.pools)), min_size=1, max_size=2, unique=True)))
    of = draw(st.sampled_from(list(given_.kinds)))
    made = (Aggregate("n", "rows"), Aggregate("low", "min", of), Aggregate("high", "max", of))
    windowed = emit == "on_close" or draw(st.booleans())
    stage = Stage(keys, made, window if windowed else None, emit)
    kinds = {name: given_.kinds[name] for name in keys}
    if windowed:
        kinds |= {"window_start": KINDS["timestamp"], "window_end": KINDS["timestamp"]}
    kinds |= {"n": KINDS["int64"], "low": given_.kinds[of], "high": given_.kinds[of]}
    per = None
    if emit == "on_close":
        per = ["window_end", *draw(st.lists(st.sampled_from(keys), max_size=1))]
    return Ranked(_all(read), given_.schema, cuts, True, stage, draw(orders(kinds, per=per)))


def _all(read: Read) -> Read:
    return Read(read.columns, read.time, read.partitions, read.lateness_us, read.required)


@contextmanager
def few_are_many() -> Iterator[None]:
    """Let the engine treat a few rows as it treats many: in sorted runs, looked through for ties, trimmed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrangement, "FEW_ROWS", 0)
        patch.setattr(ranking, "_FEW", 0)
        patch.setattr(ranked, "_FIRST_TRIM", 2)
        patch.setattr(ranked, "_SORTED_TWICE", 1)
        yield


def agrees_in_every_run(case: Ranked, *step_rows: int) -> None:
    """Run an app as a batch and live to the end in steps; each run must say what the oracle says."""
    app = case.built(memory(case.batches()), lambda stream: stream.write(view("v")))
    with few_are_many():
        agrees(case, app.batch(), "as a batch, few rows as many")
    for rows in step_rows:
        with few_are_many() if rows % 2 else nullcontext():
            agrees(case, app.run(data=None, until="end", max_step_rows=rows, quiet=True), f"in steps of {rows} rows")


def agrees(case: Ranked, report: Any, how: str) -> None:
    """Fail unless a report has the rows that the oracle says, and a ledger that balances."""
    expected, found = case.expected(), bag(plain_rows(report.view("v")))
    assert found == expected, f"{how}: missing {expected - found}, too many {found - expected}"
    lines = report.ledger.to_pylist()
    for line in lines:
        out = line["passed"] + line["filtered"] + line["late"] + line["rejected"] + line["absorbed"]
        assert line["in"] == out, (how, line)
        assert line["absorbed"] == line["released"] + line["held"], (how, line)
    (line,) = [line for line in lines if "top_k" in line["step"] or "dedupe" in line["step"]]
    if case.stage is None:
        assert line["held"] == expected.total(), f"{how}: only rows that are among the first are kept"
    elif not case.stage.changing:
        assert line["held"] == 0, f"{how}: every window is closed at the end"
    else:
        assert line["held"] >= len(case.rows()), f"{how}: of a changing table every row is kept"


@share(0.5)
@given(of_rows(), STEP_ROWS)
def test_top_rows_of_a_source(case: Ranked, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.25)
@given(of_keys(), STEP_ROWS)
def test_the_first_row_per_key(case: Ranked, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.25)
@given(of_aggregates("on_change"), STEP_ROWS)
def test_top_rows_of_a_changing_table(case: Ranked, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.25)
@given(of_aggregates("on_close"), STEP_ROWS)
def test_top_rows_of_each_window(case: Ranked, rows: int) -> None:
    agrees_in_every_run(case, rows)


@pytest.mark.parametrize("kind", ["rows", "keys", "table", "windows"])
def test_runs_that_catch_up_and_one_to_the_end_are_one_batch(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    drawn = {"rows": of_rows(), "keys": of_keys(), "table": of_aggregates("on_change")}

    @share(0.04)
    @given(drawn.get(kind, of_aggregates("on_close")), st.lists(st.integers(0, 30), max_size=3), STEP_ROWS)
    def holds(case: Ranked, stops: list[int], rows: int) -> None:
        pieces = {
            str(number): [Piece(batch, lambda row: f"row {row}") for batch in batches]
            for number, batches in enumerate(case.batches())
        }
        source = Scripted("events", case.schema, pieces)
        directory = tmp_path_factory.mktemp("state")
        app = case.built(source, lambda stream: stream.write(view("v")))
        for number, stop in enumerate(sorted(stops)):
            source.show({name: stop for name in pieces})
            with few_are_many() if number % 2 == 0 else nullcontext():
                app.run(data=directory, until="caught-up", max_step_rows=rows, quiet=True)
        source.show(None)
        agrees(case, app.run(data=directory, until="end", max_step_rows=rows, quiet=True), f"after {stops}")

    holds()


SCHEMA = pa.schema([pa.field("k", pa.int64()), pa.field("x", pa.float64()), pa.field("ts", TIMESTAMP)])
Rows = list[Row]


@dataclass
class Steps:
    """Adds up signed rows, to the bit, and remembers the table after each step."""

    weights: Counter[tuple[str, ...]] = field(default_factory=Counter)
    tables: list[Table] = field(default_factory=list)

    def take(self, given_: pa.Table) -> None:
        """Take the signed rows of one step."""
        changes: Counter[tuple[Hashable, ...]] = Counter()
        rows = plain_rows(given_)
        for row in rows:
            weight = row.pop("_weight")
            self.weights[tuple(map(repr, row.values()))] += weight
            changes[tuple(canonical(value) for value in row.values())] += 1
        assert max(changes.values()) == 1, f"what stays is not given out again: {changes}"
        assert set(self.weights.values()) <= {0, 1}, f"what was given out is withdrawn, to the bit: {self.weights}"
        self.tables.append(frozenset(row for row, weight in self.weights.items() if weight))


@st.composite
def partitions(draw: st.DrawFn) -> list[Rows]:
    """Draw one or two partitions of a few rows, many of them equal or equal but for their bits."""
    x = st.sampled_from([0.0, -0.0, 1.0, 2.0, None, float("nan")])
    drawn = draw(st.lists(st.lists(st.tuples(st.integers(0, 1), x), max_size=9), min_size=1, max_size=2))
    return [[{"k": k, "x": x, "ts": n // 3} for n, (k, x) in enumerate(rows)] for rows in drawn]


def loosely(table: Iterable[Iterable[object]]) -> Table:
    """Return a table of texts in which −0.0 is 0.0."""
    return frozenset(tuple("0.0" if text == "-0.0" else text for text in row) for row in table)


def ranked_rows(order: Order, rows: Rows) -> Table:
    """Return the first rows of a prefix."""
    found = first_rows(order, [(row["ts"], row) for row in rows])  # type: ignore[misc]  # integers
    return loosely([map(repr, row.values()) for row in found])


def ranked_counts(order: Order, rows: Rows) -> Table:
    """Return the first counts per key of a prefix."""
    counts = Counter(row["k"] for row in rows)
    found = first_rows(order, [(0, {"k": k, "n": n, "odd": n % 2}) for k, n in counts.items()])
    return loosely([map(repr, row.values()) for row in found])


@share(0.25)
@given(partitions(), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans())
def test_every_step_is_the_answer_for_a_prefix(
    drawn: list[Rows], step_rows: int, first: int, upwards: bool, per_key: bool
) -> None:
    app = tw.App("prefixes")
    source = memory([[pa.Table.from_pylist([dict(row) for row in rows], SCHEMA)] for rows in drawn])
    read = app.read(source, schema=SCHEMA, time="ts", lateness="1h")
    per = ("k",) if per_key else ()
    of_rows_, of_counts = Steps(), Steps()
    read.top_k(first, "x", upwards, per or None).write(call(of_rows_.take))
    counts = read.group_by("k").agg(n=tw.count()).with_columns(odd=tw.col("n") % 2)
    counts.top_k(first, "n", upwards, ["odd"] if per else None).write(call(of_counts.take))
    app.run(data=None, until="end", max_step_rows=step_rows, quiet=True)

    ends = list(product(*(range(len(rows) + 1) for rows in drawn)))
    prefixes = {end: [r for rows, n in zip(drawn, end, strict=True) for r in rows[:n]] for end in ends}
    by_x = Order(first, ("x",), (upwards,), per, ("k", "x", "ts"))
    assert_advances(
        [loosely(table) for table in of_rows_.tables], {end: ranked_rows(by_x, rows) for end, rows in prefixes.items()}
    )
    by_n = Order(first, ("n",), (upwards,), ("odd",) if per else (), ("k", "n", "odd"))
    assert_advances(of_counts.tables, {end: ranked_counts(by_n, rows) for end, rows in prefixes.items()})
