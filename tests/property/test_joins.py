"""Joins of tables agree with the oracle after every step, whatever comes when, and go on from their state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle import joins as oracle
from tests.oracle.joins import HOWS, Given, How, Joined
from tests.oracle.tables import batch_of, plain_rows
from tests.oracle.values import Row, Value, canonical
from tests.property.kinds import KINDS, LIKELY, TIMESTAMP
from tests.property.shares import share
from thalweg import col, count
from thalweg.columnar.frames import to_frame, to_table
from thalweg.connect import call, memory
from thalweg.core.schema import schema_of
from thalweg.engine.embedded import hashed_runs, keyed, weighted
from thalweg.engine.embedded.joined import table_join
from thalweg.engine.embedded.ledger import balance
from thalweg.engine.embedded.rows import WEIGHT, Rows
from thalweg.engine.embedded.stage import TwoSided
from thalweg.plan import nodes as n

Drawn = list[tuple[Row, int]]
"""Rows with their weights."""


@dataclass(frozen=True, slots=True)
class Case:
    """Two sides, and what comes of them in each step.

    Attributes:
        how: The kind of join.
        keys: The key columns.
        schemas: The columns of both sides.
        changing: Of each side, whether its rows can be withdrawn.
        steps: The rows of both sides in each step.
        restarts: The steps before which the operator is made anew from its state.
        hashes: How many different hashes there are; None for the real ones.
        searched: Whether few rows are enough for an index.
    """

    how: How
    keys: tuple[str, ...]
    schemas: tuple[pa.Schema, pa.Schema]
    changing: tuple[bool, bool]
    steps: list[tuple[Drawn, Drawn]]
    restarts: set[int]
    hashes: int | None
    searched: bool

    def node(self) -> n.Join:
        """Return the plan's node."""
        app = tw.App("joins")
        sides = []
        for schema, changing in zip(self.schemas, self.changing, strict=True):
            read = app.read(memory([[]]), schema=schema)
            sides.append(replace(read, _node=replace(read._node, changing=changing)))
        node = sides[0].join(sides[1], on=list(self.keys), how=self.how)._node
        assert isinstance(node, n.Join)
        return node

    def meaning(self) -> Joined:
        """Return what the oracle makes of it."""
        left, right = self.schemas
        return Joined(tuple(left.names), tuple(right.names), self.keys, self.how)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw any two sides: keys of few values, so that they meet, and weights that come in any order."""
    keys = [f"k{number}" for number in range(draw(st.sampled_from([1, 1, 2])))]
    kinds = {name: KINDS[draw(st.sampled_from(LIKELY))] for name in keys}
    pools: dict[str, list[Value]] = {}
    for name, kind in kinds.items():
        pools[name] = draw(st.lists(st.sampled_from([*kind.special, None]), min_size=1, max_size=4))
    schemas: list[pa.Schema] = []
    for _ in range(2):
        side = dict(kinds)
        for name in draw(st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)):
            side[name] = KINDS[draw(st.sampled_from(LIKELY))]
            # Both sides may have the column, of another type.
            pools.setdefault(f"{name}{len(schemas)}", [*side[name].special[:2], None])
        order = draw(st.permutations(list(side)))
        schemas.append(pa.schema([pa.field(name, side[name].type) for name in order]))
    changing = (draw(st.booleans()), draw(st.booleans()))
    steps = []
    for _ in range(draw(st.integers(1, 7))):
        steps.append((draw(_rows(schemas[0], pools, 0, changing[0])), draw(_rows(schemas[1], pools, 1, changing[1]))))
    restarts = draw(st.sets(st.integers(1, 6), max_size=2))
    hashes = draw(st.sampled_from([None, None, 1, 2]))
    how: How = draw(st.sampled_from(HOWS))
    sides = (schemas[0], schemas[1])
    return Case(how, tuple(keys), sides, changing, steps, restarts, hashes, draw(st.booleans()))


@st.composite
def _rows(draw: st.DrawFn, schema: pa.Schema, pools: dict[str, list[Value]], side: int, changing: bool) -> Drawn:
    height = draw(st.sampled_from([0, 1, 1, 2, 3, 5]))
    width = 1 + len(schema.names)
    block = draw(st.binary(min_size=height * width, max_size=height * width))
    rows: Drawn = []
    for start in range(0, height * width, width):
        weigh, *picks = block[start : start + width]
        pooled = [pools.get(name) or pools[f"{name}{side}"] for name in schema.names]
        values = [pool[pick % len(pool)] for pool, pick in zip(pooled, picks, strict=True)]
        weight = (1, -1, 1, 2, -2)[weigh % 5] if changing else 1
        rows.append((dict(zip(schema.names, values, strict=True)), weight))
    return rows


@contextmanager
def insides(hashes: int | None, *, searched: bool) -> Iterator[None]:
    """Let keys share hashes, and few rows be enough for sorted runs and indexes."""
    with pytest.MonkeyPatch.context() as patch:
        if hashes is not None:
            for module in (hashed_runs, keyed):
                real = module._hashes
                patch.setattr(module, "_hashes", lambda *given, real=real: real(*given) % hashes)
        if searched:
            patch.setattr(keyed, "FEW_ROWS", 0)
            patch.setattr(keyed, "_SCAN", 0)
            patch.setattr(keyed, "_PATIENCE", 1)
            patch.setattr(weighted, "FEW_ROWS", 0)
            patch.setattr(weighted, "_SCAN", 0)
        yield


class Driven:
    """An operator that is given steps; what it gives is added up.

    Args:
        case: What comes.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._node = case.node()
        self.stage: TwoSided = table_join(self._node, "join")
        self.total: Counter[Given] = Counter()
        self.sides: tuple[Counter[Given], Counter[Given]] = (Counter(), Counter())

    def restart(self) -> None:
        """Go on with another operator from the state of this one, as checkpoints do."""
        frames = {name: to_frame(frame.to_arrow()) for name, frame in self.stage.snapshot()}
        entry = self.stage.entry
        self.stage = table_join(self._node, "join")
        self.stage.restore(frames)
        self.stage.entry = entry

    def step(self, rows: Sequence[Drawn]) -> None:
        """Give the rows of a step."""
        given_rows = []
        for side, drawn in enumerate(rows):
            schema = self._case.schemas[side]
            for row, weight in drawn:
                self.sides[side][oracle.given(row, schema.names)] += weight
            given_rows.append(self._frames(side, drawn))
        out = self.stage.process_sides(given_rows[0], given_rows[1], 0)
        for part in out.rows:
            weights = part.frame.get_column(WEIGHT).to_list() if self._node.changing else [1] * part.frame.height
            names = self._node.schema.names
            assert part.frame.columns == [*names, *([WEIGHT] if self._node.changing else [])]
            table = to_table(part.frame.select(names), pa.schema(list(self._node.schema.arrow)))
            for row, weight in zip(plain_rows(table), weights, strict=True):
                assert weight, "a row that is given has a weight"
                self.total[oracle.given(row, names)] += weight
        self.stage.entry.held = self.stage.held()
        balance([self.stage.entry])

    def _frames(self, side: int, drawn: Drawn) -> list[Rows]:
        if not drawn:
            return []
        schema = schema_of(self._case.schemas[side]).arrow
        frame = to_frame(batch_of([row for row, _ in drawn], schema))
        if self._case.changing[side]:
            frame = frame.with_columns(pl.Series(WEIGHT, [weight for _, weight in drawn], pl.Int64))
        half = frame.height // 2  # the rows of a step may come in several frames
        return [Rows(part) for part in (frame[:half], frame[half:]) if part.height]


