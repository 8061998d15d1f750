"""Bugs planted in top-k: its property test finds each, and finds nothing where none is planted."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.aggregates import Aggregate
from tests.oracle.programs import Stage
from tests.oracle.ranked import Order
from tests.oracle.values import Row
from tests.oracle.windows import Read
from tests.property.kinds import TIMESTAMP
from tests.property.test_ranked import Ranked, agrees_in_every_run
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.podium import Podium
from thalweg.engine.embedded.ranked import RankedTable
from thalweg.engine.embedded.ranking import RANK, Ranking
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.plan.nodes import Dedupe, TopK

SCHEMA = pa.schema([pa.field("k", pa.string()), pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])


def _case(keys: str, values: list[int], order: Order, stage: Stage | None = None) -> Ranked:
    """Return a top-k over rows of one partition, all at the same time."""
    rows = tuple[Row, ...]({"k": k, "x": x, "ts": 0} for k, x in zip(keys, values, strict=True))
    return Ranked(Read(("k", "x", "ts"), "ts", (rows,)), SCHEMA, ((),), True, stage, order)


def _does_not_come_up(patch: pytest.MonkeyPatch) -> None:
    """Only rows that are shown or touched are looked at."""
    true = RankedTable._changed

    def planted(self: RankedTable, news: pl.DataFrame) -> pl.DataFrame:
        ranking = self._ranking
        found = self._rows.lookup
        near = [news.drop(WEIGHT)]
        if (was := self._podium.lookup(news.select(ranking.keys).unique())) is not None:
            near.append(was.select(near[0].columns))

        def lookup(keys: pl.DataFrame) -> pl.DataFrame | None:
            there = found(keys)
            return None if there is None else join_on(there, pl.concat(near), near[0].columns, "semi")

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self._rows, "lookup", lookup)
            return true(self, news)

    patch.setattr(RankedTable, "_changed", planted)


def _ties_by_arrival(patch: pytest.MonkeyPatch) -> None:
    true = Ranking.__init__

    def planted(self: Ranking, node: TopK | Dedupe) -> None:
        true(self, node)
        self._full = self._coarse

    patch.setattr(Ranking, "__init__", planted)


def _rank_not_withdrawn(patch: pytest.MonkeyPatch) -> None:
    """A row that moves is added with its new rank, and stays with the old one."""
    true = Podium.replace

    def planted(self: Podium, was: pl.DataFrame | None, now: pl.DataFrame) -> pl.DataFrame:
        change = true(self, was, now)
        gone, new = change.filter(pl.col(WEIGHT) < 0), change.filter(pl.col(WEIGHT) > 0)
        names = [name for name in change.columns if name not in (RANK, WEIGHT)]
        return join_on(gone, new, names, "anti").vstack(new)

    patch.setattr(Podium, "replace", planted)


_LEAST = Stage(("k",), (Aggregate("n", "rows"), Aggregate("low", "min", "x")))


def _leader_falls() -> Ranked:
    """The leader falls behind rows that were never among the first.

    rows            a 5   b 4   c 3   a 0
    least of a       5     5     5     0
    the first        a 5   a 5   a 5   b 4
    """
    return _case("abca", [5, 4, 3, 0], Order(1, ("low",), (False,), (), ("k", "n", "low")), _LEAST)


def _equal_values() -> Ranked:
    """Equal values at one time: the texts decide, and they come the wrong way round."""
    return _case("dcba", [1, 1, 1, 1], Order(2, ("x",), (False,), (), ("k", "x", "ts")))


def _pushed_down() -> Ranked:
    """Each row pushes the others down."""
    return _case("abcd", [1, 2, 3, 4], Order(3, ("x",), (False,), (), ("k", "x", "ts")))


BUGS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Ranked]] = {
    "a withdrawal does not bring up the next": (_does_not_come_up, _leader_falls()),
    "ties by arrival": (_ties_by_arrival, _equal_values()),
    "a changed rank is not withdrawn": (_rank_not_withdrawn, _pushed_down()),
}


@pytest.mark.parametrize("bug", BUGS)
def test_top_k_without_the_bug_passes(bug: str) -> None:
    agrees_in_every_run(BUGS[bug][1], 1, 2, 3)


@pytest.mark.parametrize("bug", BUGS)
def test_top_k_with_the_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, case = BUGS[bug]
    plant(monkeypatch)
    with pytest.raises((AssertionError, tw.ThalwegError)):
        agrees_in_every_run(case, 1, 2, 3)
