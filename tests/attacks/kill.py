"""D1: children append, roll, seal, retain, compact, create and delete; each is killed at a random instant.

After each kill the topic is opened anew and held against what the children told; every so often the
campaign heals: the topic must take rows again. One act is one topic; each kind of act attacks another part.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attacks import bugs, run
from tests.attacks.children import Child, fork
from tests.attacks.story import Broken, Story, check_compacted
from tests.attacks.tale import ROW, Line, Teller, rows_of
from thalweg.core.errors import LogError
from thalweg.log import Log

SECOND = 1_000_000
KILLS_PER_ACT = 25
RETENTION_S = 40
LONGEST_LIFE_S = 0.012


class TurnedClock:
    """The machine's clock, with a wall clock that the campaign turns."""

    def __init__(self, now_us: int) -> None:
        self.us = now_us

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: Any, timeout_s: float) -> bool:  # Any: threading.Event, as the protocol has it
        return bool(event.wait(timeout_s))


@dataclass(slots=True)
class Act:
    """One topic under attack.

    Attributes:
        kind: What is attacked.
        options: How the topic is created.
        story: What it must hold.
    """

    kind: str
    options: dict[str, Any]  # Any: the keywords of Log.create
    story: Story


def _act(kind: str, rng: random.Random) -> Act:
    options: dict[str, Any] = {"partitions": rng.choice([1, 1, 2]), "segment_bytes": rng.choice([2048, 4096, 16384])}
    if kind == "retain":
        options["retention"] = f"{RETENTION_S}s"
    elif kind == "compact":
        options |= {"compact": True, "key": "key", "partitions": 1}
    elif kind == "key":
        options |= {"key": "key", "partitions": 3}
    elif kind == "id":
        options |= {"id": "id", "partitions": 1}
    elif kind == "epoch":
        options |= {"partitions": 1}
    story = Story(options["partitions"], ordered=kind != "key")
    if kind == "retain":
        story.kept_us = RETENTION_S * SECOND
    return Act(kind, options, story)


KINDS = ("plain", "retain", "compact", "key", "id", "epoch")


class Campaign:
    """The kills of one run.

    Args:
        folder: For the logs.
        seed: Decides what is drawn (not the instants of the kills: those are the machine's).
        kinds: The kinds of acts.
    """

    def __init__(self, folder: Path, seed: str, kinds: tuple[str, ...] = KINDS) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.clock = TurnedClock(1_700_000_000 * SECOND)
        self.kinds = kinds
        self.kills = self.acts = self.heals = self.rows = self.acknowledged = 0
        self._writers = 0

    def run(self, kills: int) -> None:
        """Kill so many children.

        Raises:
            Broken: An invariant does not hold.
        """
        while self.kills < kills:
            kind = self.kinds[self.acts % len(self.kinds)]
            act = _act(kind, self.rng)
            place = self.folder / f"act{self.acts}"
            Log(place, clock=self.clock).create("t", ROW, **act.options)
            try:
                self._play(act, place, min(kills, self.kills + KILLS_PER_ACT))
            except (LogError, Broken) as e:
                raise Broken(f"act {self.acts} ({kind} {act.options}), after {self.kills} kills: {e!r}") from e
            self.acts += 1
            self.acknowledged += act.story.acknowledged_rows()
            shutil.rmtree(place)

    def _play(self, act: Act, place: Path, until: int) -> None:
        rounds = 0
        while self.kills < until:
            children = [self._writer(act, place)]
            if act.kind not in ("id", "epoch") and self.rng.random() < 0.3:
                children.append(self._writer(act, place))
            if self.rng.random() < 0.5:
                children.append(fork(lambda teller: _maintain(place, self.clock, teller)))
            self._kill(children)
            for child in children:
                act.story.hear(child.lines())
            # A reader, before any appender recovers: it must not see less than what was acknowledged.
            self._check(act, place, whole=False)
            self.clock.us += self.rng.randint(0, 3 * SECOND)
            rounds += 1
            if rounds % 5 == 0:
                self._heal(act, place)
        self._heal(act, place)

    def _kill(self, children: list[Child]) -> None:
        for child in children:
            # Its first word says that it works: else most would die while they start.
            child.listen(20)
        for child in self.rng.sample(children, len(children)):
            time.sleep(self.rng.uniform(0, LONGEST_LIFE_S))
            child.kill()
            self.kills += 1

    def _heal(self, act: Act, place: Path) -> None:
        self._writers += 1
        who, now = self._writers, self.clock.us
        if act.kind in ("id", "epoch"):
            child = fork(_resumed(act, place, self.clock, appends=2))
        else:
            child = fork(lambda teller: _append(act, place, self.clock, who, 3, random.Random(who), teller))
        maintained = fork(lambda teller: _maintain(place, self.clock, teller, once=True))
        for healed in (child, maintained):
            healed.finish()
            act.story.hear(healed.lines())
        if not any(line.kind == "ack" and line.now_us == now for line in child.lines()):
            raise Broken(f"after the faults had stopped, nothing was appended: {child.lines()}")
        self.heals += 1
        self._check(act, place, whole=True)

    def _check(self, act: Act, place: Path, whole: bool) -> None:
        with Log(place, clock=self.clock) as log:
            topic = log.topic("t")
            if act.kind == "compact":
                self.rows += check_compacted(act.story, topic) if whole else 0
            else:
                self.rows += act.story.check(topic, self.clock.us, whole)
            if whole and (damage := topic.verify()):
                raise Broken(f"kills damaged the topic: {damage}")
            if act.kind == "epoch":
                _check_epoch(act, topic)

    def _writer(self, act: Act, place: Path) -> Child:
        self._writers += 1
        who, seed = self._writers, self.rng.getrandbits(32)
        if act.kind in ("id", "epoch"):
            return fork(_resumed(act, place, self.clock))
        return fork(lambda teller: _append(act, place, self.clock, who, 10_000, random.Random(seed), teller))


