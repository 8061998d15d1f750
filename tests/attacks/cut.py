"""D2: the power of an ext4 goes while children append and maintain; what they were told is durable must be there."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.attacks import bugs, run
from tests.attacks.children import fork
from tests.attacks.mounted import Ext4
from tests.attacks.story import Broken, Story
from tests.attacks.tale import ROW, Teller, rows_of
from thalweg.core.errors import LogError
from thalweg.log import Log

CUTS_PER_TOPIC = 20
LONGEST_LIFE_S = 0.025


class Cuts:
    """Power cuts of one file system.

    Args:
        folder: For the file system's image.
        seed: Decides what is drawn (not the instants: those are the machine's).
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.disk, self.rng = Ext4(folder), random.Random(seed)
        self.cuts = self.rows = self.acknowledged = 0
        self._writers = 0

    def run(self, cuts: int) -> None:
        """Cut the power so many times.

        Raises:
            Broken: An invariant does not hold.
        """
        self.disk.mount()
        try:
            while self.cuts < cuts:
                self._topic(min(cuts, self.cuts + CUTS_PER_TOPIC))
        finally:
            self.disk.unmount()

    def _topic(self, until: int) -> None:
        name = f"t{self.cuts}"
        partitions = self.rng.choice([1, 2])
        with Log(self.disk.root / "log") as log:
            log.create(name, ROW, partitions=partitions, segment_bytes=self.rng.choice([2048, 8192, 65536]))
        story = Story(partitions)
        # The creation was acknowledged: a cut right behind it leaves a topic.
        self._cut()
        while self.cuts < until:
            self._round(name, story)
        self.acknowledged += story.acknowledged_rows()
        with Log(self.disk.root / "log") as log:
            log.delete(name)
        self._cut()
        with Log(self.disk.root / "log") as log:
            if name in log.topics():
                raise Broken(f"topic {name} was deleted, and is there again after a power cut")

    def _round(self, name: str, story: Story) -> None:
        place = self.disk.root / "log"
        children = []
        for _ in range(self.rng.choice([1, 2])):
            self._writers += 1
            who, seed = self._writers, self.rng.getrandbits(32)
            children.append(fork(partial(_append, place, name, who, seed, story.partitions)))
        if self.rng.random() < 0.3:
            children.append(fork(lambda teller: _maintain(place, name)))
        children[0].listen(20)
        time.sleep(self.rng.uniform(0, LONGEST_LIFE_S))
        self.disk.cut_power()
        for child in children:
            child.kill()
            # A child that notices the cut says so before it is killed: its disk is gone, that is no fault of its own.
            story.hear([line for line in child.lines() if line.kind != "broken"])
        self._remount()
        with Log(place) as log:
            topic = log.topic(name)
            self.rows += story.check(topic)
            if damage := topic.verify():
                raise Broken(f"after a power cut verify says: {damage}")

    def _cut(self) -> None:
        self.disk.cut_power()
        self._remount()

    def _remount(self) -> None:
        self.disk.unmount()
        self.disk.mount()
        self.cuts += 1


def _append(place: Path, name: str, who: int, seed: int, partitions: int, teller: Teller) -> None:
    rng, n = random.Random(seed), 0
    topic = Log(place).topic(name)
    while True:
        count, partition = rng.choice([1, 3, 30]), rng.randrange(partitions)
        teller.attempt(name, who, n, count)
        teller.acknowledged(name, who, n, count, topic.append(rows_of(who, n, count), partition))
        n += count


def _maintain(place: Path, name: str) -> None:
    topic = Log(place).topic(name)
    while True:
        topic.maintain()


def main() -> None:
    """Run the campaign as this process was told."""
    given: dict[str, Any] = run.settings()
    cuts = Cuts(Path(given["folder"]), given["seed"])
    faults: list[str] = []
    with bugs.planted(given.get("bug")):
        try:
            cuts.run(given["cuts"])
        except (Broken, LogError) as e:
            faults.append(f"cut {cuts.cuts}: {e!r}")
    run.answer({"cuts": cuts.cuts, "rows read": cuts.rows, "rows acknowledged": cuts.acknowledged}, faults)


if __name__ == "__main__":
    main()
