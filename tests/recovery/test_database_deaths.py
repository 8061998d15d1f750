"""Rows and epoch are in a database together, wherever a writer dies on the way to its commit, in it, or after it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.recovery.sink_targets import TARGETS, rows
from thalweg import SinkError
from thalweg.connect import _duckdb, _sqlite, duckdb, sqlite
from thalweg.core.ports import EpochWriter, Sink, WriteRequest
from thalweg.state.table_output import TableWriter

CHANGES = pa.schema([("k", pa.string()), ("n", pa.int64()), pa.field("_weight", pa.int64(), nullable=False)])
Rows = list[tuple[str, int]]

EPOCHS: dict[int, list[tuple[str, int, int]]] = {
    1: [("a", 1, 1), ("b", 1, 1)],
    2: [("a", 1, -1), ("a", 2, 1), ("c", 1, 1)],
    3: [("b", 1, -1), ("c", 1, -1), ("c", 5, 1)],
}
"""What a changing table of counts gives in three epochs: key, count, weight."""

TABLES: dict[int, Rows] = {
    0: [],
    1: [("a", 1), ("b", 1)],
    2: [("a", 2), ("b", 1), ("c", 1)],
    3: [("a", 2), ("c", 5)],
}
"""What it adds up to after each."""

CONNECTIONS: dict[str, type] = {"sqlite": _sqlite._Connection, "duckdb": _duckdb._Connection}


class Killed(BaseException):
    """The process is gone."""


def sink_in(name: str, folder: Path) -> Sink:
    if name == "sqlite":
        return sqlite(folder / "out.db", table="out", key="k")
    return duckdb(folder / "out.db", table="out", key="k")


def opened(name: str, folder: Path, term: int) -> EpochWriter:
    request = WriteRequest(CHANGES, True, ("k",), 0, False, "app", "r", term)
    writer = sink_in(name, folder).open(request)
    assert isinstance(writer, EpochWriter)
    return writer


def changes(epoch: int) -> Iterator[pa.Table]:
    columns = zip(*EPOCHS[epoch], strict=True)
    yield pa.Table.from_arrays([pa.array(column) for column in columns], schema=CHANGES)


def table_of(name: str, folder: Path) -> tuple[int, Rows]:
    """Return the epoch that the database has, and its rows, as another program sees them."""
    connection = CONNECTIONS[name](str(folder / "out.db"), "the test's table")
    try:
        ((epoch,),) = connection.ask("SELECT epoch FROM _thalweg_sinks WHERE name = 'out'")
        return epoch, connection.ask("SELECT k, n FROM out ORDER BY k")
    finally:
        connection.close()


class Calls:
    """Counts the calls of a connection, and dies before or after one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: type, dies_at: int, *, after: bool) -> None:
        self.made = 0
        for name in ("begin", "commit", "ask", "add"):
            patch.setattr(kind, name, self._counted(getattr(kind, name), dies_at, after))

    def _counted(self, whole: Any, dies_at: int, after: bool) -> Any:
        def call(connection: Any, *given: Any) -> Any:
            self.made += 1
            mine = self.made == dies_at
            if mine and not after:
                raise Killed
            found = whole(connection, *given)
            if mine:
                raise Killed  # it was done, and nobody hears of it
            return found

        return call


def dies(name: str, here: Path, at: int, *, after: bool) -> int:
    """Die at a call of an epoch, look what is there, and go on; return how many calls there are."""
    here.mkdir()
    writer = opened(name, here, 1)
    writer.apply(1, 0, changes(1))
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, CONNECTIONS[name], at, after=after)
        with suppress(Killed):
            writer.apply(2, 1, changes(2))
    writer.close()  # as the death of a process does
    epoch, rows = table_of(name, here)
    assert rows == TABLES[epoch], f"a mixture after the death at call {at}"
    writer = opened(name, here, 2)
    assert writer.last_epoch() == epoch
    for number in (2, 2, 3, 3):
        writer.apply(number, number - 1, changes(number))
    writer.close()
    assert table_of(name, here) == (3, TABLES[3]), f"replayed after the death at call {at}"
    return calls.made


