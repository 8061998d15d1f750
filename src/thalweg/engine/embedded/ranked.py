"""Top-k per key, and the first row per key, which is the top one by time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from thalweg.columnar.expressions import reason_of
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import kept, picked
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.podium import Podium
from thalweg.engine.embedded.ranking import RANK, Ranking
from thalweg.engine.embedded.rows import TIME, WEIGHT, Rows, size_of
from thalweg.engine.embedded.stage import Output, RejectedRow, Stage, without_bad_rows
from thalweg.engine.embedded.stored import in_tiers, load_frames, save_frames
from thalweg.engine.embedded.waiting import EACH_ROW, split_late
from thalweg.engine.embedded.weighted import Weighted
from thalweg.plan.nodes import Dedupe, TopK

_SHOWN: Final = "shown"
_ROWS: Final = "rows"
_FIRST_TRIM: Final = 65_536
"""From so many rows of an open window on it is worth while to look which can still be among the first."""

_SORTED_TWICE: Final = 4_096
"""More rows of a step than this are ranked among themselves first."""


def ranked_stage(node: TopK | Dedupe, name: str) -> Stage:
    """Return the operator of a top-k, or of the first row per key."""
    if isinstance(node, TopK) and node.closes is not None:
        return RankedWindows(node, node.closes, name)
    return RankedTable(node, name) if node.input.changing else RankedRows(node, name)


class _Ranked(Stage):
    """What ranks rows."""

    remembers = True

    def __init__(self, node: TopK | Dedupe, name: str) -> None:
        super().__init__(node, name)
        self._ranking = Ranking(node)
        self._numbered = isinstance(node, TopK)

    def _prepared(self, rows: Rows, out: Output) -> pl.DataFrame:
        """Return rows with what their order needs; those for which it cannot be computed are rejected."""
        if not self._ranking.computes:
            return self._ranking.prepared(rows.frame)
        results, bad = without_bad_rows(rows.frame, self._ranking.prepared)
        for number, error in bad:
            row = rows.frame[number : number + 1]
            out.rejected.append(RejectedRow(rows.place(rows.frame, number), reason_of(error), row))
        return stacked(results) if results else self._ranking.prepared(rows.frame.clear())

    def _shown(self, rows: pl.DataFrame, hidden: str) -> pl.DataFrame:
        """Return ranked rows with the columns that are given out."""
        rank = [rows.get_column(RANK).alias("rank")] if self._numbered else []
        return pl.DataFrame([*(rows.get_column(name) for name in self._ranking.names), *rank, rows.get_column(hidden)])


class _RankedAsItChanges(_Ranked):
    """What withdraws and adds the first rows of each key step by step."""

    eager = True
    _podium: Podium

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        taken = [rows for part in inputs if (rows := self._take(part, out)).height]
        if taken:
            change = self._changed(stacked(taken))
            if change.height:
                out.rows.append(Rows(self._shown(change, WEIGHT)))
        return out

    def use_memory(self, memory: Memory) -> None:
        self._podium.use_memory(memory)

    @abstractmethod
    def _take(self, rows: Rows, out: Output) -> pl.DataFrame:
        """Count rows and return those that can be ranked."""

    @abstractmethod
    def _changed(self, news: pl.DataFrame) -> pl.DataFrame:
        """Take ranked rows; return those that are withdrawn and added among the first."""


class RankedRows(_RankedAsItChanges):
    """The first rows of each key of a stream that is only added to: a changing table.

    It keeps those alone: a row that is not among the first will never be.
    """

    def __init__(self, node: TopK | Dedupe, name: str) -> None:
        super().__init__(node, name)
        ranking = self._ranking
        self._podium = Podium(ranking.names, ranking.hidden, ranking.keys, grows=True)

    def held(self) -> int:
        return self._podium.count()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        return self._podium.snapshot(_SHOWN)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._podium.restore(_SHOWN, frames)

    def _take(self, rows: Rows, out: Output) -> pl.DataFrame:
        taken = self._prepared(rows, out)
        entry, count = self.entry, rows.frame.height
        entry.rows_in += count
        entry.pairs += count
        entry.rejected += count - taken.height
        entry.absorbed += taken.height
        return taken

    def _changed(self, news: pl.DataFrame) -> pl.DataFrame:
        ranking, count = self._ranking, news.height
        if count > _SORTED_TWICE:
            # Most rows of a key that has many are let go before they meet those that are kept.
            news = ranking.first(news)
            keys = kept(picked(news, ranking.keys), news.get_column(RANK) == 1)
            news = news.drop(RANK)
        else:
            keys = picked(news, ranking.keys).unique()
        was = self._podium.lookup(keys)
        now = ranking.first(news if was is None else stacked([was.drop(RANK), news]))
        self.entry.released += count + (0 if was is None else was.height) - now.height
        return self._podium.replace(was, now)


class RankedTable(_RankedAsItChanges):
    """The first rows of each key of a changing table.

    It keeps all rows: each may come up when others are withdrawn.
    """

    uses_time = False

    def __init__(self, node: TopK | Dedupe, name: str) -> None:
        super().__init__(node, name)
        ranking = self._ranking
        self._rows = Weighted(ranking.keys)
        beside = [name for name in ranking.hidden if name in ranking.keys]
        self._podium = Podium(ranking.names, beside, ranking.keys, grows=False)

    def held(self) -> int:
        return self._rows.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._rows.snapshot(_ROWS)
        yield from self._podium.snapshot(_SHOWN)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._rows.restore(_ROWS, frames)
        self._podium.restore(_SHOWN, frames)

    def _take(self, rows: Rows, out: Output) -> pl.DataFrame:
        taken = self._prepared(rows, out)
        entry, count, good = self.entry, size_of(rows.frame), size_of(taken)
        entry.rows_in += rows.frame.height
        entry.pairs += count
        entry.rejected += count - good
        entry.absorbed += good
        return taken

    def _changed(self, news: pl.DataFrame) -> pl.DataFrame:
        ranking = self._ranking
        before = self._rows.cancelled
        self._rows.insert(news)
        self.entry.released += self._rows.cancelled - before
        keys = picked(news, ranking.keys).unique()
        there = self._rows.lookup(keys)
        rows = news.clear() if there is None else kept(there, there.get_column(WEIGHT) > 0)
        return self._podium.replace(self._podium.lookup(keys), ranking.first(rows))


@dataclass(slots=True)
class _OpenWindow:
    """The rows of a window that may be among the first of their keys.

    Attributes:
        frames: The rows.
        count: How many they are.
        trim_at: Once they are so many, those are dropped that cannot be among the first.
    """

    frames: list[pl.DataFrame]
    count: int
    trim_at: int


class RankedWindows(_Ranked):
    """The first rows of each key and window, given out when the window closes.

        rows of the window (its result)   ──x──x────────x─
        watermark reaches its end                          │ the first of them come out, and all are dropped

    Its rows come from several inputs at several times; none comes after the watermark has reached the window's end.
    """

    late_test = EACH_ROW

    def __init__(self, node: TopK, closes: str, name: str) -> None:
        super().__init__(node, name)
        self._closes = closes
        self._open: dict[int, _OpenWindow] = {}

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            self._take(rows, out)
        ends = [end for end in self._open if end <= watermark]
        if ends:
            closed = [self._open[end] for end in ends]
            # Replaced as a whole: other threads count the windows.
            self._open = {end: window for end, window in self._open.items() if end > watermark}
            self.entry.released += sum(window.count for window in closed)
            first = self._ranking.first(stacked([frame for window in closed for frame in window.frames]))
            times = first.get_column(TIME)
            low, high = int(times.min()), int(times.max())  # type: ignore[arg-type]  # integers, none null
            out.rows.append(Rows(self._shown(first, TIME), low, high))
        return out

    def due(self, watermark: int) -> bool:
        return any(end <= watermark for end in self._open)

    def held(self) -> int:
        return sum(frame.height for window in self._open.values() for frame in window.frames)

    def open_windows(self) -> int:
        return len(self._open)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for end, window in self._open.items():
            window.frames = in_tiers(window.frames)
            yield from save_frames(str(end), window.frames)

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        for end in dict.fromkeys(name.partition("/")[0] for name in frames):
            parts = load_frames(end, frames)
            self._open[int(end)] = _OpenWindow(parts, sum(part.height for part in parts), _FIRST_TRIM)

    def _take(self, rows: Rows, out: Output) -> None:
        entry = self.entry
        entry.rows_in += rows.frame.height
        entry.pairs += rows.frame.height
        rows, late = split_late(rows)  # a row that is sent again may be
        if late is not None:
            out.late.append(late)
            entry.late += late.rows.frame.height
        taken = self._prepared(rows, out)
        entry.rejected += rows.frame.height - taken.height
        entry.absorbed += taken.height
        ends = taken.get_column(self._closes).to_physical()
        for end in ends.unique().to_list():
            self._add(end, kept(taken, ends == end))

    def _add(self, end: int, rows: pl.DataFrame) -> None:
        window = self._open.get(end) or _OpenWindow([], 0, _FIRST_TRIM)
        window.frames.append(rows)
        window.count += rows.height
        if window.count >= window.trim_at:
            first = self._ranking.first(stacked(window.frames)).drop(RANK)
            self.entry.released += window.count - first.height
            window = _OpenWindow([first], first.height, max(_FIRST_TRIM, 2 * first.height))
        self._open = {**self._open, end: window}
