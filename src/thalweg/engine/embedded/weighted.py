"""Keyed rows with weights: what a changing stream adds up to, looked up by key.

Runs are sorted by a hash of the key, as in the arrangement; merging two adds up the weights of equal rows and drops
those that cancel. A net weight below zero is kept: rows may be withdrawn before they are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import polars as pl

from thalweg.engine.embedded.arrangement import Run, matches, run_of, stacked
from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.engine.embedded.stored import portable, restored

_SCAN: Final = 4
"""Where more than one in so many rows' keys are looked up, a hash join is faster than binary searches."""


class Weighted:
    """Rows with weights.

    Shape: the columns of the rows that are inserted, of which ``WEIGHT`` (Int64) is one.

    Args:
        keys: The columns that rows are looked up by; null equals null, NaN equals NaN.

    Attributes:
        cancelled: How many additions and withdrawals have cancelled each other; with those held, all that went in.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._runs: list[Run] = []
        self.cancelled = 0

    def insert(self, rows: pl.DataFrame) -> None:
        """Add rows with their weights."""
        if rows.is_empty():
            return
        self._runs.append(run_of(self._consolidated(rows), self._keys))
        while len(self._runs) > 1 and self._runs[-2].frame.height < 2 * self._runs[-1].frame.height:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(run_of(self._consolidated(stacked([older.frame, newer.frame])), self._keys))
        self._runs = [run for run in self._runs if run.frame.height]

    def lookup(self, keys: pl.DataFrame) -> pl.DataFrame | None:
        """Return the rows of some keys, each once, with their net weight (never zero); None where there are none.

        Args:
            keys: The key columns, each key once.
        """
        wanted = picked(keys, self._keys)
        found = []
        for run in self._runs:
            if wanted.height * _SCAN > run.frame.height:
                part: pl.DataFrame | None = run.frame
            else:
                part = matches(run, wanted)
            if part is not None:
                part = join_on(part, wanted, self._keys, "semi")
                if part.height:
                    found.append(part)
        if not found:
            return None
        rows = found[0] if len(found) == 1 else added_up(stacked(found))
        return rows if rows.height else None

    def drop(self, gone: pl.Expr) -> int:
        """Forget the rows for which an expression is true; return how many additions and withdrawals those were."""
        count, runs = 0, []
        for run in self._runs:
            frame = run.frame.filter(gone.not_())
            if frame.height < run.frame.height:
                count += _size(run.frame) - _size(frame)
                run = run_of(frame, self._keys)
            if frame.height:
                runs.append(run)
        self._runs = runs
        return count

    def held(self) -> int:
        """Return how many additions and withdrawals it holds, counted from the rows."""
        return sum(_size(run.frame) for run in self._runs)

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames; one that did not change is the same object as before."""
        for number, run in enumerate(self._runs):
            yield f"{name}/{number}", portable(run.frame)

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back, of those frames whose names begin so."""
        numbers = sorted(int(key.split("/")[-1]) for key in frames if key.startswith(f"{name}/"))
        self._runs = [run_of(restored(frames[f"{name}/{number}"]), self._keys) for number in numbers]

    def _consolidated(self, rows: pl.DataFrame) -> pl.DataFrame:
        net = added_up(rows)
        self.cancelled += _size(rows) - _size(net)
        return net


def added_up(rows: pl.DataFrame) -> pl.DataFrame:
    """Return each row once, with its net weight, without those that cancel; in the order of their first coming."""
    names = [name for name in rows.columns if name != WEIGHT]
    net = rows.group_by(names, maintain_order=True).agg(pl.col(WEIGHT).sum())
    return picked(net.filter(pl.col(WEIGHT) != 0), rows.columns)


def _size(rows: pl.DataFrame) -> int:
    return int(rows.get_column(WEIGHT).abs().sum())
