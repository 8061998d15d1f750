"""Rows that are only ever added, looked up by key.

They stay in the order in which they came, in a few runs that grow geometrically: four of a size become one, so a row
is copied a logarithmic number of times, and nothing is sorted. What a look-up needs is made when it pays:

- keys that rise with time (numbers, times) are found by their range: most runs hold none of what is asked for;
- where many are asked for, the run is joined as a whole;
- a run that is asked for few keys again and again gets an index: its places, sorted by a hash of the key.

A look-up gives candidates. Two keys may share a hash, and ranges hold other keys too: the caller joins on the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import polars as pl

from thalweg.engine.embedded.direct import FEW_ROWS, kept, picked

_SEED: Final = 0x7A1
_TIER: Final = 4
"""So many runs of about one size become one."""
_SCAN: Final = 8
"""Where more than one row in so many is asked for, to look at all costs less than to search."""
_PATIENCE: Final = 4
"""A run is read as a whole so many times before it gets an index, which costs about as much as that."""

Bounds: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class _Run:
    """Rows in the order in which they came.

    Attributes:
        frame: The rows.
        bounds: The least and the greatest value of the column whose range is known; None without one.
        hashes: The index: the hashes of the keys, sorted; None until there is one.
        places: For each hash, the row's number.
        read: How many times it was read as a whole.
    """

    frame: pl.DataFrame
    bounds: Bounds | None
    hashes: pl.Series | None = None
    places: pl.Series | None = None
    read: int = 0


class Keyed:
    """Rows by key.

    Args:
        keys: The columns that rows are looked up by. Null is a value like others in columns of floats, and is in no
            other.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._runs: list[_Run] = []
        self._looked_at: list[_Run] | None = None
        """The runs as they are looked at; None where they have changed since."""

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows; their columns are always the same."""
        if rows.is_empty():
            return
        self._runs.append(self._run(rows))
        while len(self._runs) >= _TIER and self._runs[-_TIER].frame.height < _TIER * self._runs[-1].frame.height:
            last = self._runs[-_TIER:]
            whole = pl.concat([run.frame for run in last], rechunk=True)
            self._runs[-_TIER:] = [_Run(whole, _around([run.bounds for run in last]))]
        self._looked_at = None

    def near(self, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Give parts of what is kept, each beside a part of some rows.

        Any two that agree in their keys are in exactly one of the pairs; others may be in them, too.

        Args:
            rows: The keys, beside any other columns.
        """
        if rows.is_empty():
            return
        ranged = self._ranged(rows)
        bounds = None if ranged is None else _bounds(rows.get_column(ranged))
        if self._looked_at is None:
            self._looked_at = self._few_as_one()
        for run in self._looked_at:
            asked = rows
            if ranged is not None and run.bounds is not None:
                if bounds is None or bounds[1] < run.bounds[0] or run.bounds[1] < bounds[0]:
                    continue
                # To leave rows out costs more than to look a few of them up in vain.
                reaches_out = bounds[0] < run.bounds[0] or run.bounds[1] < bounds[1]
                if reaches_out and max(run.frame.height, rows.height) > FEW_ROWS:
                    asked = kept(rows, _within(rows.get_column(ranged), run.bounds))
                    if asked.is_empty():
                        continue
            found = self._candidates(run, asked, ranged)
            if found.height:
                yield found, asked

    def held(self) -> int:
        """Return how many rows it holds."""
        return sum(run.frame.height for run in self._runs)

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames; one that did not change is the same object as before."""
        for number, run in enumerate(self._runs):
            yield f"{name}/{number}", run.frame

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back, of those frames whose names begin so."""
        numbers = sorted(int(key.split("/")[-1]) for key in frames if key.startswith(f"{name}/"))
        self._runs, self._looked_at = [self._run(frames[f"{name}/{number}"]) for number in numbers], None

    def _run(self, rows: pl.DataFrame) -> _Run:
        ranged = self._ranged(rows)
        return _Run(rows, None if ranged is None else _bounds(rows.get_column(ranged)))

    def _ranged(self, rows: pl.DataFrame) -> str | None:
        """Return the key column whose range is known: the first that is integers inside."""
        kinds = rows.schema
        for name in self._keys:
            if kinds[name].is_integer() or kinds[name].is_temporal():
                return name
        return None

    def _few_as_one(self) -> list[_Run]:
        """Return the runs; the small ones, which are the last, as one."""
        small = len(self._runs)
        while small and self._runs[small - 1].frame.height <= FEW_ROWS:
            small -= 1
        last = self._runs[small:]
        if len(last) < 2:
            return self._runs
        whole = pl.concat([run.frame for run in last], rechunk=False)
        return [*self._runs[:small], _Run(whole, _around([run.bounds for run in last]))]

    def _candidates(self, run: _Run, asked: pl.DataFrame, ranged: str | None) -> pl.DataFrame:
        height = run.frame.height
        if height <= _SCAN * max(FEW_ROWS, asked.height):
            return run.frame
        if ranged is not None and run.bounds is not None:
            low, high = _bounds(asked.get_column(ranged))
            if (high - low) * _SCAN < run.bounds[1] - run.bounds[0]:
                return run.frame.filter(_within(run.frame.get_column(ranged), (low, high)))
        if run.hashes is None or run.places is None:
            if run.read < _PATIENCE:
                run.read += 1
                return run.frame
            hashes = _hashes(picked(run.frame, self._keys))
            run.places = hashes.arg_sort()
            run.hashes = hashes.gather(run.places)
        # Sorted hashes are searched for in one direction: several times as fast.
        hashes = _hashes(picked(asked, self._keys)).unique().sort()
        spans = pl.DataFrame(
            {
                "low": run.hashes.search_sorted(hashes, side="left"),
                "high": run.hashes.search_sorted(hashes, side="right"),
            }
        ).filter(pl.col("high") > pl.col("low"))
        if spans.is_empty():
            return run.frame.clear()
        return run.frame[run.places.gather(spans.select(pl.int_ranges("low", "high").explode()).to_series())]


def _hashes(keys: pl.DataFrame) -> pl.Series:
    return keys.hash_rows(_SEED)


def _bounds(column: pl.Series) -> Bounds:
    inside = _inside(column)
    return int(inside.min()), int(inside.max())  # type: ignore[arg-type]  # integers, not null, at least one


def _inside(column: pl.Series) -> pl.Series:
    return column if column.dtype.is_integer() else column.to_physical()


def _around(bounds: Sequence[Bounds | None]) -> Bounds | None:
    known = [each for each in bounds if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _within(column: pl.Series, bounds: Bounds) -> pl.Series:
    inside = _inside(column)
    return (inside >= bounds[0]) & (inside <= bounds[1])
