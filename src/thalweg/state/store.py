"""A directory of state: immutable Arrow files, and a manifest that names them.

The manifest is written beside the old one, synced, renamed over it, and the directory synced: that is
the commit. A file that no manifest names is left from a run that died, and removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from thalweg.core.errors import StateError
from thalweg.core.instants import Reached, goes_on

FORMAT = 1
_MANIFEST = "manifest.json"
_STARTS = "starts.json"
_FOLDERS = ("files", "outbox")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of state: its name and the SHA-256 of its bytes."""

    file: str
    sha256: str


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
        reached: Is told how far a checkpoint is.

    Raises:
        StateError: Another process holds it, or it cannot be made.
    """

    def __init__(self, directory: Path, reached: Reached = goes_on) -> None:
        self.directory = directory
        self._reached = reached
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StateError(
                f"the state directory {directory} cannot be made: {error}; name another with data="
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise StateError(
                f"the state in {directory} is used by another run (process {holder}); stop it, or name another "
                "directory with data="
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def start(self) -> Start:
        """Note that a run starts, durably, before it can show itself to any sink.

        Raises:
            StateError: What is noted of earlier starts is missing or damaged.
        """
        body = _load(self.directory / _STARTS)
        if body is None and (self.directory / _MANIFEST).exists():
            raise StateError(
                f"{self.directory / _STARTS} is missing, which names the state; restore it from a copy, or start anew "
                "elsewhere"
            )
        start = Start(secrets.token_hex(16), 1) if body is None else Start(body["run"], body["term"] + 1)
        self._replace(_STARTS, {"run": start.run, "term": start.term})
        return start

    def load(self) -> dict[str, Any] | None:
        """Return the manifest's body; None if there is none yet.

        Raises:
            StateError: It is damaged, or of a later version.
        """
        return read_manifest(self.directory)

    def read(self, stored: Stored) -> pa.Table:
        """Return a file's table.

        Raises:
            StateError: It is missing or damaged.
        """
        path = self.directory / stored.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StateError(f"the state file {path} cannot be read: {error}") from error
        if _digest(data) != stored.sha256:
            raise StateError(f"the state file {path} is damaged: its checksum is wrong; restore it from a copy")
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            return reader.read_all()

    def write(self, file: str, table: pa.Table) -> Stored:
        """Write a new file, durably, and return what names it."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        path = self.directory / file
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._reached("write", file)
        _write_synced(path, data)
        self._reached("written", file)
        return Stored(file, _digest(data))

    def commit(self, body: Mapping[str, Any], keep: Iterable[str]) -> None:
        """Make a manifest the current one; state files that it does not name are removed."""
        for folder in _FOLDERS:
            if (self.directory / folder).is_dir():
                _sync_directory(self.directory / folder)
        self._replace(_MANIFEST, body)
        self.sweep("files", keep)

    def sweep(self, folder: Literal["files", "outbox"], keep: Iterable[str]) -> None:
        """Remove a folder's files but those to keep: no manifest names the others any more."""
        named = set(keep)
        path = self.directory / folder
        for file in path.iterdir() if path.is_dir() else ():
            if f"{folder}/{file.name}" not in named:
                file.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that no manifest names any more."""
        for name in names:
            (self.directory / name).unlink(missing_ok=True)

    def _replace(self, name: str, body: Mapping[str, Any]) -> None:
        whole = dict(body) | {"format": FORMAT}
        text = _dumped({"sha256": _digest(_dumped(whole)), "body": whole})
        beside = self.directory / f"_{name}"
        _write_synced(beside, text)
        self._reached("rename", name)
        with _writing(self.directory / name):
            os.replace(beside, self.directory / name)
            _sync_directory(self.directory)
        self._reached("renamed", name)

    def close(self) -> None:
        """Unlock the directory."""
        os.close(self._lock)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return what the last checkpoint says, also while a run is on; None if there is none yet.

    Raises:
        StateError: It is damaged, or of a later version.
    """
    return _load(directory / _MANIFEST)


def _load(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        whole = json.loads(text)
        body: dict[str, Any] = whole["body"]
        digest = whole["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} is damaged: {error}; restore it from a copy, or start anew elsewhere") from error
    if digest != _digest(_dumped(body)):
        raise StateError(f"{path} is damaged: its checksum is wrong; restore it from a copy, or start anew elsewhere")
    if body.get("format") != FORMAT:
        raise StateError(
            f"{path} has format {body.get('format')}, this version of Thalweg reads {FORMAT}; use the version that "
            "wrote it, or start anew elsewhere"
        )
    return body


def _write_synced(path: Path, data: bytes | pa.Buffer) -> None:
    with _writing(path), open(path, "wb") as out:
        out.write(data)
        out.flush()
        os.fdatasync(out.fileno())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"the state file {path} cannot be written: {error.strerror}; the last checkpoint is as it was: make room, "
            "or mend what is wrong, and run again"
        ) from error


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes | pa.Buffer) -> str:
    return hashlib.sha256(data).hexdigest()
