"""The bugs: how each is put into the engine, and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl
import pytest

from thalweg.engine.embedded import assign, intake
from thalweg.engine.embedded.partial import Folding, Partial
from thalweg.engine.embedded.rows import ALWAYS, WATERMARK
from thalweg.plan.windows import Window

Patch = Callable[[pytest.MonkeyPatch], None]

BUGS = (
    "lateness per batch",  # every row of a batch is judged by one watermark
    "watermark of the fastest partition",  # windows close before the other partitions have got there
    "a partial merged twice",  # part of a group counts double
    "a late hopping row counted",  # a row counts in a window that was over before it came
)


def _lateness_per_batch(patch: pytest.MonkeyPatch) -> None:
    true = intake._watermarks

    def planted(times: pl.Series, pending: Sequence[intake.Pending], lateness_us: int) -> list[pl.Series]:
        marks, *why = true(times, pending, lateness_us)
        start, parts = 0, []
        for part in pending:
            stop = start + part.data.num_rows
            latest = max(int(marks[start:stop].max()), int(times[start:stop].max()) - lateness_us)
            parts.append(pl.Series(marks.name, [latest] * (stop - start), dtype=pl.Int64))
            start = stop
        return [pl.concat(parts), *why]

    patch.setattr(intake, "_watermarks", planted)


def _fastest_partition(patch: pytest.MonkeyPatch) -> None:
    def planted(self: intake.Intake) -> int | None:
        marks = [p.watermark(self.read.lateness_us) for p in self.partitions.values() if not p.done]
        self._last = max(self._last, max(marks)) if marks else ALWAYS
        return self._last

    patch.setattr(intake.Intake, "watermark", planted)


def _merged_twice(patch: pytest.MonkeyPatch) -> None:
    true = Folding.merge

    def planted(self: Folding, partials: Sequence[Partial]) -> Partial:
        return true(self, [*partials, partials[-1]] if len(partials) > 1 else partials)

    patch.setattr(Folding, "merge", planted)


def _late_hopping_row(patch: pytest.MonkeyPatch) -> None:
    # A row keeps all windows that hold its time, as long as it is in time for one of them.
    def planted(window: Window) -> pl.Expr:
        first, mark = assign._first(window), pl.col(WATERMARK)
        return pl.when(mark >= assign._last(window)).then(assign._last(window) + window.every_us).otherwise(first)

    patch.setattr(assign, "_first_not_late", planted)


PATCHES: dict[str, Patch] = {
    "lateness per batch": _lateness_per_batch,
    "watermark of the fastest partition": _fastest_partition,
    "a partial merged twice": _merged_twice,
    "a late hopping row counted": _late_hopping_row,
}
"""How each bug is planted: replaces internals of the engine through the monkeypatch it is given."""


@contextmanager
def plant(name: str) -> Iterator[None]:
    """Put a bug into the engine for the length of the block.

    Raises:
        LookupError: No such bug is known, or nothing says how to plant it.
    """
    if name not in BUGS or name not in PATCHES:
        raise LookupError(f'no patch plants "{name}"; there are: {", ".join(PATCHES) or "none"}; add it to PATCHES')
    with pytest.MonkeyPatch.context() as patch:
        PATCHES[name](patch)
        yield
