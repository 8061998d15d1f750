"""A follower of one log, with a clock of its own, and what happens to the log."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from thalweg.connect import tail
from thalweg.connect._tail import OpenTail
from thalweg.core.ports import Json, Nothing, Rejected
from thalweg.core.schema import schema_of


class FakeClock:
    """Time that passes with each look at it, and while someone waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits = 0

    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        self.now_s += 0.001
        return self.now_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.now_s += timeout_s
        self.waits += 1
        return event.is_set()


class Follower:
    """Follows one log, and can be started again from where it was."""

    def __init__(self, path: Path | str, parse: Any = "lines", partition: str | None = None) -> None:
        self.source = tail(path, parse=parse)
        object.__setattr__(self.source, "clock", FakeClock())  # frozen for its users
        self.partition = partition or os.path.basename(path)
        self.position: Json = None
        self.rows: list[str] = []
        self.rejected: list[Rejected] = []
        self.places: list[str] = []
        self.opened: OpenTail
        self.reader: Any = None
        self.start()

    def start(self, *, bounded: bool = False, complete: bool = False) -> None:
        self.stop()
        given = self.source.schema()
        self.opened = self.source.open(schema_of(given))  # type: ignore[assignment]
        if bounded:
            self.opened.bound(complete=complete)
        self.opened.partitions()
        self.reader = self.opened.reader(self.partition, self.position)

    def stop(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def step(self, max_rows: int = 10**6, timeout_s: float = 2.0) -> Nothing | None:
        batch = self.reader.read(max_rows, timeout_s)
        if isinstance(batch, Nothing):
            return batch
        assert 1 <= batch.data.num_rows + len(batch.rejected) <= max_rows
        self.rows += batch.data.column(0).to_pylist()
        self.places += [batch.locate(row) for row in range(batch.data.num_rows)]
        self.rejected += batch.rejected
        self.position = json.loads(json.dumps(batch.position))
        return None

    def catch_up(self, max_rows: int = 10**6) -> Nothing:
        while (nothing := self.step(max_rows)) is None:
            pass
        return nothing

    def new(self) -> list[str]:
        """Read what is there; return what was new."""
        before = len(self.rows)
        self.catch_up()
        return self.rows[before:]


def add(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(text)


def cut(path: Path, text: str = "") -> None:
    """Truncate a file in place, and write to it."""
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(text.encode())


@contextlib.contextmanager
def following(path: Path | str, **options: Any) -> Any:
    follower = Follower(path, **options)
    try:
        yield follower
    finally:
        follower.stop()
