"""A queue between two threads that is bounded in bytes: past its limit the giver waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out.

    Args:
        limit_bytes: While more bytes than this wait, ``put`` waits; the last item may exceed it, so that any fits.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T, size_bytes: int, timeout_s: float | None = None) -> bool:
        """Add an item; return whether there was room for it in time and the queue is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes <= self._limit, timeout_s)
            if self._closed or self._bytes > self._limit:
                return False
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float | None = None) -> T | None:
        """Remove and return the oldest item; None if there is none in time, or the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed, timeout_s)
            if not self._items:
                return None
            item, size_bytes = self._items.popleft()
            self._bytes -= size_bytes
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Take nothing more; what waits can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
