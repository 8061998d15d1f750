"""The SELECT list: what a query gives, and what it is called."""

from __future__ import annotations

from typing import TypeAlias

from sqlglot import exp

from thalweg.core.errors import near
from thalweg.sql.query import Query, parts_of, shown
from thalweg.sql.scope import Relation, matches, unique

Outputs: TypeAlias = list[tuple[str, exp.Expr]]


def aliases_of(select: exp.Select) -> dict[str, exp.Expr]:
    """Return the expressions with a name in a SELECT list, by the name in lower case."""
    return {item.alias.casefold(): item.this for item in select.expressions if isinstance(item, exp.Alias)}


def outputs_of(query: Query, relation: Relation, select: exp.Select) -> Outputs:
    """Return what SELECT gives: stars written out, each with its name.

    Raises:
        PlanError: Two have one name, or a table or column is not there.
    """
    made: Outputs = []
    for item in select.expressions:
        star = item if isinstance(item, exp.Star) else item.this if isinstance(item, exp.Column) else None
        if isinstance(star, exp.Star):
            table = item.args.get("table") if isinstance(item, exp.Column) else None
            made += _star(query, relation, star, table, [name for name, _ in made])
        elif isinstance(item, exp.Alias):
            made.append((item.alias, item.this))
        else:
            made.append((_default_name(query, relation, item), item))
    for position, (name, node) in enumerate(made):
        if name.startswith("__") or name == "_weight":
            raise query.wrong(node, f'"{name}" is a name that Thalweg keeps for itself; give another with AS')
        if name in [other for other, _ in made[:position]]:
            raise query.wrong(node, f'two columns would have the name "{name}"; give one another with AS')
    return made


def _star(query: Query, relation: Relation, star: exp.Star, table: exp.Identifier | None, before: list[str]) -> Outputs:
    if star.args.get("replace") or star.args.get("rename"):
        raise query.unsupported(star, "* REPLACE and * RENAME are not supported; name the columns")
    left_out = [part.this if isinstance(part, exp.Column) else part for part in star.args.get("except_") or []]
    if table is None:
        names = [name for name in relation.names if name.bare]
    else:
        names = [name for name in relation.names if name.table and matches(name.table, table)]
        if not names:
            tables = dict.fromkeys(name.table for name in relation.names if name.table)
            raise query.wrong(table, f'there is no table "{table.name}"; {near(table.name, tables)}')
    for part in left_out:
        if not any(matches(name.name, part) for name in names):
            raise query.wrong(
                part, f'* EXCLUDE: there is no column "{part.name}"; {near(part.name, [n.name for n in names])}'
            )
    made: Outputs = []
    for name in names:
        if any(matches(name.name, part) for part in left_out):
            continue
        column = exp.column(exp.to_identifier(name.name, quoted=True), table=exp.to_identifier(name.table, quoted=True))
        column.parent = star
        made.append((unique(name.name, [*before, *(other for other, _ in made)]), column))
    return made


def _default_name(query: Query, relation: Relation, node: exp.Expr) -> str:
    """Return the name of an expression that was given none: its column's or field's, else what it is written as."""
    parts = parts_of(node)
    if not parts:
        return str(node.expression.name) if isinstance(node, exp.Dot) else shown(node).lower()
    first = parts[0]
    if len(parts) > 1 or any(name.bare and matches(name.name, first) for name in relation.names):
        name, taken = relation.find(query, node, parts)
        return name.name if taken == len(parts) else parts[-1].name
    return first.name.lower() if first.name.lower() in ("window_start", "window_end") else first.name
