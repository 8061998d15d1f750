"""What can be said of NDJSON lines without reading them: whether a fast reader may be let at them.

Bytes of a long text are looked at as a column of numbers, which is ten times as fast as searching for them; for a
short one that column costs more to set up than the search.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from thalweg.columnar.decoded import is_utf8
from thalweg.columnar.json_rows import DEEPEST

_NEWLINE, _OPEN = 0x0A, 0x7B  # \n {
_SQUARE_TO_CURLY = 0x20  # the bit that tells "[" from "{"
_SPACE = b" \t\r\n"
_SHORT_BYTES = 128 * 2**10


def objects_in_order(lines: bytes) -> int | None:
    """Return the number of lines if each starts and ends as an object and none needs a closer look, else None.

    A ``}`` and a ``{`` around a newline can only stand between two values of the top level: inside a
    list or an object there is a comma, and no text has a bare newline. So no value reaches into a
    second line, and a reader that finds as many values as lines has found one on each.

    Args:
        lines: Text that ends with a newline.
    """
    if not lines.startswith(b"{") or not lines.endswith(b"}\n") or not is_utf8(lines):
        return None
    if len(lines) <= _SHORT_BYTES:
        return _few_in_order(lines)
    codes = pl.Series(pl.from_arrow(pa.Array.from_buffers(pa.uint8(), len(lines), [None, pa.py_buffer(lines)])))
    newlines = codes == _NEWLINE
    count = int(newlines.sum())
    if _occurrences(codes, b"}\n{") != count - 1:
        return None
    if _occurrences(codes, b"NaN") or _occurrences(codes, b"Inf"):
        return None
    if int(((codes | _SQUARE_TO_CURLY) == _OPEN).sum()) - count >= DEEPEST:
        longest = newlines.arg_true().diff().max()
        # A list or an object takes two characters at least.
        is_short = isinstance(longest, int) and longest <= 2 * DEEPEST and lines.index(b"\n") <= 2 * DEEPEST
        if not is_short and any(_openings(line) > DEEPEST for line in lines.split(b"\n")):
            return None
    return count


def _few_in_order(lines: bytes) -> int | None:
    split = lines.split(b"\n")
    count = len(split) - 1
    if lines.count(b"}\n{") != count - 1 or b"NaN" in lines or b"Inf" in lines:
        return None
    if _openings(lines) - count >= DEEPEST and any(_openings(line) > DEEPEST for line in split):
        return None
    return count


def is_object(line: bytes) -> bool:
    """Return whether a line starts and ends as an object and needs no closer look."""
    return (
        line.startswith(b"{")
        and line.endswith(b"}")
        and _openings(line) <= DEEPEST
        and b"NaN" not in line  # some readers take it for a number
        and b"Inf" not in line
        and is_utf8(line)
    )


def bare(line: bytes) -> bytes:
    """Return a line without the space around it, as JSON knows space."""
    return line.strip(_SPACE)


def _occurrences(codes: pl.Series, word: bytes) -> int:
    """Return how often three characters stand in a row."""
    count = codes.len() - 2
    found = (codes.head(count) == word[0]) & (codes.slice(1, count) == word[1]) & (codes.tail(count) == word[2])
    return int(found.sum())


def _openings(line: bytes) -> int:
    return line.count(b"{") + line.count(b"[")
