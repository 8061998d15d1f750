"""Small bodies, decoded one at a time by the event loop's own thread, and appended together.

To decode one takes a millisecond or two, in many short calls of Python. Threads that do so at the same time take the
interpreter's lock from each other in each of them, which costs more than the work. Workers only wait for the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from thalweg.log.appended import Appended
from thalweg.serve.doors import Door, Doors, Form, Sent, Taken, taken

_SMALL_BYTES: Final = 128 * 2**10
_FEW_ROWS: Final = 4_000
_SLOW_S: Final = 0.05
_AWAY_S: Final = 1.0


class Work(Protocol):
    """Has a worker do something."""

    def __call__(self, task: Callable[[], _T], /) -> Awaitable[_T]:
        """Return what it gives."""


_T = TypeVar("_T")
_Waiting: TypeAlias = "tuple[pa.Table, asyncio.Future[list[Appended]]]"


def is_small(sent: Sent) -> bool:
    """Whether a body is so short, and has so few rows, that even the worst of it is decoded within moments."""
    body = sent.body
    if sent.codec is not None or sent.form is Form.BINARY or len(body) > _SMALL_BYTES:
        return False
    if sent.form is Form.LINES:
        return body.count(b"\n") <= _FEW_ROWS
    objects = body.count(b"{")
    return sent.form is Form.ARROW or (objects <= _FEW_ROWS and body.count(b",") <= 32 * objects)


class Together:
    """Takes bodies; used by the event loop's thread alone.

    Args:
        doors: The topics.
        work: Has a worker do something, and gives what it returns.
    """

    def __init__(self, doors: Doors, work: Work) -> None:
        self._doors = doors
        self._work = work
        self._waiting: dict[Door, list[_Waiting]] = {}
        self._slow_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, name: str, sent: Sent) -> Taken:
        """Append a body to a topic; durable when it returns.

        Raises:
            RefusedError: It was not taken, and why.
        """
        found = await self._take_here(name, sent) if is_small(sent) else None
        return await self._work(lambda: self._doors.take(name, sent)) if found is None else found

    async def _take_here(self, name: str, sent: Sent) -> Taken | None:
        """Decode a body in this thread; None where a worker must do it.

        That is so where the topic looks at rows one by one, and for a second after a body that took long to decode, as
        those with many faults do: others have to wait for it meanwhile.
        """
        with self._doors.entered(name) as door:
            clock = asyncio.get_running_loop().time
            began = clock()
            if not door.is_plain or began < self._slow_until:
                return None
            try:
                body = door.decode(sent)
            finally:
                if (now := clock()) - began > _SLOW_S:
                    self._slow_until = now + _AWAY_S
            if not body.rows.num_rows:
                return taken(body)
            return taken(body, await self._append(door, pa.Table.from_batches([body.rows])))

    async def _append(self, door: Door, rows: pa.Table) -> list[Appended]:
        future: asyncio.Future[list[Appended]] = asyncio.get_running_loop().create_future()
        if door in self._waiting:
            self._waiting[door].append((rows, future))
        else:
            self._waiting[door] = [(rows, future)]
            task = asyncio.create_task(self._append_waiting(door))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _append_waiting(self, door: Door) -> None:
        """Append what waits for a topic, and what comes while that is done, until nothing does."""
        with self._doors.kept(door):
            while waiting := self._waiting[door]:
                self._waiting[door] = []
                tables = [table for table, _ in waiting]
                results: Sequence[list[Appended] | Exception]
                try:
                    results = await self._work(lambda: door.topic.append_each(tables))  # noqa: B023  # awaited here
                except Exception as error:  # each who waits is told
                    results = [error] * len(waiting)
                for (_, future), result in zip(waiting, results, strict=True):
                    if future.done():
                        continue  # the client went away
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        del self._waiting[door]
