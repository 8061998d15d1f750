"""A program as a checkpoint remembers it: its steps in the words of ``thalweg plan``, with their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from thalweg.plan import nodes as n
from thalweg.plan.show import describe, traits


@dataclass(frozen=True, slots=True)
class SavedStep:
    """A step of the program that made a state.

    Attributes:
        fingerprint: The step's.
        number: Its number in that program.
        kind: The kind of its node.
        line: What it does.
        inputs: The fingerprints of the steps that it reads.
        keeps: What it keeps in the state; None for nothing.
        output: What it writes to; None where it writes nothing.
        source: What it reads from outside; None where it reads steps.
    """

    fingerprint: str
    number: int
    kind: str
    line: str
    inputs: tuple[str, ...]
    keeps: str | None
    output: str | None
    source: str | None

    @property
    def label(self) -> str:
        """The step as ``thalweg plan`` shows it."""
        return f"{self.number} {self.line}"

    def as_json(self) -> dict[str, Any]:  # mixed, as JSON objects are
        """Return it as the manifest holds it."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> SavedStep:
        """Return what a manifest holds."""
        return SavedStep(**{**value, "inputs": tuple(value["inputs"])})


def saved_steps(plan: n.Plan, prints: Mapping[n.Node, str]) -> tuple[SavedStep, ...]:
    """Return what a checkpoint is to remember of a program."""
    return tuple(
        SavedStep(
            fingerprint=prints[node],
            number=number,
            kind=type(node).__name__,
            line=describe(node),
            inputs=tuple(prints[needed] for needed in node.inputs),
            keeps=kept_state(node),
            output=output_of(node) if isinstance(node, n.Write) else None,
            source=node.source.describe() if isinstance(node, n.Read) else None,
        )
        for node, number in plan.numbers().items()
    )


def output_of(node: n.Write) -> str:
    """Return what an output is called: the same whatever is written to it."""
    return f"view({node.output.name})" if isinstance(node.output, n.ViewOutput) else node.output.describe()


def kept_state(node: n.Node) -> str | None:
    """Return what a step keeps in the state; None for nothing."""
    match node:
        case n.Read():
            return "its position"
        case n.MapRows() | n.MapBatches() | n.Lookup():
            return "what it gave for each row" if node.input.changing else None
        case _:
            found = next((trait for trait in traits(node) if trait.startswith("state: ")), None)
            return None if found is None else found.removeprefix("state: ")