def die_at_calls(name: str, folder: Path, *, after: bool, every: bool) -> None:
    """Die at every call of an epoch in turn, or at the first, one in the middle, and those around the commit."""
    count = dies(name, folder / "none", 0, after=after)
    assert count >= 10
    for at in range(1, count + 1) if every else (1, count // 2, *range(count - 3, count + 1)):
        dies(name, folder / str(at), at, after=after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_death_at_any_call_of_the_database_leaves_an_epoch_or_none_of_it(
    name: str, after: bool, tmp_path: Path, torture: bool
) -> None:
    die_at_calls(name, tmp_path, after=after, every=torture or name == "sqlite")


@pytest.mark.parametrize("name", CONNECTIONS)
def test_the_deaths_find_an_epoch_that_is_recorded_apart_from_its_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = TableWriter._note

    def planted(self: TableWriter, record: Any) -> None:
        self._db.commit()
        self._db.begin()
        true(self, record)

    monkeypatch.setattr(TableWriter, "_note", planted)
    with pytest.raises((AssertionError, SinkError)):
        die_at_calls(name, tmp_path, after=True, every=False)


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_commit_that_is_cut_anywhere_is_whole_or_not_there(name: str, tmp_path: Path, torture: bool) -> None:
    here = tmp_path / "here"
    here.mkdir()
    writer = opened(name, here, 1)
    writer.apply(1, 0, changes(1))
    log = here / ("out.db-wal" if name == "sqlite" else "out.db.wal")
    start = log.stat().st_size
    writer.apply(2, 1, changes(2))
    # As they are on the disk: closing would bring the log into the database.
    files = {path.name: path.read_bytes() for path in (here / "out.db", log)}
    end = len(files[log.name])
    assert start < end, "the commit is in the log"
    count = min(1000 if torture else 8, end - start + 1)
    seen = set()
    for number in range(count):
        length = start + (end - start) * number // (count - 1)
        cut = tmp_path / "cut"
        cut.mkdir()
        (cut / "out.db").write_bytes(files["out.db"])
        (cut / log.name).write_bytes(files[log.name][:length])
        again = opened(name, cut, 2)
        epoch = again.last_epoch()
        for one in (2, 3):
            again.apply(one, one - 1, changes(one))
        again.close()
        assert epoch in (1, 2), f"cut at {length} of {start} to {end}"
        assert table_of(name, cut) == (3, TABLES[3]), f"cut at {length} of {start} to {end}"
        seen.add(epoch)
        shutil.rmtree(cut)
    writer.close()
    assert seen == {1, 2}


FIRST = """
import resource, signal, sys
from pathlib import Path
from tests.recovery.sink_targets import TARGETS

if sys.argv[4]:
    from thalweg.connect._duckdb import _Connection
    _Connection._make = lambda self, path: None
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
TARGETS[sys.argv[1]].open(Path(sys.argv[2]))
"""


def dies_at_size(name: str, here: Path, size: int, *, planted: bool = False) -> None:
    """Die where a first file grows past a size, and open the database that is left."""
    here.mkdir()
    child = subprocess.run([sys.executable, "-c", FIRST, name, str(here), str(size), "bug" if planted else ""])
    assert child.returncode == -signal.SIGXFSZ
    writer = TARGETS[name].open(here, term=2)
    writer.apply(1, 0, rows(1))
    writer.close()
    assert TARGETS[name].values(here) == [1]


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_process_that_dies_while_it_makes_the_database_leaves_none_or_a_whole_one(name: str, tmp_path: Path) -> None:
    for size in (0, 1_000, 4_096):
        dies_at_size(name, tmp_path / str(size), size)


def test_the_deaths_find_a_database_that_is_made_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot be opened"):
        dies_at_size("duckdb", tmp_path / "here", 1_000, planted=True)


CHILD = """
import sys
from tests.recovery.sink_targets import TARGETS, rows
from pathlib import Path

target, folder, term = TARGETS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3])
writer = target.open(folder, term=term)
epoch = writer.last_epoch()
while True:
    epoch += 1
    writer.apply(epoch, epoch - 1, rows(*range(epoch * 10, epoch * 10 + 10)))
    print(epoch, flush=True)
"""


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_killed_process_leaves_whole_epochs_that_the_next_goes_on_from(
    name: str, tmp_path: Path, torture: bool
) -> None:
    acknowledged = 0
    for term in range(1, 101 if torture else 3):
        command = [sys.executable, "-c", CHILD, name, str(tmp_path), str(term)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(5 + term):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        values = TARGETS[name].values(tmp_path)
        whole = len(values) // 10
        assert whole >= acknowledged
        assert values == list(range(10, whole * 10 + 10)), "each epoch whole, and once"
