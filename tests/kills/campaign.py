"""S1, C7, R5: pipelines are killed at random instants and started again; in the end nothing is lost or repeated.

An act is a pipeline of a few operators, each with an output of its own. Its lives are children that are killed; the
last one is left to come to its end. A reader looks at the outputs all the while.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401  # loaded once, for all children
import pyarrow.parquet  # noqa: F401  # loaded once, for all children

import thalweg.engine.embedded.loop  # noqa: F401  # loaded once, for all children
from tests.attacks import run
from tests.attacks.children import Child, fork
from tests.attacks.story import Broken
from tests.attacks.tale import Teller
from tests.kills import bugs
from tests.kills.lives import Act, Found, judge, live, look, uninterrupted
from tests.kills.operators import OPERATORS, write_input
from tests.kills.targets import TARGETS
from thalweg.state.manifests import read_manifest

OPERATORS_PER_ACT = 4
KILLS_PER_ACT = 5
STEP_ROWS = (10, 20, 40)


class Campaign:
    """The kills of one run.

    Args:
        folder: For the inputs, the states and the outputs.
        seed: Decides what is drawn (not the instants of the kills: those are the machine's).
        bug: What is planted in every life; the first is then killed where the bug does harm.
        operators: Those that are attacked, in turn.
        targets: Those that are written to, in turn.
        step_rows: The most rows that a step takes from a partition; one is drawn for each act.
    """

    def __init__(
        self,
        folder: Path,
        seed: str,
        bug: str | None = None,
        operators: Sequence[str] = tuple(OPERATORS),
        targets: Sequence[str] = tuple(TARGETS),
        step_rows: Sequence[int] = STEP_ROWS,
    ) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.bug = bug
        self._step_rows = step_rows
        self.kills = self.advanced = self.acts = self.looks = 0
        self.met: Counter[str] = Counter()
        self._operators = self._endless(operators)
        self._targets = {
            changing: self._endless([name for name in targets if TARGETS[name].changing or not changing])
            for changing in (False, True)
        }
        self._per_act = min(OPERATORS_PER_ACT, len(operators))
        self._expected: dict[str, tuple[Found, Found, Found]] = {}
        self._life_s = 0.5
        _done(fork(lambda teller: write_input(folder, seed)))

    def run(self, kills: int) -> None:
        """Kill so many children.

        Raises:
            Broken: An invariant does not hold.
        """
        while self.kills < kills:
            operators = [self._operators() for _ in range(self._per_act)]
            outputs = {name: self._targets[OPERATORS[name].changing]() for name in operators}
            step_rows = self.rng.choice(self._step_rows)
            # A bug does harm at the same place on any machine.
            in_line = self.bug is not None or self.rng.random() < 0.5
            act = Act(self.folder / f"act{self.acts}", outputs, step_rows, in_line)
            before = self.kills
            while self.kills == before:  # each operator is met: an act that came to its end at once is played again
                act.folder.mkdir()
                try:
                    self._play(act, min(kills, self.kills + KILLS_PER_ACT))
                except (Broken, TimeoutError) as e:
                    told = f"act {self.acts} ({outputs}, steps of {step_rows}, in line: {in_line})"
                    raise Broken(f"{told}, after {self.kills - before} kills: {e}") from e
                shutil.rmtree(act.folder)
            for name in (*outputs, *outputs.values()):
                self.met[name] += self.kills - before
            self.acts += 1

    def _play(self, act: Act, until: int) -> None:
        expected = {name: self._of(name) for name in act.outputs}
        rows = {name: found for name, (found, _, _) in expected.items()}
        reader = fork(lambda teller: look(act, rows, teller))
        try:
            self._lives(act, reader, until)
            _until(reader, lambda: any(line.kind == "looked" for line in reader.lines()))
        finally:
            reader.kill()
            _sound(reader.lines())
        self.looks += len(reader.lines())
        late = sum((one for _, one, _ in expected.values()), Counter[str]())
        errors = sum((one for _, _, one in expected.values()), Counter[str]())
        faults = [line.note for line in _done(fork(lambda teller: judge(act, rows, late, errors, teller)))]
        if faults:
            raise Broken("; ".join(faults))

    def _lives(self, act: Act, reader: Child, until: int) -> None:
        pauses, epoch = self.bug is not None, 0
        while self.kills < until:
            child = fork(self._life(act, pauses=pauses))
            if self._ended(child, reader if pauses else None):
                self._life_s /= 2
                return
            before, epoch = epoch, _epoch(act)
            self.advanced += epoch > before
            pauses = False
        begun = time.monotonic()
        _done(fork(self._life(act, pauses=False)))
        # So that kills hit all parts of a life, whatever the machine does beside.
        self._life_s = 0.5 * self._life_s + 0.5 * (time.monotonic() - begun)

    def _ended(self, child: Child, reader: Child | None) -> bool:
        """Kill a child at some instant; return whether it had come to its end before.

        Args:
            child: The child.
            reader: If the child waits where a bug does harm: who is to have a look before it is killed.
        """
        try:
            if reader is None:
                child.listen(60)
                time.sleep(self.rng.uniform(0, self._life_s))
            else:
                _until(child, lambda: any(line.kind == "here" for line in child.lines()))
                told = -1
                while told < len(reader.tale):  # what it has told before says nothing of now
                    told = len(reader.tale)
                    reader.listen(0)
                looks = len(reader.lines())
                _until(reader, lambda: len(reader.lines()) > looks + 1)
        finally:
            child.kill()
        if any(line.kind == "done" for line in child.lines()):
            return True
        _sound(child.lines())
        self.kills += 1
        return False

    def _life(self, act: Act, *, pauses: bool) -> Callable[[Teller], None]:
        def lives(teller: Teller) -> None:
            with bugs.planted(self.bug, teller if pauses else None):
                live(act, teller)

        return lives

    def _of(self, operator: str) -> tuple[Found, Found, Found]:
        """Return what an operator gives where nothing is killed."""
        if operator not in self._expected:
            note = self.folder / "expected.json"

            def work(teller: Teller) -> None:
                note.write_text(json.dumps(uninterrupted(self.folder, operator)), encoding="utf-8")

            _done(fork(work))
            rows, late, errors = json.loads(note.read_text("utf-8"))
            if not rows:
                raise Broken(f"{operator} gives no row: it proves nothing")
            self._expected[operator] = Counter(rows), Counter(late), Counter(errors)
        return self._expected[operator]

    def _endless(self, names: Sequence[str]) -> Callable[[], str]:
        """Return what gives all names in a drawn order, again and again."""
        left: list[str] = []

        def drawn() -> str:
            if not left:
                left.extend(self.rng.sample(list(names), len(names)))
            return left.pop()

        return drawn


def _epoch(act: Act) -> int:
    body = read_manifest(act.folder / "data")
    return 0 if body is None else int(body["epoch"])


def _until(child: Child, told: Callable[[], bool]) -> None:
    """Listen to a child until it has told something.

    Raises:
        Broken: It ended before.
    """
    while not told():
        if not child.listen(60):
            _sound(child.lines())
            raise Broken(f"a child has ended before it told what was to come; it said {child.lines()[-3:]}")


def _done(child: Child) -> Sequence[Any]:  # the lines that it told
    lines = child.finish()
    _sound(lines)
    return lines


def _sound(lines: Sequence[Any]) -> None:
    for line in lines:
        if line.kind == "broken":
            raise Broken(line.note)


def main() -> None:
    """Run the campaign as this process was told."""
    given: dict[str, Any] = run.settings()
    kills = given.pop("kills")
    campaign = Campaign(Path(given.pop("folder")), **given)
    faults: list[str] = []
    try:
        campaign.run(kills)
    except Broken as e:
        faults.append(str(e))
    counts = {"kills": campaign.kills, "after a checkpoint": campaign.advanced, "acts": campaign.acts}
    run.answer({**counts, "looks": campaign.looks, **campaign.met}, faults)


if __name__ == "__main__":
    main()
