"""Groups that are still open, at most one per key: a session, or a run of rows, as far as it has come.

Rows reach a group in the order of time, so what has been taken up of it is never looked at again: a group is one row of
partial aggregates, and the rows of the side frames. Its number sets it apart from earlier groups of its key.

The rows of groups are one plain frame, as long as a step touches a good part of them: to look through all costs less
than to keep them sorted. Else they are an arrangement. In there a closed group leaves a row that counts nothing, until
another group of its key replaces it or the dead are cleared away. Side rows of closed groups are found by nobody, and
go with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import Arrangement, Counted, stacked
from thalweg.engine.embedded.direct import FEW_ROWS, kept, picked, repeated
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.partial import COUNT, GROUP, Exprs, Flat, Folding, Partial
from thalweg.engine.embedded.rows import TIME
from thalweg.engine.embedded.stored import load_frames, portable, restored, save_frames

FIRST: Final = "__first"
"""The time of a group's first row (Int64)."""
LATEST: Final = "__latest"
"""The time of a group's last row so far (Int64)."""

_ADDED: Final = "__added"
_BEFORE: Final = "__before"
_PLACE: Final = "__place"
_FEW_DEAD: Final = 4096
_PLAIN_FROM: Final = 4
"""Groups are one plain frame when a step touches one in so many,"""
_SORTED_FROM: Final = 16
"""and no longer when it touches fewer than one in so many."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up found.

    Attributes:
        groups: The open groups.
        places: Their numbers in the plain frame, where there is one.
    """

    groups: Partial
    places: pl.Series | None

    def where(self, mask: pl.Series, keys: Sequence[str]) -> Found:
        """Return some of the groups."""
        return Found(part_of(self.groups, mask, keys), None if self.places is None else self.places.filter(mask))


class Edges(Flat):
    """The times of a group's first and last row."""

    def fold(self, bound: float) -> Exprs:
        return [pl.col(TIME).min().alias(FIRST), pl.col(TIME).max().alias(LATEST)]

    def merge(self, bound: float) -> Exprs:
        return [pl.col(FIRST).min(), pl.col(LATEST).max()]

    def finish(self, main: pl.DataFrame) -> Exprs:
        return [pl.col(FIRST), pl.col(LATEST)]


