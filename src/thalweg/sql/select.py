"""SELECT: from the tables that a query names to the stream that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlglot import exp

from thalweg.core.errors import near
from thalweg.plan import expr as e
from thalweg.plan.expr import Expr
from thalweg.plan.type_rules import common_type
from thalweg.sql.context import Context
from thalweg.sql.grouping import aggregated, grouped, over_groups
from thalweg.sql.joins import joined
from thalweg.sql.nested import sub_queries
from thalweg.sql.operators import truth
from thalweg.sql.outputs import Outputs, aliases_of, outputs_of
from thalweg.sql.query import Query, shown
from thalweg.sql.ranks import limited, numbered_in, pushed_down, qualified
from thalweg.sql.scope import Relation, matches, projected, relation_of, unique
from thalweg.sql.values import context_of
from thalweg.stream import Stream

_KNOWN: Final = frozenset(
    (
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "qualify",
        "order",
        "limit",
        "offset",
        "distinct",
        "with_",
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What a query can name after FROM.

    Attributes:
        query: The query.
        given: The streams that the program gave names.
        find: Returns the stream that is read from a source of a name, or None.
        readable: The names of those sources.
        made: What WITH has named so far.
    """

    query: Query
    given: Mapping[str, Stream]
    find: Callable[[str], Stream | None]
    readable: Sequence[str]
    made: Mapping[str, Relation]

    def relation(self, node: exp.Expr) -> Relation:
        """Return the rows of a query, or of a part of one.

        Raises:
            PlanError: It has a mistake, or something that is not supported.
        """
        tables = self._with(node)
        inner = node.unnest()
        if inner is not node:
            return tables.relation(inner)
        if isinstance(node, exp.Select):
            return _Selected(tables, node).relation()
        if type(node) is exp.Union:
            return tables._union(node)
        what = "a SELECT is wanted" if not isinstance(node, exp.Query) else "of the set operations there is UNION"
        raise self.query.unsupported(node, f"{what}; this is {type(node).__name__.upper()}")

    def table(self, node: exp.Expr, outer: exp.Select | None = None) -> Relation:
        """Return the rows of what stands after FROM or JOIN."""
        alias = node.args.get("alias")
        if node.args.get("sample") is not None or node.args.get("pivots"):
            raise self.query.unsupported(node, f"{shown(node)}: a table is named, or is a sub-query; nothing else")
        if isinstance(node, exp.Subquery):
            inner = node.this
            if outer is not None and isinstance(inner, exp.Select):
                pushed_down(self.query, inner, outer)
            found = self.relation(inner)
        elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier) and not node.args.get("db"):
            found = self._named(node.this)
        else:
            raise self.query.unsupported(
                node, f"{shown(node)}: FROM takes names of streams and sub-queries; read sources with app.read(…)"
            )
        name = alias.this.name if alias is not None and alias.this is not None else node.name
        found = found.called(name) if name else found
        return self._renamed(node, found, alias.args.get("columns") if alias is not None else None)

    def _named(self, wanted: exp.Identifier) -> Relation:
        for name, relation in self.made.items():
            if matches(name, wanted):
                return relation
        for name, stream in self.given.items():
            if matches(name, wanted):
                return relation_of(stream)
        with self.query.at(wanted):
            found = self.find(wanted.name)
        if found is not None:
            return relation_of(found)
        allowed = dict.fromkeys([*self.made, *self.given, *self.readable])
        raise self.query.wrong(
            wanted,
            f'there is no table "{wanted.name}"; {near(wanted.name, allowed)}; give a stream a name: '
            f"app.sql(…, {wanted.name}=stream)",
        )

    def _renamed(self, node: exp.Expr, relation: Relation, columns: Sequence[exp.Identifier] | None) -> Relation:
        if not columns:
            return relation
        if len(columns) > len(relation.names):
            raise self.query.wrong(
                node, f"{shown(node)} has {len(relation.names)} columns, and {len(columns)} are named"
            )
        new = [column.name for column in columns] + [name.name for name in relation.names[len(columns) :]]
        names = tuple(replace(name, name=other) for name, other in zip(relation.names, new, strict=True))
        return replace(relation, names=names)

    def _with(self, node: exp.Expr) -> Tables:
        clause = node.args.get("with_")
        if clause is None:
            return self
        if clause.args.get("recursive"):
            raise self.query.unsupported(clause, "WITH RECURSIVE is not supported: a plan has no loops")
        made = dict(self.made)
        for part in clause.expressions:
            inner = replace(self, made=made)
            made[part.alias] = self._renamed(part, inner.relation(part.this), part.args["alias"].args.get("columns"))
        return replace(self, made=made)

    def _union(self, node: exp.Union) -> Relation:
        first, second = self.relation(node.left), self.relation(node.right)
        if node.args.get("by_name"):
            raise self.query.unsupported(node.right, "UNION BY NAME is not supported; SELECT the columns in one order")
        if len(first.names) != len(second.names):
            raise self.query.wrong(
                node.right,
                f"UNION ALL of {len(first.names)} columns and {len(second.names)}; SELECT the same ones on both sides",
            )
        names = [name.name for name in first.names]
        kinds = [
            common_type([first.stream.schema[a.column].type, second.stream.schema[b.column].type])
            for a, b in zip(first.names, second.names, strict=True)
        ]
        if None in kinds:
            name = names[kinds.index(None)]
            raise self.query.wrong(
                node.right, f'UNION ALL: the column "{name}" has two types; make them equal with CAST'
            )
        sides = []
        for side in (first, second):
            columns = [
                (
                    new,
                    e.col(name.column)
                    if side.stream.schema[name.column].type == kind
                    else e.col(name.column).cast(kind),
                )
                for new, name, kind in zip(names, side.names, kinds, strict=True)
            ]
            sides.append(projected(side, columns))
        made = relation_of(sides[0].stream.union(sides[1].stream))
        if node.args.get("distinct"):
            made = distinct(made)
        c = context_of(self.query, made)
        return _without_rank(limited(c, node, made, c.value), names)


