"""A disk that can lose power: plays recorded calls, and gives what a medium may hold after any of them.

Strict where POSIX is: a file's bytes are safe after its own sync, a name after its directory's. What no sync
covered may be there, wholly or by sectors, or not; a directory's changes are kept up to some point, in order.
A sync that failed leaves its bytes in the cache, marked clean: a later sync does not write them any more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from tests.attacks.shim import Call, Record

SECTOR = 512
Loss: TypeAlias = Literal["all", "some", "none"]


@dataclass(slots=True)
class File:
    """A file: what is safe, and the writes that no sync covers: (position, bytes), bytes None for a truncation."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


Change: TypeAlias = "tuple[str, Node | None]"


@dataclass(slots=True)
class Directory:
    """A directory: its names now, its safe names, and the changes between them."""

    names: dict[str, Node] = field(default_factory=dict)
    safe: dict[str, Node] = field(default_factory=dict)
    pending: list[list[Change]] = field(default_factory=list)

    def change(self, *changes: Change) -> None:
        """Set or remove names, all or none of them after a loss of power."""
        self.pending.append(list(changes))
        _apply(self.names, changes)


Node: TypeAlias = "File | Directory"


def _apply(names: dict[str, Node], changes: list[Change] | tuple[Change, ...]) -> None:
    for name, node in changes:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _put(content: bytearray, position: int, data: bytes | None) -> None:
    if data is None:
        if position < len(content):
            del content[position:]
        else:
            content.extend(bytes(position - len(content)))
        return
    if len(content) < position + len(data):
        content.extend(bytes(position + len(data) - len(content)))
    content[position : position + len(data)] = data


class Medium:
    """The files below a folder, as the calls made them.

    Args:
        root: The folder of the calls' paths.
        start: A folder whose content is there, and safe, from the beginning.
    """

    def __init__(self, root: Path, start: Path | None = None) -> None:
        self._root = str(root)
        self.top = Directory() if start is None else _load(start)

    def play(self, record: Record, rng: random.Random) -> None:
        """Play one call."""
        if record.call is Call.SYNC:
            self._sync(self._find(record.path), record.error, rng)
        if record.error:
            return
        match record.call:
            case Call.WRITE:
                self._file(record.path).pending.append((record.offset, record.data))
            case Call.TRUNCATE:
                self._file(record.path).pending.append((record.offset, None))
            case Call.CREATE | Call.MKDIR:
                holder, name = self._holder(record.path)
                holder.change((name, File() if record.call is Call.CREATE else Directory()))
            case Call.UNLINK | Call.RMDIR:
                holder, name = self._holder(record.path)
                holder.change((name, None))
            case Call.RENAME:
                source, old = self._holder(record.path)
                target, new = self._holder(record.other)
                node = source.names[old]
                if source is target:
                    source.change((old, None), (new, node))
                else:
                    target.change((new, node))
                    source.change((old, None))

    def _sync(self, node: Node | None, error: int, rng: random.Random) -> None:
        if isinstance(node, Directory) and not error:
            node.safe, node.pending = dict(node.names), []
        elif isinstance(node, File):
            for position, data in node.pending:
                if not error or rng.random() < 0.3:
                    _put(node.safe, position, data)
                elif data is None or position + len(data) > len(node.safe):
                    # The length is safe even so: the file system's journal is not the disk's bad sector.
                    _put(node.safe, position + len(data or b""), None)
            node.pending = []

    def after_loss(self, loss: Loss, rng: random.Random, folder: Path) -> None:
        """Write what is on the medium after the power went to a new folder.

        Args:
            loss: How much of what was not synced is lost.
            rng: Decides which, where it is some.
            folder: Made here.
        """
        _write(self.top, folder, _chooser(loss, rng), {"all": 0.0, "some": 0.5, "none": 1.0}[loss], rng)

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.top
        for name in self._parts(path):
            if not isinstance(node, Directory):
                return None
            node = node.names.get(name)
        return node

    def _file(self, path: str) -> File:
        node = self._find(path)
        # An unlinked file that is still open: what happens to it, nobody sees.
        return node if isinstance(node, File) else File()

    def _holder(self, path: str) -> tuple[Directory, str]:
        *parents, name = self._parts(path)
        node: Node = self.top
        for part in parents:
            assert isinstance(node, Directory), path
            node = node.names[part]
        assert isinstance(node, Directory), path
        return node, name

    def _parts(self, path: str) -> list[str]:
        return [part for part in path.removeprefix(self._root).split("/") if part]


def _chooser(loss: Loss, rng: random.Random) -> Callable[[int], int]:
    """Return a function from a number of changes to how many of the first are kept."""
    return {"all": lambda n: 0, "none": lambda n: n, "some": lambda n: rng.randint(0, n)}[loss]


def _load(folder: Path) -> Directory:
    names: dict[str, Node] = {}
    for entry in os.scandir(folder):
        names[entry.name] = (
            _load(Path(entry.path)) if entry.is_dir() else File(bytearray(Path(entry.path).read_bytes()))
        )
    return Directory(names, dict(names))


def _write(directory: Directory, folder: Path, kept: Callable[[int], int], share: float, rng: random.Random) -> None:
    folder.mkdir()
    names = dict(directory.safe)
    for changes in directory.pending[: kept(len(directory.pending))]:
        _apply(names, changes)
    for name, node in names.items():
        if isinstance(node, Directory):
            _write(node, folder / name, kept, share, rng)
            continue
        content = bytearray(node.safe)
        for position, data in node.pending:
            if data is None:
                if rng.random() < share:
                    _put(content, position, None)
                continue
            # A sector of the medium is old or new, and never half of each.
            start = 0
            while start < len(data):
                stop = start + SECTOR - (position + start) % SECTOR
                if rng.random() < share:
                    _put(content, position + start, data[start:stop])
                start = stop
        (folder / name).write_bytes(content)
