"""Bugs of sessions, count windows and dedupe are found, and nothing is found where none is planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

import thalweg as tw
from tests.oracle.formed import Session, kept, runs
from tests.oracle.windows import Event, Read
from tests.property.kinds import KINDS
from tests.property.rows import Columns
from tests.property.test_sessions import Answer, Drawn, agrees
from thalweg import col, count
from thalweg.engine.embedded.counted import CountWindows
from thalweg.engine.embedded.deduped import _KEPT, Deduped
from thalweg.engine.embedded.forming import FormedWindows
from thalweg.engine.embedded.open_groups import Found
from thalweg.engine.embedded.partial import Folding, Partial
from thalweg.engine.embedded.rows import TIME
from thalweg.engine.embedded.sessions import Sessions

SECOND = 1_000_000
Patch = Callable[[pytest.MonkeyPatch], None]
Build = Callable[[tw.Stream], tw.Stream]

COLUMNS = Columns({"k": KINDS["string"], "x": KINDS["int64"], "ts": KINDS["timestamp"]}, {}, frozenset())


def input_of(seconds: Sequence[int], lateness_s: int) -> Drawn:
    """Return rows of one key, with times in seconds; x numbers the rows."""
    rows = tuple({"k": "a", "x": number, "ts": second * SECOND} for number, second in enumerate(seconds))
    return COLUMNS, Read(("k", "x", "ts"), "ts", (rows,), lateness_s * SECOND), ((),), SECOND, ["k"]


def _merged_twice(patch: pytest.MonkeyPatch) -> None:
    true = Folding.merge

    def planted(self: Folding, partials: Sequence[Partial]) -> Partial:
        return true(self, [partials[0], *partials] if len(partials) == 2 else partials)

    patch.setattr(Folding, "merge", planted)


def _reaches_too_far(patch: pytest.MonkeyPatch) -> None:
    # A row at the very end of a session, when that is closed, goes on with it.
    true = Sessions._linked

    def planted(self: Sessions, news: Partial, found: Found | None) -> Partial:
        self._gap_us += 1
        try:
            return true(self, news, found)
        finally:
            self._gap_us -= 1

    patch.setattr(Sessions, "_linked", planted)


def _not_forgotten(patch: pytest.MonkeyPatch) -> None:
    # A session that was closed stays among the open ones.
    def planted(self: FormedWindows, found: Found, watermark: int) -> Partial:
        return found.where(self._complete(found.groups.main, watermark), self._open.folding.keys).groups

    patch.setattr(FormedWindows, "_closed", planted)


def _cut_by_batch(patch: pytest.MonkeyPatch) -> None:
    def planted(self: CountWindows, groups: pl.DataFrame, watermark: int) -> pl.Series:
        return pl.Series([True] * groups.height)

    patch.setattr(CountWindows, "_complete", planted)


def _in_the_order_of_arrival(patch: pytest.MonkeyPatch) -> None:
    def planted(self: CountWindows, prepared: pl.DataFrame, found: Found | None) -> pl.DataFrame:
        return true(self, prepared.reverse(), found)

    true = CountWindows._numbered
    patch.setattr(CountWindows, "_numbered", planted)


def _last_seen(patch: pytest.MonkeyPatch) -> None:
    true = Deduped._without_repeats

    def planted(self: Deduped, ready: pl.DataFrame) -> pl.DataFrame:
        chosen = true(self, ready)
        seen = ready.with_columns(*self._prepare).select(*self._keys, pl.col(TIME).alias(_KEPT))
        self._kept.insert(seen.unique(self._keys, keep="last", maintain_order=True))
        return chosen

    patch.setattr(Deduped, "_without_repeats", planted)


def in_sessions(stream: tw.Stream) -> tw.Stream:
    return stream.group_by("k").window(tw.session("5s")).agg(n=count(), t=col("x").sum())


def of_sessions(found: Sequence[Event]) -> list[list[Any]]:
    spans = Session(5 * SECOND).spans([event.time_us for event in found])
    members: dict[tuple[int, int], list[Any]] = {}
    for event, span in zip(found, spans, strict=True):
        members.setdefault(span, []).append(event.row["x"])
    return [["a", *span, len(values), sum(values)] for span, values in members.items()]


def in_runs(stream: tw.Stream) -> tw.Stream:
    return stream.group_by("k").window(tw.count_window(3)).agg(n=count(), t=col("x").sum())


def of_runs(found: Sequence[Event]) -> list[list[Any]]:
    members: dict[tuple[int, tuple[int, int]], list[Any]] = {}
    for event, run in zip(found, runs(3, [event.time_us for event in found]), strict=True):
        members.setdefault(run, []).append(event.row["x"])
    return [["a", *span, len(values), sum(values)] for (_, span), values in members.items()]


def without_repeats(stream: tw.Stream) -> tw.Stream:
    return stream.dedupe("k", within="10s")


def of_dedupe(found: Sequence[Event]) -> list[list[Any]]:
    chosen = kept(10 * SECOND, [event.time_us for event in found])
    return [list(event.row.values()) for event, here in zip(found, chosen, strict=True) if here]


IN_SESSIONS: tuple[Drawn, Build, Answer] = (
    # 1 to 7 are one session, though 4 comes last; 12 lies just the gap behind 7.
    input_of([1, 7, 4, 12, 13, 30, 29, 33, 60, 61], 3),
    in_sessions,
    of_sessions,
)
# When 17 is read the watermark is 7: the session of 1 closes, and no row is taken up that would touch its key.
SILENT: tuple[Drawn, Build, Answer] = (input_of([1, 12, 17, 40], 10), in_sessions, of_sessions)
IN_RUNS: tuple[Drawn, Build, Answer] = (input_of([1, 3, 2, 5, 4, 9, 8, 10, 11, 12], 2), in_runs, of_runs)
# 12 is ten seconds and more behind 0, the last row kept, but only six behind 6, the last one seen.
DEDUPED: tuple[Drawn, Build, Answer] = (input_of([0, 6, 12, 18, 24, 30, 31], 0), without_repeats, of_dedupe)

BUGS: dict[str, tuple[Patch, tuple[Drawn, Build, Answer]]] = {
    "a session bridged twice": (_merged_twice, IN_SESSIONS),
    "a session extended after it closed": (_reaches_too_far, IN_SESSIONS),
    "a session closed twice": (_not_forgotten, SILENT),
    "a count window cut by batch": (_cut_by_batch, IN_RUNS),
    "a count window in the order of arrival": (_in_the_order_of_arrival, IN_RUNS),
    "dedupe by the last row seen": (_last_seen, DEDUPED),
}


def runs_agree(given: tuple[Drawn, Build, Answer]) -> None:
    """Run as a batch and in steps of several sizes."""
    for rows in (1, 2, 3, 100):
        agrees(*given, rows)


@pytest.mark.parametrize("bug", BUGS)
def test_the_engine_with_the_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, given = BUGS[bug]
    runs_agree(given)
    patch(monkeypatch)
    with pytest.raises((AssertionError, tw.ThalwegError)):
        runs_agree(given)
