"""D3 and D5: every call that changes the disk, of every scene, is broken once in every way.

Each run: a fresh copy of what the scene finds, a child that plays it with one call broken, then a reader's
view, then a second child that goes on writing, then the whole again. With ``cut`` the power also goes, at
points that the seed draws: so that bytes which a failed sync left in the cache only do not count as safe.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attacks import bugs, run
from tests.attacks.account import Account
from tests.attacks.children import fork
from tests.attacks.medium import Loss, Medium
from tests.attacks.scenes import SCENES, Hand, SceneClock, SceneName
from tests.attacks.shim import Call, Fault, Record, Shim, read_records, tale_record
from tests.attacks.story import Broken
from tests.attacks.tale import Line, Teller, read_lines, rows_of
from thalweg.core.errors import LogError
from thalweg.log import Log

HEALER = 5000
MOST_FAULTS = 3


@dataclass(frozen=True, slots=True)
class Played:
    """What a child did.

    Attributes:
        records: Its calls and its tale, in order.
        counted: How many calls could have been broken.
        killed: Whether the broken call ended it.
        fired: Whether a call was broken.
    """

    records: tuple[Record, ...]
    counted: int
    killed: bool
    fired: bool

    @property
    def tale(self) -> list[Line]:
        """The lines of its tale."""
        return read_lines(b"".join(record.data for record in self.records if record.call is Call.TALE))


class Calls:
    """Plays scenes with broken calls.

    Args:
        folder: For the logs.
        seed: Decides where the power goes.
        shim: Preloaded in this process.
    """

    def __init__(self, folder: Path, seed: str, shim: Shim) -> None:
        self.folder, self.seed, self.shim = folder, seed, shim
        self.reader_first = True
        self.runs = self.cuts = self.rows = self.fired = self.idle = 0
        self.made: tuple[Call, ...] = ()
        self.faults: list[str] = []
        self._folders = 0

    def play(self, place: Path, work: Callable[[Hand], None], at: int = 0, fault: Fault = Fault.NONE) -> Played:
        """Play steps on a log in a child, one call broken.

        Raises:
            Broken: The child ended otherwise than it should.
        """
        file = place.parent / f"{place.name}.record"
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_TRUNC, 0o600)

        def child(teller: Teller) -> None:
            # The shim is armed in the child: what the campaign itself does is not counted.
            self.shim.arm(place, descriptor, at, fault)
            work(Hand(place, Teller(descriptor, tale_record), self.shim, fault))
            counted, fired = self.shim.counted(), self.shim.fired() is not None
            self.shim.arm(None)
            teller.tell(Line("counted", count=counted, first=int(fired)))

        played = fork(child)
        lines = played.finish()
        os.close(descriptor)
        killed = played.signal == 9 and fault in (Fault.KILL, Fault.TEAR)
        if played.signal and not killed:
            raise Broken(f"the process was ended by signal {played.signal}")
        if broken := [line for line in lines if line.kind == "broken"]:
            raise Broken(broken[0].note)
        counted = sum(line.count for line in lines if line.kind == "counted")
        records = tuple(read_records(file))
        file.unlink()
        fired = killed or any(line.first for line in lines if line.kind == "counted")
        return Played(records, counted, killed, fired)

    def before(self, name: SceneName) -> tuple[Path, list[Line]]:
        """Make what a scene finds, once."""
        place = self.folder / f"{name}.before"
        if not place.exists():
            place.mkdir()
            played = self.play(place, SCENES[name].before)
            (self.folder / f"{name}.tale").write_bytes(b"".join(line.packed() for line in played.tale))
        return place, read_lines((self.folder / f"{name}.tale").read_bytes())

    def copy(self, place: Path) -> Path:
        """Return a copy of a log."""
        self._folders += 1
        return Path(shutil.copytree(place, self.folder / f"run{self._folders}"))

    def act(self, name: SceneName, lines: list[Line]) -> Callable[[Hand], None]:
        """Return a scene's act for a hand that knows what was before."""

        def act(hand: Hand) -> None:
            for line in lines:
                hand.clock.us = max(hand.clock.us, line.now_us)
                if line.kind in ("try", "ack") and line.who < HEALER:
                    hand.who, hand.n = line.who, line.first + line.count
            if name not in ("ids", "epochs"):
                hand.fresh()
            SCENES[name].act(hand)

        return act

    def break_call(self, name: SceneName, at: int, fault: Fault, cuts: int = 0) -> int:
        """Play a scene with its ``at``-th call broken, and check; return how many calls it had.

        Raises:
            Broken: An invariant does not hold.
        """
        before, lines = self.before(name)
        place = self.copy(before)
        self.runs += 1
        try:
            played = self.play(place, self.act(name, lines), at, fault)
            self.fired += played.fired
            if fault is Fault.NONE:
                self.made = tuple(record.call for record in played.records if record.call is not Call.TALE)
            # A reader's view, of a copy: what it recovers would not be in the record.
            looked = self.copy(place)
            self.judge(looked, [*lines, *played.tale])
            shutil.rmtree(looked)
            healed = self.heal(place, [*lines, *played.tale])
            if cuts:
                rng = random.Random(f"{self.seed}:{name}:{at}:{fault}")
                self.cut(before, lines, place, [*played.records, *healed.records], rng, cuts)
        except (Broken, LogError) as e:
            raise Broken(f"scene {name}, call {at} broken by {fault.name}: {e!r}") from e
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return played.counted

    def judge(self, place: Path, lines: list[Line]) -> Account:
        """Compare a log with a tale.

        Raises:
            Broken: They differ, or the log says that it is damaged.
        """
        account = Account(lines)
        clock = SceneClock(account.now_us or 0)
        with Log(place, clock=clock, upkeep=False) as log:
            self.rows += account.check(log)
            for name in log.topics():
                if damage := log.topic(name).verify():
                    raise Broken(f"nothing was damaged, and verify says: {damage}")
        return account

    def heal(self, place: Path, lines: list[Line]) -> Played:
        """Go on writing to every topic that is there, in a child, and check the whole.

        Raises:
            Broken: It cannot be written to, or an invariant does not hold.
        """
        account = Account(lines)

        def work(hand: Hand) -> None:
            hand.clock.us, hand.who = account.now_us, HEALER
            with Log(place) as log:
                names = log.topics()
            for name in names:
                routed = hand.topic(name).options.route is not None
                hand.append(4, None if routed else 0, name)
                hand.maintain(name)
                hand.append(2, None if routed else 0, name)
                hand.fresh()

        healed = self.play(place, work)
        if any(line.kind == "refused" for line in healed.tale):
            raise Broken(f"no call was broken any more, and a step was refused: {healed.tale}")
        self.judge(place, [*lines, *healed.tale])
        return healed

    def cut(
        self, before: Path, lines: list[Line], place: Path, records: list[Record], rng: random.Random, cuts: int
    ) -> None:
        """Let the power go at points of a recorded run, and check what is left each time.

        Args:
            before: What was there, safely, when the record began.
            lines: Its tale.
            place: The folder that the record names.
            records: The calls and the tale.
            rng: Draws the points; all of them where there are fewer than ``cuts``.
            cuts: How many.

        Raises:
            Broken: An invariant does not hold after one of them.
        """
        points = range(len(records) + 1)
        chosen = set(points) if cuts >= len(points) else set(rng.sample(points, cuts))
        medium, tale = Medium(place, before), list(lines)
        for point in points:
            if point in chosen:
                for loss in (rng.choice(("all", "none")), "some"):
                    self._after(medium, tale, loss, f"call {point} of {len(records)}", rng)
            if point < len(records):
                record = records[point]
                if record.call is Call.TALE:
                    tale += read_lines(record.data)
                else:
                    medium.play(record, rng)

    def _after(self, medium: Medium, tale: list[Line], loss: Loss, where: str, rng: random.Random) -> None:
        self._folders += 1
        self.cuts += 1
        place = self.folder / f"cut{self._folders}"
        medium.after_loss(loss, rng, place)
        try:
            account = Account(tale)
            with Log(place, clock=SceneClock(account.now_us or 0), upkeep=False) as log:
                # The appender comes first or the reader: each must do what is to be done.
                if rng.random() < 0.5 or not self.reader_first:
                    _append_each(log, account)
                self.rows += account.check(log)
                _append_each(log, account)
                self.rows += account.check(log)
                for name in log.topics():
                    if damage := log.topic(name).verify():
                        raise Broken(f"verify says: {damage}")
        except (Broken, LogError) as e:
            raise Broken(f"power lost at {where} ({loss} of what was not synced): {e!r}") from e
        finally:
            shutil.rmtree(place)