def agrees(case: Case) -> None:
    """Fail unless what was given up to each step adds up to what the oracle makes of all that came."""
    meaning = case.meaning()
    with insides(case.hashes, searched=case.searched):
        driven = Driven(case)
        for number, step in enumerate(case.steps):
            if number in case.restarts:
                driven.restart()
            driven.step(step)
            found = {row: weight for row, weight in driven.total.items() if weight}
            assert found == meaning.of(*driven.sides), f"after step {number}"


@share(0.9)
@given(cases())
def test_every_step_adds_up_to_the_join_of_all_that_came(case: Case) -> None:
    agrees(case)


# ---------------------------------------------------------------------- whole programs

SCHEMA = pa.schema([pa.field("k", pa.int64()), pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])
SHAPES = ("rows", "table", "some of a table", "keys that move", "windows")
Shape = str
Partition = list[Row]


def side(read: tw.Stream, shape: Shape) -> tw.Stream:
    """Return what a side of a join is, with a column ``k``."""
    match shape:
        case "rows":
            return read.select("k", "x")
        case "table":
            return read.group_by("k").agg(total=col("x").sum())
        case "some of a table":  # rows come and go
            return read.group_by("k").agg(n=count()).filter(col("n") % 2 == 1)
        case "keys that move":
            return read.group_by("x").agg(k=col("k").max())
        case _:
            return read.group_by("k").window("3us", emit="on_change").agg(n=count())