@dataclass(frozen=True, slots=True, eq=False)
class _Selected:
    """One SELECT."""

    tables: Tables
    select: exp.Select

    @property
    def query(self) -> Query:
        return self.tables.query

    def relation(self) -> Relation:
        """Return its rows."""
        select = self.select
        for name, value in select.args.items():
            if value and name not in _KNOWN:
                at = value if isinstance(value, exp.Expr) else value[0] if isinstance(value, list) else select
                raise self.query.unsupported(at, f"{shown(at)} is not supported here; the SQL reference lists what is")
        relation = self._from()
        outputs = outputs_of(self.query, relation, select)
        c = replace(context_of(self.query, relation), aliases=aliases_of(select))
        relation, c = self._where(relation, c)
        render: Callable[[exp.Expr], Expr] = c.value
        if self._groups():
            relation, render = self._grouped(c, outputs)
        elif select.args.get("having") is not None:
            raise self.query.wrong(select.args["having"], "HAVING needs GROUP BY or an aggregate; use WHERE")
        relation, c = qualified(c, select, relation, render)
        if c.rank is not None:
            render = _numbered(c.rank, render)
        late = select.args.get("distinct") is not None
        if not late:
            relation = limited(c, select, relation, self._ordering(c, render, outputs))
        made = projected(relation, [(name, self._output(render, node)) for name, node in outputs])
        if late:
            if select.args["distinct"].args.get("on") is not None:
                raise self.query.unsupported(
                    select.args["distinct"], "DISTINCT ON is not supported; use QUALIFY row_number() OVER (…) <= 1"
                )
            made = distinct(made)
            over = context_of(self.query, made)
            made = _without_rank(limited(over, select, made, over.value), [name for name, _ in outputs])
        return made

    def _from(self) -> Relation:
        select = self.select
        clause = select.args.get("from_")
        if clause is None:
            raise self.query.unsupported(select, "FROM is missing: rows come from streams")
        joins = select.args.get("joins") or []
        relation = self.tables.table(clause.this, None if joins else select)
        for join in joins:
            relation = joined(self.query, relation, self.tables.table(join.this), join)
        if "rank" in relation.stream.schema and (select.args.get("qualify") or select.args.get("limit")):
            free = unique("rank", relation.stream.schema.names)
            names = tuple(replace(n, column=free) if n.column == "rank" else n for n in relation.names)
            relation = Relation(relation.stream.rename({"rank": free}), names, relation.time)
        return relation

    def _where(self, relation: Relation, c: Context) -> tuple[Relation, Context]:
        where = self.select.args.get("where")
        if where is None:
            return relation, c
        relation, held, conditions = sub_queries(self.query, relation, where.this, self.tables.relation)
        c = replace(c, relation=relation, schema=relation.stream.schema, held=held)
        if conditions:
            predicates = []
            for condition in conditions:
                found = truth(c, condition)
                if e.is_aggregate(found):
                    raise self.query.wrong(condition, "an aggregate is a value per group: use HAVING, or a sub-query")
                predicates.append(found)
            with self.query.at(where):
                relation = replace(relation, stream=relation.stream.filter(*predicates))
        return relation, replace(c, relation=relation, schema=relation.stream.schema)

    def _groups(self) -> bool:
        if self.select.args.get("group") is not None:
            return True
        parts = [*self.select.expressions, self.select.args.get("having"), self.select.args.get("order")]
        return any(_has_aggregate(part) for part in parts if part is not None)

    def _grouped(self, c: Context, outputs: Outputs) -> tuple[Relation, Callable[[exp.Expr], Expr]]:
        select = self.select
        having = select.args.get("having")
        plain = [(name, node) for name, node in outputs if not isinstance(node, exp.Window)]
        taken = ["rank"] if select.args.get("limit") or select.args.get("qualify") else []
        grouping = grouped(c, select, plain, taken)
        others = [] if having is None else [having.this]
        order = select.args.get("order")
        by_alias = replace(grouping.context, aliases_first=True)
        for part in [*(order.expressions if order is not None else []), *_window_parts(select)]:
            inner = part.this if isinstance(part, exp.Ordered) else part
            if not isinstance(inner, exp.Literal):
                others.append(inner)
        relation, by = aggregated(grouping, plain, others, taken)

        def render(node: exp.Expr) -> Expr:
            return over_groups(by_alias.value(node) if _is_name(node) else grouping.context.value(node), by)

        if having is not None:
            condition = over_groups(truth(grouping.context, having.this), by)
            with self.query.at(having):
                relation = replace(relation, stream=relation.stream.filter(condition))
        return relation, render

    def _ordering(self, c: Context, render: Callable[[exp.Expr], Expr], outputs: Outputs) -> Callable[[exp.Expr], Expr]:
        """Return how the parts of ORDER BY are read: a number is a column of SELECT, a name first one of its names."""

        def read(node: exp.Expr) -> Expr:
            if isinstance(node, exp.Literal) and str(node.this).isdigit():
                number = int(str(node.this))
                if not 1 <= number <= len(outputs):
                    raise self.query.wrong(node, f"ORDER BY {number}: the SELECT list has {len(outputs)} columns")
                return render(outputs[number - 1][1])
            if isinstance(node, exp.Column) and not node.table:
                for name, value in outputs:
                    if matches(name, node.this):
                        return render(value)
            return render(node)

        return read

    def _output(self, render: Callable[[exp.Expr], Expr], node: exp.Expr) -> Expr:
        with self.query.at(node):
            return render(node)