def _append_each(log: Log, account: Account) -> None:
    for name in log.topics():
        topic: Any = log.topic(name)
        story = account.topics[name].story
        who = max(story.tried, default=0) + 1
        now = account.now_us
        partitions = [None] if topic.options.route else list(range(topic.options.partitions))
        for turn, partition in enumerate(partitions):
            story.hear([Line("try", name, who, 3 * turn, 3, (), now)])
            places = topic.append(rows_of(who, 3 * turn, 3), partition)
            at = tuple((p.partition, p.offset, p.count) for p in places)
            story.hear([Line("ack", name, who, 3 * turn, 3, at, now)])


# A call that a fault lets pass leaves an unbroken run, and that was there already.
_ONLY_AT = {Fault.SYNC_EIO: Call.SYNC, Fault.SHORT: Call.WRITE}


def _all_calls(calls: Calls, name: SceneName, given: dict[str, Any]) -> int:
    total = calls.break_call(name, 0, Fault.NONE, given.get("cuts_whole", 0))
    stride = given.get("stride", 1)
    for fault in (Fault[word] for word in given["ways"]):
        # Another remainder for each way, so that together they come to all calls.
        for at in range(1 + int(fault) % stride, total + 1, stride):
            if calls.made[at - 1] is not _ONLY_AT.get(fault, calls.made[at - 1]):
                calls.idle += 1
                continue
            try:
                calls.break_call(name, at, fault, given.get("cuts", 0))
            except Broken as e:
                calls.faults.append(str(e))
            if len(calls.faults) >= MOST_FAULTS:
                return total
    return total


def main() -> None:
    """Break every ``stride``-th call of the given scenes in the given ways, as this process was told."""
    given: dict[str, Any] = run.settings()
    folder = Path(given["folder"])
    calls = Calls(folder, given["seed"], Shim())
    calls.reader_first = given.get("reader_first", True)
    counted = 0
    with bugs.planted(given.get("bug")):
        for name in given.get("scenes", list(SCENES)):
            try:
                counted += _all_calls(calls, name, given)
            except Broken as e:
                calls.faults.append(str(e))
    counts = {"runs": calls.runs, "cuts": calls.cuts, "rows read": calls.rows, "calls": counted}
    counts |= {"fired": calls.fired, "idle": calls.idle}
    run.answer(counts, calls.faults)


if __name__ == "__main__":
    main()
