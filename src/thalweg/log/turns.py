"""Threads that do the same thing at the same time: one of them leads, and does it for all who wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar


@dataclass(slots=True, eq=False)
class Turn:
    """What one thread wants done.

    Attributes:
        error: Why it was not.
        done: Whether it is over.
        wake: Set when it is over, or when it is its turn to lead.
    """

    error: BaseException | None = field(default=None, init=False)
    done: bool = field(default=False, init=False)
    wake: threading.Event = field(default_factory=threading.Event, init=False)


T = TypeVar("T", bound=Turn)


class Turns(Generic[T]):
    """A queue of turns, of which one group is done at a time.

    Args:
        take: Takes the next group from the front of the queue; at least one turn where there is one.
        lead: Does a group; an error of one turn alone is noted in it, what it raises is that of all.
    """

    def __init__(self, take: Callable[[deque[T]], list[T]], lead: Callable[[list[T]], None]) -> None:
        self._take = take
        self._lead = lead
        self._lock = threading.Lock()
        self._queue: deque[T] = deque()
        self._busy = False

    def enqueue(self, turn: T) -> None:
        """Let a turn wait; ``finish`` must follow."""
        with self._lock:
            self._queue.append(turn)

    def finish(self, turn: T) -> None:
        """Wait until a turn is over; leads a group when nobody else does.

        Raises:
            BaseException: What went wrong with it.
        """
        while True:
            with self._lock:
                if turn.done:
                    break
                turn.wake.clear()
                group = [] if self._busy else self._take(self._queue)
                self._busy = self._busy or bool(group)
            if group:
                self._do(group)
            else:
                turn.wake.wait()
        if turn.error is not None:
            raise turn.error

    def _do(self, group: list[T]) -> None:
        error: BaseException | None = None
        try:
            self._lead(group)
        except BaseException as raised:
            error = raised
            if not isinstance(raised, Exception):
                raise  # an interrupt is the leading thread's own, too
        finally:
            with self._lock:
                self._busy = False
                for turn in group:
                    turn.error = turn.error or error
                    turn.done = True
                    turn.wake.set()
                if self._queue:
                    self._queue[0].wake.set()
