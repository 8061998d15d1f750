"""Lines of a log to Arrow: a column of lines, a parser that takes them apart, and the reader's types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.conform import Conformer, convert
from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.decoded import Decoded, is_utf8
from thalweg.columnar.parse_access import COMBINED, COMMON
from thalweg.columnar.parse_line import LINES, LineParser
from thalweg.columnar.parse_logfmt import LOGFMT
from thalweg.columnar.parse_pattern import parser_of
from thalweg.columnar.parse_syslog import SYSLOG
from thalweg.columnar.rules import shown
from thalweg.columnar.text import parse, wanted
from thalweg.core.errors import PlanError, near, short
from thalweg.core.ports import Rejected
from thalweg.core.schema import Schema

LogFormat: TypeAlias = Literal["lines", "common", "combined", "syslog", "ndjson", "logfmt"]
"""The formats that have a name."""

_PARSERS: Final[Mapping[str, LineParser]] = {p.name: p for p in (LINES, COMMON, COMBINED, SYSLOG, LOGFMT)}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_TEXT = pa.scalar(None, pa.string())
_Fault = tuple[str, str | None]


def log_parser(given: object) -> LineParser | None:
    """Return the parser that ``parse=`` names or is; None for NDJSON, which is no matter of single lines.

    Raises:
        PlanError: There is none of the name, or the expression cannot be used.
    """
    if isinstance(given, re.Pattern) and isinstance(given.pattern, str):
        return parser_of(given)
    names = get_args(LogFormat)
    if not isinstance(given, str) or given not in names:
        tip = near(given, names) if isinstance(given, str) else f"there are: {', '.join(names)}"
        raise PlanError(f"parse={short(given)}: {tip}; or give a regular expression with named groups, re.compile(…)")
    return _PARSERS.get(given)


class LogLinesDecoder:
    r"""Decodes runs of log lines to one schema.

    Text of a parser becomes the schema's type as it does in CSV; empty text is null in all columns but those of text
    and bytes. A line is rejected that is not UTF-8, does not match, has a value that its column cannot hold, or breaks
    the schema's rules. Blank lines are no rows, unless each line is a row as it stands.

    Args:
        schema: The columns; those that the parser lacks are null.
        parser: Takes lines apart; None: they are NDJSON.
        constant: Columns of one value each, such as the file's name.

    Raises:
        PlanError: A rule of the schema does not fit its column.

    Example:
        >>> from thalweg.core.schema import Field
        >>> parser = log_parser(re.compile(r"(?P<n>\S+) .*"))
        >>> decoder = LogLinesDecoder(Schema((Field("n", pa.int64()),)), parser)
        >>> done = decoder.decode(b"1 a\nx b\n3 c\n", 1, "x.log:{}".format)
        >>> done.data.to_pydict(), done.rejected[0].place, done.rejected[0].reason
        ({'n': [1, 3]}, 'x.log:2', 'column "n" takes a whole number (int64), this is \'x\'')
    """

    def __init__(self, schema: Schema, parser: LineParser | None, constant: Mapping[str, str] | None = None) -> None:
        self._schema = schema
        self._parser = parser
        self._constant = dict(constant or {})
        parsed = Schema(tuple(field for field in schema if field.name not in self._constant))
        self._parsed = parsed
        self._json = JsonDecoder(parsed) if parser is None else None
        self._conformer = Conformer(parsed)
        self._changed_us = 0

    def changed(self, changed_us: int) -> None:
        """Take note of when the text was changed last, for times that have no year."""
        self._changed_us = changed_us

    def whole(self, text: bytes, *, final: bool) -> int:
        """Return how many bytes of a text are whole lines; with ``final`` all of them."""
        return len(text) if final else text.rfind(b"\n") + 1

    def decode(self, lines: bytes, first_line: int, place: Callable[[int], str]) -> Decoded:
        """Decode whole lines.

        Args:
            lines: The text; the last line may lack its newline.
            first_line: The number of the first line.
            place: Gives the place of a line number, for people.
        """
        if first_line == 1:
            lines = lines.removeprefix(_BYTE_ORDER_MARK)
        if self._json is not None:
            return self._with_constants(self._json.decode(lines, first_line, place))
        assert self._parser is not None, "a decoder has a parser, or is one of NDJSON"
        return self._with_constants(self._decoded(self._parser, lines, first_line, place))

    def _decoded(self, parser: LineParser, text: bytes, first_line: int, place: Callable[[int], str]) -> Decoded:
        faults: dict[int, _Fault] = {}
        lines = _lines(text, faults)
        numbers: Sequence[int] = range(first_line, first_line + lines.len())
        if not parser.keeps_blank:
            kept = lines.str.contains(r"\S") if lines.len() else lines.is_not_null()
            if not kept.all():
                faults = _renumbered(faults, kept)
                lines = lines.filter(kept)
                numbers = (kept.arg_true() + first_line).to_list()
        good, batch = self._parse(parser, lines, faults)
        conformed = self._conformer.conform(batch)
        faults |= {good[bad.row]: (f'column "{bad.column}": {bad.reason}', bad.column) for bad in conformed.bad}
        if not faults:
            return Decoded(conformed.data, numbers)
        raw = text.split(b"\n")
        at = tuple(sorted(faults))
        rejected = tuple(
            Rejected(place(numbers[row]), faults[row][0], _bare(raw[numbers[row] - first_line]), faults[row][1])
            for row in at
        )
        return Decoded(conformed.data, numbers, rejected, at)

    def _parse(
        self, parser: LineParser, lines: pl.Series, faults: dict[int, _Fault]
    ) -> tuple[Sequence[int], pa.RecordBatch]:
        """Return what stands in the lines that are good, and their numbers; name those that are not."""
        parsed = parser.parse(lines, self._parsed.names, self._changed_us)
        if parsed.matched is not None:
            for row in (~parsed.matched.fill_null(False)).arg_true().to_list():
                faults.setdefault(row, (f"not {parser.expected}", None))
        columns = [
            self._converted(field.name, field.type, parsed.columns, lines.len(), faults) for field in self._parsed
        ]
        batch = pa.RecordBatch.from_arrays(columns, names=list(self._parsed.names))
        if not faults:
            return range(lines.len()), batch
        good = [row for row in range(lines.len()) if row not in faults]
        return good, batch.take(pa.array(good, pa.int64()))

    def _converted(
        self, name: str, target: pa.DataType, columns: Mapping[str, pl.Series], count: int, faults: dict[int, _Fault]
    ) -> pa.Array:
        given = columns.get(name)
        if given is None:
            return pa.nulls(count, target)
        values = given.to_arrow(compat_level=pl.CompatLevel.oldest())
        if given.dtype != pl.String:
            values, failed = convert(values, target)
        elif pa.types.is_string(target):
            return values.cast(target)
        else:
            texts = values.cast(pa.string())
            if not pa.types.is_binary(target):
                texts = pc.if_else(pc.fill_null(pc.equal(texts, ""), False), _NO_TEXT, texts)
            values, failed = parse(texts, target)
        for row in [] if failed is None else pc.indices_nonzero(failed).to_pylist():
            reason = f'column "{name}" takes {wanted(target)}, this is {shown(given[row])}'
            faults.setdefault(row, (reason, name))
        return values

    def _with_constants(self, rows: Decoded) -> Decoded:
        if not self._constant:
            return rows
        columns = [
            pa.repeat(pa.scalar(self._constant[name], pa.string()), rows.data.num_rows)
            if name in self._constant
            else rows.data.column(name)
            for name in self._schema.names
        ]
        data = pa.RecordBatch.from_arrays(columns, schema=self._schema.arrow)
        return Decoded(data, rows.lines, rows.rejected, rows.rejected_at)


def _lines(text: bytes, faults: dict[int, _Fault]) -> pl.Series:
    """Return the lines of a text, without their ends; where one is not UTF-8 it is empty, and a fault."""
    if not text:
        return pl.Series([], dtype=pl.String)
    text = text.removesuffix(b"\n")
    if is_utf8(text):
        lines = pl.Series([text.decode()], dtype=pl.String).str.split("\n").explode()
    else:
        decoded = []
        for row, line in enumerate(text.split(b"\n")):
            try:
                decoded.append(line.decode())
            except UnicodeDecodeError as error:
                faults[row] = (f"not UTF-8: byte 0x{line[error.start]:02x} at its place {error.start}", None)
                decoded.append("?")  # not blank, so that it stays a row
        lines = pl.Series(decoded, dtype=pl.String)
    return lines.str.strip_suffix("\r") if b"\r" in text else lines


def _renumbered(faults: dict[int, _Fault], kept: pl.Series) -> dict[int, _Fault]:
    places = kept.cast(pl.UInt32).cum_sum()
    return {int(places[row]) - 1: fault for row, fault in faults.items()}


def _bare(line: bytes) -> bytes:
    return line.removesuffix(b"\r")
