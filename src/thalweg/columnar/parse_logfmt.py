r"""Logfmt: ``level=info msg="all is well" took=1.5 cached``.

The columns are the schema's, by key; a key that the schema lacks is not looked at, and one that the line lacks is null.
A key without ``=`` has the value ``true``. In quotes ``\"``, ``\\``, ``\n``, ``\r`` and ``\t`` are what they are in Go
and JSON; any other escape stays as it stands. A line that has a wanted key twice does not match.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from thalweg.columnar.parse_line import LineParser, ParsedLines

_PAIR = r'[^\s="]+(?:=(?:"(?:[^"\\]|\\.)*"|[^\s"]*))?'
_LINE = rf"^\s*{_PAIR}(?:\s+{_PAIR})*\s*$"
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n", r"\r": "\r", r"\t": "\t"}


def _parse(lines: pl.Series, wanted: Sequence[str], _changed_us: int) -> ParsedLines:
    matched = lines.str.contains(_LINE)
    pairs = (
        pl.select(line=pl.int_range(lines.len(), dtype=pl.UInt32), pair=pl.when(matched).then(lines))
        .with_columns(pl.col("pair").str.extract_all(_PAIR))
        .explode("pair")
        .drop_nulls("pair")
        .with_columns(pl.col("pair").str.splitn("=", 2).struct.rename_fields(["key", "value"]))
        .unnest("pair")
        .filter(pl.col("key").is_in(list(wanted)))
        .with_columns(pl.col("value").fill_null("true"))
    )
    value = pl.col("value")
    quoted = value.str.starts_with('"')
    bare = value.str.strip_prefix('"').str.strip_suffix('"').str.replace_many(_ESCAPES)
    # A value of one quote that is escaped, "\"", is quoted once only: exactly one is taken off each end.
    pairs = pairs.with_columns(pl.when(quoted).then(bare).otherwise(value))
    columns = {}
    for name in wanted:
        of_key = pairs.filter(pl.col("key") == name).select("line", "value")
        numbers = of_key.get_column("line")
        twice = numbers.filter(numbers.is_duplicated())
        if twice.len():
            matched = matched & ~pl.Series(range(lines.len()), dtype=pl.UInt32).is_in(twice.implode())
            of_key = of_key.unique("line", keep="first")
        all_lines = pl.select(line=pl.int_range(lines.len(), dtype=pl.UInt32))
        columns[name] = all_lines.join(of_key, on="line", how="left", maintain_order="left").get_column("value")
    return ParsedLines(columns, None if matched.all() else matched)


LOGFMT = LineParser("logfmt", None, 'logfmt: key=value key="a longer value", each wanted key once at most', _parse)
"""Logfmt."""
