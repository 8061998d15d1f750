"""CSV text to rows of fields, one by one: slow, and the definition of what the fast reader may accept.

RFC 4180: fields are separated by commas, rows by newlines; a field that starts with a quote ends
with one, and holds commas, newlines and doubled quotes. A quote inside another field is a character
like any other. A field with nothing in it is null; ``""`` is empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from thalweg.columnar.decoded import LONGEST_ROW_BYTES

_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')
_PLAIN = re.compile(rb"[^,\r\n]*+")
_ROW_END = re.compile(rb"\r?\n|\Z")
# One message for all: which of them it is can hang on what follows, and that may not be here yet.
_FAULT = "not valid CSV: a quote is not closed before the next comma or row, or a carriage return is not quoted"


class CsvRow(NamedTuple):
    """A row of a text.

    Attributes:
        start: Where it starts.
        stop: Where the next one starts.
        fields: The fields, unquoted; None for one with nothing in it.
        fault: Why it is no row; the first line is at fault then, and the next one starts a row.
    """

    start: int
    stop: int
    fields: tuple[bytes | None, ...]
    fault: str | None = None


def scan(text: bytes, *, final: bool) -> Iterator[CsvRow]:
    """Yield the rows of a text; without ``final`` only those that end with a newline.

    Lines with nothing on them are given as rows of one null field.
    """
    at = 0
    while at < len(text):
        row = _row(text, at, final)
        if row is None:
            return
        yield row
        at = row.stop


def _row(text: bytes, start: int, final: bool) -> CsvRow | None:
    fields: list[bytes | None] = []
    at = start
    while True:
        if text.startswith(b'"', at):
            match = _QUOTED.match(text, at)
            if match is None:
                too_long = len(text) - start >= LONGEST_ROW_BYTES
                return _faulty(text, start, final) if final or too_long else None
            fields.append(match[1].replace(b'""', b'"'))
        else:
            match = _PLAIN.match(text, at)
            assert match is not None, "the pattern matches nothing too"
            fields.append(match[0] or None)
        at = match.end()
        if text.startswith(b",", at):
            at += 1
            continue
        end = _ROW_END.match(text, at)
        if end is not None and (final or end.end() > at):
            if end.end() - start > LONGEST_ROW_BYTES:
                return _faulty(text, start, final)
            return CsvRow(start, end.end(), tuple(fields))
        if at >= len(text) - 1 and not final:  # a quote or carriage return whose next character is not here yet
            return None
        return _faulty(text, start, final)


def _faulty(text: bytes, start: int, final: bool) -> CsvRow | None:
    newline = text.find(b"\n", start)
    if newline < 0 and not final:
        return None
    return CsvRow(start, len(text) if newline < 0 else newline + 1, (), _FAULT)