def distinct(relation: Relation) -> Relation:
    """Return a relation's different rows: a changing table."""
    columns = [name.column for name in relation.names]
    counted = relation.stream.group_by(*columns).agg(e.count().alias(unique("rows", columns)))
    return relation_of(counted.select(*columns))


def _without_rank(relation: Relation, columns: Sequence[str]) -> Relation:
    return projected(relation, [(name, e.col(name)) for name in columns])


def _numbered(rank: tuple[exp.Expr, str], render: Callable[[exp.Expr], Expr]) -> Callable[[exp.Expr], Expr]:
    def read(node: exp.Expr) -> Expr:
        return e.col(rank[1]) if node == rank[0] else render(node)

    return read


def _has_aggregate(node: exp.Expr) -> bool:
    """Tell whether a part of a SELECT holds an aggregate of its own rows."""
    for found in node.walk(prune=lambda part: isinstance(part, (exp.Query, exp.Subquery))):
        over = isinstance(found.parent, exp.Window) and found.arg_key == "this"
        if (isinstance(found, exp.AggFunc) and not over) or (
            isinstance(found, exp.Anonymous) and str(found.this) == "mean"
        ):
            return True
    return False


def _window_parts(select: exp.Select) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    windows = list(numbered_in(select).values())
    qualify = select.args.get("qualify")
    windows += [] if qualify is None else list(qualify.find_all(exp.Window))
    for window in windows:
        found += window.args.get("partition_by") or []
        order = window.args.get("order")
        found += [] if order is None else order.expressions
    return found


def _is_name(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and not node.table
