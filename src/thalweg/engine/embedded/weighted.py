"""Keyed rows with weights: what a changing stream adds up to, looked up by key.

Rows stand in runs that grow geometrically: where four are of about one size they become one, in which the weights of
equal rows are added up and those that cancel are gone. A long run is sorted by a hash of the key, as an arrangement is;
short ones are looked through together. A net weight below zero is kept: rows may be withdrawn before they are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import polars as pl

from thalweg.engine.embedded.direct import FEW_ROWS, picked
from thalweg.engine.embedded.hashed_runs import Run, run_of, sought
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.rows import WEIGHT, size_of
from thalweg.engine.embedded.stored import load_frames, save_frames

_SCAN: Final = 4
"""Where more than one in so many rows' keys are looked up, a hash join is faster than binary searches."""
_TIER: Final = 4
"""So many runs of about one size become one."""


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
        self._runs: list[Run | pl.DataFrame] = []
        self.cancelled = 0

    def insert(self, rows: pl.DataFrame) -> None:
        """Add rows with their weights."""
        if rows.is_empty():
            return
        runs = [*self._runs, *self._run(self._consolidated(rows))]
        while len(runs) >= _TIER and _height(runs[-_TIER]) < _TIER * _height(runs[-1]):
            whole = _laid([_frame(run) for run in runs[-_TIER:]])
            runs[-_TIER:] = self._run(self._consolidated(whole))
        self._runs = runs

    def lookup(self, keys: pl.DataFrame) -> pl.DataFrame | None:
        """Return the rows of some keys, each once, with their net weight (never zero); None where there are none.

        Args:
            keys: The key columns, each key once.
        """
        wanted = picked(keys, self._keys)
        found, short = [], [run for run in self._runs if isinstance(run, pl.DataFrame)]
        parts: list[pl.DataFrame | None] = [_laid(short)] if short else []
        hashes: pl.Series | None = None
        for run in self._runs:
            if isinstance(run, pl.DataFrame):
                continue
            if wanted.height * _SCAN > run.frame.height:
                parts.append(run.frame)
            else:
                hashes = sought(wanted, self._keys) if hashes is None else hashes
                parts.append(run.matches(hashes))
        for part in parts:
            if part is not None:
                part = join_on(part, wanted, self._keys, "semi")
                if part.height:
                    found.append(part)
        if not found:
            return None
        rows = found[0] if len(self._runs) == 1 else added_up(_laid(found))
        return rows if rows.height else None

    def drop(self, gone: pl.Expr) -> int:
        """Forget the rows for which an expression is true; return how many additions and withdrawals those were."""
        count = 0
        runs: list[Run | pl.DataFrame] = []
        for run in self._runs:
            frame = _frame(run).filter(gone.not_())
            if frame.height == _height(run):
                runs.append(run)
            else:
                count += size_of(_frame(run)) - size_of(frame)
                runs += self._run(frame)
        self._runs = runs
        return count

    def held(self) -> int:
        """Return how many additions and withdrawals it holds, counted from the rows."""
        return sum(size_of(_frame(run)) for run in self._runs)

    def snapshot(self, name: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames; one that did not change is the same object as before."""
        yield from save_frames(name, map(_frame, self._runs))

    def restore(self, name: str, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back, of those frames whose names begin so."""
        self._runs = [run for frame in load_frames(name, frames) for run in self._run(frame)]

    def _run(self, frame: pl.DataFrame) -> Sequence[Run | pl.DataFrame]:
        """Return a run of rows, none if there are no rows."""
        if frame.is_empty():
            return ()
        return (run_of(frame, self._keys) if frame.height > FEW_ROWS else frame,)

    def _consolidated(self, rows: pl.DataFrame) -> pl.DataFrame:
        net = added_up(rows)
        self.cancelled += size_of(rows) - size_of(net)
        return net


def added_up(rows: pl.DataFrame) -> pl.DataFrame:
    """Return each row once, with its net weight, without those that cancel; in the order of their first coming."""
    names = [name for name in rows.columns if name != WEIGHT]
    net = rows.group_by(names, maintain_order=True).agg(pl.col(WEIGHT).sum())
    return picked(net.filter(pl.col(WEIGHT) != 0), rows.columns)


def _laid(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return frames one below the other; here all have the same columns."""
    return frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=False)


def _frame(run: Run | pl.DataFrame) -> pl.DataFrame:
    return run if isinstance(run, pl.DataFrame) else run.frame


def _height(run: Run | pl.DataFrame) -> int:
    return _frame(run).height
