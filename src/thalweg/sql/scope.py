"""The names that can be used in a place of a query, and the columns that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from thalweg.core.errors import near
from thalweg.plan import nodes as n
from thalweg.plan.expr import Column, as_expr
from thalweg.sql.query import Query
from thalweg.stream import Stream


@dataclass(frozen=True, slots=True)
class Name:
    """A column that a query can name.

    Attributes:
        table: The name of its table, if it has one.
        name: Its own.
        column: The column of the stream that holds it.
        bare: Whether it can be named without its table, and is one of ``*``.
    """

    table: str | None
    name: str
    column: str
    bare: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Rows that a query reads or makes.

    Attributes:
        stream: The rows.
        names: What their columns are called, in order.
        time: The column that holds the event time, where one does.
    """

    stream: Stream
    names: tuple[Name, ...]
    time: str | None

    @property
    def timed(self) -> bool:
        """Whether the rows have an event time."""
        return self.stream._node.timed

    def called(self, table: str) -> Relation:
        """Return the same rows with a name for the table."""
        names = tuple(Name(table, name.name, name.column) for name in self.names if name.bare)
        return replace(self, names=names)

    def find(self, query: Query, node: exp.Expr, parts: Sequence[exp.Identifier]) -> tuple[Name, int]:
        """Return the column that a dotted name begins with, and how many of its parts that took.

        Raises:
            PlanError: There is none, or several.
        """
        first, *rest = parts
        if rest:
            found = self._matching([n for n in self.names if n.table and matches(n.table, first)], rest[0])
            if found:
                return self._only(query, node, found), 2
        found = self._matching([name for name in self.names if name.bare], first)
        if found:
            return self._only(query, node, found), 1
        tables = dict.fromkeys(name.table for name in self.names if name.table)
        for table in tables:
            if rest and matches(table, first):
                columns = [name.name for name in self.names if name.table == table]
                raise query.wrong(node, f'"{table}" has no column "{rest[0].name}"; {near(rest[0].name, columns)}')
        allowed = list(dict.fromkeys(name.name for name in self.names if name.bare))
        what = f'table or column "{first.name}"' if rest else f'column "{first.name}"'
        raise query.wrong(node, f"there is no {what}; {near(first.name, [*tables, *allowed] if rest else allowed)}")

    def _matching(self, names: Iterable[Name], wanted: exp.Identifier) -> list[Name]:
        found = [name for name in names if matches(name.name, wanted)]
        exact = [name for name in found if name.name == wanted.name]
        return exact or found

    def _only(self, query: Query, node: exp.Expr, found: Sequence[Name]) -> Name:
        if len({name.column for name in found}) > 1:
            choices = " or ".join(f"{name.table}.{name.name}" if name.table else f'"{name.name}"' for name in found)
            raise query.wrong(node, f'the column "{found[0].name}" is ambiguous; write {choices}')
        return found[0]


def matches(name: str, wanted: exp.Identifier) -> bool:
    """Tell whether an identifier means a name: in any case, unless it is quoted."""
    return name == wanted.name or (not wanted.quoted and name.casefold() == wanted.name.casefold())


def unique(wanted: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken, near the one that is wanted."""
    used = set(taken)
    number, name = 1, wanted
    while name in used:
        name = f"{wanted}_{number}"
        number += 1
    return name


def relation_of(stream: Stream) -> Relation:
    """Return a stream's rows, named as its columns are."""
    names = tuple(Name(None, name, name) for name in stream.schema.names)
    return Relation(stream, names, time_column(stream._node))


def time_column(node: n.Node) -> str | None:
    """Return the column that still holds the rows' event time; None if none does for sure."""
    match node:
        case n.Read(time=Column(name=name), time_unit=None):
            return name
        case n.Filter() | n.Dedupe(within_us=int()):
            return time_column(node.input)
        case n.Project():
            inner = time_column(node.input)
            plain = (name for name, expr in node.columns if isinstance(expr, Column) and expr.name == inner)
            return None if inner is None else next(plain, None)
        case n.Union():
            found = {time_column(stream) for stream in node.streams}
            return found.pop() if len(found) == 1 else None
        case _:
            return None


def projected(relation: Relation, columns: Sequence[tuple[str, object]], table: str | None = None) -> Relation:
    """Return a relation's rows with a new set of columns, unless it has just these already."""
    pairs = [(name, as_expr(value, column=True)) for name, value in columns]
    plain = [expr.name if isinstance(expr, Column) else None for _, expr in pairs]
    stream = relation.stream
    if not (plain == [name for name, _ in pairs] and tuple(plain) == stream.schema.names):
        stream = stream.select(
            *(
                expr.alias(name) if expr_name != name else expr
                for (name, expr), expr_name in zip(pairs, plain, strict=True)
            )
        )
    held = (
        name for (name, _), source in zip(pairs, plain, strict=True) if source is not None and source == relation.time
    )
    names = tuple(Name(table, name, name) for name, _ in pairs)
    return Relation(stream, names, next(held, None))
