"""What a changing stream adds up to after every step is the batch answer for a prefix of each partition."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import product

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.tables import plain_rows
from tests.oracle.values import Row, canonical
from tests.property.kinds import TIMESTAMP
from tests.property.shares import share
from thalweg import col, count
from thalweg.connect import call, memory

SCHEMA = pa.schema([pa.field("k", pa.int64()), pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])

Table = frozenset[tuple[object, ...]]
Rows = list[Row]


@dataclass
class Steps:
    """Adds up signed rows and remembers the table after each step."""

    weights: Counter[tuple[object, ...]] = field(default_factory=Counter)
    tables: list[Table] = field(default_factory=list)

    def take(self, rows: pa.Table) -> None:
        """Take the signed rows of one step."""
        for row in plain_rows(rows):
            weight = row.pop("_weight")
            self.weights[tuple(canonical(value) for value in row.values())] += weight
        present = {row: weight for row, weight in self.weights.items() if weight}
        assert all(weight == 1 for weight in present.values()), f"a row of a table has its weight: {present}"
        self.tables.append(frozenset(present))


def of_prefix(rows: Rows) -> Table:
    """Return the table of rows per key: key, rows, sum, greatest."""
    groups: dict[object, list[int]] = {}
    for row in rows:
        x = row["x"]
        assert isinstance(x, int)
        groups.setdefault(row["k"], []).append(x)
    return frozenset((key, len(xs), sum(xs), max(xs)) for key, xs in groups.items())


def of_table(table: Table) -> Table:
    """Return the keys with more than one row, and how many."""
    return frozenset((key, rows) for key, rows, _, _ in table if isinstance(rows, int) and rows > 1)


@st.composite
def partitions(draw: st.DrawFn) -> list[Rows]:
    """Draw one or two partitions of up to twelve rows; 1/12/13 values give equal tables seldom."""
    one = st.tuples(st.integers(0, 3), st.integers(-5, 50))
    drawn = draw(st.lists(st.lists(one, max_size=12), min_size=1, max_size=2))
    return [[{"k": k, "x": x, "ts": n} for n, (k, x) in enumerate(rows)] for rows in drawn]


@share(0.25)
@given(partitions(), st.integers(1, 4))
def test_every_step_is_the_answer_for_a_prefix(drawn: list[Rows], step_rows: int) -> None:
    app = tw.App("prefixes")
    read = app.read(memory([[pa.Table.from_pylist(rows, SCHEMA)] for rows in drawn]), schema=SCHEMA, time="ts")
    per_key = read.group_by("k").agg(n=count(), total=col("x").sum(), most=col("x").max())
    many = per_key.filter(col("n") > 1).select("k", "n")
    first, second = Steps(), Steps()
    per_key.write(call(first.take))
    many.write(call(second.take))
    app.run(data=None, until="end", max_step_rows=step_rows, quiet=True)

    ends = list(product(*(range(len(rows) + 1) for rows in drawn)))
    prefixes = {end: of_prefix([r for rows, n in zip(drawn, end, strict=True) for r in rows[:n]]) for end in ends}
    assert_advances(first.tables, prefixes)
    assert_advances(second.tables, {end: of_table(table) for end, table in prefixes.items()})


def assert_advances(tables: list[Table], prefixes: dict[tuple[int, ...], Table]) -> None:
    """Fail unless each table is the answer for some prefix, none of them shorter than the one before."""
    reached = {min(prefixes)}
    for number, table in enumerate(tables):
        same = {end for end, answer in prefixes.items() if answer == table}
        assert same, f"after step {number} the table is the answer for no prefix: {sorted(table, key=repr)}"
        reached = {e for e in same if any(all(a >= b for a, b in zip(e, old, strict=True)) for old in reached)}
        assert reached, f"after step {number} the table is the answer for an earlier prefix only"
    last = tables[-1] if tables else frozenset()
    assert last == prefixes[max(prefixes)], "the last step is the answer for the whole input"
