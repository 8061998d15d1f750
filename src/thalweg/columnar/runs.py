"""A text of any size, read as runs of rows: some MiB at a time, each ending where a row ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import polars as pl
import pyarrow as pa

from thalweg.columnar.decoded import LONGEST_ROW_BYTES, Decoded
from thalweg.core.ports import Rejected, SourceBatch

RUN_BYTES = 8 << 20
"""How much text is decoded at once."""

_LEAST_READ_BYTES = 1 << 20
_KEPT_BYTES = 64 << 10  # of a row that is too long
_NEWLINE = 0x0A


class DamagedTextError(Exception):
    """A compressed text that cannot be inflated any further."""


class TextDecoder(Protocol):
    """Decodes runs of rows of one text format to one schema."""

    def whole(self, text: bytes, *, final: bool) -> int:
        """Return how many bytes of a text are whole rows; with ``final`` all of them."""
        ...

    def decode(self, text: bytes, first_line: int, place: Callable[[int], str], /) -> Decoded:
        """Decode whole rows."""
        ...


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a text where a run of rows starts.

    Attributes:
        offset: The bytes before it.
        line: The number of the line that it is in.
        open: Whether that line was read already, when the text ended in it without a newline.
    """

    offset: int = 0
    line: int = 1
    open: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Rows, where they start, and where the next ones do; None: nowhere, as the text is damaged."""

    rows: Decoded
    start: Cursor
    end: Cursor | None


class Runs:
    """Cuts what it reads into runs of whole rows.

    A row of more than ``LONGEST_ROW_BYTES`` is rejected without being held, and so is what stands after
    a place where the text cannot be inflated. A line in which the text once ended was a row then; what is
    added to it later is rejected.

    State:
        The text of one run, or of one row if that is longer.

    Args:
        decoder: What decodes the rows.
        read: Gives the next bytes, at most so many; none at the end, for now. Raises ``DamagedTextError``.
        place: Gives the place of a line number, for people.
        cursor: Where ``read`` starts.
    """

    def __init__(
        self, decoder: TextDecoder, read: Callable[[int], bytes], place: Callable[[int], str], cursor: Cursor
    ) -> None:
        self._decoder = decoder
        self._read = read
        self._place = place
        self._cursor = cursor
        self._buffer = b""
        self._damage: str | None = None
        self._is_over = False

    @property
    def cursor(self) -> Cursor:
        """Where the next run starts."""
        return self._cursor

    @property
    def waiting_bytes(self) -> int:
        """How much was read of a row that is not whole yet."""
        return len(self._buffer)

    def next(self, *, hold: bool = False) -> Run | None:
        """Return the next run; None if there is no whole row.

        Args:
            hold: Whether a last line without a newline waits for it; else the end of the text ends it.
        """
        while not self._is_over:
            more = self._more()
            self._buffer += more
            is_last = not more and not hold and self._damage is None
            if self._buffer:
                run = self._rest_of_line(is_last) if self._cursor.open else self._whole_rows(is_last)
                if run is not None:
                    return run
            if not more:
                return None if self._damage is None else self._damaged(self._damage)
        return None

    def _more(self) -> bytes:
        if self._damage is not None:
            return b""
        try:
            return self._read(max(RUN_BYTES - len(self._buffer), _LEAST_READ_BYTES))
        except DamagedTextError as error:
            self._damage = str(error)
            return b""

    def _whole_rows(self, is_last: bool) -> Run | None:
        if self._is_too_long():
            return self._without_line()
        whole = self._decoder.whole(self._buffer, final=is_last)
        if not whole:
            return None
        text = self._buffer[:whole]
        self._buffer = self._buffer[whole:]
        rows = self._decoder.decode(text, self._cursor.line, self._place)
        return self._run(rows, whole, _newlines(text), is_open=not text.endswith(b"\n"))

    def _rest_of_line(self, is_last: bool) -> Run | None:
        newline = self._buffer.find(b"\n")
        if newline < 0 and self._is_too_long():
            return self._without_line()
        if newline < 0 and not is_last:
            return None
        rest, self._buffer = self._buffer[: newline + 1 or None], self._buffer[newline + 1 or len(self._buffer) :]
        reason = "the rest of a line: the file ended in it when it was read, and it was taken for whole"
        kept = rest.rstrip(b"\r\n")
        rows = self._rejected(reason, kept) if kept else self._decoder.decode(b"", self._cursor.line, self._place)
        return self._run(rows, len(rest), newline >= 0, is_open=newline < 0)

    def _is_too_long(self) -> bool:
        return len(self._buffer) > LONGEST_ROW_BYTES and self._buffer.find(b"\n", 0, LONGEST_ROW_BYTES) < 0

    def _without_line(self) -> Run:
        """Pass over a line that is too long, up to its newline."""
        reason = f"longer than {LONGEST_ROW_BYTES >> 20} MiB; only its first {_KEPT_BYTES >> 10} KiB are kept"
        rows = self._rejected(reason, self._buffer[:_KEPT_BYTES])
        passed = 0
        part = self._buffer
        while part and (newline := part.find(b"\n")) < 0:
            passed += len(part)
            self._buffer = b""
            part = self._more()
        if not part:
            return self._run(rows, passed, 0, is_open=True)
        self._buffer = part[newline + 1 :]
        return self._run(rows, passed + newline + 1, 1, is_open=False)

    def _damaged(self, damage: str) -> Run:
        self._is_over = True
        reason = f"the rest cannot be inflated ({damage}); the rows before it were read"
        return Run(self._rejected(reason, self._buffer), self._cursor, None)

    def _rejected(self, reason: str, raw: bytes) -> Decoded:
        line = self._cursor.line
        none = self._decoder.decode(b"", line, self._place).data
        return Decoded(none, (line,), (Rejected(self._place(line), reason, raw),), (0,))

    def _run(self, rows: Decoded, size: int, lines: int, *, is_open: bool) -> Run:
        start = self._cursor
        self._cursor = Cursor(start.offset + size, start.line + lines, is_open)
        return Run(rows, start, self._cursor)


def _newlines(text: bytes) -> int:
    codes = pa.Array.from_buffers(pa.uint8(), len(text), [None, pa.py_buffer(text)])
    return int((pl.Series(pl.from_arrow(codes)) == _NEWLINE).sum())


def one_by_one(decoder: TextDecoder, rows: Sequence[bytes], place: Callable[[int], str]) -> SourceBatch:
    """Decode rows that do not stand in one text, each by itself: none can spoil another.

    Args:
        decoder: Of their format.
        rows: Their bytes.
        place: Gives the place of a row's index, for people.
    """
    batches, places = [], []
    rejected: list[Rejected] = []
    for number, row in enumerate(rows):
        decoded = decoder.decode(row + b"\n", 2, partial(_always, place(number)))
        batches.append(decoded.data)
        places += [place(number)] * decoded.data.num_rows
        rejected += decoded.rejected
    return SourceBatch(pa.concat_batches(batches), None, places.__getitem__, rejected)


def _always(place: str, line: int) -> str:
    return place
