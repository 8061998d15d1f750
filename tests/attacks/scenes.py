"""Short scripts over a log, each about one part of it, so that every call of each can be broken in turn.

A scene has a ``before``, which nobody attacks, and an ``act``. Both are told line by line. The hand that plays
it does what a sensible program does: after a refusal it opens the topic anew and does the step again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from tests.attacks.account import EXTRA
from tests.attacks.shim import Call, Fault, Shim
from tests.attacks.story import Broken
from tests.attacks.tale import ROW, Line, Teller, rows_of
from thalweg.core.errors import LogError, NoSpace
from thalweg.log import Log

SECOND = 1_000_000
BEGIN_US = 1_700_000_000 * SECOND
TRIES = 3


class SceneClock:
    """A wall clock that the scene turns."""

    def __init__(self, us: int = BEGIN_US) -> None:
        self.us = us

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: Any, timeout_s: float) -> bool:  # Any: threading.Event, as the protocol has it
        return bool(event.wait(timeout_s))


class Hand:
    """Plays a scene's steps on a log and tells of them.

    Args:
        place: The log's folder.
        teller: Hears the tale.
        shim: Breaks a call, if it is there.
        fault: How.
        who: The first writer's number; each handle is a writer of its own.
    """

    def __init__(
        self, place: Path, teller: Teller, shim: Shim | None = None, fault: Fault = Fault.NONE, who: int = 1
    ) -> None:
        self.place, self.teller, self.shim, self.fault = place, teller, shim, fault
        self.clock = SceneClock()
        self.who, self.n = who, 0
        self.refusals = 0
        self._log = Log(place, clock=self.clock, upkeep=False)
        self._topics: dict[str, Any] = {}  # Any: the log under attack

    def topic(self, name: str = "a") -> Any:
        """Return the open topic."""
        if name not in self._topics:
            self._topics[name] = self._log.topic(name)
        return self._topics[name]

    def create(self, name: str = "a", **options: Any) -> None:
        """Create a topic."""
        kept = int(options["retention"].removesuffix("s")) * SECOND if "retention" in options else None
        told = {"partitions": options.get("partitions", 1), "ordered": "key" not in options}
        told |= {"compact": options.get("compact", False), "kept_us": kept}
        self.teller.tell(Line("making", name, note=json.dumps(told)))
        self._topics[name] = self._step(name, lambda: self._log.create(name, ROW, **options), poisons=False)
        self.teller.tell(Line("made", name))

    def delete(self, name: str) -> None:
        """Delete a topic."""
        self.teller.tell(Line("going", name))
        self._step(name, lambda: self._delete(name), poisons=False)
        self.teller.tell(Line("gone", name))

    def _delete(self, name: str) -> None:
        # A deletion that was refused half-way may have been done, though nobody said that it would last.
        done = name not in self._log.topics()
        try:
            self._log.delete(name)
        except LogError as error:
            if not done or "there is no topic" not in str(error):
                raise
        self._topics.pop(name, None)

    def append(self, count: int, partition: int | None = 0, name: str = "a") -> None:
        """Append rows, and once more by the same hand in another writer's name where it was refused."""
        places: list[Any] = []

        def act() -> None:
            self.teller.attempt(name, self.who, self.n, count, self.clock.us)
            places[:] = self.topic(name).append(rows_of(self.who, self.n, count), partition)

        self._step(name, act, poisons=True)
        self.teller.acknowledged(name, self.who, self.n, count, places, self.clock.us)
        self.n += count

    def append_again(self, first: int, name: str = "a") -> None:
        """Append rows of this writer with some that are there already, told as the new ones; ids drop the old."""
        count = 3
        self._step(name, lambda: self._repeat(name, first, count), poisons=True, same_writer=True)
        self.teller.acknowledged(name, self.who, self.n, count, (), self.clock.us)
        self.n += count

    def _repeat(self, name: str, first: int, count: int) -> None:
        self.teller.attempt(name, self.who, self.n, count, self.clock.us)
        self.topic(name).append(rows_of(self.who, first, self.n - first + count), 0)

    def epoch(self, epoch: int, name: str = "a") -> None:
        """Append an epoch of five rows, as a sink does: again with the same number where it was refused."""
        n = (epoch - 1) * 5

        def act() -> None:
            self.teller.attempt(name, 0, n, 5, self.clock.us)
            self.topic(name).append_epoch("job", epoch, rows_of(0, n, 5))

        self._step(name, act, poisons=True, same_writer=True)
        if self.topic(name).last_epoch("job") < epoch:
            raise Broken(f"epoch {epoch} was acknowledged, and the last is {self.topic(name).last_epoch('job')}")
        self.teller.acknowledged(name, 0, n, 5, (), self.clock.us)

    def maintain(self, name: str = "a") -> None:
        """Seal, retain, compact."""
        self._step(name, lambda: self.topic(name).maintain(), poisons=False)

    def evolve(self, name: str = "a") -> None:
        """Add a column."""
        schema = pa.schema([*ROW, pa.field(EXTRA, pa.int64())])
        self._step(name, lambda: self.topic(name).evolve(schema), poisons=True)
        self.teller.tell(Line("evolved", name))

    def trim(self, before: int, name: str = "a") -> None:
        """Trim the first partition."""
        self.teller.tell(Line("trimming", name, at=((0, before, 0),)))
        start = self._step(name, lambda: self.topic(name).trim(before, 0), poisons=False)
        if start > before:
            raise Broken(f"trim({before}) gave the start {start}")
        self.teller.tell(Line("trimmed", name, at=((0, start, 0),)))

    def later(self, seconds: int) -> None:
        """Turn the clock."""
        self.clock.us += seconds * SECOND
        self.teller.tell(Line("later", now_us=self.clock.us))

    def fresh(self) -> None:
        """Go on as another writer: one writer's rows are of one topic."""
        self.who, self.n = self.who + 1, 0

    def _step(self, name: str, act: Callable[[], Any], *, poisons: bool, same_writer: bool = False) -> Any:
        for _ in range(TRIES):
            before = self._fired()
            try:
                done = act()
            except LogError as refusal:
                self.refusals += 1
                self.teller.tell(Line("refused", name, note=f"{refusal!r}"[:300]))
                if self.fault is Fault.FULL and self.shim is not None and self._fired():
                    self._full(name, refusal)
                elif poisons and before is None and (fired := self._fired()) and self._counts(fired):
                    self._must_be_poisoned(name, fired[1])
                self._reopen(same_writer)
            else:
                fired = self._fired()
                if self.fault in (Fault.EIO, Fault.SYNC_EIO) and before is None and fired and fired[0] is Call.SYNC:
                    raise Broken(f"the sync of {fired[1]} failed, and the step was acknowledged")
                return done
        raise Broken(f"a step was refused {TRIES} times; one call was broken")

    def _fired(self) -> tuple[Call, str] | None:
        return self.shim.fired() if self.shim else None

    def _counts(self, fired: tuple[Call, str]) -> bool:
        # No space for a file that nobody has seen yet: it is thrown away whole, and nothing depends on it.
        unseen = self.fault is Fault.ENOSPC and fired[1].endswith(".tmp")
        return fired[0] is Call.SYNC and not unseen

    def _must_be_poisoned(self, name: str, path: str) -> None:
        topic = self._topics.get(name)
        if topic is None:
            return
        self.teller.attempt(name, self.who + 1000, 0, 1, self.clock.us)
        try:
            topic.append(rows_of(self.who + 1000, 0, 1), 0 if topic.options.key is None else None)
        except LogError:
            return
        raise Broken(f"the sync of {path} failed, and a later append of the same handle was acknowledged")

    def _full(self, name: str, refusal: LogError) -> None:
        """No space: the refusal says so, reads go on; then there is space again, and the same handle appends."""
        if not isinstance(refusal, NoSpace):
            raise Broken(f"there was no space, and the refusal was {refusal!r}")
        assert self.shim is not None
        topic = self._topics.get(name)
        if topic is not None:
            for partition in range(topic.options.partitions):
                topic.read(partition, topic.start(partition))
        self.shim.relent()
        self.shim = None
        if topic is not None:
            who = self.who + 1000
            self.teller.attempt(name, who, 0, 1, self.clock.us)
            places = topic.append(rows_of(who, 0, 1), 0 if topic.options.route is None else None)
            self.teller.acknowledged(name, who, 0, 1, places, self.clock.us)

    def _reopen(self, same_writer: bool) -> None:
        self._log.close()
        self._log = Log(self.place, clock=self.clock, upkeep=False)
        self._topics = {}
        if not same_writer:
            # Whether the refused rows are there is open; the next ones come under another name.
            self.who, self.n = self.who + 1, 0


