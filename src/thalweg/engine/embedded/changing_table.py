"""The state of a changing table: the parts of each group beside the row that was shown of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import polars as pl

from thalweg.engine.embedded.aggregate import recipe
from thalweg.engine.embedded.arrangement import Arrangement, Counted, Found
from thalweg.engine.embedded.assign import bounds_of
from thalweg.engine.embedded.direct import kept, only_value, picked, repeated
from thalweg.engine.embedded.distinct import NewValues, SeenValues
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.partial import COUNT, END, Folding, Partial
from thalweg.engine.embedded.rows import ALWAYS, WEIGHT
from thalweg.engine.embedded.sides import Distinct
from thalweg.engine.embedded.stored import load_frames, save_frames
from thalweg.plan.nodes import Aggregate, ReduceByKey
from thalweg.plan.windows import Window

_WHOLE: Final = ALWAYS
"""The window end that stands for the whole stream."""

_ADDED: Final = "__added"
"""Rows that the last change of a group added."""
_PARTS: Final = "__parts"
"""How many parts a merged group was made of: one if it is new."""
_KEEP_CLOSED: Final = 8
"""Closed windows are dropped once they are one in so many: to drop one reads all."""


class Table:
    """The changing rows of all open windows, or of the whole stream.

    Args:
        node: The node that they are the result of.
        window: Its windows; their ends are the first key.
    """

    def __init__(self, node: Aggregate | ReduceByKey, window: Window | None) -> None:
        results = len(recipe(node).results)
        self._shown = [f"__w{number}" for number in range(results)]
        # What is there comes before what is new, so the first row shown is the one to withdraw.
        carried = [
            pl.len().alias(_PARTS),
            pl.col(COUNT).last().alias(_ADDED),
            *(pl.col(w).first() for w in self._shown),
        ]
        how = recipe(node, [] if window is None else [END], carried)
        self.folding = how.folding
        distinct = {n: side for n, side in self.folding.sides.items() if isinstance(side, Distinct)}
        counts = {n: NewValues(n) for n in distinct}
        keys = self.folding.keys
        self._seen = {n: SeenValues(counts[n], keys, side.value) for n, side in distinct.items()}
        others = [side for n, side in self.folding.sides.items() if n not in distinct]
        self._kept = Folding(keys, [*self.folding.flats, *counts.values()], others, carried)
        self._show = [expr.alias(name) for expr, name in zip(how.results, self._shown, strict=True)]
        self._window = window
        self._labels = [(expr.meta.root_names()[0], expr.meta.output_name()) for expr in how.labels]
        self._names = dict(zip((expr.meta.output_name() for expr in how.results), self._shown, strict=True))
        self._order = [*node.schema.names, WEIGHT]
        self._main = Arrangement(keys, counted=Counted(COUNT, _ADDED))
        self._sides = {n: Arrangement(keys, side.identity) for n, side in self._kept.sides.items()}
        self._bounds: dict[int, dict[int, float]] = {}
        self._closed = 0

    def apply(self, news: Partial) -> pl.DataFrame:
        """Add partial aggregates; return the rows withdrawn and added, with output columns and ``WEIGHT``.

        A row is withdrawn exactly as it was added: it is remembered, not computed again.
        """
        news = self._counted(news)
        keys = picked(news.main, self._kept.keys)
        found = self._main.lookup(keys)
        found_sides: dict[int, Found | None] = {}
        merged, ends = news, self._ends_of(keys)
        if found is not None:
            found_sides = {n: side.lookup(keys) for n, side in self._sides.items()}
            before = {
                n: side.clear() if (there := found_sides[n]) is None else picked(there.rows, side.columns)
                for n, side in news.sides.items()
            }
            merged = self._kept.merge([Partial(found.rows, before, self._bound(ends)), news])
        self._note_bounds(ends, news.bounds, grown=found is not None)
        finished = self._kept.finish(merged, self._show)
        shown = [finished.get_column(name) for name in self._shown]
        labels = self._labelled(merged.main)
        if found is None:
            change = self._rows([*labels, *shown], 1)
        else:
            was = [merged.main.get_column(name) for name in self._shown]
            new = merged.main.get_column(_PARTS) == 1
            changed = _changed(new, was, shown)
            if not changed.all():
                # Equal rows may differ in their bits (−0.0 and 0.0): what stays shown is what was emitted.
                shown = [now.zip_with(changed, before_it) for now, before_it in zip(shown, was, strict=True)]
            gone = kept(self._rows([*labels, *was], -1), changed & ~new) if not new.all() else None
            change = kept(self._rows([*labels, *shown], 1), changed)
            change = change if gone is None else gone.vstack(change)
        self._insert(merged, news, shown, found, found_sides)
        return change

    def state_of(self, keys: pl.DataFrame) -> Partial | None:
        """Return the state of some groups, each key given once; None where there is none."""
        main = self._main.lookup(keys)
        if main is None:
            return None
        found = {n: side.lookup(keys) for n, side in self._sides.items()}
        sides = {n: side.rows for n, side in found.items() if side is not None}
        return Partial(main.rows, sides, self._bound(self._ends_of(keys)))

    def close(self, watermark: int) -> int:
        """Close every window whose end the watermark has reached; return how many rows (pairs) were let go."""
        ends = [end for end in self._bounds if end <= watermark and end != _WHOLE]
        for end in ends:
            del self._bounds[end]
        self._closed += len(ends)
        if not self._closed or self._closed * _KEEP_CLOSED < len(self._bounds):
            return 0
        self._closed = 0
        before = self.rows()
        for _, arrangement in self._named():
            arrangement.drop_up_to(END, watermark)
        return before - self.rows()

    def use_memory(self, memory: Memory) -> None:
        """Keep to a budget."""
        for _, arrangement in self._named():
            arrangement.memory = memory

    def open_windows(self) -> int:
        """Return how many windows hold rows."""
        return len(self._bounds) if self._window is not None else 0

    def rows(self) -> int:
        """Return how many rows (pairs) went into the table, counted from its state."""
        return self._main.total()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the state as named frames; what did not change is the same frame as before."""
        if not self._bounds and not self._main.frames():
            return
        # A window without sums has a row too: it is open.
        bounds: list[tuple[int, int | None, float | None]] = [
            (end, None, None) for end, known in self._bounds.items() if not known
        ]
        for end, known in self._bounds.items():
            bounds += [(end, number, float(bound)) for number, bound in known.items()]
        kinds = {"end": pl.Int64(), "number": pl.Int64(), "bound": pl.Float64()}
        yield "bounds", pl.DataFrame(bounds, schema=kinds, orient="row")
        for name, arrangement in self._named():
            yield from save_frames(name, arrangement.frames())

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the state back."""
        for end, number, bound in frames["bounds"].rows():
            known = self._bounds.setdefault(end, {})
            if number is not None:
                known[number] = bound
        for name, arrangement in self._named():
            if saved := load_frames(name, frames):
                arrangement.restore(saved)

    def _named(self) -> Iterator[tuple[str, Arrangement]]:
        yield "main", self._main
        for number, side in self._sides.items():
            yield f"side{number}", side
        for number, seen in self._seen.items():
            yield f"seen{number}", seen.pairs

    def _counted(self, news: Partial) -> Partial:
        """Return new parts with different values counted instead of listed."""
        main = news.main
        for number, seen in self._seen.items():
            main = seen.counted(main, news.sides[number])
        sides = {number: side for number, side in news.sides.items() if number not in self._seen}
        return Partial(main, sides, news.bounds)

    def _rows(self, columns: Sequence[pl.Series], weight: int) -> pl.DataFrame:
        """Return output rows of labels and shown columns, all with one weight."""
        by_name = {column.name: column for column in columns}
        by_name[WEIGHT] = repeated(WEIGHT, weight, len(columns[0]))
        return pl.DataFrame([by_name[self._names.get(name, name)].alias(name) for name in self._order])

    def _labelled(self, main: pl.DataFrame) -> list[pl.Series]:
        labels = [main.get_column(key).alias(name) for key, name in self._labels]
        return labels if self._window is None else [*labels, *bounds_of(self._window, main.get_column(END))]

    def _insert(
        self,
        merged: Partial,
        news: Partial,
        shown: Sequence[pl.Series],
        found: Found | None,
        found_sides: Mapping[int, Found | None],
    ) -> None:
        mine = {_ADDED, _PARTS, *self._shown}
        parts = [column for column in merged.main.get_columns() if column.name not in mine]
        added = merged.main.get_column(COUNT if found is None else _ADDED).alias(_ADDED)
        self._main.insert(pl.DataFrame([*parts, added, *shown]), found)
        for number, side in self._sides.items():
            identity = self._kept.sides[number].identity
            if identity is None:
                side.insert(news.sides[number])
            elif not identity:
                side.insert(merged.sides[number], found_sides.get(number))
            else:
                names = [*self._kept.keys, *identity]
                side.insert(join_on(merged.sides[number], news.sides[number], names, "semi"))

    def _ends_of(self, keys: pl.DataFrame) -> list[int]:
        if self._window is None:
            return [_WHOLE]
        ends = keys.get_column(END)
        return [end] if isinstance(end := only_value(ends), int) else ends.unique().to_list()

    def _bound(self, ends: Sequence[int]) -> dict[int, float]:
        """Return what no sum of magnitudes in these windows exceeds."""
        bounds: dict[int, float] = {}
        for end in ends:
            for number, bound in self._bounds.get(end, {}).items():
                bounds[number] = max(bounds.get(number, 0), bound)
        return bounds

    def _note_bounds(self, ends: Sequence[int], news: Mapping[int, float], *, grown: bool) -> None:
        # Of all groups of a window, not only of those that this step touches.
        for end in ends:
            known = self._bounds.get(end, {})
            # Replaced as a whole: other threads count the windows.
            self._bounds[end] = known | {
                number: known.get(number, 0) + bound if grown else max(known.get(number, 0), bound)
                for number, bound in news.items()
            }


def _changed(new: pl.Series, was: Sequence[pl.Series], now: Sequence[pl.Series]) -> pl.Series:
    """Tell of each row whether it is new or other than it was; null equals null, NaN equals NaN."""
    changed = new
    for before, after in zip(was, now, strict=True):
        if changed.all():
            return changed
        # A plain comparison costs a tenth, but what is compared with null is null.
        plain = None if after.dtype.is_nested() else changed | (after != before)
        changed = changed | after.ne_missing(before) if plain is None or plain.has_nulls() else plain
    return changed
