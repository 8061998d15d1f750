"""D4: every file missing, every truncation, thousands of flipped, zeroed, swapped and repeated bytes, in all files.

Never a wrong row, never a crash, never fewer rows without a word; what is damaged is named by file and
position. Readers run in children that take many damages each: a crash is counted against the one it was at.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.attacks import bugs, run
from tests.attacks.children import fork
from tests.attacks.story import Broken, whole_rows
from tests.attacks.tale import ROW, Line, Teller, rows_of
from thalweg.core.errors import LogDamaged, LogError
from thalweg.log import Log

PER_CHILD = 100
MOST_FAULTS = 5
UNREAD = ("lock", "maintenance")
"""Files whose bytes nobody reads."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to one file.

    Attributes:
        file: Its path below the log's folder.
        kind: How.
        first: The first byte that may differ.
        data: The file's bytes after it; None: it is gone.
    """

    file: str
    kind: str
    first: int
    data: bytes | None

    def __str__(self) -> str:
        return f"{self.file} {self.kind} at {self.first}"


def _flip(data: bytearray, at: int, rng: random.Random) -> str:
    data[at] ^= 1 << rng.randrange(8)
    return "one bit flipped"


def _zero(data: bytearray, at: int, rng: random.Random) -> str:
    length = min(rng.choice([1, 8, 64, 512]), len(data) - at)
    data[at : at + length] = bytes(length)
    return f"{length} bytes zeroed"


def _swap(data: bytearray, at: int, rng: random.Random) -> str:
    length = min(rng.choice([1, 4, 64, 512]), len(data) - at)
    other = rng.randrange(len(data) - length + 1)
    first, second = bytes(data[at : at + length]), bytes(data[other : other + length])
    data[at : at + length], data[other : other + length] = second[: len(first)], first
    return f"{length} bytes swapped with those at {other}"


def _repeat(data: bytearray, at: int, rng: random.Random) -> str:
    length = min(rng.choice([1, 64, 128, 640]), len(data) - at)
    data[at:at] = data[at : at + length]
    return f"{length} bytes repeated"


WAYS = (_flip, _flip, _zero, _swap, _repeat)


class Damages:
    """Damages one topic in many ways.

    Args:
        folder: For the log.
        seed: Decides what is drawn.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.done = self.named = self.harmless = 0
        self.faults: list[str] = []
        place = folder / "whole"
        child = fork(lambda teller: _make(place))
        if broken := [line for line in child.finish() if line.kind == "broken"]:
            raise Broken(broken[0].note)
        self.files = {
            str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()
        }
        self.rows = _read(place)

    def removals(self) -> Iterator[Damage]:
        """Give every file, removed."""
        for file in self.files:
            yield Damage(file, "removed", 0, None)

    def truncations(self, stride: int) -> Iterator[Damage]:
        """Give every ``stride``-th length of every file."""
        for file, data in self.files.items():
            if not file.endswith(UNREAD):
                for length in range(0, len(data), stride):
                    yield Damage(file, f"of {len(data)} bytes truncated", length, data[:length])

    def at_random(self, count: int) -> Iterator[Damage]:
        """Give damages at random places, in files of topic as often as in segments."""
        names = [file for file in self.files if self.files[file] and not file.endswith(UNREAD)]
        while count > 0:
            file = self.rng.choice(names)
            data = bytearray(self.files[file])
            at = self.rng.randrange(len(data))
            kind = self.rng.choice(WAYS)(data, at, self.rng)
            if bytes(data) != self.files[file]:
                first = next((i for i, (a, b) in enumerate(zip(data, self.files[file], strict=False)) if a != b), None)
                first = min(len(data), len(self.files[file])) if first is None else first
                count -= 1
                yield Damage(file, kind, first, bytes(data))

    def run(self, damages: Iterator[Damage]) -> None:
        """Do each to a copy and read it, in children."""
        pending = list(damages)
        while pending and len(self.faults) < MOST_FAULTS:
            part = pending[:PER_CHILD]
            place = self.folder / "damaged"
            child = fork(partial(self._suffer, part, place))
            lines = child.finish(60)
            started = sum(line.kind == "damage" for line in lines)
            self.named += sum(line.kind == "named" for line in lines)
            self.harmless += sum(line.kind == "harmless" for line in lines)
            self.faults += [line.note for line in lines if line.kind in ("wrong", "broken")]
            if child.signal:
                self.faults.append(f"signal {child.signal} ended the process at: {part[started - 1]}")
            self.done += started
            pending = pending[max(started, 1) :]

    def _suffer(self, damages: list[Damage], place: Path, teller: Teller) -> None:
        for damage in damages:
            shutil.rmtree(place, ignore_errors=True)
            for file, data in self.files.items():
                path = place / file
                path.parent.mkdir(parents=True, exist_ok=True)
                now = damage.data if file == damage.file else data
                if now is not None:
                    path.write_bytes(now)
            teller.tell(Line("damage"))
            try:
                teller.tell(Line(self._look(damage, place)))
            except Exception as e:
                teller.tell(Line("wrong", note=f"{damage}: {e!r}"[:1500]))

    def _look(self, damage: Damage, place: Path) -> str:
        """Read a damaged topic; return whether the damage was named or did no harm."""
        named: list[LogError] = []
        for partition, expected in enumerate(self.rows):
            named += self._compare(place, partition, expected)
            named += self._stream(place, partition, expected)
        places = [(error.path, error.position) for error in named if isinstance(error, LogDamaged)]
        with Log(place, upkeep=False) as log:
            try:
                found = [(one.path, one.position) for one in log.topic("t").verify()]
            except LogDamaged as error:
                found = [(error.path, error.position)]
        _same_place(damage, len(self.files[damage.file]), [(str(path), position) for path, position in places])
        _same_place(damage, len(self.files[damage.file]), [(str(path), position) for path, position in found])
        if named and not found:
            raise Broken(f"reading says {named[0]!r}, and verify finds nothing")
        return "named" if named or found else "harmless"

    def _compare(self, place: Path, partition: int, expected: list[tuple[int, int]]) -> list[LogError]:
        try:
            with Log(place, upkeep=False) as log:
                topic = log.topic("t")
                found = _read_partition(topic, partition)
        except LogError as error:
            return [error]
        if found != expected:
            raise Broken(f"partition {partition} gave {len(found)} rows and no error; it has {len(expected)}")
        return []

    def _stream(self, place: Path, partition: int, expected: list[tuple[int, int]]) -> list[LogError]:
        """Read by a reader: what comes before the damage is right."""
        found: list[tuple[int, int]] = []
        try:
            with Log(place, upkeep=False) as log:
                reader = log.topic("t").reader(partition)
                try:
                    while (batch := reader.read(50, 0.0)) is not None:
                        found += whole_rows(batch, "reader")
                        if found != expected[: len(found)]:
                            raise Broken(f"a reader of partition {partition} gave a row that is not there")
                finally:
                    reader.close()
        except LogError as error:
            return [error]
        if found != expected:
            raise Broken(f"a reader of partition {partition} gave {len(found)} rows; there are {len(expected)}")
        return []


