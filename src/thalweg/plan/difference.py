"""What becomes of a state when its program has changed: step by step kept, rebuilt or lost.

A step is kept if its fingerprint is in the state: as a fingerprint covers all that a step reads, what a
kept step reads is kept too. The rest is changed or new, and is rebuilt from the start of its sources up to
where they were read, if they can be read again. Names and numbers of steps decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from thalweg.core.ports import Sink
from thalweg.plan import nodes as n
from thalweg.plan.saved import SavedStep, kept_state, output_of
from thalweg.plan.show import describe

Verdict: TypeAlias = Literal["kept", "rebuilt", "lost"]
Problem: TypeAlias = Callable[[n.Read, str], str | None]
"""Says why a source cannot be read again up to where a read of this fingerprint has read it; None: it can."""


@dataclass(frozen=True, slots=True)
class StepChange:
    """What becomes of one step's state.

    Attributes:
        step: The step as ``thalweg plan`` shows it; one that is gone as it was shown.
        verdict: The state is kept, rebuilt from the sources, or lost.
        why: The reason; empty for what is kept.
        rows: How many rows of sources are read again for it.
    """

    step: str
    verdict: Verdict
    why: str = ""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of a state under a program.

    Attributes:
        changes: A line for each step that keeps something and each changed sink, then for each step that is gone.
        kept: The steps whose state is taken over.
        rebuilt: The steps whose state is made again.
        writes: The ends of streams that are run again up to where the sources were read.
        pasts: For each read that goes on with an earlier one: its fingerprint.
        new_outputs: The ends of streams that the earlier program did not have.
    """

    changes: tuple[StepChange, ...]
    kept: frozenset[n.Node]
    rebuilt: frozenset[n.Node]
    writes: tuple[n.Write, ...]
    pasts: Mapping[n.Read, str]
    new_outputs: frozenset[n.Write]

    @property
    def lost(self) -> tuple[StepChange, ...]:
        """What the state has and the program cannot go on with."""
        return tuple(change for change in self.changes if change.verdict == "lost")


def difference(
    plan: n.Plan,
    prints: Mapping[n.Node, str],
    saved: Sequence[SavedStep],
    problem: Problem,
    rows: Callable[[str], int],
) -> Difference:
    """Compare a program with the one that made a state.

    Args:
        plan: The program.
        prints: Its steps' fingerprints.
        saved: The earlier program.
        problem: Says why a source cannot be read again.
        rows: Returns how many rows a saved read, by fingerprint, has read.
    """
    return _Comparison(plan, prints, {step.fingerprint: step for step in saved}, problem, rows).result()


