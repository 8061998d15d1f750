"""Small appends that come at the same time become one: to turn the dicts of all into columns costs little more."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pyarrow as pa

from thalweg.core.errors import RowsRefused
from thalweg.log.appended import Appended
from thalweg.log.appending import Part
from thalweg.log.commit import Request
from thalweg.log.drift import SortedOut
from thalweg.log.metadata import Metadata
from thalweg.log.turns import Turn, Turns

MOST_ROWS: Final = 64
"""Longer appends are made by themselves."""

_GROUP_ROWS: Final = 4096
_GROUP_BYTES: Final = 2**20

Fit: TypeAlias = Callable[[Sequence[object]], tuple[SortedOut, Metadata]]
Commit: TypeAlias = Callable[[pa.Table, Metadata, "int | None"], list[tuple[Part, Request]]]


@dataclass(slots=True, eq=False)
class _Call(Turn):
    rows: Sequence[object]
    partition: int | None
    appended: list[Appended] = field(default_factory=list, init=False)


class Gathering:
    """Makes one append of the small ones of several threads.

    Args:
        fit: Turns rows into columns, all of them, or refuses them.
        commit: Appends them.
    """

    def __init__(self, fit: Fit, commit: Commit) -> None:
        self._fit = fit
        self._commit = commit
        self._turns = Turns(_take, self._lead)
        self._pid = os.getpid()

    def append(self, rows: Sequence[object], partition: int | None) -> list[Appended]:
        """Append the rows of one call, durably.

        Raises:
            LogError: They were not appended.
        """
        if self._pid != os.getpid():
            # After a fork: the threads that the others waited for are not here.
            self._turns, self._pid = Turns(_take, self._lead), os.getpid()
        call = _Call(rows, partition)
        self._turns.enqueue(call)
        self._turns.finish(call)
        return call.appended

    def _lead(self, group: list[_Call]) -> None:
        if len(group) > 1 and (fitted := self._together(group)) is not None:
            _share_out(group, self._commit(*fitted, group[0].partition))
            return
        for call in group:
            try:
                fitted_rows, metadata = self._fit(call.rows)
                _share_out([call], self._commit(fitted_rows.table, metadata, call.partition))
            except RowsRefused as refused:
                call.error = refused

    def _together(self, group: list[_Call]) -> tuple[pa.Table, Metadata] | None:
        """Return the rows of all calls; None where each must be looked at by itself."""
        try:
            fitted, metadata = self._fit([row for call in group for row in call.rows])
        except RowsRefused:
            return None  # one of them; which one, each finds out by itself
        return (fitted.table, metadata) if fitted.table.nbytes <= _GROUP_BYTES else None


def _take(queue: deque[_Call]) -> list[_Call]:
    group: list[_Call] = []
    rows = 0
    while queue and (not group or (rows < _GROUP_ROWS and queue[0].partition == group[0].partition)):
        group.append(queue.popleft())
        rows += len(group[-1].rows)
    return group


def _share_out(group: list[_Call], requests: Sequence[tuple[Part, Request]]) -> None:
    """Tell each call what became of its rows, which stand one behind the other in each partition."""
    if len(group) == 1:
        group[0].appended = [Appended(part.partition, one.first, one.count) for part, one in requests if one.count]
        return
    owners = [call for call in group for _ in call.rows]
    for part, request in requests:
        found: dict[_Call, tuple[int, int]] = {}
        rows = range(request.rows) if part.rows is None else part.rows.to_pylist()
        for row, offset in zip(rows, request.offsets(), strict=True):
            if offset is not None:
                first, count = found.get(owners[row], (offset, 0))
                found[owners[row]] = first, count + 1
        for call, (first, count) in found.items():
            call.appended.append(Appended(part.partition, first, count))