def _append(
    act: Act, place: Path, clock: TurnedClock, who: int, appends: int, rng: random.Random, teller: Teller
) -> None:
    topic, n = Log(place, clock=clock).topic("t"), 0
    for _ in range(appends):
        # Usually a few rows; at times more than a segment holds.
        count = rng.choice([1, 1, 3, 8, 40])
        partition = None if act.options.get("key") else rng.choice([None, *range(act.story.partitions)])
        rows = rows_of(who, n, count)
        teller.attempt("t", who, n, count, clock.us)
        teller.acknowledged("t", who, n, count, topic.append(rows, partition), clock.us)
        n += count


def _resumed(act: Act, place: Path, clock: TurnedClock, appends: int = 10_000) -> Callable[[Teller], None]:
    """Return work that goes on where the last child was killed: sends again what nobody acknowledged."""
    story = act.story
    last = story.told[-1] if story.told else Line("ack", who=1)
    start = last.first + last.count

    def by_id(teller: Teller) -> None:
        topic, n = Log(place, clock=clock).topic("t"), start
        for _ in range(appends):
            # Some rows that were acknowledged long ago come again too.
            again = min(n, 4)
            count = 3 + n % 5
            teller.attempt("t", 1, n, count, clock.us)
            topic.append(rows_of(1, n - again, count + again), 0)
            teller.acknowledged("t", 1, n, count, (), clock.us)
            n += count

    def by_epoch(teller: Teller) -> None:
        topic = Log(place, clock=clock).topic("t")
        first = topic.last_epoch("job") + 1
        teller.tell(Line("epoch", note=str(first - 1)))
        # A sink that restarts sends the last epoch again; it must be dropped.
        for epoch in range(max(1, first - 1), first + appends):
            n = (epoch - 1) * 7
            teller.attempt("t", 1, n, 7, clock.us)
            topic.append_epoch("job", epoch, rows_of(1, n, 7))
            teller.acknowledged("t", 1, n, 7, (), clock.us)

    return by_id if act.kind == "id" else by_epoch


def _maintain(place: Path, clock: TurnedClock, teller: Teller, once: bool = False) -> None:
    topic = Log(place, clock=clock).topic("t")
    teller.tell(Line("maintaining"))
    topic.maintain()
    while not once:
        topic.maintain()


def _check_epoch(act: Act, topic: Any) -> None:  # Any: the log under attack
    epoch = topic.last_epoch("job")
    told = max((line.first // 7 + 1 for line in act.story.told), default=0)
    rows = topic.end(0)
    if epoch < told:
        raise Broken(f"epoch {told} was acknowledged and the last is {epoch}")
    if rows != epoch * 7:
        raise Broken(f"epoch {epoch} is the last and there are {rows} rows; each epoch has 7")


def main() -> None:
    """Run the campaign as this process was told."""
    given: dict[str, Any] = run.settings()
    campaign = Campaign(Path(given["folder"]), given["seed"], tuple(given.get("kinds", KINDS)))
    faults: list[str] = []
    with bugs.planted(given.get("bug")):
        try:
            campaign.run(given["kills"])
        except Broken as e:
            faults.append(str(e))
    run.answer(
        {
            "kills": campaign.kills,
            "acts": campaign.acts,
            "heals": campaign.heals,
            "rows read": campaign.rows,
            "rows acknowledged": campaign.acknowledged,
        },
        faults,
    )


if __name__ == "__main__":
    main()
