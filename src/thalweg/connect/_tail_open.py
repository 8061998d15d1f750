"""One file of a log while it is read: what was read of it is noted, as it may be cut at any time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from thalweg.columnar.decode_log_lines import LogLinesDecoder
from thalweg.columnar.inflate import InflatedFile
from thalweg.columnar.runs import Cursor, Run, Runs
from thalweg.connect._tail_files import BEFORE_BYTES, HEAD_BYTES, PlainFile, Print, print_of


class OpenLog:
    """One file of a log while it is read.

    State:
        The bytes of the run that is being read, and the file's first ones.

    Args:
        path: Its name.
        packed: The suffix of its compression, where it has one.
        cursor: Where reading starts.
        decoder: What decodes its lines.
        place: Gives the place of a line number, for people.

    Raises:
        FileNotFoundError: There is no such file.

    Attributes:
        status: Its status when it was read last.
        at: How many of its bytes were read.
        seen: The greatest size that was seen.
        limit: Up to where it is read; None: to its end.
        is_cut: Whether it was found to be truncated or written anew since.
        is_copy: Whether it is a copy, to which nothing is added any more.
        print: That of what was read up to the last run's end.
    """

    def __init__(
        self, path: str, packed: str | None, cursor: Cursor, decoder: LogLinesDecoder, place: Callable[[int], str]
    ) -> None:
        self.path, self.packed = path, packed
        self._plain = PlainFile(path) if packed is None else None
        self._packed = None if packed is None else InflatedFile(path, packed)
        self._decoder = decoder
        self.status = os.stat(path) if self._plain is None else self._plain.status()
        self.at = cursor.offset
        self.seen = self.at
        self.limit: int | None = None
        self.is_cut = False
        self.is_copy = False
        # What was read is noted: the file may be cut at any time, and its print has to be that of its copy.
        self._first = self._opening(cursor.offset)
        self._parts = deque([self._ending(cursor.offset)])
        self.print = self.print_at(cursor.offset)
        decoder.changed(self.status.st_mtime_ns // 1_000)
        self._runs = Runs(decoder, self._read, place, cursor)

    @property
    def cursor(self) -> Cursor:
        """Where the next run starts."""
        return self._runs.cursor

    @property
    def waits(self) -> bool:
        """Whether a part of a line was read."""
        return self._runs.waiting_bytes > 0

    def next(self, *, hold: bool) -> Run | None:
        """Return the next run of rows; ``hold`` waits for the last line's end."""
        run = self._runs.next(hold=hold and self._packed is None)
        if run is not None:
            offset = self._runs.cursor.offset
            self.print = self.print_at(offset)
            while len(self._parts) > 1 and self._parts[1][0] <= offset - BEFORE_BYTES:
                self._parts.popleft()
        return run

    def print_at(self, offset: int) -> Print:
        """Return the print of what was read up to an offset, from the last run's start on."""
        if self._plain is None:
            return print_of(self._first, b"", self.status, 0)
        start = max(offset - BEFORE_BYTES, 0)
        before = b"".join(part[max(start - at, 0) : max(offset - at, 0)] for at, part in self._parts)
        return print_of(self._first[:offset], before, self.status, offset)

    def holds(self, wanted: Print) -> bool:
        """Return whether the file has a print, or is a copy of one that has."""
        if self._plain is not None:
            return wanted.matches(self._plain)
        file = InflatedFile(self.path, self.packed)
        try:
            return wanted.matches(file)
        finally:
            file.close()

    def unchanged(self, status: os.stat_result) -> bool:
        """Return whether there is nothing new in the file, which has this status; notes whether it was cut."""
        if self.is_cut or status.st_size > self.at:
            return False
        if status.st_size < self.at or (status.st_mtime_ns != self.status.st_mtime_ns and not self._is_same()):
            self.is_cut = True
            return False
        self.status = status
        return True

    def close(self) -> None:
        """Give the file back."""
        for file in (self._plain, self._packed):
            if file is not None:
                file.close()

    def _read(self, size: int) -> bytes:
        if self._plain is None:
            assert self._packed is not None, "a file is one or the other"
            part = self._packed.read(size)
        elif self.is_cut:
            return b""
        else:
            self._plain.seek(self.at)
            part = self._plain.read(size if self.limit is None else max(min(size, self.limit - self.at), 0))
            # Read first and then compared: what was read counts only if it stood behind what was read before.
            status = self._plain.status()
            if status.st_size < self.at + len(part) or (part and not self._is_same()):
                self.is_cut = True
                return b""
            self.status = status
            self._decoder.changed(status.st_mtime_ns // 1_000)
            self.seen = max(self.seen, status.st_size)
            if part:
                self._parts.append((self.at, part))
            self._first += part[: max(HEAD_BYTES - len(self._first), 0)]
        self.at += len(part)
        return part

    def _is_same(self) -> bool:
        return self._plain is None or self.print.matches(self._plain)

    def _opening(self, offset: int) -> bytes:
        """Return the first bytes, as far as they count as read."""
        if self._plain is not None:
            return self._plain.read(min(offset, HEAD_BYTES))
        # What is compressed is not gone back in: its first bytes are all of its print.
        head = InflatedFile(self.path, self.packed)
        try:
            return head.read(HEAD_BYTES)
        finally:
            head.close()

    def _ending(self, offset: int) -> tuple[int, bytes]:
        """Return the bytes before an offset, and where they start; stand behind them."""
        if self._packed is not None:
            self._packed.seek(offset)
            return offset, b""
        assert self._plain is not None, "a file is one or the other"
        start = max(offset - BEFORE_BYTES, 0)
        self._plain.seek(start)
        return start, self._plain.read(offset - start)
