"""D7: eight processes append at once, some with threads; one of them is stopped wherever it is, and goes on later.

The offsets that they are given are gapless, unique and in each one's order; who waits for a stopped holder
of the lock waits, and nothing else.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.attacks import bugs, run
from tests.attacks.children import fork
from tests.attacks.story import Broken, Story
from tests.attacks.tale import ROW, Teller, rows_of
from thalweg.log import Log

PROCESSES = 8
THREADS = 3
APPENDS = 24


class Race:
    """Rounds of racing processes.

    Args:
        folder: For the logs.
        seed: Decides what is drawn.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.rounds = self.stops = self.rows = 0

    def run(self, rounds: int) -> None:
        """Race so many times.

        Raises:
            Broken: An invariant does not hold.
        """
        for _ in range(rounds):
            self._round()
            self.rounds += 1

    def _round(self) -> None:
        place = self.folder / f"race{self.rounds}"
        partitions = self.rng.choice([1, 2])
        Log(place).create("t", ROW, partitions=partitions, segment_bytes=self.rng.choice([2048, 65536]))
        seeds = [self.rng.getrandbits(32) for _ in range(PROCESSES)]
        children = [fork(partial(_append, place, who, seed, partitions)) for who, seed in enumerate(seeds)]
        for child in children:
            child.listen(20)
        for _ in range(3):
            stopped = self.rng.choice(children)
            os.kill(stopped.pid, signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.0, 0.03))
            os.kill(stopped.pid, signal.SIGCONT)
            self.stops += 1
        story = Story(partitions, ordered=False)
        for child in children:
            story.hear(child.finish())
        self._gapless(story)
        with Log(place) as log:
            topic = log.topic("t")
            self.rows += story.check(topic)
            expected = story.acknowledged_rows()
            if (found := sum(topic.end(p) for p in range(partitions))) != expected:
                raise Broken(f"{expected} rows were acknowledged, none refused, and there are {found}")

    def _gapless(self, story: Story) -> None:
        for partition in range(story.partitions):
            runs = sorted((o, c) for line in story.told for p, o, c in line.at if p == partition)
            at = 0
            for offset, count in runs:
                if offset != at:
                    raise Broken(f"after offset {at} of partition {partition} comes {offset}")
                at += count


def _append(place: Path, who: int, seed: int, partitions: int, teller: Teller) -> None:
    topic = Log(place).topic("t")
    # The odd ones append with threads, whose rows share a sync.
    threads = THREADS if who % 2 else 1
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        rng, name, n = random.Random(seed + thread), who * THREADS + thread, 0
        try:
            for _ in range(APPENDS // threads):
                count = rng.choice([1, 2, 9])
                partition = rng.randrange(partitions)
                teller.attempt("t", name, n, count)
                teller.acknowledged("t", name, n, count, topic.append(rows_of(name, n, count), partition))
                n += count
        except BaseException as e:
            failures.append(e)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]


def main() -> None:
    """Run the campaign as this process was told."""
    given: dict[str, Any] = run.settings()
    race = Race(Path(given["folder"]), given["seed"])
    faults: list[str] = []
    with bugs.planted(given.get("bug")):
        try:
            race.run(given["rounds"])
        except (Broken, OSError) as e:
            faults.append(f"round {race.rounds}: {e!r}")
    run.answer({"rounds": race.rounds, "stops": race.stops, "rows read": race.rows}, faults)


if __name__ == "__main__":
    main()
