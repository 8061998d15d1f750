"""C7: bytes of every file that the last checkpoint consists of are flipped, zeroed, cut off, put in: each is found.

The run that meets one stops and says what to do; what it says works: it can be gone on from an older checkpoint, and
gives what a run gives that nothing ever happened to.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import run as campaign
from tests.attacks import state_bugs
from tests.attacks.children import fork
from tests.attacks.state_program import ROWS, STEP_ROWS, in_child, run
from tests.attacks.tale import Line, Teller
from thalweg.core.errors import StateError
from thalweg.engine.embedded.posting import OutboxDelivery
from thalweg.state import manifests

PER_CHILD = 25
MOST_FAULTS = 3


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to one file.

    Attributes:
        file: Its path within the state directory.
        kind: How.
        data: The file's bytes after it.
    """

    file: str
    kind: str
    data: bytes


class StateDamages:
    """Damages a state and starts runs on it.

    Args:
        folder: For the state and the outputs.
        seed: Decides what is damaged.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.place = folder / "state"
        self.folder, self.rng = folder, random.Random(seed)
        self.done = self.recovered = 0
        self.faults: list[str] = []
        whole = folder / "whole"
        for place in (self.place, whole):
            place.mkdir()
        self.expected = in_child(lambda: run(whole, ROWS, "end")).result
        # The sinks are never given their rows, so that all of them are owed, and older checkpoints can be gone on from.
        assert in_child(self._owing).result
        newest = manifests.kept(self.place / "data")[0]
        self.files = [manifests.name_of(newest.epoch), *(stored.file for stored in newest.files)]

    def _owing(self) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OutboxDelivery, "_next", lambda self: None)
            return run(self.place, 4 * STEP_ROWS, "caught-up")

    def damages(self, count: int) -> Iterator[Damage]:
        """Give damages: of each file in turn, each region in turn."""
        for number in range(count):
            file = self.files[number % len(self.files)]
            data = bytearray((self.place / "data" / file).read_bytes())
            at = self.rng.randrange(len(data))
            kind = ("flip", "flip", "zero", "cut", "put in", "repeat")[number // len(self.files) % 6]
            length = self.rng.choice((1, 8, 64, 512))
            match kind:
                case "flip":
                    data[at] ^= 1 << self.rng.randrange(8)
                case "zero":
                    data[at : at + length] = bytes(len(data[at : at + length]))
                case "cut":
                    del data[at:]
                case "put in":
                    data[at:at] = self.rng.randbytes(length)
                case "repeat":
                    data[at:at] = data[at : at + length]
            if bytes(data) != (self.place / "data" / file).read_bytes():
                yield Damage(file, f"{kind} at {at}", bytes(data))

    def run(self, count: int, recoveries: int) -> None:
        """Do damages to copies, and start runs on those, in children; go on from older checkpoints after some."""
        pending = list(self.damages(count))
        recover = set(self.rng.sample(range(len(pending)), min(recoveries, len(pending))))
        for start in range(0, len(pending), PER_CHILD):
            part = pending[start : start + PER_CHILD]
            again = {number - start for number in recover if start <= number < start + PER_CHILD}

            def suffer(teller: Teller, part: list[Damage] = part, again: set[int] = again) -> None:
                for number, damage in enumerate(part):
                    teller.tell(Line("damage"))
                    self._suffer(damage, again=number in again, teller=teller)

            child = fork(suffer)
            lines = child.finish(300)
            self.done += sum(line.kind == "damage" for line in lines)
            self.recovered += sum(line.kind == "recovered" for line in lines)
            self.faults += [line.note for line in lines if line.kind in ("wrong", "broken")]
            if child.signal:
                self.faults.append(f"signal {child.signal} ended the process")
            if len(self.faults) >= MOST_FAULTS:
                return

    def _suffer(self, damage: Damage, *, again: bool, teller: Teller) -> None:
        os.chdir(self.folder)
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        place = Path(shutil.copytree(self.place, self.folder / "copy"))
        (place / "data" / damage.file).write_bytes(damage.data)
        try:
            found = run(place, ROWS, "end")
        except StateError as error:
            said = str(error)
        except Exception as error:
            teller.tell(Line("wrong", note=f"{damage.file}, {damage.kind}: {error!r}"[:1500]))
            return
        else:
            right = "and the right result" if found == self.expected else "and a wrong result"
            teller.tell(Line("wrong", note=f"{damage.file}, {damage.kind}: not found, {right}"))
            return
        if Path(damage.file).name not in said or not re.search(r"--recover-from (\d+|EPOCH)", said):
            teller.tell(Line("wrong", note=f"{damage.file}, {damage.kind}: it does not say what to do: {said}"[:1500]))
        elif again:
            older = re.search(r"--recover-from (\d+)", said)
            if older is None:  # of a damaged output file: the run had begun, so the checkpoints are those of before
                return
            result = run(place, ROWS, "end", int(older[1]))
            right = result == self.expected
            teller.tell(
                Line("recovered" if right else "wrong", note="" if right else f"recovered wrongly: {result}"[:900])
            )


def main() -> None:
    """Do so many damages, as this process was told."""
    given: dict[str, Any] = campaign.settings()
    with state_bugs.planted(given.get("bug")):
        attack = StateDamages(Path(given["folder"]), given["seed"])
        attack.run(given["count"], given.get("recoveries", 0))
    campaign.answer({"damages": attack.done, "recovered": attack.recovered, "files": len(attack.files)}, attack.faults)


if __name__ == "__main__":
    main()
