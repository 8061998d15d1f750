"""Where streams meet and end, made from what a program says and checked: union, late, write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from thalweg.core.errors import PlanError, short, user_place
from thalweg.core.ports import Sink
from thalweg.core.schema import Field, Schema
from thalweg.plan import nodes as n
from thalweg.plan.build import BOUNDS, known
from thalweg.plan.windows import Window


class ViewLike(Protocol):
    """A description of a view: it has a name and a key, and nothing to open."""

    @property
    def name(self) -> str:
        """The view's name."""
        ...

    @property
    def key(self) -> tuple[str, ...] | None:
        """The columns that name a row."""
        ...


def union_node(streams: Sequence[n.Node]) -> n.Union:
    """Return the node that puts the rows of streams beside each other.

    Raises:
        PlanError: The columns differ.
    """
    first, *others = (node.schema for node in streams)
    for other in others:
        if [(f.name, f.type) for f in other] != [(f.name, f.type) for f in first]:
            raise PlanError(f".union: the columns differ: ({first}) and ({other}); use select first")
    fields = [Field(f.name, f.type, any(node.schema[f.name].nullable for node in streams)) for f in first]
    return n.Union(
        streams=tuple(streams),
        schema=Schema(tuple(fields)),
        changing=any(node.changing for node in streams),
        timed=all(node.timed for node in streams),
        place=user_place(),
    )


def late_node(node: n.Node) -> n.Late:
    """Return the node of the rows that come too late for another.

    Raises:
        PlanError: No row can be late for it, or it is a join, whose late rows are of two kinds.
    """
    if not (isinstance(node, n.Step) and _finds_late(node)):
        raise PlanError(
            ".late is what a step puts aside that waits for rows in the order of time, such as a windowed aggregate; "
            f"this stream is made by {node.verb}"
        )
    schema = node.input.schema
    if isinstance(node, n.Aggregate) and isinstance(node.window, Window):
        taken = any(field.name in schema for field in BOUNDS)
        names = [f"missed_{field.name}" if taken else field.name for field in BOUNDS]
        bounds = (Field(name, field.type, False) for name, field in zip(names, BOUNDS, strict=True))
        schema = Schema((*schema.fields, *bounds))
    return n.Late(input=node, schema=schema, changing=False, timed=False, place=user_place())


def write_node(node: n.Node, output: Sink | ViewLike) -> n.Write:
    """Return the node that ends a stream.

    Raises:
        PlanError: The sink cannot take a changing stream, or the view's name or key cannot be used.
    """
    if isinstance(output, Sink):
        if node.changing and output.changes == "refused":
            keyed = "give it key= (the columns that name a row), " if hasattr(output, "key") else ""
            raise PlanError(
                f"{output.describe()} only adds rows, but this stream is a changing table; {keyed}write it to a view, "
                'or use .window(…, emit="on_close")'
            )
        end: Sink | n.ViewOutput = output
    elif hasattr(output, "name") and hasattr(output, "key"):
        end = n.ViewOutput(name=output.name, key=_view_key(node, output))
    else:
        raise PlanError(f".write({short(output)}): a sink of thalweg.connect is wanted, such as view(…) or files(…)")
    return n.Write(
        input=node,
        output=end,
        schema=node.schema,
        changing=node.changing,
        timed=node.timed,
        place=user_place(),
    )


def _view_key(node: n.Node, output: ViewLike) -> tuple[str, ...] | None:
    derived = n.key_of(node)
    if output.key is None:
        return derived
    for name in output.key:
        known(node.schema, name, f"write(view({output.name!r}, key=…))")
    if derived is None or set(derived) != set(output.key):
        names = f"the key is {', '.join(derived)}" if derived else "no columns are known to name a row"
        raise PlanError(
            f"view({output.name!r}, key={output.key}): {names}; leave key out, or group the stream by the key first"
        )
    return output.key


def _finds_late(node: n.Step) -> bool:
    match node:
        case n.Aggregate(window=window, labelled_by=None):
            return window is not None
        case n.Dedupe(within_us=within_us):
            return within_us is not None
        case n.Process(order=order):
            return order == "time"
        case _:
            return False
