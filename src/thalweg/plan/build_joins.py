"""Joins made from what a program says, checked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import get_args

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.duration import duration_us
from thalweg.core.errors import PlanError, short, user_place
from thalweg.core.ports import Source
from thalweg.core.schema import Field, Schema
from thalweg.plan import nodes as n
from thalweg.plan.build import check_names, known
from thalweg.plan.windows import Duration

Within = Duration | tuple[Duration, Duration]


def join_node(left: n.Node, right: n.Node, on: str | Sequence[str], how: n.How, within: Within | None) -> n.Join:
    """Return the node of a join.

    Raises:
        PlanError: A key is missing, or of another type on the other side; ``how`` or ``within`` cannot be.
    """
    if how not in get_args(n.How):
        allowed = ", ".join(f'"{name}"' for name in get_args(n.How))
        raise PlanError(f".join(how={how!r}): allowed are {allowed}")
    keys = key_names(left.schema, on, "join")
    check_keys(left.schema, right.schema, keys, "join")
    bounds = _bounds(left, right, within)
    if bounds is None and (end := n.closing_column(left)) in keys and end == n.closing_column(right):
        bounds = (0, 0)  # rows of one window: they come when it closes, at one time
    renamed = () if how in ("semi", "anti") else beside(left.schema, right.schema, keys, "join")
    changes = left.changing or right.changing or how not in ("inner", "semi")
    return n.Join(
        left=left,
        right=right,
        keys=keys,
        how=how,
        within=bounds,
        renamed=renamed,
        schema=_schema(left.schema, right.schema, keys, how, renamed),
        changing=bounds is None and changes,
        timed=bounds is not None,
        place=user_place(),
    )


def asof_node(left: n.Node, right: n.Node, by: str | Sequence[str]) -> n.JoinAsof:
    """Return the node of a join with a versioned table.

    Raises:
        PlanError: A key is missing, or of another type on the other side; a side is changing or has no event time.
    """
    keys = key_names(left.schema, by, "join_asof")
    check_keys(left.schema, right.schema, keys, "join_asof")
    for node, side in ((left, "the stream"), (right, "the table")):
        needs_time(node, f".join_asof: {side}")
    renamed = beside(left.schema, right.schema, keys, "join_asof")
    return n.JoinAsof(
        left=left,
        right=right,
        keys=keys,
        renamed=renamed,
        schema=_schema(left.schema, right.schema, keys, "left", renamed),
        changing=False,
        timed=True,
        place=user_place(),
    )


def lookup_node(
    node: n.Node, reference: Source, schema: Schema, on: str | Sequence[str], refresh: Duration | None
) -> n.Lookup:
    """Return the node of a look-up in a reference.

    Raises:
        PlanError: A key is missing, or of another type in the reference.
    """
    keys = key_names(node.schema, on, "lookup")
    check_keys(node.schema, schema, keys, "lookup")
    renamed = beside(node.schema, schema, keys, "lookup")
    refresh_us = None if refresh is None else duration_us(refresh, "refresh")
    if refresh_us is not None and refresh_us <= 0:
        raise PlanError(f".lookup(refresh={refresh!r}): a duration longer than nothing is wanted, or None")
    return n.Lookup(
        input=node,
        reference=reference,
        reference_schema=schema,
        keys=keys,
        renamed=renamed,
        refresh_us=refresh_us,
        schema=_schema(node.schema, schema, keys, "left", renamed),
        changing=node.changing,
        timed=node.timed,
        place=user_place(),
    )


def key_names(schema: Schema, names: str | Sequence[str], method: str) -> tuple[str, ...]:
    """Return key columns as given: one name, or several.

    Raises:
        PlanError: There is no such column, or none or one twice is named.
    """
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found or not all(isinstance(name, str) for name in found):
        raise PlanError(f".{method}({short(names)}): the names of one or more columns are wanted")
    for name in found:
        kind = known(schema, name, method).type
        if t.is_nested(kind):
            raise PlanError(f'.{method}: the column "{name}" is {kind}; a key is a plain value')
        if found.count(name) > 1:
            raise PlanError(f'.{method}: the column "{name}" is named twice')
    return found


def check_keys(left: Schema, right: Schema, keys: Sequence[str], method: str) -> None:
    """Raise where key columns are not there, or differ, on the other side.

    Raises:
        PlanError: They are not.
    """
    for name in keys:
        other = known(right, name, f"{method}: the other side").type
        if other != left[name].type:
            raise PlanError(
                f'.{method}: the column "{name}" is {left[name].type} here and {other} on the other side; make them '
                "equal with .cast(…)"
            )


def beside(left: Schema, right: Schema, keys: Sequence[str], method: str) -> tuple[tuple[str, str], ...]:
    """Return the right side's columns but for the keys, and what they are called beside the left side's.

    Raises:
        PlanError: Two columns would have one name.
    """
    renamed = tuple((f.name, f"{f.name}_right" if f.name in left else f.name) for f in right if f.name not in keys)
    names = [*left.names, *(name for _, name in renamed)]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f'.{method}: two columns would have the name "{name}"; rename one before')
    check_names(names, method)
    return renamed


def needs_time(node: n.Node, who: str) -> None:
    """Raise unless rows have an event time and stay.

    Raises:
        PlanError: They have none, or are a changing table.
    """
    if node.changing:
        raise PlanError(f"{who} is a changing table; rows that stay are wanted here")
    if not node.timed:
        raise PlanError(f'{who} has no event time; give it with app.read(…, time="COLUMN", lateness="5s")')


def _bounds(left: n.Node, right: n.Node, within: Within | None) -> tuple[int, int] | None:
    if within is None:
        return None
    for node, side in ((left, "the left stream"), (right, "the right stream")):
        needs_time(node, f".join(within={short(within)}): {side}")
    if isinstance(within, (str, timedelta)):
        bounds = (0, duration_us(within, "within"))
    elif isinstance(within, tuple) and len(within) == 2:
        low, high = (duration_us(value, "within", negative=True) for value in within)
        bounds = (low, high)
    else:
        raise PlanError(f'.join(within={short(within)}): a duration such as "15m" is wanted, or two: ("-5m", "15m")')
    if bounds[0] > bounds[1]:
        raise PlanError(f".join(within={short(within)}): the first bound is greater than the second")
    return bounds


def _schema(left: Schema, right: Schema, keys: Sequence[str], how: n.How, renamed: Sequence[tuple[str, str]]) -> Schema:
    if how in ("semi", "anti"):
        return left
    fields = []
    for field in left:
        if field.name in keys:
            nullable = {
                "inner": False,
                "left": field.nullable,
                "right": right[field.name].nullable,
                "full": field.nullable or right[field.name].nullable,
            }[how]
        else:
            nullable = field.nullable or how in ("right", "full")
        fields.append(Field(field.name, field.type, nullable))
    for name, new in renamed:
        field = right[name]
        fields.append(Field(new, field.type, field.nullable or how in ("left", "full")))
    return Schema(tuple(fields))


def is_ordered(kind: pa.DataType) -> bool:
    """Tell whether values of a type have an order."""
    return not (t.is_nested(kind) or t.is_null(kind))
