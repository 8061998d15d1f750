"""Reading ahead: a thread per partition that waits for I/O, behind a queue bounded in bytes."""

from __future__ import annotations

import threading
from typing import Final

from thalweg.core.ports import Nothing, PartitionReader, SourceBatch
from thalweg.engine.embedded.bounded import BoundedQueue

QUEUE_BYTES: Final = 32 * 2**20
"""Decoded bytes that wait per partition; past it the reader waits."""

_WAIT_S: Final = 0.05
_CLOSE_S: Final = 5.0


class Prefetched:
    """A partition's reader that reads ahead on a thread of its own.

    Args:
        reader: What to read from.
        max_rows: The most rows of one batch.
        arrived: Set whenever something new is there.

    Attributes:
        max_rows: The most rows of one batch that is read from now on.
    """

    def __init__(self, reader: PartitionReader, max_rows: int, arrived: threading.Event) -> None:
        self._reader = reader
        self.max_rows = max_rows
        self._arrived = arrived
        self._queue: BoundedQueue[SourceBatch] = BoundedQueue(QUEUE_BYTES)
        self._last: Nothing | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="thalweg-reader", daemon=True)
        self._thread.start()

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        """Return the next batch that was read ahead; ``NOW`` while the thread is still reading.

        Raises:
            SourceError: The reader raised it.
        """
        # What the thread said last is looked at first: what it read before that is in the queue by then.
        last, error = self._last, self._error
        batch = self._queue.get(timeout_s)
        if batch is not None:
            return batch
        if error is not None:
            raise error
        return last or Nothing.NOW

    @property
    def reading(self) -> bool:
        """Whether the thread has not yet said that there is nothing more now."""
        return len(self._queue) > 0 or (self._last is None and self._error is None)

    def close(self) -> None:
        """Stop the thread and give back what the reader holds."""
        self._closed = True
        self._queue.close()
        self._thread.join(_CLOSE_S)
        self._reader.close()

    def _run(self) -> None:
        try:
            while not self._closed:
                got = self._reader.read(self.max_rows, _WAIT_S)
                if isinstance(got, Nothing):
                    if got is not self._last:
                        self._last = got
                        self._arrived.set()
                    if got is Nothing.EVER:
                        return
                    continue
                self._last = None
                if not self._queue.put(got, got.data.nbytes):
                    return
                self._arrived.set()
        except BaseException as error:  # it is raised again in the loop's own thread
            self._error = error
            self._arrived.set()
