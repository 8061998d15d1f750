"""What a whole log must hold after a scene, from the scene's tale: topics, rows, starts, schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.attacks.story import Broken, Story, check_compacted
from tests.attacks.tale import Line

EXTRA = "more"
"""The column that a scene's ``evolve`` adds."""


@dataclass(slots=True)
class Expected:
    """What one topic must be.

    Attributes:
        story: Its rows.
        compact: Whether only the last row of each key must be there.
        exists: Whether it must be there; None while it is being made or removed.
        evolved: Whether it must have the extra column.
        start: The least offset that may be readable, from trims that returned.
    """

    story: Story
    compact: bool
    exists: bool | None = None
    evolved: bool = False
    start: dict[int, int] = field(default_factory=dict)


class Account:
    """Follows a tale, and compares a log with it."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.topics: dict[str, Expected] = {}
        self.now_us = 0
        self.hear(lines)

    def hear(self, lines: Iterable[Line]) -> None:
        """Take in more of the tale.

        Raises:
            Broken: The teller itself found that something does not hold.
        """
        for line in lines:
            self.now_us = max(self.now_us, line.now_us)
            if line.kind == "broken":
                raise Broken(line.note)
            if line.kind == "making":
                told = json.loads(line.note)
                story = Story(told["partitions"], told["ordered"], told["kept_us"])
                if line.topic not in self.topics or self.topics[line.topic].exists is False:
                    self.topics[line.topic] = Expected(story, told["compact"])
                continue
            expected = self.topics.get(line.topic)
            if expected is None:
                continue
            match line.kind:
                case "made":
                    expected.exists = True
                case "going":
                    expected.exists = None
                case "gone":
                    expected.exists = False
                case "evolved":
                    expected.evolved = True
                case "trimmed":
                    partition, start, _ = line.at[0]
                    expected.start[partition] = max(start, expected.start.get(partition, 0))
                case _:
                    expected.story.hear([line])

    def check(self, log: Any) -> int:  # Any: the log under attack
        """Compare a log, opened anew, with the tale.

        Returns:
            How many rows were read.

        Raises:
            Broken: They differ.
        """
        there = set(log.topics())
        if strangers := there - set(self.topics):
            raise Broken(f"topics that nobody made: {sorted(strangers)}")
        rows = 0
        for name, expected in self.topics.items():
            if expected.exists is not None and expected.exists != (name in there):
                raise Broken(f'topic "{name}" must {"" if expected.exists else "not "}be there')
            if name in there:
                rows += _check_topic(expected, log.topic(name), self.now_us)
        return rows


def _check_topic(expected: Expected, topic: Any, now_us: int) -> int:
    if expected.exists is None and not expected.story.told:
        # Half made or half removed: what must hold is that it opens and can be read.
        return sum(topic.read(p, topic.start(p)).num_rows for p in range(expected.story.partitions))
    if expected.evolved and EXTRA not in topic.schema.names:
        raise Broken(f'{topic.name}: evolve had returned and there is no column "{EXTRA}"')
    for partition, least in expected.start.items():
        if topic.start(partition) < least:
            raise Broken(f"{topic.name}/{partition} was trimmed to {least} and starts at {topic.start(partition)}")
    if expected.compact:
        return check_compacted(expected.story, topic)
    return expected.story.check(topic, now_us)
