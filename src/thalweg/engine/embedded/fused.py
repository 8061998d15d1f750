"""Filters and projections in a row, run as one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeGuard

import polars as pl
import pyarrow.types as t

from thalweg.columnar.expressions import compile_bounded, guarded_columns, reason_of
from thalweg.columnar.integer_bounds import Bounds, measured
from thalweg.engine.embedded.rows import HIDDEN, LENGTH, Rows
from thalweg.engine.embedded.stage import Output, RejectedRow, Stage, without_bad_rows
from thalweg.plan.expr import columns
from thalweg.plan.nodes import Filter, Node, Project, Unnest
from thalweg.plan.prune import NeededColumns, may_raise

LARGE_ROWS: Final = 65_536
"""From so many rows on it pays to look where the integers lie, and to run on Polars' streaming engine."""

_KNOWN_COMPILATIONS: Final = 64
_LENGTH = pl.int_range(pl.len()).alias(LENGTH)
"""Keeps a selection of constants alone as long as the frame."""

Fusible = Filter | Project | Unnest


@dataclass(frozen=True, slots=True)
class _Where:
    predicate: pl.Expr

    def applied(self, lazy: pl.LazyFrame, hidden: Sequence[str]) -> pl.LazyFrame:
        return lazy.filter(self.predicate)


@dataclass(frozen=True, slots=True)
class _Select:
    exprs: tuple[pl.Expr, ...]
    constant: bool

    def applied(self, lazy: pl.LazyFrame, hidden: Sequence[str]) -> pl.LazyFrame:
        if self.constant:
            return lazy.select(*self.exprs, *hidden, _LENGTH).drop(LENGTH)
        return lazy.select(*self.exprs, *hidden)


@dataclass(frozen=True, slots=True)
class _Unnested:
    column: str
    names: tuple[str, ...]

    def applied(self, lazy: pl.LazyFrame, hidden: Sequence[str]) -> pl.LazyFrame:
        return lazy.unnest(self.column).select(*self.names, *hidden)


_Part = _Where | _Select | _Unnested


class Fused(Stage):
    """Filters and projections in a row, run as one query.

    Many rows at once are looked through for where their integers lie first. Where that proves that arithmetic on them
    stays within 64 bits it is run without checks, with the same result.

    Columns that nobody sees are not computed. Rows that may be late have more of them, and so have two queries.

    Args:
        nodes: The filters and projections.
        name: The step's name.
        needed: The columns that can be seen of each node's rows.
    """

    uses_time = False

    def __init__(self, nodes: Sequence[Fusible], name: str, needed: NeededColumns) -> None:
        super().__init__(nodes[-1], name)
        if any(may_raise(node) for node in nodes):  # what is not computed could not be rejected
            everything = [frozenset(node.schema.names) for node in nodes]
            self._narrow = self._wide = _Query(nodes, everything)
        else:
            narrow, wide = ([needed[node].columns for node in nodes], [needed[node].if_late for node in nodes])
            self._narrow = _Query(nodes, narrow)
            self._wide = self._narrow if wide == narrow else _Query(nodes, wide)
        self._if_late = needed[nodes[0].input].if_late

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            frame = rows.frame
            hidden = [name for name in HIDDEN if name in frame.columns]
            query = self._wide if self._if_late.issubset(frame.columns) else self._narrow
            if query.taken is not None:
                attempt = partial(_named, query.taken, hidden)
            else:
                attempt = partial(_run, query.parts(frame), hidden)
            results, bad = without_bad_rows(frame, attempt)
            self.entry.rows_in += frame.height
            self.entry.pairs += frame.height
            self.entry.rejected += len(bad)
            for number, error in bad:
                row = frame[number : number + 1]
                out.rejected.append(RejectedRow(rows.place(frame, number), reason_of(error), row))
            kept = sum(result.height for result in results)
            self.entry.filtered += frame.height - len(bad) - kept
            self.entry.passed += kept
            out.rows += [rows.replaced(result) for result in results if result.height]
        return out


