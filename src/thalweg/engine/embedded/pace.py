"""How many rows a step takes from a partition: more and more of a backlog, while steps take little time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from thalweg.core.clock import Clock

STEP_ROWS: Final = 262_144
"""Rows that a step takes from a partition at the most, if nothing else is asked for."""
MOST_STEP_ROWS: Final = 2_097_152
"""The same in a backlog whose steps take little time; so many fill two cores."""
STEP_BYTES: Final = 64 * 2**20
"""Bytes that a step of more than STEP_ROWS may have from a partition."""
STEP_S: Final = 0.5
"""A step that takes longer is followed by a smaller one: results, checkpoints and a stop wait for its end."""


class Pace:
    """The size of steps. It has no effect on results, only on when they come.

    A step has costs beside its rows: a query is begun, state is looked through. So steps grow with a backlog.

    Args:
        budget_bytes: What state may take of the memory: a step has a small part of it beside; None: it is not bounded.
    """

    def __init__(self, budget_bytes: int | None = None) -> None:
        self._most = STEP_ROWS
        self._bytes = STEP_BYTES if budget_bytes is None else min(STEP_BYTES, budget_bytes // 64)

    def rows(self, row_bytes: int) -> int:
        """Return how many rows the next step may take from a partition whose rows have so many bytes."""
        return max(STEP_ROWS, min(self._most, self._bytes // max(row_bytes, 1)))

    @contextmanager
    def step(self, rows: int, clock: Clock) -> Iterator[None]:
        """Take the time of a step.

        Args:
            rows: How many rows it has, of the source that gives the most.
            clock: What it is taken with.
        """
        begun = clock.monotonic_s()
        yield
        took_s = clock.monotonic_s() - begun
        if took_s > STEP_S:
            self._most = max(self._most // 2, STEP_ROWS)
        elif 2 * took_s <= STEP_S and rows >= self._most:
            self._most = min(2 * self._most, MOST_STEP_ROWS)
