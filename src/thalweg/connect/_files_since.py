"""Where files are read from a time on: those that were last changed before it count as read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from thalweg.connect._files_found import Found
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json

_PIECE_BYTES = 1 << 20


def position_after(found: Sequence[Found], time_us: int) -> Json:
    """Return the position after the files that were last changed before a time.

    A file keeps one time, that of its last change: one that was changed later is read whole. One that was not may grow
    if it is text, and what it grows by is read.

    Units: Microseconds since 1970.

    Raises:
        SourceError: A file cannot be looked at.
    """
    done: list[Json] = []
    for file in found:
        try:
            status = os.stat(file.path)
            if status.st_mtime_ns // 1_000 < time_us:
                size, line, is_open = _end(file.path) if file.grows else (status.st_size, 1, False)
                done.append([file.name, size, line, is_open])
        except OSError as error:
            raise SourceError(f"{file.path} cannot be looked at: {error.strerror or error}") from error
    return {"done": done}


def _end(path: str) -> tuple[int, int, bool]:
    """Return a text's size, its number of lines and one, and whether the last line lacks its newline."""
    size, lines, last = 0, 1, b"\n"
    with open(path, "rb") as file:
        for piece in iter(partial(file.read, _PIECE_BYTES), b""):
            size, lines, last = size + len(piece), lines + piece.count(b"\n"), piece[-1:]
    return size, lines, last != b"\n"
