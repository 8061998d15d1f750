"""Bugs planted in the joins in event time: the property's check finds each, and nothing where none is planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.interval import How
from tests.oracle.values import Row
from tests.oracle.windows import Read, Tumbling
from tests.property.joins_in_time import JoinCase, Kind, Source
from tests.property.kinds import TIMESTAMP
from tests.property.test_interval import agrees_in_every_run
from thalweg.engine.embedded import slabs, waiting
from thalweg.engine.embedded.interval import IntervalJoin
from thalweg.plan.nodes import Join
from thalweg.plan.prune import Needed

SCHEMA = pa.schema([pa.field("k", pa.string()), pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])
STEP_ROWS = (1, 2, 100)
Patch = Callable[[pytest.MonkeyPatch], None]


def _alone_too_early(patch: pytest.MonkeyPatch) -> None:
    true = slabs.Side.alone

    def planted(self: slabs.Side, watermark: int) -> Iterator[pl.DataFrame]:
        return true(self, watermark + 1)

    patch.setattr(slabs.Side, "alone", planted)


def _dropped_too_early(patch: pytest.MonkeyPatch) -> None:
    true = slabs.Side.drop

    def planted(self: slabs.Side, watermark: int) -> int:
        return true(self, watermark + 1)

    patch.setattr(slabs.Side, "drop", planted)


def _end_excluded(by_low: int, by_high: int) -> Patch:
    def patched(patch: pytest.MonkeyPatch) -> None:
        true = IntervalJoin.__init__

        def planted(self: IntervalJoin, node: Join, low: int, high: int, name: str, needed: Needed) -> None:
            true(self, node, low, high, name, needed)
            self._low, self._high = low - by_low, high + by_high

        patch.setattr(IntervalJoin, "__init__", planted)

    return patched


def _before_its_versions(patch: pytest.MonkeyPatch) -> None:
    true = waiting.Waiting.release

    def planted(self: waiting.Waiting, watermark: int) -> pl.DataFrame | None:
        return true(self, watermark + 1)

    patch.setattr(waiting.Waiting, "release", planted)


def case_of(
    left: Sequence[tuple[str, int]],
    right: Sequence[tuple[str, int]],
    kind: Kind = "interval",
    how: How = "inner",
    within: tuple[int, int] = (0, 10),
) -> JoinCase:
    """Return a join of rows with a key and a time each, in one partition a side, without lateness."""

    def source(rows: Sequence[tuple[str, int]]) -> Source:
        made: tuple[Row, ...] = tuple({"k": key, "x": number, "ts": time} for number, (key, time) in enumerate(rows))
        return Source(Read(("k", "x", "ts"), "ts", (made,), 0), SCHEMA, ((),))

    return JoinCase(kind, source(left), source(right), ("k",), how, within, Tumbling(10), True)


# The watermark reaches 10 with the second rows; the third right row, at 10, is in time. The row a at 0 has partners
# up to 10:
#
#     left     a0         b10
#     right    c0         c10     a10
AT_THE_EDGE = ([("a", 0), ("b", 10)], [("c", 0), ("c", 10), ("a", 10)])

BUGS: dict[str, tuple[Patch, JoinCase]] = {
    "an outer row comes out though a partner comes later": (_alone_too_early, case_of(*AT_THE_EDGE, how="left")),
    "an anti-join's row comes out though a partner comes later": (_alone_too_early, case_of(*AT_THE_EDGE, how="anti")),
    "a right row comes out though a partner comes later": (
        _alone_too_early,
        case_of(AT_THE_EDGE[1], AT_THE_EDGE[0], how="right", within=(-10, 0)),
    ),
    "state is dropped too early": (_dropped_too_early, case_of(*AT_THE_EDGE)),
    "state of the right side is dropped too early": (
        _dropped_too_early,
        case_of(AT_THE_EDGE[1], AT_THE_EDGE[0], within=(-10, 0)),
    ),
    "a partner just past the interval's end": (_end_excluded(0, 1), case_of([("a", 0)], [("a", 10), ("a", 11)])),
    "a partner just before the interval's start": (
        _end_excluded(1, 0),
        case_of([("a", 5)], [("a", 4), ("a", 5)], how="full"),
    ),
    "a row comes out before a version of its time is there": (
        _before_its_versions,
        case_of([("a", 10), ("b", 10)], [("c", 0), ("c", 10), ("a", 10)], "asof"),
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_engine_without_the_bug_passes(bug: str) -> None:
    agrees_in_every_run(BUGS[bug][1], *STEP_ROWS)


@pytest.mark.parametrize("bug", BUGS)
def test_the_engine_with_the_bug_is_found(bug: str) -> None:
    patch, case = BUGS[bug]
    with pytest.MonkeyPatch.context() as planted:
        patch(planted)
        with pytest.raises((AssertionError, tw.ThalwegError)):
            agrees_in_every_run(case, *STEP_ROWS)
