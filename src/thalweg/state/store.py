"""A directory of state: immutable Arrow files, and a manifest that names them.

The manifest is written beside the old one, synced, renamed over it, and the directory synced: that is
the commit. A file that no manifest names is left from a run that died, and removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from thalweg.core.errors import StateError

FORMAT = 1
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of state: its name and the SHA-256 of its bytes."""

    file: str
    sha256: str


class StateStore:
    """The state of one app, locked for as long as it is open.

    Args:
        directory: Where the state is; made if there is none.

    Raises:
        StateError: Another process holds it, or it cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
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

    def load(self) -> dict[str, Any] | None:
        """Return the manifest's body; None if there is none yet.

        Raises:
            StateError: It is damaged, or of a later version.
        """
        path = self.directory / _MANIFEST
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
            raise StateError(
                f"{path} is damaged: its checksum is wrong; restore it from a copy, or start anew elsewhere"
            )
        if body.get("format") != FORMAT:
            raise StateError(
                f"{path} has format {body.get('format')}, this version of Thalweg reads {FORMAT}; use the version that "
                "wrote it, or start anew elsewhere"
            )
        return body

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
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(path, data)
        return Stored(file, _digest(data))

    def drop_parts(self, kinds: Iterable[str], *, after: int) -> None:
        """Remove the parts of later epochs, which a run that died has written and never committed."""
        for kind in kinds:
            folder = self.directory / kind
            for path in folder.glob("part-*.arrow") if folder.is_dir() else ():
                if int(path.stem.removeprefix("part-")) > after:
                    path.unlink()

    def commit(self, body: Mapping[str, Any], keep: Iterable[str]) -> None:
        """Make a manifest the current one; files that it does not name are removed."""
        whole = dict(body) | {"format": FORMAT}
        text = _dumped({"sha256": _digest(_dumped(whole)), "body": whole})
        files = self.directory / "files"
        if files.is_dir():
            _sync_directory(files)
        beside = self.directory / f"_{_MANIFEST}"
        _write_synced(beside, text)
        os.replace(beside, self.directory / _MANIFEST)
        _sync_directory(self.directory)
        named = set(keep)
        for path in files.iterdir() if files.is_dir() else ():
            if f"files/{path.name}" not in named:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Unlock the directory."""
        os.close(self._lock)


def _write_synced(path: Path, data: bytes | pa.Buffer) -> None:
    with open(path, "wb") as out:
        out.write(data)
        out.flush()
        os.fdatasync(out.fileno())


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