def side_of(rows: Partition, shape: Shape) -> Counter[Given]:
    """Return the same of some rows, in plain Python."""
    if shape == "rows":
        return Counter(cells(row["k"], row["x"]) for row in rows)
    groups: dict[Value, list[Row]] = {}
    windows: Counter[tuple[Value, int]] = Counter()
    for row in rows:
        groups.setdefault(row["x" if shape == "keys that move" else "k"], []).append(row)
        time_us = row["ts"]
        assert isinstance(time_us, int)
        windows[(row["k"], time_us // 3 * 3)] += 1
    if shape == "table":
        return Counter(cells(key, sum(_numbers(group, "x"))) for key, group in groups.items())
    if shape == "some of a table":
        return Counter(cells(key, len(group)) for key, group in groups.items() if len(group) % 2)
    if shape == "keys that move":
        return Counter(cells(x, max(_numbers(group, "k"), default=None)) for x, group in groups.items())
    return Counter(cells(key, start, start + 3, rows) for (key, start), rows in windows.items())


def cells(*values: Value) -> Given:
    """Return a row of values."""
    return tuple(canonical(value) for value in values)


def _numbers(rows: Partition, column: str) -> list[int]:
    return [value for row in rows if isinstance(value := row[column], int)]


PARTITION = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.integers(0, 2)), max_size=5).map(
    lambda rows: [{"k": k, "x": x, "ts": number} for number, (k, x) in enumerate(rows)]
)


@dataclass
class Steps:
    """Adds up signed rows; the tables after each step."""

    weights: Counter[Given]
    tables: list[dict[Given, int]]

    def take(self, rows: pa.Table) -> None:
        """Take the rows of one step."""
        for row in plain_rows(rows):
            weight = row.pop("_weight", 1)
            self.weights[oracle.given(row, list(row))] += weight
        assert all(weight >= 0 for weight in self.weights.values()), "a row is withdrawn that is not there"
        self.tables.append(oracle.present(self.weights))


@share(0.5)
@given(
    st.tuples(st.sampled_from(SHAPES), st.sampled_from(SHAPES)),
    st.lists(PARTITION, min_size=1, max_size=2),
    st.one_of(st.none(), PARTITION),
    st.integers(1, 3),
)
def test_every_step_is_the_join_over_a_prefix(
    shapes: tuple[Shape, Shape], lefts: list[Partition], right: Partition | None, step_rows: int
) -> None:
    """Without a right side of its own, the stream is joined with itself."""
    app = tw.App("prefixes")
    schema = schema_of(SCHEMA).arrow
    reads = [app.read(memory([[batch_of(rows, schema)] for rows in lefts]), schema=SCHEMA, time="ts")]
    if right is not None:
        reads.append(app.read(memory([[batch_of(right, schema)]]), schema=SCHEMA, time="ts"))
    one, other = side(reads[0], shapes[0]), side(reads[-1], shapes[1])
    steps: dict[How, Steps] = {}
    for how in HOWS:
        steps[how] = Steps(Counter(), [])
        one.join(other, on="k", how=how).write(call(steps[how].take))
    app.run(data=None, until="end", max_step_rows=step_rows, quiet=True)

    parts = [*lefts, *([] if right is None else [right])]
    ends = list(product(*(range(len(rows) + 1) for rows in parts)))
    own: dict[tuple[int, ...], Counter[Given]] = {}
    others: dict[tuple[int, ...], Counter[Given]] = {}
    for end in ends:
        read = [rows[:upto] for rows, upto in zip(parts, end, strict=True)]
        own[end] = side_of([row for rows in read[: len(lefts)] for row in rows], shapes[0])
        others[end] = side_of([row for rows in (read if right is None else read[-1:]) for row in rows], shapes[1])
    for how in HOWS:
        meaning = Joined(tuple(one.schema.names), tuple(other.schema.names), ("k",), how)
        answers = {end: dict(meaning.of(own[end], others[end])) for end in ends}
        _advances(how, steps[how].tables, answers)


def _advances(how: How, tables: list[dict[Given, int]], answers: dict[tuple[int, ...], dict[Given, int]]) -> None:
    """Fail unless each table is the answer for a prefix, none of them shorter than the one before."""
    reached = {min(answers)}
    for number, table in enumerate(tables):
        same = {end for end, answer in answers.items() if answer == table}
        reached = {e for e in same if any(all(a >= b for a, b in zip(e, old, strict=True)) for old in reached)}
        assert reached, f"{how}: after step {number} there is what no prefix (or an earlier one) gives: {table}"
    assert (tables[-1] if tables else {}) == answers[max(answers)], f"{how}: the last step is not the whole answer"
