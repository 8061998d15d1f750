"""D6: a file system that is full: appends are refused by type, reads go on, appends resume when there is space."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

from tests.attacks import bugs, run
from tests.attacks.story import Broken, Story
from tests.attacks.tale import ROW, Line, rows_of
from thalweg.core.errors import NoSpace
from thalweg.log import Log

MOST_APPENDS = 100_000


class Full:
    """Rounds of filling a small file system and making space on it.

    Args:
        folder: On the small file system.
        seed: Decides what is drawn.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.rounds = self.refused = self.rows = 0

    def run(self, rounds: int) -> None:
        """Fill it and make space so many times.

        Raises:
            Broken: An invariant does not hold.
        """
        while self.rounds < rounds:
            # A new topic now and then: what a trim cannot give back, a deletion does.
            with Log(self.folder / "log") as log:
                if "t" in log.topics():
                    log.delete("t")
                log.create("t", ROW, partitions=2, segment_bytes=16384)
                story = Story(2)
                for _ in range(min(10, rounds - self.rounds)):
                    self._round(log, story)
                    self.rounds += 1

    def _round(self, log: Log, story: Story) -> None:
        # What other programs put there, of any length: so that each call is the first to find no space.
        ballast = self.folder / "ballast"
        topic: Any = log.topic("t")
        _take_space(ballast, self.rng.randint(40_000, 90_000))
        if not self._fill(topic, story):
            raise Broken("the file system did not fill up")
        self._check(story)
        story.check(topic)
        if self.rng.random() < 0.5:
            ballast.unlink()
        else:
            for partition in (0, 1):
                before = topic.end(partition)
                story.hear([Line("trimming", at=((partition, before, 0),))])
                topic.trim(before, partition)
            ballast.unlink()
        # The same handle goes on by itself.
        for partition in (0, 1):
            self._append(topic, story, 2, partition)
        self._check(story)

    def _fill(self, topic: Any, story: Story) -> bool:
        for _ in range(MOST_APPENDS):
            try:
                self._append(topic, story, self.rng.choice([1, 5, 60]), self.rng.randrange(2))
            except NoSpace:
                self.refused += 1
                return True
        return False

    def _append(self, topic: Any, story: Story, count: int, partition: int) -> None:
        who = len(story.tried) + 1
        story.hear([Line("try", who=who, count=count)])
        places = topic.append(rows_of(who, 0, count), partition)
        story.hear([Line("ack", who=who, count=count, at=tuple((p.partition, p.offset, p.count) for p in places))])

    def _check(self, story: Story) -> None:
        with Log(self.folder / "log") as log:
            topic = log.topic("t")
            self.rows += story.check(topic)
            if damage := topic.verify():
                raise Broken(f"a full file system damaged the topic: {damage}")


def _take_space(file: Path, size: int) -> None:
    """Write so many bytes, or what there is space for."""
    with file.open("wb", buffering=0) as ballast:
        try:
            for _ in range(size // 4096):
                ballast.write(bytes(4096))
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise


def main() -> None:
    """Run the campaign as this process was told."""
    given: dict[str, Any] = run.settings()
    full = Full(Path(given["folder"]), given["seed"])
    faults: list[str] = []
    with bugs.planted(given.get("bug")):
        try:
            full.run(given["rounds"])
        except (Broken, OSError) as e:
            faults.append(f"round {full.rounds}: {e!r}")
    run.answer({"rounds": full.rounds, "refused": full.refused, "rows read": full.rows}, faults)


if __name__ == "__main__":
    main()
