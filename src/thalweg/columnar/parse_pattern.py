"""Lines by a regular expression of the user's: each named group is a column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import polars as pl
import pyarrow as pa

from thalweg.columnar.parse_line import LineParser, ParsedLines, columns_of, groups_of
from thalweg.core.errors import PlanError

_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}


def parser_of(pattern: re.Pattern[str]) -> LineParser:
    r"""Return a parser whose columns are the pattern's named groups; the whole line has to match.

    Raises:
        PlanError: It has no named group, or uses what only Python's expressions have.

    Example:
        >>> parser_of(re.compile(r"(?P<level>\w+) (?P<message>.*)")).columns.names
        ('level', 'message')
    """
    names = list(pattern.groupindex)
    if not names:
        raise PlanError(
            f"parse={pattern.pattern!r} has no named group, and so no column; write (?P<level>\\w+) for a column level"
        )
    flags = "".join(letter for flag, letter in _FLAGS.items() if pattern.flags & flag)
    if pattern.flags & re.ASCII:
        raise PlanError(
            f"parse={pattern.pattern!r}: re.ASCII cannot be kept; write [0-9] for \\d and [A-Za-z0-9_] for \\w"
        )
    # The newline keeps a comment of a verbose expression from taking the end along.
    end = "\n" if pattern.flags & re.VERBOSE else ""
    whole = rf"\A(?{flags}:{pattern.pattern}{end})\z" if flags else rf"\A(?:{pattern.pattern})\z"
    try:
        pl.Series([""]).str.extract_groups(whole)
    except pl.exceptions.ComputeError as error:
        raise PlanError(
            f"parse={pattern.pattern!r} cannot be matched in a time bounded by the line's length: look-around and "
            f"back-references are not allowed ({' '.join(str(error).split())[:200]})"
        ) from error
    columns = columns_of(dict.fromkeys(names, pa.string()))
    return LineParser("pattern", columns, f"the pattern {pattern.pattern}", partial(_parse, whole, tuple(names)))


def _parse(
    pattern: str, names: tuple[str, ...], lines: pl.Series, _wanted: Sequence[str], _changed_us: int
) -> ParsedLines:
    found = groups_of(lines, pattern)
    groups = {name: found[name] for name in names}
    empty = pl.select(pl.all_horizontal([group.is_null() for group in groups.values()])).to_series()
    if not empty.any():
        return ParsedLines(groups, None)
    # Groups that may all be missing from a line that matches: only the pattern as a whole can tell.
    matched = ~empty | lines.str.contains(pattern)
    return ParsedLines(groups, None if matched.all() else matched)
