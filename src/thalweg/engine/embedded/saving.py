"""Checkpoints are written on a thread of their own, one at a time, while the run goes on with its next steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from thalweg.core.clock import Clock


class Saving:
    """Does what commits an epoch.

    Args:
        wake: Set when it is done.
        clock: Says how long it took.
        aside: Whether the run goes on meanwhile; else it is done when ``begin`` returns.

    Attributes:
        took_s: How long the last one took.
    """

    def __init__(self, wake: threading.Event, clock: Clock, *, aside: bool) -> None:
        self.took_s = 0.0
        self._wake = wake
        self._clock = clock
        self._aside = aside
        self._thread: threading.Thread | None = None
        self._epoch: int | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether an epoch was begun whose commit was not asked for yet."""
        return self._epoch is not None

    def begin(self, epoch: int, write: Callable[[], None]) -> None:
        """Begin to commit an epoch; the one before has been asked for."""
        assert not self.busy, "checkpoints are written one after the other"
        self._epoch = epoch
        self._thread = threading.Thread(target=self._run, args=(write,), name="thalweg-checkpoint", daemon=True)
        self._thread.start()
        if not self._aside:
            self._thread.join()

    def committed(self, *, wait: bool) -> int | None:
        """Return the epoch that has been committed since the last call; None for none.

        Args:
            wait: Whether to wait for the one that was begun.

        Raises:
            StateError: It cannot be written.
        """
        if self._thread is None or (self._thread.is_alive() and not wait):
            return None
        self._thread.join()
        epoch, self._epoch, self._thread = self._epoch, None, None
        if self._error is not None:
            raise self._error
        return epoch

    def close(self) -> None:
        """Wait until nothing is written any more: what else went wrong has ended the run, and is told."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, write: Callable[[], None]) -> None:
        began = self._clock.monotonic_s()
        try:
            write()
        except BaseException as error:  # raised again in the loop's own thread
            self._error = error
        self.took_s = self._clock.monotonic_s() - began
        self._wake.set()
