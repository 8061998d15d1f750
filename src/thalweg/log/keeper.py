"""When upkeep happens: after an append has begun a new segment, on a thread of its own, or when it is asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from thalweg.core.clock import Clock
from thalweg.log import disk
from thalweg.log.appending import Appenders
from thalweg.log.known import KnownMetadata
from thalweg.log.places import MAINTENANCE
from thalweg.log.refused import told
from thalweg.log.upkeep import Looked, Maintained, Upkeep


class Keeper:
    """Keeps one handle's topic up; one thread at a time, in all processes together.

    The thread is none of those that are killed with the process: one that dies in the middle of Arrow's work may bring
    the process down. Instead it ends after the segment at hand when the program ends or the handle is closed.

    Args:
        path: The topic's directory.
        appenders: The handle's.
        known: The topic's metadata.
        clock: Gives the time that retention goes by.
        by_itself: Whether ``rolled`` starts anything.
    """

    def __init__(
        self, path: Path, appenders: Appenders, known: KnownMetadata, clock: Clock, *, by_itself: bool
    ) -> None:
        self._path = path
        self._appenders = appenders
        self._known = known
        self._clock = clock
        self._by_itself = by_itself
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._due: set[int] = set()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._failures: dict[int, BaseException] = {}
        self._looked: dict[int, Looked] = {}

    @property
    def failure(self) -> str | None:
        """Why upkeep that began by itself failed and was not done since; None: it did not."""
        failures = list(self._failures.items())
        return "; ".join(f"partition {partition}: {error}" for partition, error in sorted(failures)) or None

    def maintain(self) -> Maintained:
        """Do what is due in all partitions, after who is at it now.

        Raises:
            LogError: It cannot be done.
        """
        fd = self._open_lock()
        try:
            with self._told(), disk.locked(fd):
                return self._run(range(self._known.current.options.partitions), eager=True)
        finally:
            disk.close(fd)

    def rolled(self, partition: int) -> None:
        """Have a partition kept up, which has got a new segment; does not wait for it."""
        if not self._by_itself:
            return
        if self._pid != os.getpid():  # after a fork: the parent's thread is not here, and its lock may be held
            self._pid, self._lock, self._thread, self._closing = os.getpid(), threading.Lock(), None, False
            self._due, self._failures, self._looked = set(), {}, {}
        with self._lock:
            self._due.add(partition)
            if self._thread is not None or self._closing:
                return
            thread = threading.Thread(target=self._work, name=f"upkeep of {self._appenders.name}", daemon=False)
            try:
                thread.start()
            except RuntimeError as error:  # no thread can be had, as when the interpreter ends
                self._failures[partition] = error
            else:
                self._thread = thread

    def stop(self) -> None:
        """Let the thread end with the segment at hand, and wait for that."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closing = True
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._lock:
            self._closing = False

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._due or self._is_over():
                    self._thread = None
                    self._due.clear()
                    return
                partition = min(self._due)
                self._due.discard(partition)
            try:
                self._keep_up(partition)
            except BaseException as error:  # nobody waits for it: it is told by whoever asks
                self._failures[partition] = error
            else:
                self._failures.pop(partition, None)

    def _keep_up(self, partition: int) -> None:
        fd = self._open_lock()
        try:
            # Who is at it now may have begun before the segment was full; then the next one's turn does both.
            if disk.try_lock(fd):
                with self._told():
                    self._run([partition], eager=False)
        finally:
            disk.close(fd)

    def _run(self, partitions: Sequence[int], *, eager: bool) -> Maintained:
        done = Maintained()
        for partition in partitions:
            writer = self._appenders.appender(partition).writer
            looked = self._looked.setdefault(partition, {})
            upkeep = Upkeep(writer, self._known.current, self._clock.now_us(), looked)
            done += upkeep.run() if eager else upkeep.run_a_while(self._is_over)
            if eager:
                self._failures.pop(partition, None)
        return done

    def _is_over(self) -> bool:
        return self._closing or not threading.main_thread().is_alive()

    def _open_lock(self) -> int:
        with self._told():
            return disk.open_file(self._path / MAINTENANCE, write=True, create=True)

    def _told(self) -> AbstractContextManager[None]:
        return told(f'upkeep of the topic "{self._appenders.name}" in {self._path.parent}', self._appenders.poison)
