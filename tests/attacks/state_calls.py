"""C7: every call that changes the disk, of runs with checkpoints, is broken once in every way.

Afterwards a run to the end, with nothing broken, must give what a run gives that nothing ever happened to: no row less,
none twice. With ``cuts`` the power also goes, at points of an unbroken run.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from tests.attacks import run as campaign
from tests.attacks import state_bugs
from tests.attacks.medium import Loss, Medium
from tests.attacks.shim import Call, Fault, Record, Shim, read_records
from tests.attacks.state_program import ROWS, STEP_ROWS, Outcome, in_child, run
from thalweg.engine.embedded import loop

SceneName: TypeAlias = Literal["begin", "go on"]
SHOWN: Final[dict[SceneName, int]] = {"begin": 2 * STEP_ROWS, "go on": 4 * STEP_ROWS}
"""How many rows are there in the run that is broken: it makes two checkpoints."""

MOST_FAULTS = 1
"""What comes after so many is as a rule the same once more, and each takes two runs."""
_ONLY_AT: Final = {Fault.SYNC_EIO: Call.SYNC, Fault.SHORT: Call.WRITE}

WAITS_S = 0.2
"""How long a run waits for room on a disk that stays full, in place of ten minutes."""
_REFUSED = re.compile(r"\w+Error: |SinkUnavailable: ")


class StateCalls:
    """Runs with broken calls.

    Args:
        folder: For the state and the outputs.
        seed: Decides where the power goes.
        shim: Preloaded in this process.
    """

    def __init__(self, folder: Path, seed: str, shim: Shim) -> None:
        self.folder, self.seed, self.shim = folder, seed, shim
        self.runs = self.refused = self.killed = self.cuts = 0
        self.faults: list[str] = []
        self._folders = 0
        self.expected = self._must(self._new(), ROWS, "end")

    def before(self, scene: SceneName) -> Path:
        """Return what a scene finds: nothing, or the state and the outputs of an earlier run."""
        place = self.folder / scene.replace(" ", "_")
        if not place.exists():
            place.mkdir()
            if scene == "go on":
                self._must(place, 2 * STEP_ROWS, "caught-up")
        return place

    def records(self, scene: SceneName) -> tuple[Path, list[Record]]:
        """Return where an unbroken run of a scene took place, and its calls."""
        place = self._copy(self.before(scene))
        file = self.folder / "record"
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_TRUNC, 0o600)
        self._act(place, scene, descriptor)
        os.close(descriptor)
        return place, list(read_records(file))

    def break_call(self, scene: SceneName, at: int, fault: Fault) -> None:
        """Break a call of a scene's run, then run to the end."""
        place = self._copy(self.before(scene))
        self.runs += 1
        outcome = self._act(place, scene, -1, at, fault)
        self.refused += bool(outcome.error)
        self.killed += bool(outcome.signal)
        where = f"{scene}: call {at} broken by {fault.name}"
        if outcome.signal and not (outcome.signal == 9 and fault in (Fault.KILL, Fault.TEAR)):
            self.faults.append(f"{where}: the process was ended by signal {outcome.signal}")
        elif outcome.error and not _REFUSED.match(outcome.error):
            self.faults.append(f"{where}: {outcome.error}")
        else:
            self._heal(place, where)
        shutil.rmtree(place)

    def cut(self, scene: SceneName, cuts: int, losses: Sequence[Loss]) -> None:
        """Let the power go at points of a scene's run, then run to the end."""
        place, records = self.records(scene)
        rng = random.Random(f"{self.seed}:{scene}")
        points = range(len(records) + 1)
        chosen = set(points) if cuts >= len(points) else set(rng.sample(points, cuts))
        medium = Medium(place, self.before(scene))
        for point in points:
            for loss in losses if point in chosen else ():
                self.cuts += 1
                shutil.rmtree(place)
                medium.after_loss(loss, rng, place)
                self._heal(place, f"{scene}: power lost at call {point} of {len(records)}, {loss} that was not synced")
            if point < len(records):
                medium.play(records[point], rng)
            if len(self.faults) >= MOST_FAULTS:
                return

    def _heal(self, place: Path, where: str) -> None:
        outcome = in_child(lambda: run(place, ROWS, "end"))
        if outcome.result != self.expected:
            self.faults.append(f"{where}: {outcome.error or _difference(outcome.result, self.expected)}")

    def _act(self, place: Path, scene: SceneName, record: int, at: int = 0, fault: Fault = Fault.NONE) -> Outcome:
        def armed() -> str:
            if fault is Fault.FULL:
                loop.PATIENCE_S = WAITS_S
            self.shim.arm(place, record, at, fault)
            return run(place, SHOWN[scene], "caught-up")

        return in_child(armed)

    def _must(self, place: Path, shown: int, until: Literal["caught-up", "end"]) -> str:
        outcome = in_child(lambda: run(place, shown, until))
        assert outcome.result, outcome.error
        return outcome.result

    def _new(self) -> Path:
        self._folders += 1
        place = self.folder / f"run{self._folders}"
        place.mkdir()
        return place

    def _copy(self, before: Path) -> Path:
        return Path(shutil.copytree(before, self._new(), dirs_exist_ok=True))


def _difference(found: str, expected: str) -> str:
    here, there = found.splitlines(), expected.splitlines()
    return f"too many: {[x for x in here if x not in there][:3]}, missing: {[x for x in there if x not in here][:3]}"


def main() -> None:
    """Break every ``stride``-th call in the given ways, and cut at so many points, as this process was told."""
    given: dict[str, Any] = campaign.settings()
    calls = 0
    with state_bugs.planted(given.get("bug")):
        attack = StateCalls(Path(given["folder"]), given["seed"], Shim())
        for scene in given.get("scenes", list(SHOWN)):
            place, records = attack.records(scene)
            shutil.rmtree(place)
            calls += len(records)
            stride = given.get("stride", 1)
            for fault in (Fault[word] for word in given.get("ways", [])):
                # Another remainder for each way, so that together they come to all calls.
                for at in range(1 + int(fault) % stride, len(records) + 1, stride):
                    only = _ONLY_AT.get(fault)
                    if len(attack.faults) < MOST_FAULTS and only in (None, records[at - 1].call):
                        attack.break_call(scene, at, fault)
            if given.get("cuts"):
                attack.cut(scene, given["cuts"], given.get("losses", ["all", "some"]))
    counts = {"calls": calls, "runs": attack.runs, "refused": attack.refused, "killed": attack.killed}
    campaign.answer(counts | {"cuts": attack.cuts}, attack.faults)


if __name__ == "__main__":
    main()
