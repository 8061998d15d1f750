"""Reading ahead: a thread per partition that waits for I/O, behind a queue bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque

from thalweg.core.ports import Nothing, PartitionReader, SourceBatch

QUEUE_BYTES = 32 * 2**20
"""Decoded bytes that wait per partition; past it the reader waits."""

_WAIT_S = 0.05


class Prefetched:
    """A partition's reader that reads ahead on a thread of its own.

    Args:
        reader: What to read from.
        max_rows: The most rows of one batch.
        arrived: Set whenever something new is there.
    """

    def __init__(self, reader: PartitionReader, max_rows: int, arrived: threading.Event) -> None:
        self._reader = reader
        self._max_rows = max_rows
        self._arrived = arrived
        self._queue: deque[SourceBatch] = deque()
        self._bytes = 0
        self._idle: Nothing | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="thalweg-reader", daemon=True)
        self._thread.start()

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        """Return the next batch that was read ahead; ``NOW`` while the thread is still reading.

        Raises:
            SourceError: The reader raised it.
        """
        with self._changed:
            if not self._queue and timeout_s and self._idle is None and self._error is None:
                self._changed.wait(timeout_s)
            if self._queue:
                batch = self._queue.popleft()
                self._bytes -= batch.data.nbytes
                self._changed.notify_all()
                return batch
            if self._error is not None:
                raise self._error
            return self._idle or Nothing.NOW

    @property
    def reading(self) -> bool:
        """Whether the thread has not yet said that there is nothing more now."""
        with self._changed:
            return bool(self._queue) or (self._idle is None and self._error is None)

    def close(self) -> None:
        """Stop the thread and give back what the reader holds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        self._reader.close()

    def _run(self) -> None:
        try:
            while not self._closed:
                got = self._reader.read(self._max_rows, _WAIT_S)
                if not self._put(got):
                    return
        except BaseException as error:  # it is raised again in the loop's own thread
            with self._changed:
                self._error = error
                self._changed.notify_all()
            self._arrived.set()

    def _put(self, got: SourceBatch | Nothing) -> bool:
        """Queue what was read, waiting for room; return whether to read on."""
        with self._changed:
            if isinstance(got, Nothing):
                changed = self._idle is not got
                self._idle = got
            else:
                while self._bytes > QUEUE_BYTES and not self._closed:
                    self._changed.wait()
                self._idle = None
                self._queue.append(got)
                self._bytes += got.data.nbytes
                changed = True
            self._changed.notify_all()
        if changed:
            self._arrived.set()
        return got is not Nothing.EVER
