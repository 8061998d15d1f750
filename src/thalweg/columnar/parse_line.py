"""What a parser of log lines is: a function from a column of lines to the columns that stand in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from thalweg.core.schema import Schema, schema_of


@dataclass(frozen=True, slots=True)
class ParsedLines:
    """What stood in lines.

    Attributes:
        columns: By name, one value per line; where a line does not match, anything.
        matched: Whether each line matched; None: all did.
    """

    columns: Mapping[str, pl.Series]
    matched: pl.Series | None


@dataclass(frozen=True, slots=True)
class LineParser:
    """A format of log lines.

    Attributes:
        name: What ``parse=`` calls it.
        columns: Its columns and their types; None where only the reader's schema can say.
        expected: What a line has to look like, for messages.
        parse: Gets lines, the names of the columns that are wanted, and when the file changed last
            (microseconds since 1970), and gives what stands in them.
        keeps_blank: Whether a blank line is a row.
    """

    name: str
    columns: Schema | None
    expected: str
    parse: Callable[[pl.Series, Sequence[str], int], ParsedLines]
    keeps_blank: bool = False


def columns_of(types: Mapping[str, pa.DataType]) -> Schema:
    """Return a schema of columns that may all be null."""
    return schema_of(pa.schema(list(types.items())))


def groups_of(lines: pl.Series, pattern: str) -> dict[str, pl.Series]:
    """Return a pattern's named groups, a column each; null where a line does not match."""
    found = lines.str.extract_groups(pattern)
    return {name: found.struct.field(name) for name in found.struct.fields}


def without_dash(texts: pl.Series) -> pl.Series:
    """Return texts with null for ``-``, which log formats write where there is nothing."""
    return pl.select(pl.when(texts != "-").then(texts)).to_series()


def _whole_lines(lines: pl.Series, _wanted: Sequence[str], _changed_us: int) -> ParsedLines:
    return ParsedLines({"line": lines}, None)


LINES = LineParser("lines", columns_of({"line": pa.string()}), "a line", _whole_lines, keeps_blank=True)
"""Every line as it stands, without its newline; a blank one, too."""
