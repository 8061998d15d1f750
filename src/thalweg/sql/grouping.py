"""GROUP BY, with windows, and what SELECT can say of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow.types as t
from sqlglot import exp

from thalweg.core.schema import Field, Schema
from thalweg.plan import expr as e
from thalweg.plan import nodes as n
from thalweg.plan.build import BOUNDS
from thalweg.plan.expr import Column, Expr
from thalweg.plan.windows import AnyWindow, cumulating, hopping, session, tumbling
from thalweg.sql.context import Context
from thalweg.sql.query import shown
from thalweg.sql.scope import Name, Relation, unique
from thalweg.sql.values import WINDOWS

# Until rows are grouped the bounds have names that no column has.
_BOUNDS: Final[Mapping[str, str]] = {field.name: f"the window's {field.name}" for field in BOUNDS}
_DURATIONS: Final[Mapping[str, int]] = {"tumble": 1, "hop": 2, "cumulate": 2, "session": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Rows that are grouped, on their way to an aggregate.

    Attributes:
        context: Where the expressions of SELECT, HAVING and ORDER BY stand: over the rows, and the window's bounds.
        keys: Name, expression and part of the query of each key.
        window: The window and what it is written as, if there is one.
    """

    context: Context
    keys: tuple[tuple[str, Expr, exp.Expr], ...]
    window: tuple[n.Windows, exp.Expr] | None


def grouped(c: Context, select: exp.Select, outputs: Sequence[tuple[str, exp.Expr]], taken: Sequence[str]) -> Grouped:
    """Return what a query groups by.

    Args:
        c: Where its expressions stand.
        select: The query.
        outputs: Name and expression of what SELECT gives.
        taken: Names that a later step adds.

    Raises:
        PlanError: A key is wrong, there are two windows, or a form of grouping is not supported.
    """
    group = select.args.get("group")
    if group is not None:
        for form in ("grouping_sets", "rollup", "cube", "totals", "all"):
            if group.args.get(form):
                name = form.replace("_", " ").upper()
                raise c.query.unsupported(group, f"GROUP BY {name} is not supported; name the columns to group by")
    keys: list[tuple[str, Expr, exp.Expr]] = []
    window: tuple[n.Windows, exp.Expr] | None = None
    for given in [] if group is None else group.expressions:
        part = _ordinal(c, given, outputs)
        if isinstance(part, exp.Anonymous) and str(part.this).lower() in WINDOWS:
            if window is not None:
                raise c.query.wrong(part, "there are two windows in GROUP BY; one is wanted")
            window = (_windows(c, part), part)
            continue
        value = c.value(part)
        names = [name for name, node in outputs if node == part or _is_alias(name, part)]
        wanted = names[0] if names else value.name if isinstance(value, Column) else shown(part)
        if not any(e.show(value) == e.show(other) for _, other, _ in keys):
            keys.append((unique(wanted, [*_BOUNDS, *taken, *(name for name, _, _ in keys)]), value, part))
    if window is not None:
        fields = (Field(_BOUNDS[field.name], field.type, False) for field in BOUNDS)
        c = replace(c, bounds=_BOUNDS, schema=Schema((*c.schema.fields, *fields)))
    return Grouped(c, tuple(keys), window)


def aggregated(
    grouping: Grouped, outputs: Sequence[tuple[str, exp.Expr]], others: Sequence[exp.Expr], taken: Sequence[str]
) -> tuple[Relation, Mapping[str, Expr]]:
    """Return the groups as rows, and what stands there for the parts of an expression, by their text.

    Args:
        grouping: What rows are grouped by.
        outputs: Name and expression of what SELECT gives.
        others: The conditions and orders that may hold aggregates, too.
        taken: Names that a later step adds.

    Raises:
        PlanError: An expression is neither a key nor an aggregate.
    """
    c = grouping.context
    by = {e.show(value): e.col(name) for name, value, _ in grouping.keys}
    if grouping.window is not None:
        by |= {e.show(e.col(column)): e.col(name) for name, column in _BOUNDS.items()}
    names = [*(name for name, _, _ in grouping.keys), *(_BOUNDS if grouping.window else ()), *taken]
    found: dict[str, Expr] = {}
    for name, node in outputs:
        value = over_groups(_plain(c.value(node)), by)
        if e.is_aggregate(value) and not e.columns(_without_aggregates(value)) and e.show(value) not in by:
            name = unique(name, [*names, *found])
            by[e.show(value)] = e.col(name)
            found[name] = value
    for node in (*(node for _, node in outputs), *others):
        for aggregate in e.aggregates(over_groups(_plain(c.value(node)), by)):
            name = unique(e.show(aggregate), [*names, *found])
            by[e.show(aggregate)] = e.col(name)
            found[name] = aggregate
    if not found:
        found[unique("rows", names)] = e.count()
    for node in (*(node for _, node in outputs), *others):
        _check(c, node, by)
    stream = c.relation.stream
    grouped_by = stream.group_by(**{name: value for name, value, _ in grouping.keys})
    if grouping.window is None:
        made = grouped_by.agg(**found)
    else:
        windows, node = grouping.window
        with c.query.at(node):
            made = grouped_by.window(windows.window, windows.emit, windows.labelled_by).agg(**found)
    return Relation(made, tuple(Name(None, name, name) for name in made.schema.names), None), by