@dataclass(slots=True)
class _Comparison:
    plan: n.Plan
    prints: Mapping[n.Node, str]
    saved: Mapping[str, SavedStep]
    problem: Problem
    rows: Callable[[str], int]
    above: dict[n.Node, frozenset[n.Node]] = field(default_factory=dict)
    problems: dict[n.Node, str] = field(default_factory=dict)

    def result(self) -> Difference:
        nodes = self.plan.nodes()
        for node in nodes:
            self.above[node] = frozenset({node}).union(*(self.above[needed] for needed in node.inputs))
        pasts = self._pasts()
        kept = {node for node in nodes if self.prints[node] in self.saved}
        self._find_problems(nodes, kept, pasts)
        writes = self._again(kept)
        while remade := self._to_remake(kept, writes):
            kept -= remade
            writes = self._again(kept)
        rebuilt = {node for write in writes for node in self.above[write] if node not in kept}
        return Difference(
            changes=(*self._told(nodes, kept, rebuilt, pasts), *self._gone(pasts)),
            kept=frozenset(kept),
            rebuilt=frozenset(rebuilt),
            writes=writes,
            pasts=pasts,
            new_outputs=self._new_outputs(),
        )

    def _pasts(self) -> dict[n.Read, str]:
        """Return for each read the saved one that it goes on with: itself, else one of the same source."""
        reads = [node for node in self.plan.nodes() if isinstance(node, n.Read)]
        found = {node: self.prints[node] for node in reads if self.prints[node] in self.saved}
        free = [s for s in self.saved.values() if s.source is not None and s.fingerprint not in found.values()]
        for node in reads:
            match = next((step for step in free if step.source == node.source.describe()), None)
            if node not in found and match is not None:
                found[node] = match.fingerprint
                free.remove(match)
        return found

    def _find_problems(self, nodes: Sequence[n.Node], kept: set[n.Node], pasts: Mapping[n.Read, str]) -> None:
        needed = {source for node in nodes if node not in kept for source in self.above[node]}
        for node in nodes:
            found: str | None = None
            if isinstance(node, n.Read):
                found = self.problem(node, pasts[node]) if node in needed and node in pasts else None
            else:
                found = next((self.problems[i] for i in node.inputs if i in self.problems), None)
            if found is not None:
                self.problems[node] = found

    def _again(self, kept: set[n.Node]) -> tuple[n.Write, ...]:
        """Return the ends of streams for which something has to be read again."""
        new = self._new_outputs()
        return tuple(
            write
            for write in self.plan.writes
            if write not in kept
            and write not in self.problems
            and (
                write in new
                or (isinstance(write.output, Sink) and write.output.changes == "applied")
                or any(kept_state(node) is not None and node not in kept for node in self.above[write])
            )
        )

    def _to_remake(self, kept: set[n.Node], writes: Iterable[n.Write]) -> set[n.Node]:
        """Return kept steps that have to be rebuilt with those that read them.

        What a changing step withdraws has to be what it gave, to the last bit. Sums of floats and user code may give
        another last bit when they are run again.
        """
        again = {node for write in writes for node in self.above[write]}
        below = {i for node in again if node not in kept for i in node.inputs}
        first = {node for node in below if node in kept and node.changing and _inexact(self.above[node], node)}
        return {node for node in kept if first & self.above[node] and node not in self.problems}

    def _told(
        self, nodes: Sequence[n.Node], kept: set[n.Node], rebuilt: set[n.Node], pasts: Mapping[n.Read, str]
    ) -> Iterator[StepChange]:
        reasons = Reasons(self.plan, self.prints, self.saved)
        for number, node in enumerate(nodes, start=1):
            if isinstance(node, n.Write) and isinstance(node.output, Sink) and node not in kept:
                rows = self._rows_of(node, pasts) if node in rebuilt else 0
                why = f"{reasons.of(node)}; it gets {self._share(node, rebuilt)}"
                yield StepChange(f"{number} {describe(node)}", "rebuilt", why, rows)
                continue
            if kept_state(node) is None:
                continue
            step = f"{number} {describe(node)}"
            if node in kept:
                yield StepChange(step, "kept")
                continue
            why = reasons.of(node)
            if node in rebuilt or (isinstance(node, n.Read) and node not in pasts):
                yield StepChange(step, "rebuilt", why, self._rows_of(node, pasts))
            else:
                problem = self.problems.get(node, "it is read only together with what cannot be rebuilt")
                yield StepChange(step, "lost", f"{why}; {problem}")

    def _rows_of(self, node: n.Node, pasts: Mapping[n.Read, str]) -> int:
        return sum(self.rows(pasts[read]) for read in self.above[node] if isinstance(read, n.Read) and read in pasts)

    def _share(self, node: n.Write, rebuilt: set[n.Node]) -> str:
        """Return what a sink gets of that which is made again."""
        assert isinstance(node.output, Sink), "of a view nothing is left out"
        if node in rebuilt and node in self._new_outputs():
            return "everything"
        return "the difference" if node in rebuilt and node.output.changes == "applied" else "what comes from now on"

    def _new_outputs(self) -> frozenset[n.Write]:
        before = {step.output for step in self.saved.values()}
        return frozenset(write for write in self.plan.writes if output_of(write) not in before)

    def _gone(self, pasts: Mapping[n.Read, str]) -> Iterator[StepChange]:
        """Give the steps that the program has no more, and that nothing stands in for.

        A step is stood in for if an output that it fed is still there: its new rows are rebuilt.
        """
        outputs = {output_of(write) for write in self.plan.writes}
        now = set(self.prints.values()) | set(pasts.values())
        fed: dict[str, set[str]] = {}
        for step in reversed(list(self.saved.values())):  # what reads a step comes after it
            own = fed.setdefault(step.fingerprint, set())
            if step.output is not None:
                own.add(step.output)
            for needed in step.inputs:
                fed.setdefault(needed, set()).update(own)
        for step in self.saved.values():
            if step.fingerprint in now or step.keeps is None:
                continue
            if step.source is not None or not fed[step.fingerprint] & outputs:
                yield StepChange(step.label, "lost", "it is no longer in the program")


class Reasons:
    """Why steps are not what they were: the first difference from below.

    Args:
        plan: The program.
        prints: Its steps' fingerprints.
        saved: The earlier program, by fingerprint.
    """

    def __init__(self, plan: n.Plan, prints: Mapping[n.Node, str], saved: Mapping[str, SavedStep]) -> None:
        self._prints = prints
        self._saved = saved
        self._before: dict[n.Node, SavedStep] = {}
        for write in plan.writes:
            same = (step for step in saved.values() if step.output == output_of(write))
            if (step := next(same, None)) is not None:
                self._pair(write, step)

    def of(self, node: n.Node) -> str:
        """Return why a step is rebuilt or lost."""
        if self._prints[node] in self._saved:
            return "a changed step reads it, and what it withdraws must be what it gave, to the last bit"
        for needed in node.inputs:
            if self._prints[needed] not in self._saved:
                return self.of(needed)
        before, line = self._before.get(node), describe(node)
        if before is None:
            return f"{line} is new"
        if before.line != line:
            return f"{line} was {before.line}"
        inputs = tuple(self._prints[needed] for needed in node.inputs)
        if before.inputs != inputs:
            read = [self._saved[i].line if i in self._saved else "another step" for i in before.inputs]
            return f"{line} read {' and '.join(read)}"
        return f"{line}: its function, a value that it uses, its columns' rules or this version's operator is another"

    def _pair(self, node: n.Node, step: SavedStep) -> None:
        if node in self._before or type(node).__name__ != step.kind:
            return
        self._before[node] = step
        if len(node.inputs) == len(step.inputs):
            for needed, before in zip(node.inputs, step.inputs, strict=True):
                self._pair(needed, self._saved[before])


def _inexact(above: Iterable[n.Node], node: n.Node) -> bool:
    user_code = (n.MapRows, n.MapBatches, n.Process, n.ReduceByKey, n.Lookup)
    floats = any(word in str(field.type) for field in node.schema for word in ("float", "double"))
    return floats or any(isinstance(each, user_code) for each in above)