class OpenGroups:
    """The open group of each key.

    Args:
        folding: How rows become aggregates; ``GROUP`` is its last key.
        sample: Prepared rows with ``TIME`` and ``GROUP``, none of them: they show the columns.

    Attributes:
        keys: The columns that groups are looked up by.
        folding: How rows become aggregates, with the times of a group's first and last row.
        nothing: No group at all.
        count: How many groups are open.
    """

    def __init__(self, folding: Folding, sample: pl.DataFrame) -> None:
        assert folding.keys[-1] == GROUP, "groups of one key are told apart"
        self.keys = folding.keys[:-1]
        # What no sum of magnitudes exceeds is kept per group: over all groups it would only ever grow.
        self._bounds = {flat.number: f"__b{flat.number}" for flat in folding.flats if _is_bounded(flat)}
        carried = [pl.col(name).sum() for name in (_ADDED, *self._bounds.values())]
        flats = [*folding.flats, Edges(-1)]
        self.folding = Folding(folding.keys, flats, list(folding.sides.values()), carried)
        self.nothing = self.counted(self.folding.fold(sample))
        self._plain: pl.DataFrame | None = self.nothing.main
        self._sorted = self._new_sorted()
        self._sides = {number: self._new_side(number) for number in self.folding.sides}
        self.count = 0
        self._dead = 0

    def counted(self, news: Partial) -> Partial:
        """Return folded rows with what is kept beside each group: how much is new in it, and bounds of its sums."""
        beside = [pl.col(COUNT).alias(_ADDED)]
        for number, name in self._bounds.items():
            # Rounded up: a float holds no more than 53 bits of a bound.
            bound = float(news.bounds.get(number, 0)) * (1 + 1e-9)
            beside.append(pl.lit(bound, pl.Float64).alias(name))
        return Partial(news.main.with_columns(beside), news.sides, news.bounds)

    def lookup(self, keys: pl.DataFrame) -> Found | None:
        """Return the open groups of some keys; None where there are none.

        Args:
            keys: The key columns, each key once.
        """
        keys = picked(keys, self.keys)
        self._choose(keys.height)
        if self._plain is None:
            found = self._sorted.lookup(keys)
            rows = None if found is None else found.rows.filter(pl.col(COUNT) > 0)
            return self._found(rows, None) if rows is not None and rows.height else None
        numbered = picked(self._plain, self.keys).with_row_index(_PLACE)
        places = join_on(numbered, keys, self.keys, "semi").get_column(_PLACE)
        return self._found(self._plain[places], places) if len(places) else None

    def all(self) -> Found | None:
        """Return every open group; None where there are none."""
        if self._plain is None:
            self._plain, self._sorted = self.rows(), self._new_sorted()
        places = pl.int_range(self._plain.height, dtype=pl.UInt32, eager=True).alias(_PLACE)
        return self._found(self._plain, places) if len(places) else None

    def rows(self) -> pl.DataFrame:
        """Return a row for each open group: key columns, ``GROUP``, ``FIRST``, ``LATEST``, and its parts."""
        if self._plain is not None:
            return self._plain
        frames = list(self._sorted.current())
        return stacked(frames).filter(pl.col(COUNT) > 0) if frames else self.nothing.main

    def replace(self, found: Found | None, stay: Partial | None, news: Partial | None) -> None:
        """Keep groups instead of those of the same keys.

        Args:
            found: The open groups of the keys, as they were looked up last.
            stay: The groups to keep; None for none.
            news: What is new in these groups, and perhaps in others.
        """
        if stay is not None and stay.main.is_empty():
            stay = None
        self.count += (0 if stay is None else stay.main.height) - (0 if found is None else found.groups.main.height)
        if self._plain is not None:
            self._replace_plainly(self._plain, found, stay)
        else:
            self._replace_sorted(found, stay)
        if stay is not None and news is not None:
            self._keep_sides(stay, news)
        if found is not None and self._sides:
            self._dead += found.groups.main.height
        if self._dead > max(_FEW_DEAD, self.count):
            self._clear()

    def held(self) -> int:
        """Return how many rows went into the open groups, counted from what is held."""
        return self._sorted.total() if self._plain is None else int(self._plain.get_column(COUNT).sum())

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the state as named frames; what did not change is the same frame as before."""
        if self._plain is not None and self._plain.height:
            yield "plain/0", portable(self._plain)
        for name, arrangement in self._named():
            yield from save_frames(name, arrangement.frames())

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the state back."""
        if "plain/0" in frames:
            self._plain = restored(frames["plain/0"])
        elif any(key.startswith("main/") for key in frames):
            self._plain = None
        for name, arrangement in self._named():
            if saved := load_frames(name, frames):
                arrangement.restore(saved)
        self.count = self.rows().height

    def greatest_group(self) -> int:
        """Return the greatest number that a group has had, of those of which anything is left; -1 for none."""
        frames = [frame for _, arrangement in self._named() for frame in arrangement.frames()]
        if self._plain is not None:
            frames.append(self._plain)
        return max((int(frame.get_column(GROUP).max()) for frame in frames if frame.height), default=-1)  # type: ignore[arg-type]  # integers

    def _named(self) -> Iterator[tuple[str, Arrangement]]:
        yield "main", self._sorted
        for number, side in self._sides.items():
            yield f"side{number}", side

    def _new_sorted(self) -> Arrangement:
        return Arrangement(self.keys, counted=Counted(COUNT, _ADDED))

    def _new_side(self, number: int) -> Arrangement:
        return Arrangement(self.folding.keys, self.folding.sides[number].identity)

    def _choose(self, touched: int) -> None:
        """Choose the form that is faster to look up so many keys in."""
        if self._plain is None and self.count <= max(FEW_ROWS // 2, touched * _PLAIN_FROM):
            self._plain, self._sorted = self.rows(), self._new_sorted()
        elif self._plain is not None and self._plain.height > max(FEW_ROWS, touched * _SORTED_FROM):
            self._sorted.restore([self._plain])
            self._plain = None

    def _found(self, main: pl.DataFrame, places: pl.Series | None) -> Found:
        """Return groups with their side rows."""
        main = main.with_columns(pl.lit(0, pl.Int64).alias(_ADDED))
        groups = picked(main, self.folding.keys)
        sides = {}
        for number, side in self._sides.items():
            found, none = side.lookup(groups), self.nothing.sides[number]
            sides[number] = none if found is None else picked(found.rows, none.columns)
        bounds = {number: float(main.get_column(name).max()) for number, name in self._bounds.items()}  # type: ignore[arg-type]  # a float
        return Found(Partial(main, sides, bounds), places)

    def _replace_plainly(self, plain: pl.DataFrame, found: Found | None, stay: Partial | None) -> None:
        parts = []
        if found is None:
            parts.append(plain)
        elif found.groups.main.height < plain.height:
            assert found.places is not None, "it was looked up in this frame"
            parts.append(kept(plain, repeated("", True, plain.height).scatter(found.places, False)))
        if stay is not None:
            parts.append(stay.main)
        self._plain = stacked(parts).rechunk() if parts else plain.clear()

    def _replace_sorted(self, found: Found | None, stay: Partial | None) -> None:
        rows = []
        if stay is not None:
            rows.append(stay.main)
            if found is not None:
                # A group may follow one of its key that was closed: all that this one counted is gone.
                before = found.groups.main.select(*self.keys, pl.col(COUNT).alias(_BEFORE))
                beside = join_on(stay.main, before, self.keys, "left")
                added = (pl.col(COUNT) - pl.col(_BEFORE).fill_null(0)).alias(_ADDED)
                rows[0] = beside.with_columns(added).drop(_BEFORE)
        if found is not None:
            gone = found.groups.main if stay is None else join_on(found.groups.main, stay.main, self.keys, "anti")
            rows.append(gone.with_columns(pl.lit(0, pl.Int64).alias(COUNT), (-pl.col(COUNT)).alias(_ADDED)))
            self._dead += gone.height
        if rows:
            self._sorted.insert(stacked(rows))

    def _keep_sides(self, stay: Partial, news: Partial) -> None:
        for number, side in self._sides.items():
            identity = self.folding.sides[number].identity
            if identity is None:
                side.insert(join_on(news.sides[number], stay.main, self.folding.keys, "semi"))
            elif not identity:
                side.insert(stay.sides[number])
            else:
                names = [*self.folding.keys, *identity]
                side.insert(join_on(stay.sides[number], news.sides[number], names, "semi"))

    def _clear(self) -> None:
        """Let go of what is left of closed groups."""
        rows = self.rows()
        if self._plain is None:
            self._sorted = self._new_sorted()
            if rows.height:
                self._sorted.restore([rows])
        for number, side in self._sides.items():
            frames = [join_on(frame, rows, self.folding.keys, "semi") for frame in side.frames()]
            self._sides[number] = self._new_side(number)
            if frames := [frame for frame in frames if frame.height]:
                self._sides[number].restore(frames)
        self._dead = 0


def _is_bounded(flat: Flat) -> bool:
    return type(flat).bound is not Flat.bound


def part_of(partial: Partial, mask: pl.Series, keys: Sequence[str]) -> Partial:
    """Return some of a partial's groups.

    Args:
        partial: The groups.
        mask: Which rows of its main frame.
        keys: The columns that name a group.
    """
    if mask.all():
        return partial
    main = partial.main.filter(mask)
    sides = {number: join_on(side, main, keys, "semi") for number, side in partial.sides.items()}
    return Partial(main, sides, partial.bounds)
