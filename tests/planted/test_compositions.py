"""Bugs planted where operators meet: the properties of compositions find each, and nothing where none is planted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.aggregates import Aggregate
from tests.oracle.compositions import CountWindow, Grouped, Kind, Node, Select, Source, Union
from tests.oracle.compositions_in_order import Listed
from tests.oracle.compositions_of_two import Join
from tests.oracle.values import Row
from tests.oracle.windows import Read, Tumbling
from tests.property.composed_runs import assert_advances, assert_agrees, in_steps, insides, watched
from tests.property.compositions import Composition
from tests.property.kinds import TIMESTAMP
from thalweg.engine.embedded.counted import CountWindows
from thalweg.engine.embedded.interval import IntervalJoin
from thalweg.engine.embedded.joined import BesideRows
from thalweg.engine.embedded.rows import WEIGHT, Rows
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.engine.embedded.stateless import Exploded, United

SECOND = 1_000_000
KINDS: dict[str, Kind] = {"k": "int", "x": "int", "ts": "time"}
SCHEMA = pa.schema([pa.field("k", pa.int64()), pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])
READ = Source(0, KINDS)
COUNT = (Aggregate("n", "rows"),)
FOUR = Tumbling(4 * SECOND)


def _case(*outputs: Node) -> Composition:
    """Return a program over a row per second: of three keys in turn, then of one."""
    rows = tuple[Row, ...]({"k": n % 3 if n < 6 else 0, "x": n or None, "ts": n * SECOND} for n in range(12))
    return Composition((Read(tuple(KINDS), "ts", (rows,)),), (SCHEMA,), (((),),), outputs)


def _beside() -> Node:
    return Select(READ, (("k", "k"), ("z", "x")))


_PER_KEY = Grouped(READ, ("k",), COUNT)
_MOST = Grouped(READ, ("k",), (Aggregate("most", "max", "x"),))
_LATER = Select(READ, (("x", "x"), ("k2", "k")))
_CASES = {
    # Rows without a partner come out when it is certain, long after their time.
    "left behind": Grouped(Join(READ, _LATER, ("x",), "left", (SECOND, 5 * SECOND)), (), COUNT, FOUR, True),
    "never full": Grouped(
        Grouped(READ, ("k",), COUNT, CountWindow(3), True), (), (Aggregate("m", "rows"),), FOUR, True
    ),
    "two tables": Join(_PER_KEY, _MOST, ("k",), "full"),
    "table and rows": Union((Select(_PER_KEY, (("k", "k"), ("z", "n"))), _beside())),
    "lists": Listed(READ, ("k",), "x", "items"),
}


def _watermark_out(of: type[Stage]) -> Callable[[pytest.MonkeyPatch], None]:
    def planted(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(of, "watermark_out", lambda self: self.watermark)

    return planted


def _one_side_lags(patch: pytest.MonkeyPatch) -> None:
    true = BesideRows.process_sides
    waiting: dict[int, Sequence[Rows]] = {}

    def planted(self: BesideRows, left: Sequence[Rows], right: Sequence[Rows], watermark: int) -> Output:
        last, waiting[id(self)] = waiting.get(id(self), ()), right
        return true(self, left, last, watermark)

    patch.setattr(BesideRows, "process_sides", planted)


def _union_only_adds(patch: pytest.MonkeyPatch) -> None:
    true = United.process

    def planted(self: United, inputs: Sequence[Rows], watermark: int) -> Output:
        out = true(self, inputs, watermark)
        out.rows = [rows.replaced(rows.frame.filter(rows.frame.get_column(WEIGHT) > 0)) for rows in out.rows]
        return out

    patch.setattr(United, "process", planted)


def _empty_lists_vanish(patch: pytest.MonkeyPatch) -> None:
    def planted(self: Exploded, inputs: Sequence[Rows], watermark: int) -> Output:
        for rows in inputs:
            for name in ("rows_in", "pairs", "passed"):
                setattr(self.entry, name, getattr(self.entry, name) + rows.frame.height)
        return Output([rows.replaced(rows.frame.explode(self._column)) for rows in inputs])

    patch.setattr(Exploded, "process", planted)


BUGS = [
    ("left behind", _watermark_out(IntervalJoin)),
    ("never full", _watermark_out(CountWindows)),
    ("two tables", _one_side_lags),
    ("table and rows", _union_only_adds),
    ("lists", _empty_lists_vanish),
]


def _holds(name: str) -> None:
    case = _case(_CASES[name])
    with insides(few_are_many=False):
        assert_agrees(case, case.app(case.sources()).batch(), case.meaning(), "as a batch")
        assert_agrees(case, in_steps(case, random.Random(1), 1), case.meaning(), "in steps")
        if name not in ("left behind", "never full"):  # those wait for the watermark
            assert_advances(case, watched(case, random.Random(1), 1).tables)


@pytest.mark.parametrize("name", list(_CASES))
def test_nothing_is_found_where_there_is_no_bug(name: str) -> None:
    _holds(name)


@pytest.mark.parametrize(("name", "plant"), BUGS, ids=[f"{name}: {plant.__name__}" for name, plant in BUGS])
def test_a_planted_bug_is_found(name: str, plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        with pytest.raises((AssertionError, tw.ThalwegError)):
            _holds(name)
