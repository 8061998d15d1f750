"""Steps that depend on the order of rows, made from what a program says and checked: dedupe, top_k, process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pyarrow as pa

from thalweg.core.duration import duration_us
from thalweg.core.errors import PlanError, short, user_place
from thalweg.core.schema import Field, Schema, schema_of
from thalweg.core.state_class import StateClass
from thalweg.plan import nodes as n
from thalweg.plan.build import check_names, function_schema, row_expr
from thalweg.plan.build_joins import is_ordered, key_names, needs_time
from thalweg.plan.expr import Expr, infer, show
from thalweg.plan.windows import Duration


def dedupe_node(node: n.Node, by: str | Sequence[str], within: Duration | None) -> n.Dedupe:
    """Return the node that keeps the first of equal rows.

    Raises:
        PlanError: A column is missing, the duration cannot be, or rows have no time to be near in.
    """
    keys = key_names(node.schema, by, "dedupe")
    within_us = None if within is None else duration_us(within, "within")
    if within_us is not None:
        needs_time(node, f".dedupe(within={within!r}): the stream")
        if within_us <= 0:
            raise PlanError(f".dedupe(within={within!r}): a duration longer than nothing is wanted")
    if node.changing:
        raise PlanError(".dedupe: the stream is a changing table; rows that stay are wanted here")
    return n.Dedupe(
        input=node,
        keys=keys,
        within_us=within_us,
        schema=node.schema,
        changing=within_us is None,
        timed=within_us is not None,
        place=user_place(),
    )


def top_k_node(
    node: n.Node,
    rows: int,
    by: object,
    reverse: bool | Sequence[bool],
    per: str | Sequence[str] | None,
) -> n.TopK:
    """Return the node that keeps the first rows of an order.

    Raises:
        PlanError: ``rows`` is not positive, a column is missing or has no order, or ``reverse`` does not fit ``by``.
    """
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise PlanError(f".top_k({rows!r}): a positive number of rows is wanted")
    order: list[Expr] = []
    for value in by if isinstance(by, (list, tuple)) else [by]:
        expr = row_expr(node, value, "top_k")
        if not is_ordered(kind := infer(expr, node.schema).type):
            raise PlanError(f".top_k(by={show(expr)}): values of {kind} have no order")
        order.append(expr)
    if not order:
        raise PlanError(".top_k(by=[]): what rows are ordered by is wanted")
    flags = (reverse,) * len(order) if isinstance(reverse, bool) else tuple(reverse)
    if len(flags) != len(order) or not all(isinstance(flag, bool) for flag in flags):
        raise PlanError(f".top_k(reverse={short(reverse)}): one truth value for all is wanted, or {len(order)}")
    keys = () if per is None else key_names(node.schema, per, "top_k")
    closes = n.closing_column(node)
    closes = closes if closes in keys else None
    if "rank" in node.schema:
        raise PlanError('.top_k adds the column "rank", and there is one already; rename it before')
    schema = Schema((*node.schema.fields, Field("rank", pa.int64(), False)))
    return n.TopK(
        input=node,
        rows=rows,
        by=tuple(order),
        reverse=flags,
        per=keys,
        closes=closes,
        schema=schema,
        changing=closes is None,
        timed=closes is not None,
        place=user_place(),
    )


def process_node(
    node: n.Node,
    function: n.UserFunction,
    key: str | Sequence[str],
    state: type,
    schema: object,
    on_timer: n.UserFunction | None,
    ttl: Duration | None,
    by_batch: bool,
    order: n.Order,
) -> n.Process:
    """Return the node of a function with a state per key.

    Raises:
        PlanError: The function is none, the state's class has fields without defaults or of types that cannot be kept,
            or the rows have no time.
    """
    if not callable(function):
        raise PlanError(f".process({short(function)}): a function is wanted")
    if on_timer is not None and not callable(on_timer):
        raise PlanError(f".process(on_timer={short(on_timer)}): a function is wanted")
    if on_timer is not None and by_batch:
        raise PlanError(".process(by_batch=True, on_timer=…): a function that takes batches sets no timers")
    if order not in get_args(n.Order):
        raise PlanError(f'.process(order={order!r}): allowed are "time" and "arrival"')
    if node.changing:
        raise PlanError(".process: the stream is a changing table; rows that stay are wanted here")
    if order == "time" or ttl is not None or on_timer is not None:
        needs_time(node, ".process: the stream")
    keys = key_names(node.schema, key, "process")
    if not isinstance(state, type):
        raise PlanError(f".process(state={short(state)}): a class with annotated fields is wanted")
    state_schema = schema_of(state) if by_batch else None
    for name in state_schema.names if state_schema is not None else ():
        if name in keys:
            raise PlanError(
                f'.process(by_batch=True): the table of states would have two columns "{name}": a key and a field of '
                f"{state.__name__}; rename one"
            )
    ttl_us = None if ttl is None else duration_us(ttl, "ttl")
    if ttl_us is not None and ttl_us <= 0:
        raise PlanError(f".process(ttl={ttl!r}): a duration longer than nothing is wanted, or None")
    found = function_schema(function, schema, "process", many=True)
    check_names(found.names, "process")
    return n.Process(
        input=node,
        function=function,
        on_timer=on_timer,
        keys=keys,
        state=StateClass(state),
        state_schema=state_schema,
        ttl_us=ttl_us,
        by_batch=by_batch,
        order=order,
        schema=found,
        changing=False,
        # Who gives a table does not say which rows its rows come from; rows as they arrive may be older than windows
        # that have closed.
        timed=node.timed and not by_batch and order == "time",
        place=user_place(),
    )
