"""Functions of text, as Polars computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.expression_values import MICROSECONDS, Arg, Compile
from thalweg.columnar.text import parse
from thalweg.core.errors import PlanError
from thalweg.core.schema import TIMESTAMP

Args = Sequence[Arg]
Options = Mapping[str, Any]


def _plain(method: str, *names: str) -> Compile:
    """Return the compilation of a method that Polars has with the same meaning; ``names`` are its options."""

    def compiled(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
        text, *more = (arg.expr for arg in args)
        given = [options[name] for name in names if name in options]
        found: pl.Expr = getattr(text.str, method)(*more, *given)
        return found

    return compiled


def _pattern(method: str, *names: str) -> Compile:
    """Return the compilation of a method with a regular expression, which is tried out now."""

    def compiled(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
        given = [options[name] for name in names]
        getattr(pl.Series([""]).str, method)(*given, literal=options["literal"])
        found: pl.Expr = getattr(args[0].expr.str, method)(*given, literal=options["literal"])
        return found

    return compiled


def _length(method: str) -> Compile:
    def compiled(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
        found: pl.Expr = getattr(args[0].expr.str, method)()
        return found.cast(pl.Int64)

    return compiled


def _extract(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    pattern, group = options["pattern"], options["group_index"]
    groups = pl.Series([""]).str.extract_groups(pattern).struct.fields
    if group > len(groups):
        raise PlanError(
            f'.str.extract("{pattern}", {group}): the pattern has {len(groups)} groups; a group is written in '
            "brackets, and 0 is the whole match"
        )
    return args[0].expr.str.extract(pattern, group)


def _to_datetime(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    (text,) = args
    if options["format"] is None:
        read = _read_strictly if options["strict"] else _read
        return text.expr.map_batches(read, return_dtype=MICROSECONDS, is_elementwise=True)

    def parsed(values: Any, strict: bool) -> Any:  # a series or an expression, which have the same methods
        return values.str.to_datetime(options["format"], time_unit="us", strict=strict, exact=True)

    parsed(pl.Series(["2001-02-03"]), strict=False)
    found: pl.Expr = parsed(text.expr, options["strict"])
    return found if "%z" in options["format"] else found.dt.replace_time_zone("UTC")


def _read(texts: pl.Series) -> pl.Series:
    moments, _ = parse(texts.to_arrow().cast(pa.string()), TIMESTAMP)
    return pl.Series(texts.name, moments, dtype=MICROSECONDS)


def _read_strictly(texts: pl.Series) -> pl.Series:
    moments = _read(texts)
    if moments.null_count() > texts.null_count():
        bad = texts.filter(moments.is_null() & texts.is_not_null())
        raise ValueError(f'the text "{bad[0]}" is not an ISO 8601 time')
    return moments


def _to_date(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    pl.Series(["2001-02-03"]).str.to_date(options["format"], strict=False)
    return args[0].expr.str.to_date(options["format"], strict=options["strict"])


def _to_integer(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.str.to_integer(base=options["base"], strict=options["strict"])


def _json_path(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    pl.Series(["{}"]).str.json_path_match(options["json_path"])
    return args[0].expr.str.json_path_match(options["json_path"])


COMPILED: Final[Mapping[str, Compile]] = MappingProxyType(
    {
        "str.starts_with": _plain("starts_with"),
        "str.ends_with": _plain("ends_with"),
        "str.contains": _pattern("contains", "pattern"),
        "str.to_lowercase": _plain("to_lowercase"),
        "str.to_uppercase": _plain("to_uppercase"),
        "str.strip_chars": _plain("strip_chars", "characters"),
        "str.strip_chars_start": _plain("strip_chars_start", "characters"),
        "str.strip_chars_end": _plain("strip_chars_end", "characters"),
        "str.strip_prefix": _plain("strip_prefix"),
        "str.strip_suffix": _plain("strip_suffix"),
        "str.replace": _pattern("replace", "pattern", "value"),
        "str.replace_all": _pattern("replace_all", "pattern", "value"),
        "str.slice": _plain("slice", "offset", "length"),
        "str.head": _plain("head", "n"),
        "str.tail": _plain("tail", "n"),
        "str.len_chars": _length("len_chars"),
        "str.len_bytes": _length("len_bytes"),
        "str.split": _plain("split", "by"),
        "str.extract": _extract,
        "str.to_datetime": _to_datetime,
        "str.to_date": _to_date,
        "str.to_integer": _to_integer,
        "str.zfill": _plain("zfill", "length"),
        "str.json_path_match": _json_path,
    }
)
