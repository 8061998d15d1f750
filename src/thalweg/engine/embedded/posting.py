"""Epochs by way of the outbox: exactly once, whatever the sink does.

Two threads: one writes the rows of the present epoch to a file of the outbox, one gives the sink the epochs
that are committed. So a sink that is slow, hangs or is away holds up nobody until the outbox is full; then
the sources wait. A sink that comes back is treated as at the start of a run: it is opened anew, asked for
the last epoch that it has, and given those after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from thalweg.core.errors import SinkError, SinkUnavailable
from thalweg.core.instants import Reached, goes_on
from thalweg.core.outage import Outage, Patience, Retrying, passes
from thalweg.core.ports import EpochWriter, Rereadable
from thalweg.engine.embedded.delivery import LOOK_S, Delivery, Mark
from thalweg.state.outbox import OUTBOX_BYTES, OutboxFile, Owed, outbox_rows

SLOW_S: Final = 5.0
"""A sink that takes nothing for so long is shown as one that holds up the run."""


@dataclass(slots=True)
class _Look:
    """Asks for what the target has."""

    rows: list[pa.Table] | None = None
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Post:
    """Where the epochs of an output go.

    Attributes:
        name: What the output is called in the state.
        open: Opens the sink, at the start and whenever it comes back.
        directory: The state directory.
        schema: The rows' columns.
        patience: How long the sink, and room on the disk, are waited for.
        reached: Is told how far an epoch is on its way.
    """

    name: str
    open: Callable[[], EpochWriter]
    directory: Path
    schema: pa.Schema
    patience: Patience = field(default_factory=Patience)
    reached: Reached = goes_on


class OutboxDelivery(Delivery):
    """The way to a sink that records epochs.

    Args:
        post: Where they go.
        owed: What the last manifest says is owed to the sink.
        last: The last epoch that had rows for it.

    Raises:
        SinkError: The sink cannot be opened, or has other epochs than the state says it can have.
    """

    def __init__(self, post: Post, owed: Sequence[Owed], last: int) -> None:
        self._post = post
        self._directory = post.directory
        self._owed = list(owed)
        self._sizes = {each.stored.file: _size_bytes(post.directory / each.stored.file) for each in owed}
        self.last = last
        self._committed = last
        self._file: OutboxFile | None = None
        self._number = 0
        self._ended = False
        self._taking_since_s: float | None = None
        self._look: _Look | None = None
        self._changed = threading.Condition()
        self._room = Retrying(f"the disk of {post.directory}", post.patience)
        self._writer: EpochWriter | None = None
        self._open()
        self._poster = threading.Thread(target=self._post_all, name=f"thalweg-{post.name}-post", daemon=True)
        super().__init__(post.name, post.patience)
        self._poster.start()

    def owed(self) -> Sequence[Owed]:
        return tuple(self._owed)

    def target_rows(self) -> list[pa.Table] | None:
        look = _Look()
        with self._changed:
            self._look = look
            self._changed.notify_all()
        while not look.done.wait(LOOK_S):
            self._raise()
            self._patience.demand(f"the sink {self.name}")
        return look.rows

    def deliver(self, epoch: int) -> None:
        self._raise()
        with self._changed:
            self._committed = epoch
            self._changed.notify_all()

    @property
    def waiting_bytes(self) -> int:
        file = self._file
        return sum(list(self._sizes.values())) + (0 if file is None else file.size_bytes)

    def full(self) -> bool:
        self._raise()
        since = self._taking_since_s
        if since is not None and self._patience.over(since):
            raise SinkUnavailable(f"the sink {self.name} takes nothing any more; {self._rest()}")
        return self.waiting_bytes >= OUTBOX_BYTES

    def outages(self) -> list[Outage]:
        found = [each for each in (self._retrying.outage, self._room.outage) if each is not None]
        since, clock = self._taking_since_s, self._patience.clock
        if since is not None and self._retrying.outage is None:
            taken_s = clock.monotonic_s() - since
            if taken_s >= SLOW_S:
                now = clock.now_us()
                found.append(Outage(f"the sink {self.name}", "it takes nothing", now - int(taken_s * 1e6), now))
        return found

    def close(self) -> None:
        self._queue.close()
        try:
            self._join(self._thread)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
        while self._poster.is_alive():
            self._poster.join(LOOK_S)
            # What is committed waits in the outbox: a sink that hangs need not be waited for.
            if self._poster.is_alive() and self._patience.over(self._taking_since_s):
                raise SinkUnavailable(f"the sink {self.name} takes nothing; {self._rest()}")
        self._raise()

    # ------------------------------------------------------------------ rows to the outbox

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            if isinstance(message, Mark):
                self._sealed(message.epoch)
                message.done.set()
            else:
                if self._file is None:
                    self._number += 1
                    file = f"outbox/{self.name}-{self.last:08d}-{self._number:06d}.arrow"
                    self._file = OutboxFile(self._directory, file, self._post.schema, self._room)
                self._file.write(message)

    def _sealed(self, epoch: int) -> None:
        if self._file is not None:
            whole = self._file
            self._post.reached("seal", self.name)
            stored = whole.seal()
            self._file = None  # only now: one that could not be sealed is closed at the end
            self._post.reached("sealed", self.name)
            self._sizes[stored.file] = whole.size_bytes
            self._owed.append(Owed(epoch, self.last, stored, whole.rows))
            self.last = epoch

    def _end(self) -> None:
        if self._file is not None:
            self._file.drop()

    # ------------------------------------------------------------------ epochs to the sink

    def _post_all(self) -> None:
        try:
            while self._due():
                self._deliver(self._committed)
                if self._look is not None:
                    self._tried(self._show)
        except BaseException as error:  # raised again in the loop's own thread
            self._error = self._error or error
        try:
            self._close_writer()
        except BaseException as error:  # the first is the one to tell
            self._error = self._error or error

    def _due(self) -> bool:
        """Wait until an epoch is to be given to the sink, or the target is asked for; tell whether the run goes on."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._look is not None or self._next() is not None)
            return self._look is not None or self._next() is not None

    def _next(self) -> Owed | None:
        first = self._owed[0] if self._owed else None
        return first if first is not None and first.epoch <= self._committed else None

    def _deliver(self, epoch: int) -> None:
        while self._owed and self._owed[0].epoch <= epoch:
            self._touch()
            try:
                self._tried(self._apply_first)
            finally:
                self._taking_since_s = None

    def _tried(self, act: Callable[[], None]) -> None:
        try:
            self._retrying.until_done(act)
        except Exception as error:
            if passes(error):
                raise SinkUnavailable(f"{error}; {self._rest()}") from error
            raise

    def _apply_first(self) -> None:
        if self._writer is None:
            self._open()
            if self._next() is None:
                return  # it had been applied, and only the answer was lost
        assert self._writer is not None, "it was opened"
        first = self._owed[0]
        self._post.reached("deliver", self.name)
        try:
            self._writer.apply(first.epoch, first.previous, self._watched(outbox_rows(self._directory, first.stored)))
        except Exception as error:
            if passes(error):
                self._abandon()
            raise
        self._post.reached("delivered", self.name)
        self._confirm()

    def _show(self) -> None:
        """Say what the target has, now that it has all that is committed."""
        if self._writer is None:
            self._open()
        look = self._look
        assert look is not None, "it was asked for"
        try:
            look.rows = list(self._writer.rows()) if isinstance(self._writer, Rereadable) else None
        except Exception as error:
            if passes(error):
                self._abandon()
            raise
        self._look = None
        look.done.set()

    def _open(self) -> None:
        """Open the sink, and forget what it has already."""
        post, owed = self._post, self._owed
        writer = post.open()
        try:
            confirmed = writer.last_epoch()
            first = owed[0].previous if owed else self.last
            if not first <= confirmed <= self._committed:
                raise SinkError(
                    f"{post.name} has the output up to epoch {confirmed}, and the state in {post.directory} can go on "
                    f"from {first} to {self._committed}: one of them is an older copy. Restore the one that fits, or "
                    "start anew with another data= and another output"
                )
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        while owed and owed[0].epoch <= confirmed:
            self._confirm()

    def _confirm(self) -> None:
        # Only now: a manifest that is written meanwhile still names the file.
        done = self._owed.pop(0)
        self._sizes.pop(done.stored.file, None)

    def _abandon(self) -> None:
        """Give up a writer whose sink is away: what it thinks of itself is not to be trusted any more."""
        with suppress(Exception):  # the sink is known to fail
            self._close_writer()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _watched(self, rows: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in rows:
            yield table
            self._touch()

    def _touch(self) -> None:
        self._taking_since_s = self._post.patience.clock.monotonic_s()

    def _rest(self) -> str:
        owed = list(self._owed)
        return (
            f"{sum(each.rows for each in owed):,} rows of {len(owed)} checkpoints wait for it in "
            f"{self._directory / 'outbox'}: mend what is wrong, and the next run gives them to it"
        )


def _size_bytes(path: Path) -> int:
    """Return how much a file takes; one that is not there is found missing when it is read."""
    return path.stat().st_size if path.exists() else 0
