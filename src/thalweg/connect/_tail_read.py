"""Reading one log as it grows, across its rotations.

A position is JSON::

    {"generation": 3,                          how many files came before under this name
     "file": {…} or null,                      the print of the file that is being read (``_tail_files``)
     "offset": 8388608, "line": 60001,         the byte and line in it where the last run of rows starts,
     "open": false, "skip": 17}                and how many rows of that run were given

The file is held open, so that what is renamed or removed is still read to its end. A file is left when its name
belongs to another one that has something in it, and it has been quiet for a while: other processes may still hold it.
Which file comes next is looked up among the rotated names, as several rotations may have happened since the last look.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thalweg.columnar.decode_log_lines import LogLinesDecoder
from thalweg.columnar.decoded import Decoded
from thalweg.columnar.runs import Cursor
from thalweg.connect._tail_files import Print, Rotated, find, rotated_of, status_of
from thalweg.connect._tail_open import OpenLog
from thalweg.core.clock import Clock
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json, Nothing, Rejected, SourceBatch

STRAGGLERS_S = 0.5
"""How long a file that was rotated must have been quiet before it is left."""

_ACTIVE_PAUSE_S = 0.004
_ACTIVE_S = 1.0
_TRIES = 100
_REMEMBERED = 16


class Surroundings(Protocol):
    """What a reader is told by its source."""

    @property
    def clock(self) -> Clock:
        """What waiting is measured by."""
        ...

    @property
    def bounded(self) -> bool:
        """Whether the run ends at what is there now."""
        ...

    @property
    def complete(self) -> bool:
        """Whether what is there now is declared to be all."""
        ...

    def pause_s(self) -> float:
        """Return how long to wait before the next look at a file that does not grow."""
        ...

    def decoder(self, name: str) -> LogLinesDecoder:
        """Return a decoder of a partition's lines."""
        ...

    def older(self, name: str) -> Sequence[Rotated]:
        """Return the rotated files that belong to a partition from its beginning, the oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class _Locate:
    name: str
    rows: Decoded

    def __call__(self, row: int) -> str:
        return f"{self.name}:{self.rows.line(row)}"


class TailReader:
    """Reads the partition of one log."""

    def __init__(self, source: Surroundings, path: str, name: str, position: Json) -> None:
        self._source, self._path, self._name = source, path, name
        self._closed = threading.Event()
        self._decoder = source.decoder(name)
        was: Any = position
        self._was: dict[str, Any] | None = was
        self._generation = int(self._was["generation"]) if self._was else 0
        self._position: Json = position
        self._skip = 0
        self._now: OpenLog | None = None
        self._rows: Decoded | None = None
        self._taken = 0
        self._start = Cursor()
        self._gaps: deque[Rejected] = deque()
        self._past: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._left: tuple[int, float] | None = None
        self._is_over = self._is_drained = False
        self._look_at_s = self._active_until_s = source.clock.monotonic_s()

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        """Return the next rows of the log."""
        clock = self._source.clock
        now_s = clock.monotonic_s()
        until_s = now_s + timeout_s
        while True:
            if now_s >= self._look_at_s or self._gaps or self._left_rows():
                batch = self._next(max_rows)
                if batch is not None:
                    self._look_at_s = now_s
                    self._active_until_s = now_s + _ACTIVE_S
                    return batch
                if self._is_over:
                    return Nothing.EVER
                now_s = clock.monotonic_s()
                self._look_at_s = now_s + (_ACTIVE_PAUSE_S if now_s < self._active_until_s else self._source.pause_s())
            if now_s >= until_s or self._closed.is_set():
                return Nothing.NOW
            clock.wait(self._closed, min(until_s, self._look_at_s) - now_s)
            now_s = clock.monotonic_s()

    def close(self) -> None:
        """Close the file that is being read."""
        self._closed.set()
        if self._now is not None:
            self._now.close()
            self._now = None

    def _next(self, max_rows: int) -> SourceBatch | None:
        while not self._closed.is_set():
            if self._left_rows():
                return self._take(max_rows)
            if self._gaps:
                return self._gap()
            if self._is_over:
                return None
            try:
                if self._now is None:
                    if not self._begin():
                        return None
                    continue
                status = status_of(self._path)
                here = status is not None and self._now.packed is None and self._now.print.is_of(status)
                if here and status is not None and self._was_cut_unread(self._now, status):
                    self._now.is_cut = True
                is_live = not self._source.bounded and self._is_drained
                if here and status is not None and is_live and self._now.unchanged(status):
                    self._left = None
                    return None
                if not self._load(hold=True) and not self._go_on(here, status):
                    return None
            except SourceError:
                raise
            except OSError as error:
                raise SourceError(
                    f"{error.filename or self._path} cannot be read: {error.strerror or error}; let this process read "
                    "it, or name other files"
                ) from error
        return None

    # ------------------------------------------------------------------ rows

    def _left_rows(self) -> int:
        return 0 if self._rows is None else len(self._rows) - self._taken

    def _load(self, *, hold: bool) -> bool:
        """Decode the next run; return whether there was one."""
        now = self._now
        assert now is not None, "a file is open"
        run = now.next(hold=hold)
        self._is_drained = run is None
        if run is None:
            return False
        self._rows, self._start = run.rows, run.start
        self._taken = min(self._skip, len(run.rows))
        self._skip -= self._taken
        return True

    def _take(self, count: int) -> SourceBatch:
        assert self._rows is not None, "asked for only when rows are left"
        assert self._now is not None, "a file is left only when its rows are taken"
        start = self._taken
        self._taken = min(start + count, len(self._rows))
        rows = self._rows.cut(start, self._taken)
        # The print is that of the run's end also within it: the more bytes it covers, the surer it is.
        at, skip = (self._start, self._taken) if self._left_rows() else (self._now.cursor, 0)
        self._position = self._place(at, self._now.print, skip)
        return SourceBatch(rows.data, self._position, _Locate(self._name, rows), rows.rejected)

    def _place(self, cursor: Cursor, print_: Print, skip: int) -> Json:
        return {
            "generation": self._generation,
            "file": print_.json(),
            "offset": cursor.offset,
            "line": cursor.line,
            "open": cursor.open,
            "skip": skip,
        }

    def _gap(self) -> SourceBatch:
        rejected = self._gaps.popleft()
        none = self._decoder.decode(b"", 2, self._line)
        self._position = {"generation": self._generation, "file": None}
        if self._now is not None:
            self._position = self._place(self._now.cursor, self._now.print, 0)
        return SourceBatch(none.data, self._position, self._line, (rejected,))

    def _line(self, line: int) -> str:
        return f"{self._name}:{line}"

    def _miss(self, offset: int, what: str) -> None:
        place = f"{self._name}: byte {offset}"
        reason = f"{what}; what it had after byte {offset}, if anything, was not read and is lost"
        self._gaps.append(Rejected(place, reason, b""))

    # ------------------------------------------------------------------ from file to file

    def _begin(self) -> bool:
        """Open the first file of this run; return whether anything can be read or told."""
        was, self._was = self._was, None
        if was is not None and was["file"] is not None:
            known = Print.of_json(was["file"])
            found = find(known, self._path)
            if found is not None:
                cursor = Cursor(was["offset"], was["line"], was["open"])
                if self._open(*found, cursor, holds=known):
                    self._skip = was["skip"]
                    return True
                self._was = was  # renamed meanwhile
                return False
            newer = self._newer(None, known.changed_ns)
            if not self._open_first(newer) and newer:
                self._was = was  # renamed meanwhile
                return False
            self._generation += 1
            if was["offset"] or was["skip"]:
                self._miss(was["offset"], f"{self._path}: the file that was being read is gone, and no copy is there")
            return self._now is not None or bool(self._gaps)
        return self._open_first(self._source.older(self._name) if was is None else ())

    def _open_first(self, older: Sequence[Rotated]) -> bool:
        if older:
            # Where the name belongs to another file by now, the next look finds the right one.
            return self._open(older[0].path, older[0].packed, Cursor(), older[0].status)
        if self._open(self._path, None, Cursor()):
            return True
        self._is_over = self._source.bounded
        return False

    def _open(
        self,
        path: str,
        packed: str | None,
        cursor: Cursor,
        known: os.stat_result | None = None,
        holds: Print | None = None,
    ) -> bool:
        """Open a file and make it the one that is read; return whether it is there, and is the one that is wanted.

        Args:
            path: Its name.
            packed: The suffix of its compression, where it has one.
            cursor: Where reading starts.
            known: The status that it has.
            holds: The print that it has, or is a copy of.
        """
        try:
            opened = OpenLog(path, packed, cursor, self._decoder, self._line)
        except FileNotFoundError:
            return False
        # Looked at after it was opened: until then the name may have gone to another file, or the file been cut.
        if (known is not None and not opened.print.is_of(known)) or (holds is not None and not opened.holds(holds)):
            opened.close()
            return False
        self._adopt(opened)
        return True

    def _adopt(self, opened: OpenLog) -> None:
        if self._source.bounded and opened.path == self._path:
            opened.limit = opened.status.st_size
        if self._now is not None:
            self._past.append((self._now.print.device, self._now.print.inode))
            self._now.close()
        self._now, self._rows, self._left, self._is_drained = opened, None, None, False

    def _go_on(self, here: bool, status: os.stat_result | None) -> bool:
        """Decide at the end of a file; return whether there is more to read, or to tell."""
        now = self._now
        assert now is not None, "a file is open"
        if now.is_cut:
            return self._after_cut(now)
        if now.limit is not None and (here or now.at >= now.limit):
            return self._end()
        if here:
            return False
        files = rotated_of(self._path)
        own = next((number for number, file in enumerate(files) if now.print.is_of(file.status)), None)
        newer = self._newer(own, now.status.st_mtime_ns)
        if not newer and (status is None or not status.st_size):
            return self._end() if self._source.bounded else False
        if not newer and not self._is_quiet(now):
            return False
        if now.waits and self._load(hold=False):
            return True
        return self._follow(now, own is None and bool(newer))

    def _end(self) -> bool:
        """End at what is there; return whether a last line was still to be given."""
        now = self._now
        assert now is not None, "a file is open"
        if self._source.complete and now.waits and self._load(hold=False):
            return True
        self._is_over = True
        return False

    def _is_quiet(self, now: OpenLog) -> bool:
        if self._source.bounded or now.is_copy or now.packed is not None:
            return True
        clock = self._source.clock
        if clock.now_us() * 1_000 - now.status.st_mtime_ns > STRAGGLERS_S * 1e9:
            return True
        now_s = clock.monotonic_s()
        if self._left is None or self._left[0] != now.at:
            self._left = (now.at, now_s)
        return now_s - self._left[1] >= STRAGGLERS_S

    def _newer(self, own: int | None, changed_ns: int) -> list[Rotated]:
        """Return the rotated files that came after one of them, or that were changed after a time."""
        files = rotated_of(self._path)
        if own is not None:
            return files[own + 1 :]
        return [
            file
            for file in files
            if file.status.st_mtime_ns >= changed_ns and (file.status.st_dev, file.status.st_ino) not in self._past
        ]

    def _follow(self, now: OpenLog, is_unsure: bool) -> bool:
        """Open the file that comes next; names may be changing just now, so they are looked at before and after."""
        for _ in range(_TRIES):
            before = self._names()
            files = rotated_of(self._path)
            own = next((number for number, file in enumerate(files) if now.print.is_of(file.status)), None)
            newer = self._newer(own, now.status.st_mtime_ns)
            path, packed = (newer[0].path, newer[0].packed) if newer else (self._path, None)
            status = status_of(path)
            if status is None or before != self._names():
                continue
            try:
                opened = OpenLog(path, packed, Cursor(), self._decoder, self._line)
            except FileNotFoundError:
                continue
            if before != self._names() or not opened.print.is_of(status):
                opened.close()
                continue
            self._adopt(opened)
            self._generation += 1
            if is_unsure:
                self._miss(now.at, f"{self._path} was rotated more than once, and the file that was read is gone")
            return True
        return False

    def _names(self) -> list[tuple[str, int]]:
        status = status_of(self._path)
        names = [(file.path, file.status.st_ino) for file in rotated_of(self._path)]
        return [*names, (self._path, 0 if status is None else status.st_ino)]

    def _was_cut_unread(self, now: OpenLog, status: os.stat_result) -> bool:
        """Return whether a file that was empty was filled, copied and truncated since: its copies come first."""
        changed_ns = now.status.st_mtime_ns
        return (
            not now.at and not now.is_cut and status.st_mtime_ns != changed_ns and bool(self._newer(None, changed_ns))
        )

    def _after_cut(self, now: OpenLog) -> bool:
        """Go on after the file that is read was truncated: in its copy, where there is one, else in what it has now."""
        names = self._names()
        # Of all that was read, also of a line that is not whole: a new file may have nothing else yet.
        known = now.print_at(now.at) if now.at else None
        copy = None if known is None else find(known, self._path)
        newer = self._newer(None, now.status.st_mtime_ns)
        if names != self._names():
            return False  # names are changing just now; it is looked at again
        if copy is not None:
            if not self._open(*copy, now.cursor, holds=known):
                return False
            assert self._now is not None, "just opened"
            self._now.is_copy = True
            return True
        if now.waits and self._load(hold=False):
            return True
        if not self._open_first(newer):
            return False
        self._generation += 1
        if now.at and (now.seen > now.at or newer):
            self._miss(now.at, f"{self._path} was truncated, and no copy of what was read is there")
        return True