Step: TypeAlias = Callable[[Hand], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """A script.

    Attributes:
        before: What is there when the attack begins.
        act: What is attacked.
    """

    before: Step
    act: Step


def _filled(appends: int, **options: Any) -> Step:
    def before(hand: Hand) -> None:
        hand.create(segment_bytes=2048, **options)
        for i in range(appends):
            hand.append(4 + i % 3, None if "key" in options or "id" in options else 0)
            hand.later(1)

    return before


def _append(hand: Hand) -> None:
    for i in range(5):
        hand.append(1 + i * 3, i % 2)


def _roll(hand: Hand) -> None:
    for i in range(6):
        hand.append(10, i % 2)


def _seal(hand: Hand) -> None:
    hand.maintain()
    hand.append(3)
    hand.maintain()


def _retain(hand: Hand) -> None:
    hand.later(57)
    hand.maintain()
    hand.append(3)


def _compact(hand: Hand) -> None:
    hand.maintain()
    hand.append(7, None)
    hand.append(20, None)
    hand.maintain()


def _evolve(hand: Hand) -> None:
    hand.append(3)
    hand.evolve()
    hand.append(3)


def _trim(hand: Hand) -> None:
    hand.trim(20)
    hand.append(3)
    hand.trim(hand.topic().end(0))
    hand.append(3)


def _epochs(hand: Hand) -> None:
    for epoch in (1, 2, 2, 3, 4, 5, 6):
        hand.epoch(epoch)
    hand.maintain()
    hand.epoch(6)
    hand.epoch(7)


def _create(hand: Hand) -> None:
    hand.create("b", partitions=2)
    hand.fresh()
    hand.append(3, 1, "b")
    hand.create("b", partitions=2)
    hand.delete("b")
    hand.create("b", segment_bytes=4096)
    hand.fresh()
    hand.append(3, 0, "b")
    hand.create("c", key="key", partitions=3)
    hand.fresh()
    hand.append(9, None, "c")


def _ids(hand: Hand) -> None:
    hand.append_again(hand.n)
    hand.append_again(0)
    hand.append_again(max(0, hand.n - 5))


def _left_behind(torn: bool) -> Step:
    """An appender died: after its sync and before its publication, or in the middle of its write."""

    def before(hand: Hand) -> None:
        _filled(3)(hand)
        partition = hand.place / "a" / "0000"
        published = (partition / "end").read_bytes()
        sizes = {path: path.stat().st_size for path in partition.glob("*.seg")}
        # Torn, it is longer than a segment: what stays of it would stand behind the last frame of one that is full.
        count = 80 if torn else 4
        hand.teller.attempt("a", hand.who, hand.n, count, hand.clock.us)
        hand.topic().append(rows_of(hand.who, hand.n, count), 0)
        for path in partition.glob("*.seg"):
            if torn and path.stat().st_size > sizes.get(path, 0):
                with path.open("r+b") as file:
                    file.truncate((sizes.get(path, 0) + path.stat().st_size) // 2)
        (partition / "end").write_bytes(published)

    return before


def _recover(hand: Hand) -> None:
    hand.fresh()
    for _ in range(4):
        hand.append(2)


SceneName: TypeAlias = Literal[
    "append", "roll", "seal", "retain", "compact", "evolve", "trim", "epochs", "create", "ids", "behind", "torn"
]
SCENES: dict[SceneName, Scene] = {
    "append": Scene(_filled(2, partitions=2), _append),
    "roll": Scene(lambda hand: hand.create(partitions=2, segment_bytes=1024), _roll),
    "seal": Scene(_filled(12), _seal),
    "retain": Scene(_filled(12, retention="60s"), _retain),
    "compact": Scene(_filled(10, key="key", compact=True), _compact),
    "evolve": Scene(_filled(2), _evolve),
    "trim": Scene(_filled(10), _trim),
    "epochs": Scene(lambda hand: hand.create(segment_bytes=1024), _epochs),
    "create": Scene(_filled(1), _create),
    "ids": Scene(_filled(2, id="id"), _ids),
    "behind": Scene(_left_behind(torn=False), _recover),
    "torn": Scene(_left_behind(torn=True), _recover),
}
