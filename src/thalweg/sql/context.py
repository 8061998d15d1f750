"""A place in a query where expressions stand: what they can name, and how they become the plan's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as t
from sqlglot import exp

from thalweg.core.errors import near
from thalweg.core.schema import Schema
from thalweg.plan.expr import Alias, Call, Column, Expr, Literal, infer_type, lit, resolve
from thalweg.sql.query import Query, shown
from thalweg.sql.scope import Relation, matches

Handler: TypeAlias = "Callable[[Context, exp.Expr], Expr]"
Functions: TypeAlias = "Mapping[str, Callable[[Context, exp.Expr, list[exp.Expr]], Expr]]"


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Turns expressions of a query into the plan's, over the rows of a relation.

    Attributes:
        query: The query.
        relation: The rows.
        handlers: What to do with each kind of expression.
        functions: What to do with functions that the parser knows by name only.
        schema: The columns of the rows, and of the window that is grouped by.
        aliases: Expressions with a name in the SELECT list, by the name in lower case.
        aliases_first: Whether such a name goes before a column's.
        bounds: The columns that hold the bounds of the window that is grouped by, by their names.
        rank: The window expression that numbers rows, and the column that holds the number.
        held: Columns that hold what a part of the query gives, by that part's identity.
        only: The condition of FILTER around an aggregate.
    """

    query: Query
    relation: Relation
    handlers: Mapping[type[exp.Expr], Handler]
    functions: Functions
    schema: Schema
    aliases: Mapping[str, exp.Expr] = field(default_factory=dict)
    aliases_first: bool = False
    bounds: Mapping[str, str] = field(default_factory=dict)
    rank: tuple[exp.Expr, str] | None = None
    held: Mapping[int, str] = field(default_factory=dict)
    only: Expr | None = None

    def value(self, node: exp.Expr) -> Expr:
        """Return the plan's expression for one of the query.

        Raises:
            PlanError: It names an unknown column, has a wrong type, or is not supported.
        """
        if (column := self.held.get(id(node))) is not None:
            return Column(column)
        handler = self.handlers.get(type(node))
        if handler is None:
            raise self.query.unsupported(node, f"{shown(node)} is not supported; the SQL reference lists what is")
        with self.query.at(node):
            found = handler(self, node)
            self.type_of(found)
            return found

    def type_of(self, expr: Expr) -> pa.DataType:
        """Return the type of an expression's values.

        Raises:
            PlanError: An argument in it has a wrong type.
        """
        match expr:
            case Column(name):
                return self.schema[name].type
            case Literal():
                return expr.type
            case Alias(inner, _):
                return self.type_of(inner)
            case Call():
                return resolve(expr, tuple(self.type_of(arg) for arg in expr.args)).result
            case _:
                return infer_type(expr, self.schema).type

    def nullable(self, expr: Expr) -> bool:
        """Tell whether an expression over rows can be null."""
        return infer_type(expr, self.schema).nullable

    def of_rows(self) -> Context:
        """Return the place within an aggregate: there a row's own columns are meant."""
        return replace(self, bounds={}, aliases={}, only=None)

    def named(self, node: exp.Expr, parts: list[exp.Identifier]) -> Expr:
        """Return the value of a dotted name: a column, a field of one, the bound of a window, or an alias."""
        first = parts[0]
        if len(parts) == 1:
            for bound, held in self.bounds.items():
                if matches(bound, first):
                    return Column(held)
        alias = self.aliases.get(first.name.casefold()) if len(parts) == 1 else None
        if alias is not None and (self.aliases_first or not self._is_column(first)):
            without = {name: other for name, other in self.aliases.items() if name != first.name.casefold()}
            return replace(self, aliases=without).value(alias)
        column, taken = self.relation.find(self.query, node, parts)
        found: Expr = Column(column.column)
        for part in parts[taken:]:
            found = self.field(node, found, part.name, exact=bool(part.quoted))
        return found

    def field(self, node: exp.Expr, struct: Expr, name: str, *, exact: bool) -> Expr:
        """Return a field of a struct."""
        kind = self.type_of(struct)
        if not t.is_struct(kind):
            raise self.query.wrong(node, f'"{name}" would be a field of a struct; {shown(node)} begins with {kind}')
        names = [part.name for part in kind]
        wanted = exp.to_identifier(name, quoted=exact)
        found = [part for part in names if part == name] or [part for part in names if matches(part, wanted)]
        if not found:
            raise self.query.wrong(node, f'there is no field "{name}"; {near(name, names)}')
        return struct.struct.field(found[0])

    def text(self, node: exp.Expr | None, what: str) -> str:
        """Return a constant text."""
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        raise self.query.unsupported(node or exp.Null(), f"{what} is a constant text here, such as 'a'")

    def whole(self, node: exp.Expr | None, what: str) -> int:
        """Return a constant whole number."""
        sign = 1
        inner = node
        if isinstance(inner, exp.Neg):
            inner, sign = inner.this, -1
        if isinstance(inner, exp.Literal) and not inner.is_string and str(inner.this).isdigit():
            return sign * int(inner.this)
        raise self.query.unsupported(node or exp.Null(), f"{what} is a constant whole number here, such as 2")

    def pair(self, left: exp.Expr, right: exp.Expr) -> tuple[Expr, Expr]:
        """Return two values that are compared: a text beside a time is read as a time."""
        a, b = self.value(left), self.value(right)
        return self.as_time(left, a, self.type_of(b)), self.as_time(right, b, self.type_of(a))

    def as_time(self, node: exp.Expr, value: Expr, beside: pa.DataType) -> Expr:
        """Return a constant text as the time that it says, where a time stands beside it."""
        if isinstance(value, Literal) and isinstance(value.value, str):
            if t.is_timestamp(beside):
                return lit(self.instant(node, value.value))
            if t.is_date32(beside):
                return lit(self.day(node, value.value))
        return value

    def instant(self, node: exp.Expr, text: str) -> dt.datetime:
        """Return the time that a text says."""
        try:
            return dt.datetime.fromisoformat(text)
        except ValueError:
            raise self.query.wrong(node, f"'{text}' is no time; write it as '2026-01-31 12:00:00'") from None

    def day(self, node: exp.Expr, text: str) -> dt.date:
        """Return the date that a text says."""
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            raise self.query.wrong(node, f"'{text}' is no date; write it as '2026-01-31'") from None

    def _is_column(self, wanted: exp.Identifier) -> bool:
        return any(name.bare and matches(name.name, wanted) for name in self.relation.names)