def _same_place(damage: Damage, length: int, named: list[tuple[str, int | None]]) -> None:
    """Only the damaged file is named, and some place in it that is not behind the damage."""
    if damage.data is None:
        return  # a segment that is missing is named, or the one before it: that ends too early
    if strangers := [path for path, _ in named if not path.endswith(damage.file)]:
        raise Broken(f"the damage is in {damage.file}, and {strangers[0]} is named")
    # Inserted bytes damage all that is behind them too, so the first place counts; and the file is too long then.
    right = {position for _, position in named if position is not None and position <= damage.first}
    if named and not right and not any(position == length < len(damage.data) for _, position in named):
        raise Broken(f"the damage is at byte {damage.first}, and only places behind it are named: {named}")


def _read_partition(topic: Any, partition: int) -> list[tuple[int, int]]:
    table = topic.read(partition, topic.start(partition), 100_000)
    return list(whole_rows(table, f"partition {partition}"))


def _read(place: Path) -> list[list[tuple[int, int]]]:
    with Log(place, upkeep=False) as log:
        topic: Any = log.topic("t")
        return [_read_partition(topic, partition) for partition in range(2)]


def _make(place: Path) -> None:
    """Make a topic with a sealed segment, a rolled one and an active one."""
    with Log(place, upkeep=False) as log:
        topic: Any = log.create("t", ROW, partitions=2, segment_bytes=4096)
        for n in range(0, 60, 6):
            topic.append(rows_of(1, n, 6), 0)
        topic.maintain()
        topic.append(rows_of(1, 60, 40), 0)
        topic.append(rows_of(1, 100, 5), 0)
        topic.append_epoch("job", 3, rows_of(2, 0, 5))
        for n in range(3):
            topic.append(rows_of(3, n * 4, 4), 1)


def main() -> None:
    """Run the campaign as this process was told."""
    given: dict[str, Any] = run.settings()
    faults: list[str] = []
    with bugs.planted(given.get("bug")):
        damages = Damages(Path(given["folder"]), given["seed"])
        parts: list[Callable[[], Iterator[Damage]]] = [
            lambda: damages.removals() if given.get("removals") else iter(()),
            lambda: damages.truncations(given["stride"]) if given.get("stride") else iter(()),
            lambda: damages.at_random(given.get("count", 0)),
        ]
        for part in parts:
            damages.run(part())
        faults += damages.faults
    counts = {"damages": damages.done, "named": damages.named, "harmless": damages.harmless}
    counts["bytes"] = sum(map(len, damages.files.values()))
    run.answer(counts, faults[:MOST_FAULTS])


if __name__ == "__main__":
    os.umask(0o077)
    main()
