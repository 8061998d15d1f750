"""A directory of state: immutable Arrow files, and manifests that name them.

The last few checkpoints are kept. A file goes when no manifest that is kept names it; one that a run which died has
left, when the next run begins.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from thalweg.core.errors import StateError
from thalweg.core.instants import Reached, goes_on
from thalweg.core.outage import Retrying
from thalweg.state import manifests
from thalweg.state.files import Stored, make_folder, read_table, replace_file, sync_folder, write_tables, writing

_STARTS: Final = "starts.json"
_FOLDERS: Final = ("files", "outbox", manifests.FOLDER)


@dataclass(frozen=True, slots=True)
class Start:
    """Which state a run goes on with, and the how-manyth run on it this is.

    Attributes:
        run: The random id that the state drew when it was new.
        term: 1 for the first start; each later one has the next higher.
    """

    run: str
    term: int


class StateStore:
    """The state of one app, locked for as long as it is open.

    Args:
        directory: Where the state is; made if there is none.
        room: How a full disk is waited for; None: not at all.
        reached: Is told how far a checkpoint is.

    Raises:
        StateError: Another process holds it, or it cannot be made.
    """

    def __init__(self, directory: Path, room: Retrying | None = None, reached: Reached = goes_on) -> None:
        self.directory = directory
        self._reached = reached
        self._epoch: int | None = None
        self._named: dict[int, frozenset[str] | None] = {}
        """What the manifests that are there name; None for one that is damaged, of which that is not known."""
        self._room = room
        try:
            make_folder(directory)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StateError(
                f"the state directory {directory} cannot be made: {error}; name another with data="
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(os.pread(self._lock, 64, 0).decode(errors="replace").strip())
            os.close(self._lock)
            raise StateError(
                f"the state in {directory} is used by another run ({holder}); stop it, or name another directory with "
                "data="
            ) from error
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
            for folder in _FOLDERS:
                (directory / folder).mkdir(exist_ok=True)  # their names are safe with the start that is noted
        except OSError as error:
            os.close(self._lock)
            raise StateError(
                f"the state directory {directory} cannot be written: {error}; mend it, or name another with data="
            ) from error

    def start(self) -> Start:
        """Note that a run starts, durably, before it can show itself to any sink.

        Raises:
            StateError: What is noted of earlier starts is missing or damaged.
        """
        path = self.directory / _STARTS
        try:
            body = manifests.read_document(path)
        except StateError as error:
            raise StateError(f"{error}; restore it from a copy, or start anew elsewhere") from error
        if body is None and manifests.epochs(self.directory):
            raise StateError(
                f"{path} is missing, which names the state; restore it from a copy, or start anew elsewhere"
            )
        start = Start(secrets.token_hex(16), 1) if body is None else Start(body["run"], body["term"] + 1)
        self._replace(_STARTS, {"run": start.run, "term": start.term})
        return start

    def load(self, epoch: int | None = None) -> dict[str, Any] | None:
        """Return what a checkpoint's manifest says; None if there is no checkpoint yet.

        Args:
            epoch: Which of those that are kept; the newest by default. To go on from an older one, call
                ``forget_later`` when nothing speaks against it.

        Raises:
            StateError: It is damaged, of a later version, or not kept.
        """
        kept = {each.epoch: each for each in manifests.kept(self.directory)}
        if epoch is not None and epoch not in kept:
            there = f"there are {', '.join(map(str, kept))}" if kept else "there is none"
            raise StateError(f"{self.directory} keeps no checkpoint of epoch {epoch}; {there}")
        newest = next(iter(kept), None)
        self._epoch = newest if epoch is None else epoch
        if self._epoch is None:
            self._sweep()
            return None
        found = kept[self._epoch]
        if found.body is None:
            assert found.error is not None, "a manifest that is not read has a reason"
            ways = f"; {manifests.ways_out(self.directory, self._epoch)}" if found.damaged else ""
            raise StateError(f"{found.error}{ways}") from found.error
        for each in kept.values():
            self._named[each.epoch] = None if each.body is None else _names(each.files)
        if self._epoch == newest:
            # What a run that died just after its commit has not come to.
            for older in manifests.epochs(self.directory)[manifests.KEPT :]:
                self._drop_manifest(older)
            self._sweep()
        return dict(found.body)

    def forget_later(self) -> None:
        """Remove the checkpoints after the one that was loaded: the run goes on from that."""
        if self._epoch is None:
            return
        # The newest first: whenever this stops, what is the newest then is a checkpoint that was.
        for epoch in manifests.epochs(self.directory):
            if epoch > self._epoch:
                self._drop_manifest(epoch)
                sync_folder(self.directory / manifests.FOLDER)
                self._named.pop(epoch, None)
        self._sweep()

    def read(self, stored: Stored) -> pa.Table:
        """Return a file's table.

        Raises:
            StateError: It is missing or damaged.
        """
        try:
            return read_table(self.directory, stored)
        except StateError as error:
            raise StateError(f"{error}; {manifests.ways_out(self.directory, self._epoch or 0)}") from error

    def write(self, file: str, tables: Iterable[pa.Table]) -> Stored:
        """Write tables of one schema, at least one, to a new file, durably, and return what names it.

        Raises:
            StateError: It cannot be written.
        """
        self._reached("write", file)
        stored = write_tables(self.directory, file, tables, self._room)
        self._reached("written", file)
        return stored

    def commit(self, body: Mapping[str, Any], files: Iterable[Stored]) -> None:
        """Make a checkpoint the current one, and let the oldest go.

        Args:
            body: What its manifest says, with its ``epoch``.
            files: The files that it consists of.

        Raises:
            StateError: It cannot be written.
        """
        named = {stored.file: [stored.sha256, stored.size_bytes, stored.rows] for stored in files}
        for folder in sorted({file.partition("/")[0] for file in named}):
            sync_folder(self.directory / folder)
        self._replace(manifests.name_of(body["epoch"]), {**body, "files": named})
        self._epoch = body["epoch"]
        self._named[self._epoch] = frozenset(named)
        self._let_go()

    def note(self, name: str, body: Mapping[str, Any]) -> None:
        """Write a file of notes beside the manifests, durably and as a whole."""
        self._replace(name, body)

    def noted(self, name: str) -> dict[str, Any] | None:
        """Return what such a file has; None if there is none.

        Raises:
            StateError: It is damaged, or of a later version.
        """
        return manifests.read_document(self.directory / name)

    def forget(self, name: str) -> None:
        """Remove such a file, where there is one."""
        self._unlink(name)

    def _let_go(self) -> None:
        """Remove the oldest checkpoints, and the files that none of those left names."""
        gone: set[str] = set()
        for epoch in sorted(self._named)[: -manifests.KEPT]:
            self._drop_manifest(epoch)
            names = self._named.pop(epoch)
            # Of a damaged one nobody knows what it named: the next run that begins removes that.
            gone |= names or frozenset()
        if gone and None not in self._named.values():
            for file in gone.difference(*self._named.values()):  # type: ignore[arg-type]  # none is None
                self._unlink(file)

    def _sweep(self) -> None:
        """Remove every file that no manifest names."""
        if None in self._named.values():
            return
        named: set[str] = set().union(*self._named.values())  # type: ignore[arg-type]  # none is None
        for folder in ("files", "outbox"):
            for path in (self.directory / folder).iterdir():
                if (file := f"{folder}/{path.name}") not in named:
                    self._unlink(file)

    def _drop_manifest(self, epoch: int) -> None:
        self._unlink(manifests.name_of(epoch))

    def _unlink(self, name: str) -> None:
        path = self.directory / name
        with writing(path):
            path.unlink(missing_ok=True)

    def _replace(self, name: str, body: Mapping[str, Any]) -> None:
        data = manifests.document({**body, "format": manifests.FORMAT})
        replace_file(self.directory / name, data, self._room, lambda: self._reached("rename", name))
        self._reached("renamed", name)

    def close(self) -> None:
        """Unlock the directory, also where a process that was forked meanwhile has the lock's file open still."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)


def _holder(process: str) -> str:
    """Return who holds the lock: the process that took it, or one that this has forked and left behind."""
    if not process.isdecimal():
        return "process unknown"
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return f"by a process that process {process}, which has ended, had forked; fuser names it: fuser lock"
    except PermissionError:
        return f"process {process}, of another user"
    return f"process {process}" + (", which is this one" if int(process) == os.getpid() else "")


def _names(files: Iterable[Stored]) -> frozenset[str]:
    return frozenset(stored.file for stored in files)
