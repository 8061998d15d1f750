"""Small appends that come at the same time become one: to turn the rows of all into columns costs little more."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pyarrow as pa

from thalweg.core.errors import LogError, RowsRefused
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

Given: TypeAlias = "list[object] | pa.Table"
Fit: TypeAlias = Callable[[Given], tuple[SortedOut, Metadata]]
Commit: TypeAlias = Callable[[pa.Table, Metadata, "int | None"], list[tuple[Part, Request]]]


@dataclass(slots=True, eq=False)
class _Call(Turn):
    rows: Given
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

    def append(self, rows: list[object], partition: int | None) -> list[Appended]:
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

    def append_each(self, tables: Sequence[pa.Table]) -> list[list[Appended] | LogError]:
        """Append tables, durably: each of them whole or not at all.

        Returns:
            For each what was appended, or why it was not.

        Raises:
            LogError: None of them was appended.
        """
        calls = [_Call(table, None) for table in tables]
        self._lead(calls)
        return [call.error if isinstance(call.error, LogError) else call.appended for call in calls]

    def _lead(self, group: list[_Call]) -> None:
        if len(group) > 1 and (fitted := self._together(group)) is not None:
            _share_out(group, self._commit(*fitted, group[0].partition))
            return
        for call in group:
            try:
                fitted_rows, metadata = self._fit(call.rows)
                _share_out([call], self._commit(fitted_rows.table, metadata, call.partition))
            except LogError as error:
                call.error = error  # its own: those before it are appended

    def _together(self, group: list[_Call]) -> tuple[pa.Table, Metadata] | None:
        """Return the rows of all calls; None where each must be looked at by itself."""
        given = [call.rows for call in group]
        tables = [rows for rows in given if isinstance(rows, pa.Table)]
        try:
            if len(tables) == len(given):
                fitted, metadata = self._fit(pa.concat_tables(tables))
            else:
                fitted, metadata = self._fit([row for rows in given for row in rows])
        except (RowsRefused, pa.ArrowInvalid):
            return None  # one of them; which one, each finds out by itself
        return (fitted.table, metadata) if fitted.table.nbytes <= _GROUP_BYTES or tables else None


def _take(queue: deque[_Call]) -> list[_Call]:
    group: list[_Call] = []
    rows = 0
    while queue and (not group or (rows < _GROUP_ROWS and queue[0].partition == group[0].partition)):
        group.append(queue.popleft())
        rows += len(group[-1].rows)
    return group


def _share_out(group: Sequence[_Call], requests: Sequence[tuple[Part, Request]]) -> None:
    """Tell each call what became of its rows, which stand one behind the other in each partition."""
    for part, request in requests:
        rows: Sequence[int] = range(request.rows) if part.rows is None else part.rows.to_pylist()
        if request.kept is not None:
            rows = [rows[place] for place in request.kept]
        low, end = 0, 0
        for call in group:
            end += len(call.rows)
            high = bisect_left(rows, end, low)
            if high > low:
                call.appended.append(Appended(part.partition, request.first + low, high - low))
            low = high
