"""The sink that prints rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import msgspec
import pyarrow as pa

from thalweg.core.errors import PlanError, SinkError
from thalweg.core.ports import WriteRequest

Format = Literal["ndjson", "table"]
_FORMATS = ("ndjson", "table")
_SHOWN_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Stdout:
    """Describes a sink that prints rows to the standard output."""

    format: Format | None = None

    @property
    def name(self) -> str:
        """``stdout``."""
        return "stdout"

    @property
    def changes(self) -> Literal["passed on"]:
        """Rows of a changing stream are printed with their sign."""
        return "passed on"

    @property
    def target(self) -> None:
        """The standard output is no path or address."""
        return None

    def beside(self, version: str) -> Stdout:
        """Return the same: what is printed replaces nothing."""
        return self

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"stdout({self.format or ''})"

    def open(self, request: WriteRequest) -> _StdoutWriter:
        """Start to print.

        Raises:
            SinkError: A changing stream has a column ``op``, the name that the sign is printed under.
        """
        names = [name for name in request.schema.names if not (request.changing and name == "_weight")]
        if request.changing and "op" in names:
            raise SinkError('stdout() prints the sign of a changing row as "op", and the rows have an "op"; rename it')
        shown = self.format or ("table" if sys.stdout.isatty() else "ndjson")
        lines = _TableLines(["op", *names] if request.changing else names) if shown == "table" else _JsonLines()
        return _StdoutWriter(sys.stdout, lines, request.changing)


class _StdoutWriter:
    def __init__(self, out: TextIO, lines: _JsonLines | _TableLines, changing: bool) -> None:
        self._out = out
        self._lines = lines
        self._changing = changing

    def write(self, rows: pa.Table) -> None:
        dicts = _signed(rows) if self._changing else rows.to_pylist()
        try:
            self._out.writelines(f"{line}\n" for line in self._lines.of(dicts))
            self._out.flush()
        except BrokenPipeError as error:
            # Not its cause: other connections may come back, a reader that went away does not.
            raise SinkError(f"the standard output cannot be written: {error}") from None
        except (OSError, ValueError) as error:  # ValueError: the stream is closed, or cannot hold a character
            raise SinkError(f"the standard output cannot be written: {error}") from error

    def flush(self) -> None:
        """What was printed cannot be taken back, so it was shown at once."""

    def close(self) -> None:
        """The stream belongs to the process."""


def _signed(rows: pa.Table) -> list[dict[str, Any]]:
    """Return a changing stream's rows with their sign in front, one line for each time that a row counts."""
    signed = []
    for row in rows.to_pylist():
        weight = row.pop("_weight")
        signed += [{"op": "+" if weight > 0 else "-", **row}] * abs(weight)
    return signed


class _JsonLines:
    def of(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        for row in rows:
            yield msgspec.json.encode(row).decode()


class _TableLines:
    """Lines up values under their columns' names; the names are printed again where a column grows wider."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._widths: list[int] = []

    def of(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        cells = [[_cell(row[name]) for name in self._names] for row in rows]
        if not cells:
            return
        needed = [max(map(len, column)) for column in zip(self._names, *cells, strict=True)]
        widths = [max(pair) for pair in zip(needed, self._widths or needed, strict=True)]
        if widths != self._widths:
            self._widths = widths
            yield self._line(self._names, [False] * len(widths))
            yield "  ".join("─" * width for width in widths)
        for row, shown in zip(rows, cells, strict=True):
            yield self._line(shown, [isinstance(row[name], (int, float)) for name in self._names])

    def _line(self, cells: list[str], right: list[bool]) -> str:
        parts = zip(cells, self._widths, right, strict=True)
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in parts).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
    # One row is one line, and control characters are not for the terminal to obey.
    shown = "".join(char if char.isprintable() else "·" for char in text)
    return shown if len(shown) <= _SHOWN_WIDTH else shown[: _SHOWN_WIDTH - 1] + "…"


def stdout(format: Format | None = None) -> Stdout:
    """Print rows to the standard output.

    Shape: ``ndjson`` prints one JSON object per line (NaN and infinities, which JSON lacks, as null; bytes in base 64);
    ``table`` lines up the columns and shortens what is longer than 40 characters. A row of a changing stream has
    ``op`` first: ``+`` for added, ``-`` for withdrawn.

    Order and delivery: printed as soon as a step is done. A run that starts again after a crash prints the rows since
    its last checkpoint again.

    Args:
        format: ``"ndjson"`` or ``"table"``; by default ``table`` at a terminal and ``ndjson`` elsewhere.

    Raises:
        PlanError: There is no such format.

    Example:
        >>> stdout("ndjson").describe()
        'stdout(ndjson)'
    """
    if format is not None and format not in _FORMATS:
        raise PlanError(f"{format!r} is no format of stdout(); allowed: {', '.join(_FORMATS)}")
    return Stdout(format)
