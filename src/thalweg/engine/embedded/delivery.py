"""How rows get to a sink: on a thread of its own, behind a queue that is bounded in bytes.

A sink that writes step by step gets each step at once. One that records epochs gets an epoch when its
checkpoint is committed: until then the rows are in the outbox, immutable files that the manifest names.
Without a state directory there is nothing to come back to: an epoch is passed on while it comes in, and
becomes visible when it is whole.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa

from thalweg.core.errors import SinkError
from thalweg.core.instants import Reached, goes_on
from thalweg.core.ports import EpochWriter, StepWriter
from thalweg.engine.embedded.bounded import BoundedQueue
from thalweg.state.outbox import OutboxFile, Owed, outbox_rows

QUEUE_BYTES: Final = 64 * 2**20
"""Bytes of rows that wait for a sink; past it the run waits, and with it the sources."""

_LOOK_S: Final = 0.2
"""How often a run that waits for a sink looks for the sink's errors."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """Comes after the last rows of an epoch."""

    epoch: int
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Deliver:
    """The epochs up to this one are committed."""

    epoch: int


_Message: TypeAlias = pa.Table | _Mark | _Deliver


class _Abandoned(Exception):
    """The run ends before the epoch is whole."""


class Delivery(ABC):
    """The way to one sink.

    Attributes:
        name: What the output is called in the state.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._queue: BoundedQueue[_Message] = BoundedQueue(QUEUE_BYTES)
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
        mark = _Mark(epoch)
        self._send(mark, 0)
        while not mark.done.wait(_LOOK_S):
            self._raise()
        self._raise()

    def owed(self) -> Sequence[Owed]:
        """Return the epochs that the sink has not confirmed."""
        return ()

    def deliver(self, epoch: int) -> None:  # noqa: B027  # most ways have given the rows on already
        """Say that an epoch is committed."""

    def close(self) -> None:
        """Wait until what is committed was delivered; the rest is dropped."""
        self._queue.close()
        self._thread.join()
        self._raise()

    def _send(self, message: _Message, size_bytes: int) -> None:
        self._raise()
        while not self._queue.put(message, size_bytes, _LOOK_S):
            self._raise()

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
    """Every step at once."""

    def __init__(self, writer: StepWriter, name: str) -> None:
        self._writer = writer
        super().__init__(name)

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            if isinstance(message, _Mark):
                self._writer.flush()
                message.done.set()
            elif isinstance(message, pa.Table):
                self._writer.write(message)

    def _end(self) -> None:
        self._writer.close()


class PassingDelivery(Delivery):
    """Epochs, passed on while they come in: for runs that keep no state.

    Args:
        writer: The sink's.
        name: What the output is called in the state.
        empty: Whether an epoch without rows is an epoch, too: a batch replaces its output also by nothing.
    """

    def __init__(self, writer: EpochWriter, name: str, *, empty: bool) -> None:
        self._writer = writer
        self._empty = empty
        self._epoch = 0
        self._mark: _Mark | None = None
        super().__init__(name)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            if isinstance(first, pa.Table) or (isinstance(first, _Mark) and self._empty):
                self._epoch += 1
                try:
                    self._writer.apply(self._epoch, self._rows(first))
                except _Abandoned:
                    return
            elif isinstance(first, _Mark):
                self._mark = first
            if self._mark is not None:
                self._mark.done.set()
                self._mark = None

    def _rows(self, first: pa.Table | _Mark) -> Iterator[pa.Table]:
        message: _Message | None = first
        while not isinstance(message, _Mark):
            if message is None:
                raise _Abandoned
            yield message
            message = self._queue.get()
        self._mark = message

    def _end(self) -> None:
        self._writer.close()


class OutboxDelivery(Delivery):
    """Epochs by way of the outbox: exactly once.

    Args:
        writer: The sink's.
        name: What the output is called in the state.
        directory: The state directory.
        schema: The rows' columns.
        owed: What the last manifest says is owed to the sink.
        last: The last epoch that had rows for it.
        reached: Is told how far an epoch is on its way.

    Raises:
        SinkError: The sink has other epochs than the state says it can have.
    """

    def __init__(
        self,
        writer: EpochWriter,
        name: str,
        directory: Path,
        schema: pa.Schema,
        owed: Sequence[Owed],
        last: int,
        reached: Reached = goes_on,
    ) -> None:
        try:
            confirmed = writer.last_epoch()
        except BaseException:
            writer.close()
            raise
        first = owed[0].previous if owed else last
        if not first <= confirmed <= last:
            writer.close()
            raise SinkError(
                f"{name} has the output up to epoch {confirmed}, and the state in {directory} can go on from "
                f"{first} to {last}: one of them is an older copy. Restore the one that fits, or start anew with "
                "another data= and another output"
            )
        self._writer = writer
        self._directory = directory
        self._schema = schema
        self._owed = [each for each in owed if each.epoch > confirmed]
        self.last = last
        self._reached = reached
        self._file: OutboxFile | None = None
        self._number = 0
        super().__init__(name)
        if self._owed:
            self.deliver(last)

    def owed(self) -> Sequence[Owed]:
        return tuple(self._owed)

    def deliver(self, epoch: int) -> None:
        self._send(_Deliver(epoch), 0)

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            if isinstance(message, _Mark):
                self._sealed(message.epoch)
                message.done.set()
            elif isinstance(message, _Deliver):
                self._deliver(message.epoch)
            else:
                if self._file is None:
                    self._number += 1
                    file = f"outbox/{self.name}-{self.last:08d}-{self._number:06d}.arrow"
                    self._file = OutboxFile(self._directory, file, self._schema)
                self._file.write(message)

    def _sealed(self, epoch: int) -> None:
        if self._file is not None:
            self._reached("seal", self.name)
            stored, rows, self._file = self._file.seal(), self._file.rows, None
            self._reached("sealed", self.name)
            self._owed.append(Owed(epoch, self.last, stored, rows))
            self.last = epoch

    def _deliver(self, epoch: int) -> None:
        while self._owed and self._owed[0].epoch <= epoch:
            first = self._owed[0]
            self._reached("deliver", self.name)
            self._writer.apply(first.epoch, outbox_rows(self._directory, first.stored))
            self._reached("delivered", self.name)
            # Only now: a manifest that is written meanwhile still names the file.
            del self._owed[0]

    def _end(self) -> None:
        if self._file is not None:
            self._file.drop()
        self._writer.close()
