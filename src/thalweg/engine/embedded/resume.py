"""Going on with a state: its steps are given what they had, by fingerprint; a changed program is told from the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.core.errors import SourceError, StateError
from thalweg.core.instants import Reached
from thalweg.core.outage import Retrying
from thalweg.core.ports import Replayable
from thalweg.engine.contract import RunOptions, TimeException
from thalweg.engine.embedded.checkpoint import Checkpoints, restore_counts
from thalweg.engine.embedded.graph import Graph
from thalweg.engine.embedded.intake import Intake
from thalweg.plan.difference import Difference, difference
from thalweg.plan.fingerprint import state_fingerprints
from thalweg.plan.nodes import Node, Plan, Read
from thalweg.plan.prune import NeededColumns, needed_columns
from thalweg.plan.saved import SavedStep, saved_steps
from thalweg.state.manifests import read_manifest
from thalweg.state.versions import from_us


@dataclass(frozen=True, slots=True)
class SavedRead:
    """What a checkpoint says of a read.

    Attributes:
        watermark: Its watermark.
        exceptions: Idle and new partitions; their number of the read is that of the program that goes on.
        partitions: What ``Intake.restore`` takes.
        counts: Of its ledger entry.
    """

    watermark: int
    exceptions: tuple[TimeException, ...]
    partitions: tuple[tuple[Any, ...], ...]  # JSON: positions are the source's own
    counts: Mapping[str, int]

    @staticmethod
    def of(body: Mapping[str, Any], number: int) -> SavedRead:
        """Return what a manifest holds, for the read of this number."""
        exceptions = tuple(TimeException(**{**each, "read": number}) for each in body["exceptions"])
        return SavedRead(body["watermark"], exceptions, tuple(map(tuple, body["partitions"])), body["counts"])

    def restore(self, intake: Intake) -> None:
        """Give it to an intake."""
        intake.restore(self.watermark, self.exceptions, self.partitions)


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a run goes on with.

    Attributes:
        epoch: The last checkpoint; 0 for none.
        sealed: Whether the input was declared complete.
        reads: What the checkpoint says of the reads that go on.
        difference: What becomes of the state; None where the program is the same, or there is no state.
    """

    epoch: int = 0
    sealed: bool = False
    reads: Mapping[Read, SavedRead] | None = None
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A program that goes on with a state.

    Attributes:
        plan: What it computes.
        needed: The columns that can be seen of each node's rows.
        graph: Its steps.
        intakes: Its sources.
    """

    plan: Plan
    needed: NeededColumns
    graph: Graph
    intakes: Sequence[Intake]

    def prints(self) -> Mapping[Node, str]:
        """Return what the state of each node is found by."""
        return state_fingerprints(self.plan, self.needed)


def checkpoints_of(directory: Path, program: Program, room: Retrying, reached: Reached) -> Checkpoints:
    """Open the checkpoints of a program.

    Raises:
        StateError: Another run has them, or the directory cannot be made.
    """
    prints = program.prints()
    by_entry = {id(v.stage.entry): prints[v.node] for v in program.graph.vertices if v.stage is not None}
    by_entry |= {id(intake.entry): prints[intake.read] for intake in program.intakes}
    return Checkpoints(directory, by_entry, saved_steps(program.plan, prints), room, reached)


def resume(checkpoints: Checkpoints, program: Program, options: RunOptions) -> Resumed:
    """Give every step whose fingerprint is in the state what it had.

    Raises:
        StateError: The state is damaged, or the program cannot go on with all of it.
    """
    body = checkpoints.load(options.recover_from)
    if body is None:
        return Resumed()
    prints = program.prints()
    found = None if _same(body, prints) else _difference(program.plan, prints, body, checkpoints.directory)
    if found is not None and found.lost and not options.allow_state_loss:
        raise _refused(found, checkpoints.directory)
    for vertex in program.graph.vertices:
        saved = body["stages"].get(prints[vertex.node])
        if vertex.stage is not None and saved is not None and (found is None or vertex.node in found.kept):
            checkpoints.restore_stage(vertex.stage, saved)
    reads: dict[Read, SavedRead] = {}
    for intake in program.intakes:
        was = prints[intake.read] if found is None else found.pasts.get(intake.read)
        if was is not None:
            read = reads[intake.read] = SavedRead.of(body["reads"][was], intake.number)
            read.restore(intake)
            if was == prints[intake.read]:
                restore_counts(intake.entry, read.counts)
    return Resumed(int(body["epoch"]), bool(body["sealed"]), reads, found)


def state_difference(plan: Plan, directory: Path) -> tuple[int, Difference] | None:
    """Return the epoch of a state and what becomes of it under a program; None if there is no state.

    Raises:
        StateError: The state is damaged.
    """
    body = read_manifest(directory)
    return (
        None
        if body is None
        else (int(body["epoch"]), _difference(plan, state_fingerprints(plan, needed_columns(plan)), body, directory))
    )


def _same(body: Mapping[str, Any], prints: Mapping[Node, str]) -> bool:
    return {step["fingerprint"] for step in body["program"]} == set(prints.values())


def _difference(plan: Plan, prints: Mapping[Node, str], body: Mapping[str, Any], directory: Path) -> Difference:
    partly = from_us(directory) is not None
    saved = [SavedStep.from_json(step) for step in body["program"]]
    partitions = {name: [(p[0], p[1], p[8]) for p in read["partitions"]] for name, read in body["reads"].items()}

    def rows(fingerprint: str) -> int:
        return sum(read for _, _, read in partitions[fingerprint])

    def problem(read: Read, fingerprint: str) -> str | None:
        places = [(name, position) for name, position, rows in partitions[fingerprint] if rows]
        if places and partly:
            return "this version began at a time, not at the beginning: make a new one, as it was, with --from"
        return _problem(read, places)

    return difference(plan, prints, saved, problem, rows)


def _problem(read: Read, places: list[tuple[str, Any]]) -> str | None:
    """Return why a source cannot be read again up to these positions."""
    if not places:
        return None
    try:
        opened = read.source.open(read.schema)
        try:
            if not isinstance(opened, Replayable):
                return f"{read.source.describe()} cannot be read from its beginning again"
            for partition, position in places:
                opened.replay(partition, position).close()
        finally:
            opened.close()
    except SourceError as error:
        return f"{read.source.describe()} cannot be read from its beginning again: {error}"
    return None


def _refused(found: Difference, directory: Path) -> StateError:
    lost = "\n".join(f"  {change.step}: {change.why}" for change in found.lost)
    return StateError(
        f"the program is not the one that made the state in {directory}, and would lose the state of\n{lost}\n"
        "Run the program that made it, or name another directory with data=, or go on without these: "
        "allow_state_loss=True. What becomes of each step: thalweg plan PROGRAM --diff"
    )