class _Query:
    """Nodes compiled.

    Args:
        nodes: The nodes.
        live: For each the columns that come out.

    Attributes:
        taken: The columns that are taken, by their new names, where nothing is computed and no row left out.
    """

    def __init__(self, nodes: Sequence[Fusible], live: Sequence[frozenset[str]]) -> None:
        self._nodes = tuple(nodes)
        self._live = tuple(live)
        self._checked = _compiled(nodes, live, {})
        self.taken = _taken(self._checked)
        # Columns that are left out are in no arithmetic that has to be guarded.
        self._guarded = sorted(_guarded(nodes)) if any(may_raise(node) for node in nodes) else []
        self._bounded: dict[tuple[Bounds, ...], Sequence[_Part]] = {}

    def parts(self, frame: pl.DataFrame) -> Sequence[_Part]:
        """Return the compilation for a frame's values."""
        if not self._guarded or frame.height < LARGE_ROWS:
            return self._checked
        bounds = measured(frame, self._guarded)
        key = tuple(bounds.values())
        if (found := self._bounded.get(key)) is None:
            if len(self._bounded) >= _KNOWN_COMPILATIONS:
                self._bounded.clear()
            found = self._bounded[key] = _compiled(self._nodes, self._live, bounds)
        return found


def nodes_fused(node: Node) -> TypeGuard[Fusible]:
    """Tell whether a node can be a part of a fused query."""
    return isinstance(node, (Filter, Project, Unnest))


def _run(parts: Sequence[_Part], hidden: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
    lazy = frame.lazy()
    for part in parts:
        lazy = part.applied(lazy, hidden)
    return lazy.collect(engine="streaming" if frame.height >= LARGE_ROWS else "in-memory")


def _named(taken: Mapping[str, str], hidden: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
    columns = [frame.get_column(name).alias(new) for new, name in taken.items()]
    return pl.DataFrame([*columns, *(frame.get_column(name) for name in hidden)])


def _taken(parts: Sequence[_Part]) -> Mapping[str, str] | None:
    """Return the columns of the input by the names that they come out with, where that is all that parts do."""
    taken: dict[str, str] | None = None
    for part in parts:
        if not isinstance(part, _Select) or not all(expr.meta.undo_aliases().meta.is_column() for expr in part.exprs):
            return None
        made = {expr.meta.output_name(): expr.meta.root_names()[0] for expr in part.exprs}
        taken = made if taken is None else {new: taken[name] for new, name in made.items()}
    return taken or None


def _compiled(
    nodes: Sequence[Fusible], live: Sequence[frozenset[str]], bounds: Mapping[str, Bounds]
) -> tuple[_Part, ...]:
    """Return the nodes compiled, so that certain columns of each come out, for input columns between bounds."""
    parts: list[_Part] = []
    for node, names in zip(nodes, live, strict=True):
        schema = node.input.schema
        match node:
            case Filter():
                parts.append(_Where(compile_bounded(node.predicate, schema, bounds)[0]))
            case Project():
                wanted = [(name, expr) for name, expr in node.columns if name in names]
                made = [(name, *compile_bounded(expr, schema, bounds)) for name, expr in wanted]
                constant = not any(columns(expr) for _, expr in wanted)
                parts.append(_Select(tuple(expr.alias(name) for name, expr, _ in made), constant))
                bounds = {name: lie for name, _, lie in made if t.is_integer(node.schema[name].type)}
            case Unnest():
                parts.append(_Unnested(node.column, tuple(name for name in node.schema.names if name in names)))
                # A field may take the name of the struct that it came from.
                bounds = {name: lie for name, lie in bounds.items() if name != node.column}
    last, names = nodes[-1], live[-1]
    if isinstance(last, Filter) and len(names) < len(last.schema.names):
        kept = tuple(pl.col(name) for name in last.schema.names if name in names)
        parts.append(_Select(kept, constant=False))
    return tuple(parts)


def _guarded(nodes: Sequence[Fusible]) -> frozenset[str]:
    """Return the input columns of 64-bit integers that arithmetic in some node is computed from."""
    schema = nodes[0].input.schema
    wide = [field.name for field in schema if t.is_integer(field.type) and field.type.bit_width == 64]
    sources = {name: frozenset([name]) for name in wide}
    found: frozenset[str] = frozenset()
    for node in nodes:
        match node:
            case Filter():
                found |= _sources(guarded_columns(node.predicate), sources)
            case Project():
                for _, expr in node.columns:
                    found |= _sources(guarded_columns(expr), sources)
                sources = {name: _sources(columns(expr), sources) for name, expr in node.columns}
            case Unnest():
                sources = {name: origin for name, origin in sources.items() if name != node.column}
    return found


def _sources(names: frozenset[str], sources: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*(sources.get(name, frozenset()) for name in names))
