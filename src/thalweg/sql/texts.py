"""Functions of text and lists in SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow.types as t
from sqlglot import exp

from thalweg.plan.expr import Expr, coalesce, concat_str, lit, when
from thalweg.sql.context import Context, Functions, Handler
from thalweg.sql.query import shown


def _one(make: Callable[[Expr], Expr]) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        return make(c.value(node.this))

    return handle


def _length(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    return value.list.len() if t.is_list(c.type_of(value)) else value.str.len_chars()


def _part(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    start = c.whole(node.args.get("start"), "the start")
    given = node.args.get("length")
    length = None if given is None else c.whole(given, "the length")
    if length is not None and length < 0:
        raise c.query.unsupported(node, f"{shown(node)}: the length is 0 or more")
    if start > 0:
        return value.str.slice(start - 1, length)
    if start == 0:  # the place before the first character counts as one, as in DuckDB
        return value.str.slice(0, None if length is None else max(0, length - 1))
    return value.str.slice(start, length)


def _trimmed(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    characters = " " if node.expression is None else c.text(node.expression, "what is trimmed")
    match str(node.args.get("position") or "BOTH").upper():
        case "LEADING":
            return value.str.strip_chars_start(characters)
        case "TRAILING":
            return value.str.strip_chars_end(characters)
        case _:
            return value.str.strip_chars(characters)


def _replaced(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    pattern = c.text(node.expression, "what is replaced")
    if pattern == "":
        return value
    by = c.text(node.args.get("replacement"), "what it is replaced by")
    return value.str.replace_all(pattern, by, literal=True)


def _concatenated(c: Context, node: exp.Expr) -> Expr:
    return concat_str(*(c.value(part) for part in node.expressions), ignore_nulls=True)


def _concatenated_with(c: Context, node: exp.Expr) -> Expr:
    separator, *parts = node.expressions
    return concat_str(
        *(c.value(part) for part in parts), separator=c.text(separator, "the separator"), ignore_nulls=True
    )


def _split(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.split(c.text(node.expression, "the separator"))


def _split_part(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    index = c.whole(node.args["part_index"], "the number of the part")
    parts = value.str.split(c.text(node.args["delimiter"], "the separator"))
    found = parts.list.get(index - 1 if index > 0 else index) if index else parts.list.first()
    return when(value.is_not_null()).then(coalesce(found, lit("")))


def _like(c: Context, node: exp.Expr) -> Expr:
    pattern = c.text(node.expression, "the pattern of LIKE")
    value = c.value(node.this)
    found = _matched(value, pattern, ignore_case=isinstance(node, exp.ILike))
    return ~found if node.args.get("negate") else found


def _matched(value: Expr, pattern: str, *, ignore_case: bool) -> Expr:
    inner = pattern.strip("%")
    if not ignore_case and "%" not in inner and "_" not in inner:
        starts, ends = not pattern.startswith("%"), not pattern.endswith("%")
        if starts and ends:
            return value == inner
        if starts:
            return value.str.starts_with(inner)
        if ends:
            return value.str.ends_with(inner)
        return value.str.contains(inner, literal=True)
    marks = {"%": ".*", "_": "."}
    written = "".join(marks.get(letter) or re.escape(letter) for letter in pattern)
    return value.str.contains(f"(?s{'i' if ignore_case else ''})^{written}$")


def _found(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    if t.is_list(c.type_of(value)):
        return value.list.contains(c.value(node.expression))
    return value.str.contains(c.text(node.expression, "what is looked for"), literal=True)


def _regexp(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.contains(c.text(node.expression, "the pattern"))


def _extracted(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    group = node.args.get("group")
    index = 0 if group is None else c.whole(group, "the group")
    found = value.str.extract(c.text(node.expression, "the pattern"), index)
    return when(value.is_not_null()).then(coalesce(found, lit("")))


def _begins(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.starts_with(c.value(node.expression))


def _ends(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.ends_with(c.value(node.expression))


def _left(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.head(c.whole(node.expression, "the number of characters"))


def _right(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.tail(c.whole(node.expression, "the number of characters"))


def _bracketed(c: Context, node: exp.Expr) -> Expr:
    (key,) = node.expressions if len(node.expressions) == 1 else (exp.Null(),)
    value = c.value(node.this)
    if isinstance(key, exp.Literal) and key.is_string:
        return c.field(node, value, str(key.this), exact=False)
    if not isinstance(key, (exp.Literal, exp.Neg)):
        raise c.query.unsupported(node, f"{shown(node)}: an index is a constant whole number, from 1, or -1 at the end")
    index = c.whole(key, "an index")  # the parser counts from 0: it took one off
    return value.list.get(index if index >= 0 else index + 1 if index < -1 else lit(None).cast(int))


def _field(c: Context, node: exp.Expr) -> Expr:
    return c.field(node, c.value(node.this), c.text(node.expression, "the field"), exact=False)


def _contains_item(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).list.contains(c.value(node.expression))


def _list_joined(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).list.join(c.text(node.expression, "the separator"))


def _summed(c: Context, node: exp.Expr, args: list[exp.Expr]) -> Expr:
    value = c.value(args[0])
    return when(value.list.max().is_not_null()).then(value.list.sum())  # SQL's sum of nothing is null


TEXTS: Final[Mapping[type[exp.Expr], Handler]] = {
    exp.Lower: _one(lambda a: a.str.to_lowercase()),
    exp.Upper: _one(lambda a: a.str.to_uppercase()),
    exp.Length: _length,
    exp.Substring: _part,
    exp.Trim: _trimmed,
    exp.Replace: _replaced,
    exp.Concat: _concatenated,
    exp.ConcatWs: _concatenated_with,
    exp.Split: _split,
    exp.SplitPart: _split_part,
    exp.Like: _like,
    exp.ILike: _like,
    exp.Contains: _found,
    exp.RegexpLike: _regexp,
    exp.RegexpExtract: _extracted,
    exp.StartsWith: _begins,
    exp.EndsWith: _ends,
    exp.Left: _left,
    exp.Right: _right,
    exp.Bracket: _bracketed,
    exp.StructExtract: _field,
    exp.ArrayContains: _contains_item,
    exp.ArraySize: _one(lambda a: a.list.len()),
    exp.ArrayMin: _one(lambda a: a.list.min()),
    exp.ArrayMax: _one(lambda a: a.list.max()),
    exp.ArrayToString: _list_joined,
}

TEXT_FUNCTIONS: Final[Functions] = {
    "prefix": lambda c, node, args: c.value(args[0]).str.starts_with(c.value(args[1])),
    "suffix": lambda c, node, args: c.value(args[0]).str.ends_with(c.value(args[1])),
    "list_sum": _summed,
    "strlen": lambda c, node, args: c.value(args[0]).str.len_bytes(),
    "isfinite": lambda c, node, args: c.value(args[0]).is_finite(),
}