def over_groups(value: Expr, by: Mapping[str, Expr]) -> Expr:
    """Return an expression with what stands for its parts among the groups; within aggregates a row's columns stay."""
    if (found := by.get(e.show(value))) is not None:
        return found
    match value:
        case e.Alias():
            return replace(value, expr=over_groups(value.expr, by))
        case e.Call():
            return replace(value, args=tuple(over_groups(arg, by) for arg in value.args))
        case _:
            return value


def _plain(value: Expr) -> Expr:
    return value.expr if isinstance(value, e.Alias) else value


def _without_aggregates(value: Expr) -> Expr:
    return e.replace(value, {e.show(aggregate): e.lit(1) for aggregate in e.aggregates(value)})


def _check(c: Context, node: exp.Expr, by: Mapping[str, Expr]) -> None:
    """Raise where an expression takes a value of a row, outside aggregates and keys."""
    left = e.columns(over_groups(c.value(node), {text: e.lit(1) for text in by}))
    if left:
        name = sorted(left)[0]
        raise c.query.wrong(
            node,
            f'the column "{name}" is neither in GROUP BY nor in an aggregate; write any_value({name}), or group by it',
        )


def _ordinal(c: Context, node: exp.Expr, outputs: Sequence[tuple[str, exp.Expr]]) -> exp.Expr:
    if isinstance(node, exp.Literal) and not node.is_string:
        number = int(str(node.this)) if str(node.this).isdigit() else 0
        if not 1 <= number <= len(outputs):
            raise c.query.wrong(node, f"GROUP BY {node.this}: the SELECT list has {len(outputs)} columns")
        return outputs[number - 1][1]
    return node


def _is_alias(name: str, node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and not node.table and node.name.casefold() == name.casefold()


def _windows(c: Context, node: exp.Anonymous) -> n.Windows:
    name = str(node.this).lower()
    args = [arg for arg in node.expressions if not isinstance(arg, (exp.Kwarg, exp.PropertyEQ))]
    options = {arg.this.name.lower(): arg.expression for arg in node.expressions if arg not in args}
    emit = c.text(options.pop("emit"), "emit") if "emit" in options else None
    wanted = _DURATIONS[name]
    if options or len(args) not in (wanted, wanted + 1):
        durations = ", ".join(["'1m'", "'10s'"][:wanted])
        raise c.query.wrong(
            node, f"{shown(node)}: write {name}(TIME, {durations}), or without the time; emit => 'on_change' may follow"
        )
    sizes = [c.text(arg, "a duration") for arg in args[-wanted:]]
    changing = c.relation.stream.changing
    with c.query.at(node):
        window = _window(name, sizes)
    time = c.value(args[0]) if len(args) > wanted else None
    if not changing:
        _check_time(c, node, time, args[0])
        time = None
    elif time is None or not t.is_timestamp(c.type_of(time)):
        raise c.query.wrong(
            node,
            f"{shown(node)}: rows of a changing table have no event time; name a column of times: {name}(COLUMN, …)",
        )
    if emit not in (None, "on_close", "on_change"):
        raise c.query.wrong(node, f"emit => '{emit}': allowed are 'on_close' and 'on_change'")
    on_change = emit == "on_change" or (changing and emit is None)
    return n.Windows(window, "on_change" if on_change else "on_close", time)


def _window(name: str, sizes: list[str]) -> AnyWindow:
    match name:
        case "tumble":
            return tumbling(sizes[0])
        case "hop":
            return hopping(sizes[0], every=sizes[1])
        case "cumulate":
            return cumulating(sizes[0], every=sizes[1])
        case _:
            return session(sizes[0])


def _check_time(c: Context, node: exp.Anonymous, time: Expr | None, given: exp.Expr) -> None:
    """Raise where a window is to go by another time than the rows have."""
    relation = c.relation
    if not relation.timed:
        raise c.query.wrong(
            node, 'a window needs event time, and these rows have none; give it with app.read(…, time="COLUMN")'
        )
    if time is None or (isinstance(time, Column) and time.name == relation.time):
        return
    held = next((name.name for name in relation.names if name.column == relation.time), None)
    advice = f'that is the column "{held}"' if held else "which no column holds"
    raise c.query.wrong(
        given,
        f"{shown(given)}: windows go by the event time of the rows, {advice}; leave the argument out: {node.this}('…')",
    )
