"""How rows get to a sink: on a thread of its own, behind a queue that is bounded in bytes.

A sink that writes step by step gets each step at once. One that records epochs gets them by way of the
outbox (``posting.py``). Without a state directory there is nothing to come back to: an epoch is passed on
while it comes in, and becomes visible when it is whole.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

import pyarrow as pa

from thalweg.core.errors import SinkUnavailable
from thalweg.core.outage import Outage, Patience, Retrying, passes
from thalweg.core.ports import EpochWriter, StepWriter
from thalweg.engine.embedded.bounded import BoundedQueue
from thalweg.state.outbox import Owed

QUEUE_BYTES: Final = 64 * 2**20
"""Bytes of rows that wait for a sink; past it the run waits, and with it the sources."""

LOOK_S: Final = 0.2
"""How often a run that waits for a sink looks for the sink's errors."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Comes after the last rows of an epoch."""

    epoch: int
    done: threading.Event = field(default_factory=threading.Event)


Message: TypeAlias = pa.Table | Mark


class _Abandoned(Exception):
    """The run ends before the epoch is whole."""


class Delivery(ABC):
    """The way to one sink.

    Args:
        name: What the output is called in the state.
        patience: How long the sink is waited for.

    Attributes:
        name: What the output is called in the state.
    """

    def __init__(self, name: str, patience: Patience) -> None:
        self.name = name
        self._patience = patience
        self._retrying = Retrying(f"the sink {name}", patience)
        self._queue: BoundedQueue[Message] = BoundedQueue(QUEUE_BYTES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"thalweg-{name}", daemon=True)
        self._thread.start()

    def put(self, rows: pa.Table) -> None:
        """Give rows; waits while too many are on their way.

        Raises:
            SinkError: The sink has failed.
        """
        self._send(rows, rows.nbytes)

    def seal(self, epoch: int) -> None:
        """End an epoch: when this returns, its rows are where a commit wants them."""
        mark = Mark(epoch)
        self._send(mark, 0)
        while not mark.done.wait(LOOK_S):
            self._raise()
            self._patience.demand(f"the sink {self.name}")
        self._raise()

    def target_rows(self) -> list[pa.Table] | None:
        """Return the rows that the target has, with all that is owed to it; None if it cannot tell."""
        return None

    def owed(self) -> Sequence[Owed]:
        """Return the epochs that the sink has not confirmed."""
        return ()

    def deliver(self, epoch: int) -> None:  # noqa: B027  # most ways have given the rows on already
        """Say that an epoch is committed."""

    @property
    def waiting_bytes(self) -> int:
        """What waits on disk for the sink."""
        return 0

    def full(self) -> bool:
        """Tell whether so much waits for the sink that nothing more is to be read.

        Raises:
            SinkError: The sink has failed.
        """
        self._raise()
        return False

    def outages(self) -> list[Outage]:
        """Return what keeps the rows from the sink at the moment."""
        return [] if self._retrying.outage is None else [self._retrying.outage]

    def close(self) -> None:
        """Wait until what is committed was delivered; the rest is dropped.

        Raises:
            SinkError: The sink has failed, or was away for longer than it is waited for.
            StoppedError: The sink holds up the run for longer than it is waited for.
        """
        self._queue.close()
        self._join(self._thread)
        self._raise()

    def _join(self, thread: threading.Thread) -> None:
        while thread.is_alive():
            thread.join(LOOK_S)
            if thread.is_alive():
                # A thread that hangs in the sink ends with the process.
                self._patience.demand(f"the sink {self.name}")

    def _send(self, message: Message, size_bytes: int) -> None:
        self._raise()
        while not self._queue.put(message, size_bytes, LOOK_S):
            self._raise()
            self._patience.demand(f"the sink {self.name}")

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        for act in (self._work, self._end):
            try:
                act()
            except BaseException as error:  # raised again in the loop's own thread; the first is the one to tell
                self._error = self._error or error

    @abstractmethod
    def _work(self) -> None:
        """Take messages until the queue is closed and empty."""

    @abstractmethod
    def _end(self) -> None:
        """Close the writer."""


class StepDelivery(Delivery):
    """Every step at once, again where the sink was not there for it."""

    def __init__(self, writer: StepWriter, name: str, patience: Patience | None = None) -> None:
        self._writer = writer
        super().__init__(name, patience or Patience())

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            if isinstance(message, Mark):
                self._until_done(self._writer.flush)
                message.done.set()
            else:
                self._until_done(partial(self._writer.write, message))

    def _until_done(self, act: Callable[[], None]) -> None:
        try:
            self._retrying.until_done(act)
        except Exception as error:
            if passes(error):
                raise SinkUnavailable(f"{error} (tried again and again; the next run gives it these rows)") from error
            raise

    def _end(self) -> None:
        self._writer.close()


class PassingDelivery(Delivery):
    """Epochs, passed on while they come in: for runs that keep no state.

    Args:
        writer: The sink's.
        name: What the output is called in the state.
        empty: Whether an epoch without rows is an epoch, too: a batch replaces its output also by nothing.
        patience: How long the sink is waited for. One that fails is not tried again: its rows are not kept.
    """

    def __init__(self, writer: EpochWriter, name: str, *, empty: bool, patience: Patience | None = None) -> None:
        self._writer = writer
        self._empty = empty
        self._epoch = 0
        self._mark: Mark | None = None
        super().__init__(name, patience or Patience())

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            if isinstance(first, pa.Table) or (isinstance(first, Mark) and self._empty):
                self._epoch += 1
                try:
                    self._writer.apply(self._epoch, self._epoch - 1, self._rows(first))
                except _Abandoned:
                    return
            elif isinstance(first, Mark):
                self._mark = first
            if self._mark is not None:
                self._mark.done.set()
                self._mark = None

    def _rows(self, first: pa.Table | Mark) -> Iterator[pa.Table]:
        message: Message | None = first
        while not isinstance(message, Mark):
            if message is None:
                raise _Abandoned
            yield message
            message = self._queue.get()
        self._mark = message

    def _end(self) -> None:
        self._writer.close()
