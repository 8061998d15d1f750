"""A plan as a test runs it: its sources hold given rows, and its sinks are not written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from thalweg.core.errors import PlanError, near
from thalweg.plan.nodes import Plan, Read, ViewOutput, Write
from thalweg.plan.rewrite import rewritten
from thalweg.testing.given import Given
from thalweg.testing.kept import Kept
from thalweg.testing.scripted import Scripted


def staged(plan: Plan, sources: Mapping[str, Given]) -> tuple[Plan, list[Scripted]]:
    """Return the plan with sources that can be cut at will, and sinks that keep what they are given.

    Raises:
        PlanError: The program reads no source of a name, or other columns from it.
    """
    names = [node.source.name for node in plan.nodes() if isinstance(node, Read)]
    for name in sources:
        if name not in names:
            raise PlanError(f'the program reads no source "{name}"; {near(name, names)}')
    made: dict[int, Scripted] = {}

    def read(node: Read) -> Read:
        given = sources.get(node.source.name)
        if given is not None and given.schema.names != node.schema.names:
            raise PlanError(
                f"the rows for {node.source.name} have the columns {', '.join(given.schema.names)}; the program "
                f"reads {', '.join(node.schema.names)}"
            )
        source = (
            Scripted.of(node.source.name, given) if given is not None else Scripted.recorded(node.source, node.schema)
        )
        made[id(node)] = source
        return replace(node, source=source)

    number = iter(range(1, len(plan.writes) + 1))

    def write(node: Write) -> Write:
        index = next(number)
        if isinstance(node.output, ViewOutput):
            return node
        return replace(
            node, output=Kept(f"{index} {node.output.name}", node.output.name, node.schema.arrow, node.changing)
        )

    return rewritten(plan, read, write), list(made.values())


def viewed(kept: Plan) -> Plan:
    """Return the plan with views in place of sinks: what a run without crashes shows at its end."""

    def write(node: Write) -> Write:
        output = node.output
        return replace(node, output=ViewOutput(name=output.name, key=None)) if isinstance(output, Kept) else node

    return rewritten(kept, lambda read: read, write)
