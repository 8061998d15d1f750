"""A plan as text: for people, and for fingerprints."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.core.duration import duration_text
from thalweg.plan import nodes as n
from thalweg.plan.delivery import delivered
from thalweg.plan.expr import Column, show
from thalweg.plan.functions_of_user import qualified_name
from thalweg.plan.prune import NeededColumns, join_columns, needed_columns


def step_name(node: n.Node, number: int | None = None) -> str:
    """Return the short name of a step, as reports and ledgers show it: ``3 filter``."""
    if isinstance(node, n.Read):
        name = f"read {node.source.name}"
    elif isinstance(node, n.Write):
        name = f"write {node.output.name}"
    elif isinstance(node, n.Aggregate):
        name = "agg" if node.window is None else f"agg {node.window.kind}"
    else:
        name = node.verb
    return name if number is None else f"{number} {name}"


def describe(node: n.Node) -> str:
    """Return what a node does in one line, with every detail that its results depend on."""
    match node:
        case n.Read():
            return _read(node)
        case n.Filter():
            return f"filter({show(node.predicate)})"
        case n.Project(method="drop"):
            kept = {name for name, _ in node.columns}
            return f"drop({', '.join(name for name in node.input.schema.names if name not in kept)})"
        case n.Project():
            made = (name if _is_column(expr, name) else f"{name}={show(expr)}" for name, expr in node.columns)
            return f"{node.method}({', '.join(made)})"
        case n.Explode() | n.Unnest():
            return f"{node.verb}({node.column})"
        case n.MapRows() | n.MapBatches():
            return f"{node.verb}({qualified_name(node.function)} → {node.schema})"
        case n.Union():
            return f"union of {len(node.streams)} streams"
        case n.Aggregate():
            return _aggregate(node)
        case n.ReduceByKey():
            return f"reduce_by_key({node.key}, {qualified_name(node.function)})"
        case n.Join():
            return _join(node)
        case n.JoinAsof():
            return f"join_asof(by={', '.join(node.keys)}{_renamed(node.renamed)})"
        case n.Lookup():
            refresh = "never" if node.refresh_us is None else duration_text(node.refresh_us)
            on = f"on={', '.join(node.keys)}{_renamed(node.renamed)}"
            return f"lookup({node.reference.describe()} → {node.reference_schema}, {on}, refresh={refresh})"
        case n.Dedupe():
            within = "" if node.within_us is None else f", within={duration_text(node.within_us)}"
            return f"dedupe({', '.join(node.keys)}{within})"
        case n.TopK():
            return _top_k(node)
        case n.Process():
            return _process(node)
        case n.Write(output=n.ViewOutput(name=name, key=key)):
            return f"write view({name}{', key=' + ', '.join(key) if key else ''})"
        case n.Write(output=sink):
            return f"write {sink.describe()}"  # type: ignore[union-attr]  # not a view: the case before
        case _:
            return node.verb


def tree(plan: n.Plan) -> Iterator[str]:
    """Give the plan as lines: each write, and below it what it reads, with how each step behaves.

    A step that leaves columns out, as nobody can see them, says which it keeps.
    """
    numbers, needed = plan.numbers(), needed_columns(plan)
    shown: set[int] = set()
    for write in plan.writes:
        yield from _branch(write, numbers, needed, shown, "", "")


def traits(node: n.Node) -> tuple[str, ...]:
    """Return what a user should know of a step: changing or append-only, state, time, delivery."""
    found = ["changing" if node.changing else "append-only"]
    match node:
        case n.Read():
            found.append("event time" if node.timed else "no event time")
            if not node.declared:
                found.append("schema inferred")
            if node.idle_timeout_us is not None and node.timed and not node.source.final:
                found.append("wall clock: idle_timeout")
        case n.Aggregate() if node.input.changing:
            found.append("state: a row per key, and the rows that it is made of, for ever")
        case n.Aggregate(window=window, emit=emit) if window is not None:
            found.append("state: rows of open windows" if emit == "on_close" else "state: open windows")
        case n.Aggregate() | n.ReduceByKey():
            found.append("state: a row per key, for ever")
        case n.Join(within=None):
            found.append("state: the rows of both sides, for ever")
        case n.Join():
            found.append("state: rows until no partner can come")
        case n.JoinAsof():
            found.append("state: rows ahead of the watermark, versions from the last before it")
        case n.Lookup():
            found.append("state: the reference")
            found.append("wall clock: the reference as it is when a row comes")
        case n.Dedupe(within_us=within_us):
            found.append("state: a row per key, for ever" if within_us is None else "state: keys for that long")
        case n.TopK(closes=closes):
            found.append("state: the rows of open windows" if closes else "state: rows that may come first, for ever")
        case n.Process():
            found.append("user code, by batch" if node.by_batch else "user code, row by row")
            found.append(f"state: per key, {_kept(node.ttl_us)}")
            if node.order == "arrival":
                found.append("depends on the order of arrival")
        case n.MapRows() | n.MapBatches():
            found.append("user code, row by row" if isinstance(node, n.MapRows) else "user code, by batch")
        case n.Write(output=n.ViewOutput()):
            found.append("state: the view's rows")
        case n.Write(output=sink):
            found.append(delivered(sink))  # type: ignore[arg-type]  # not a view: the case before
        case _:
            pass
    return tuple(found)


def _branch(
    node: n.Node, numbers: dict[n.Node, int], needed: NeededColumns, shown: set[int], lead: str, below: str
) -> Iterator[str]:
    number = numbers[node]
    if id(node) in shown:
        yield f"{lead}{number} {node.verb}, as above"
        return
    shown.add(id(node))
    told = "; ".join((*traits(node), *_left_out(node, needed)))
    yield f"{lead}{number} {describe(node)}  [{told}]"
    for index, input_ in enumerate(node.inputs):
        last = index == len(node.inputs) - 1
        yield from _branch(
            input_, numbers, needed, shown, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")
        )


def _left_out(node: n.Node, needed: NeededColumns) -> Iterator[str]:
    """Give what a source or a join leaves out of its rows, as nobody can see it."""
    if isinstance(node, n.Read):
        seen = needed[node].columns
        if len(seen) < len(node.schema.names):
            late = ", all of late rows" if len(needed[node].if_late) == len(node.schema.names) else ""
            names = ", ".join(name for name in node.schema.names if name in seen)
            yield f"needs {names} of {len(node.schema.names)} columns{late}"
    elif isinstance(node, n.Join):
        kept, inputs = join_columns(node, needed[node]), (node.left, node.right)
        if any(len(names) < len(of.schema.names) for names, of in zip(kept, inputs, strict=True)):
            yield f"keeps {', '.join(kept[0])} of the left, {', '.join(kept[1])} of the right"


def _read(node: n.Read) -> str:
    parts = [node.source.describe()]
    if node.time is not None:
        unit = f" in {node.time_unit}" if node.time_unit else ""
        parts.append(f"time={show(node.time)}{unit}")
        parts.append(f"lateness={duration_text(node.lateness_us)}")
    if node.max_jump_us is not None:
        parts.append(f"max_jump={duration_text(node.max_jump_us)}")
    return f"read {', '.join(parts)} → {node.schema}"


def _aggregate(node: n.Aggregate) -> str:
    keys = ", ".join(name if _is_column(expr, name) else f"{name}={show(expr)}" for name, expr in node.keys)
    results = ", ".join(f"{name}={show(expr)}" for name, expr in node.aggregates)
    by = "" if node.labelled_by is None else f", time={show(node.labelled_by)}"
    window = f".window({node.window}, emit={node.emit}{by})" if node.window else ""
    grouped = f"group_by({keys})" if node.keys or node.window else "all rows"
    return f"{grouped}{window}.agg({results})"


def _join(node: n.Join) -> str:
    parts = [f"on={', '.join(node.keys)}{_renamed(node.renamed)}", f"how={node.how}"]
    if node.within == (0, 0) and n.closing_column(node) is not None:
        parts.append("per window")
    elif node.within is not None:
        parts.append(f"within={_signed(node.within[0])} to {_signed(node.within[1])}")
    return f"join({', '.join(parts)})"


def _top_k(node: n.TopK) -> str:
    order = [f"{show(by)}{' reversed' if back else ''}" for by, back in zip(node.by, node.reverse, strict=True)]
    per = f", per={', '.join(node.per)}" if node.per else ""
    return f"top_k({node.rows}, by={', '.join(order)}{per}{', per window' if node.closes else ''})"


def _process(node: n.Process) -> str:
    parts = [qualified_name(node.function), f"key={', '.join(node.keys)}", f"state=({node.state_schema or node.state})"]
    if node.on_timer is not None:
        parts.append(f"on_timer={qualified_name(node.on_timer)}")
    if node.ttl_us is not None:
        parts.append(f"ttl={duration_text(node.ttl_us)}")
    parts += ["by batch"] * node.by_batch + [f"order={node.order}"]
    return f"process({', '.join(parts)} → {node.schema})"


def _renamed(pairs: tuple[tuple[str, str], ...]) -> str:
    return "".join(f", {new}={name} of the right" for name, new in pairs if name != new)


def _signed(us: int) -> str:
    return f"-{duration_text(-us)}" if us < 0 else duration_text(us)


def _kept(ttl_us: int | None) -> str:
    return "for ever" if ttl_us is None else f"until {duration_text(ttl_us)} after its last row"


def _is_column(expr: object, name: str) -> bool:
    return isinstance(expr, Column) and expr.name == name
