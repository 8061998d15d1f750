"""The bugs that are planted in a pipeline's lives, to show that the kills find them.

Each tells when it has just done harm, and waits there: so it is killed there, on any machine.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.attacks.tale import Line, Teller
from thalweg.connect import _files_write, _topic
from thalweg.core.ports import EpochWriter
from thalweg.engine.embedded.posting import OutboxDelivery, Post
from thalweg.engine.embedded.sessions import Sessions
from thalweg.state.files import Stored
from thalweg.state.outbox import Owed
from thalweg.state.store import StateStore

Here = Callable[[], None]
Patch = Callable[[pytest.MonkeyPatch, Here], None]
_TIMES = 3


def _acknowledged_first(patch: pytest.MonkeyPatch, here: Here) -> None:
    """The positions of sources are noted before the manifest that has the state which belongs to them."""
    commit, load = StateStore.commit, StateStore.load

    def planted(self: StateStore, body: Mapping[str, Any], files: Iterable[Stored]) -> None:
        (self.directory / "positions.json").write_text(json.dumps(body["reads"]), encoding="utf-8")
        here()
        commit(self, body, files)

    def loaded(self: StateStore, epoch: int | None = None) -> dict[str, Any] | None:
        body, noted = load(self, epoch), self.directory / "positions.json"
        return body if body is None or not noted.exists() else body | {"reads": json.loads(noted.read_text("utf-8"))}

    patch.setattr(StateStore, "commit", planted)
    patch.setattr(StateStore, "load", loaded)


def _applied_twice(patch: pytest.MonkeyPatch, here: Here) -> None:
    """What a topic has of an epoch is not recorded in it: what the manifest says is owed is applied again."""
    begin = OutboxDelivery.__init__

    def planted(self: OutboxDelivery, post: Post, owed: Sequence[Owed], last: int) -> None:
        before = owed[0].previous if owed else last

        def opened() -> EpochWriter:
            writer = post.open()
            if isinstance(writer, _topic._Writer):
                writer.last_epoch = lambda: before  # type: ignore[method-assign]  # the bug
                writer.apply = partial(_appended, writer, here)  # type: ignore[method-assign]  # the bug
            return writer

        begin(self, replace(post, open=opened), owed, last)

    patch.setattr(OutboxDelivery, "__init__", planted)


def _appended(writer: _topic._Writer, here: Here, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
    for table in rows:
        writer._topic.append(table)
    here()  # it is owed still, in every manifest that comes


def _state_left_out(patch: pytest.MonkeyPatch, here: Here) -> None:
    """A checkpoint has no state of one operator."""
    commit = StateStore.commit

    def planted(self: StateStore, body: Mapping[str, Any], files: Iterable[Stored]) -> None:
        commit(self, body, files)
        here()

    patch.setattr(StateStore, "commit", planted)
    patch.setattr(Sessions, "snapshot", lambda self: iter(()))


def _manifest_first(patch: pytest.MonkeyPatch, here: Here) -> None:
    """The manifest is renamed before the files that it names are written."""
    write, commit, waiting = StateStore.write, StateStore.commit, list[tuple[str, list[pa.Table]]]()

    def later(self: StateStore, file: str, tables: Iterable[pa.Table]) -> Stored:
        pieces = list(tables)
        stored = write(self, file, pieces)
        os.remove(self.directory / file)
        waiting.append((file, pieces))
        return stored

    def planted(self: StateStore, body: Mapping[str, Any], files: Iterable[Stored]) -> None:
        commit(self, body, files)
        here()
        while waiting:
            write(self, *waiting.pop())

    patch.setattr(StateStore, "write", later)
    patch.setattr(StateStore, "commit", planted)


def _applied_before(patch: pytest.MonkeyPatch, here: Here) -> None:
    """An output is given an epoch before the manifest counts it."""
    sealed = OutboxDelivery._sealed

    def planted(self: OutboxDelivery, epoch: int) -> None:
        sealed(self, epoch)
        owes = bool(self._owed)
        self.deliver(epoch)
        while self._owed and self._error is None:  # its poster is at it
            time.sleep(0.001)
        if owes:
            here()

    patch.setattr(OutboxDelivery, "_sealed", planted)


def _visible_too_soon(patch: pytest.MonkeyPatch, here: Here) -> None:
    """A file has its visible name before it is whole."""
    write = _files_write._write_synced

    def planted(path: str, *given: Any) -> None:
        write(path, *given)
        whole, visible = Path(path), Path(path).with_name(Path(path).name.removeprefix("."))
        visible.write_bytes(whole.read_bytes()[:-3])
        here()

    patch.setattr(_files_write, "_write_synced", planted)


PATCHES: dict[str, Patch] = {
    "sources acknowledged before the manifest": _acknowledged_first,
    "the outbox applied twice": _applied_twice,
    "a checkpoint without one operator's state": _state_left_out,
    "the manifest before the state files": _manifest_first,
    "outputs applied before the manifest": _applied_before,
    "a file visible before it is whole": _visible_too_soon,
}


@contextmanager
def planted(name: str | None, teller: Teller | None) -> Iterator[None]:
    """Plant a bug for the length of the block; where it has done harm for the third time, tell, and wait."""
    if name is None:
        yield
        return
    left = _TIMES

    def here() -> None:
        nonlocal left
        left -= 1
        if left == 0 and teller is not None:
            teller.tell(Line("here"))
            time.sleep(600)

    with pytest.MonkeyPatch.context() as patch:
        PATCHES[name](patch, here)
        yield
