"""Files that are replaced under their name: what tells one from another, and where a file went when it was rotated.

A log is *rotated* in one of two ways. It is renamed, and a new file takes its name (``app.log`` becomes ``app.log.1``,
what was that becomes ``app.log.2``); or it is copied and then truncated. Either may be compressed later, or removed. So
a file is known by its device and inode and by its *print*: a hash of its first bytes and of those before the place up
to which it was read. An inode that is used again has another print, and a copy has the same.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from thalweg.columnar.inflate import InflatedFile
from thalweg.columnar.runs import DamagedTextError
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json

HEAD_BYTES = 1024
"""How many of a file's first bytes go into its print."""

BEFORE_BYTES = 256
"""How many of those before the place up to which it was read."""

_ROTATED = re.compile(
    r"(?P<base>.+?)(?:\.(?P<number>\d{1,4})|[.-](?P<date>\d{4}-?\d\d-?\d\d(?:[-_T.]?[\d-]{2,10})?))(?P<packed>\.gz|\.zst)?"
)


class Bytes(Protocol):
    """A file's bytes, from any place."""

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        ...

    def seek(self, offset: int) -> None:
        """Go to a place."""
        ...


@dataclass(frozen=True, slots=True)
class Print:
    """What tells a file from others.

    Attributes:
        device: Where it is.
        inode: Its number there.
        head: The hash of its first bytes, and how many they were.
        before: The hash of the bytes before a place in it, how many they were, and the place.
        changed_ns: When it was changed last, as far as was seen.
    """

    device: int
    inode: int
    head: tuple[str, int] = ("", 0)
    before: tuple[str, int, int] = ("", 0, 0)
    changed_ns: int = 0

    def json(self) -> dict[str, Json]:
        """Return it as a part of a position."""
        return {
            "device": self.device,
            "inode": self.inode,
            "head": list(self.head),
            "before": list(self.before),
            "changed_ns": self.changed_ns,
        }

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> Print:
        """Return what ``json`` gave."""
        head, before = given["head"], given["before"]
        return cls(
            given["device"], given["inode"], (head[0], head[1]), (before[0], before[1], before[2]), given["changed_ns"]
        )

    def is_of(self, status: os.stat_result) -> bool:
        """Return whether it is a file of this device and inode."""
        return (self.device, self.inode) == (status.st_dev, status.st_ino)

    def matches(self, bytes_: Bytes) -> bool:
        """Return whether a file holds the same bytes where these were read."""
        try:
            return (
                hash_at(bytes_, 0, self.head[1]) == self.head[0]
                and hash_at(bytes_, self.before[2] - self.before[1], self.before[1]) == self.before[0]
            )
        except DamagedTextError:
            return False


def print_of(first: bytes, before: bytes, status: os.stat_result, offset: int) -> Print:
    """Return the print of a file that was read up to an offset, given its first bytes and those before the offset."""
    first, before = first[:HEAD_BYTES], before[-BEFORE_BYTES:]
    return Print(
        status.st_dev,
        status.st_ino,
        (_hash(first), len(first)),
        (_hash(before), len(before), offset),
        status.st_mtime_ns,
    )


def hash_at(bytes_: Bytes, offset: int, size: int) -> str:
    """Return the hash of the bytes at a place; of none, nothing."""
    if not size:
        return ""
    bytes_.seek(offset)
    return _hash(bytes_.read(size))


def _hash(part: bytes) -> str:
    return hashlib.blake2b(part, digest_size=12).hexdigest() if part else ""


class PlainFile:
    """An open file that is not compressed."""

    def __init__(self, path: str) -> None:
        # Not to wait for a writer, should it be a pipe; it is refused below.
        self._file = io.FileIO(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
        if not stat.S_ISREG(self.status().st_mode):
            self._file.close()
            raise SourceError(
                f"{path} is no file that can be read from any place; name regular files, as in logs/*.log"
            )

    def status(self) -> os.stat_result:
        """Return the open file's size, number and times, whatever its name is now."""
        return os.fstat(self._file.fileno())

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        return self._file.read(size) or b""

    def seek(self, offset: int) -> None:
        """Go to a place."""
        self._file.seek(offset)

    def close(self) -> None:
        """Close it."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Rotated:
    """A file that bears a rotated name of a log.

    Attributes:
        path: Where it is.
        status: Its number, size and times.
        packed: The suffix of its compression, where it has one.
    """

    path: str
    status: os.stat_result
    packed: str | None


def base_of(name: str) -> str | None:
    """Return the name that a rotated file had before; None if the name is not one of a rotated file.

    Example:
        >>> base_of("app.log.1"), base_of("app.log-20260301.gz"), base_of("app.log"), base_of("app-2026-03-01.log")
        ('app.log', 'app.log', None, None)
    """
    found = _ROTATED.fullmatch(name)
    return None if found is None else found["base"]


def rotated_of(path: str) -> list[Rotated]:
    """Return the rotated files of a log, the oldest first.

    Numbers grow with age, dates do not; where there are both kinds, the time of the last change decides. Of a file and
    its compressed form only the file counts: the other one may not be whole yet.
    """
    folder, name = os.path.split(path)
    found: dict[str, tuple[re.Match[str], Rotated]] = {}
    for entry in _entries(folder or "."):
        match = _ROTATED.fullmatch(entry.name) if entry.name.startswith(name) else None
        if match is None or match["base"] != name:
            continue
        stem = entry.name.removesuffix(match["packed"] or "")
        if stem in found and match["packed"]:
            continue
        try:
            status = os.stat(entry.path)
        except FileNotFoundError:
            continue  # renamed since it was listed
        if stat.S_ISREG(status.st_mode):
            found[stem] = (match, Rotated(os.path.join(folder, entry.name), status, match["packed"]))
    matches = [match for match, _ in found.values()]
    if all(match["number"] for match in matches):
        return [file for _, file in sorted(found.values(), key=lambda item: -int(item[0]["number"]))]
    if all(match["date"] for match in matches):
        return [file for _, file in sorted(found.values(), key=lambda item: item[0]["date"])]
    return [file for _, file in sorted(found.values(), key=lambda item: (item[1].status.st_mtime_ns, item[1].path))]


def find(wanted: Print, path: str) -> tuple[str, str | None] | None:
    """Return where the file with a print, or a copy of it, is in its folder now, and how it is compressed."""
    folder = os.path.dirname(path)
    same = [path] if _is(wanted, path) else []
    same += [
        os.path.join(folder, entry.name)
        for entry in _entries(folder or ".")
        if entry.inode() == wanted.inode and entry.name != os.path.basename(path)
    ]
    for name in same:
        if _is(wanted, name) and _holds(wanted, name, None):
            return name, None
    if wanted.head[1]:
        for file in reversed(rotated_of(path)):
            if _holds(wanted, file.path, file.packed):
                return file.path, file.packed
    return None


def status_of(path: str) -> os.stat_result | None:
    """Return what there is at a path, None for nothing.

    Raises:
        SourceError: It cannot be looked at.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path} cannot be looked at: {error.strerror or error}") from error


def _is(wanted: Print, path: str) -> bool:
    status = status_of(path)
    return status is not None and wanted.is_of(status) and stat.S_ISREG(status.st_mode)


def _holds(wanted: Print, path: str, packed: str | None) -> bool:
    try:
        file = PlainFile(path) if packed is None else InflatedFile(path, packed)
    except FileNotFoundError:
        return False
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return wanted.matches(file)
    finally:
        file.close()


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror or error}") from error
