"""When groups were last added to: those that have been silent longest are found without a look at the others.

Each step adds the groups that it touched. Their latest rows lie behind all those of earlier steps, so the steps' frames
are in order, and only the first ones are looked at. A group that was touched again has a later entry: its earlier one
says nothing any more, which the group itself shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.open_groups import LATEST


class Timeline:
    """Keys with the time of their group's last row, the earliest first.

    Args:
        keys: The key columns.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._names = [*keys, LATEST]
        self._frames: deque[pl.DataFrame] = deque()
        self._entries = 0

    def add(self, groups: pl.DataFrame) -> None:
        """Add the groups of a step."""
        if groups.height:
            self._frames.append(picked(groups, self._names).sort(LATEST))
            self._entries += groups.height

    def __len__(self) -> int:
        return self._entries

    def earliest(self) -> int | None:
        """Return the earliest time, whether or not its group was touched again; None where there is none."""
        return int(self._frames[0].get_column(LATEST)[0]) if self._frames else None

    def head(self, rows: int) -> pl.DataFrame | None:
        """Return the first entries; at least one, where there are any."""
        return self._frames[0].head(rows) if self._frames else None

    def drop(self, rows: int) -> None:
        """Take the first entries away, no more of them than ``head`` gave."""
        self._entries -= rows
        rest = self._frames[0].slice(rows)
        if rest.height:
            self._frames[0] = rest
        else:
            self._frames.popleft()

    def clear(self) -> None:
        """Take all entries away."""
        self._frames.clear()
        self._entries = 0

    def pop_up_to(self, limit: int) -> pl.DataFrame | None:
        """Take the entries away that are not after a time; None where there are none."""
        taken = []
        while self._frames:
            times = self._frames[0].get_column(LATEST)
            ready = int(times.search_sorted(limit, side="right"))
            if ready:
                taken.append(self._frames[0].head(ready))
                self.drop(ready)
            if ready < len(times):
                break
        return stacked(taken) if taken else None
