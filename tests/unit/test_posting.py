"""Epochs on their way to a sink that is away, that hangs, or that loses its answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg import SinkError, SinkUnavailable
from thalweg.core.outage import Patience
from thalweg.engine.embedded import posting as module
from thalweg.engine.embedded.posting import OutboxDelivery, Post
from thalweg.state.outbox import Owed
from thalweg.testing.clock import VirtualClock

SCHEMA = pa.schema([("v", pa.int64())])
PATIENCE_S = 20.0


class Server:
    """A target in another place: it keeps epochs, and its doors can be shut.

    Attributes:
        has: The rows, with the epoch that each came with.
        away: How many more attempts find nobody there.
        loses: How many more answers get lost: what was asked for is done.
    """

    def __init__(self) -> None:
        self.has: list[tuple[int, int]] = []
        self.last = 0
        self.opened = 0
        self.away = 0
        self.loses = 0
        self.gate = threading.Event()
        self.gate.set()

    def open(self) -> Client:
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("nobody listens")
        self.opened += 1
        return Client(self)

    def epochs(self) -> list[int]:
        return sorted({epoch for epoch, _ in self.has})


class Client:
    """An EpochWriter whose connection is of no use once it broke."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._broken = False

    def last_epoch(self) -> int:
        return self._server.last

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        server = self._server
        assert not self._broken, "a connection that broke is given up"
        assert server.gate.wait(PATIENCE_S)
        values = [value for table in rows for value in table["v"].to_pylist()]
        if server.away:
            server.away -= 1
            self._broken = True
            raise ConnectionResetError("the connection broke")
        server.has += [(epoch, value) for value in values]
        server.last = epoch
        if server.loses:
            server.loses -= 1
            self._broken = True
            raise TimeoutError("no answer")

    def close(self) -> None:
        self._broken = True


def rows(*values: int) -> pa.Table:
    return pa.table({"v": pa.array(values, pa.int64())}, schema=SCHEMA)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def delivery(
    server: Server, folder: Path, patience: Patience | None = None, owed: Sequence[Owed] = ()
) -> OutboxDelivery:
    last = owed[-1].epoch if owed else 0
    return OutboxDelivery(Post("out", server.open, folder, SCHEMA, patience or Patience()), owed, last)


def give(way: OutboxDelivery, *epochs: int) -> None:
    for epoch in epochs:
        way.put(rows(epoch * 10, epoch * 10 + 1))
        way.seal(epoch)
        way.deliver(epoch)


EXPECTED = [(epoch, value) for epoch in (1, 2, 3) for value in (epoch * 10, epoch * 10 + 1)]


def check_each_once(folder: Path, away: int, loses: int) -> None:
    """Send three epochs to a server that fails on the way, and look at what it has."""
    server = Server()
    way = delivery(server, folder)
    server.away, server.loses = away, loses
    give(way, 1, 2, 3)
    way.close()
    assert server.has == EXPECTED


@pytest.mark.parametrize(("away", "loses"), [(0, 0), (1, 0), (3, 0), (0, 1), (0, 2), (2, 1)])
def test_a_sink_that_fails_on_the_way_has_each_epoch_once(tmp_path: Path, away: int, loses: int) -> None:
    check_each_once(tmp_path, away, loses)


def test_planted_a_retry_that_drops_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropping(self: OutboxDelivery) -> None:
        self._confirm()
        self._abandon()

    def apply_first(self: OutboxDelivery) -> None:
        try:
            whole(self)
        except OSError:
            dropping(self)

    whole = OutboxDelivery._apply_first
    monkeypatch.setattr(OutboxDelivery, "_apply_first", apply_first)
    with pytest.raises(AssertionError):
        check_each_once(tmp_path, 1, 0)


def test_planted_a_retry_that_does_not_ask_what_the_sink_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blindly(self: OutboxDelivery) -> None:
        self._writer = self._post.open()

    monkeypatch.setattr(OutboxDelivery, "_open", blindly)
    with pytest.raises(AssertionError):
        check_each_once(tmp_path, 0, 1)


def test_a_sink_that_comes_back_is_opened_anew_and_asked(tmp_path: Path) -> None:
    server = Server()
    way = delivery(server, tmp_path)
    server.away = 3
    give(way, 1, 2)
    until(lambda: server.epochs() == [1, 2])
    assert server.opened == 2
    way.close()


def test_an_outage_is_shown_and_rows_go_on_to_the_disk(tmp_path: Path) -> None:
    clock, server = VirtualClock(), Server()
    way = delivery(server, tmp_path, Patience(None, clock))
    server.away = 10**9
    give(way, 1)
    until(lambda: bool(way.outages()))
    (outage,) = way.outages()
    assert (outage.what, outage.since_us) == ("the sink out", clock.now_us())
    assert "the connection broke" in outage.reason
    before = way.waiting_bytes
    give(way, 2, 3)  # nobody waits for the sink
    assert way.waiting_bytes > before > 0
    assert [each.epoch for each in way.owed()] == [1, 2, 3]
    server.away = 0
    clock.advance("10s")
    way.close()
    assert (server.has, way.waiting_bytes, way.outages()) == (EXPECTED, 0, [])


def test_a_sink_that_hangs_holds_up_nobody_and_is_shown(tmp_path: Path) -> None:
    clock, server = VirtualClock(), Server()
    way = delivery(server, tmp_path, Patience(None, clock))
    server.gate.clear()
    give(way, 1, 2, 3)
    assert way.outages() == []
    clock.advance("12s")
    (outage,) = way.outages()
    assert (outage.reason, clock.now_us() - outage.since_us) == ("it takes nothing", 12_000_000)
    server.gate.set()
    way.close()
    assert server.has == EXPECTED


def full_at(folder: Path, limit: int) -> int:
    """Send epochs to a sink that hangs until nothing more is to be read; return how many bytes wait then."""
    server = Server()
    server.gate.clear()
    way = delivery(server, folder)
    for epoch in range(1, 100):
        if way.full():
            break
        give(way, epoch)
    waiting = way.waiting_bytes
    on_disk = sum(file.stat().st_size for file in (folder / "outbox").iterdir())
    server.gate.set()
    way.close()
    assert waiting == on_disk
    assert not way.full(), "it goes on once the sink takes some"
    return waiting


def test_the_outbox_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTBOX_BYTES", 5_000)
    assert 5_000 <= full_at(tmp_path, 5_000) < 6_000


def test_planted_an_outbox_without_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutboxDelivery, "full", lambda self: False)
    with pytest.raises(AssertionError):
        assert full_at(tmp_path, 5_000) < 6_000


def test_what_waits_from_an_earlier_run_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    way = delivery(server, tmp_path)
    for epoch in (1, 2):
        way.put(rows(epoch * 10, epoch * 10 + 1))
        way.seal(epoch)
    way.close()
    server.gate.clear()
    again = delivery(server, tmp_path, owed=way.owed())
    assert again.waiting_bytes == way.waiting_bytes > 0
    server.gate.set()
    again.close()
    assert server.has == EXPECTED[:4]


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_a_run_that_ends_does_not_wait_for_ever_and_its_rows_wait_for_the_next(tmp_path: Path, how: str) -> None:
    clock, server = VirtualClock(), Server()
    patience = Patience(None, clock)
    way = delivery(server, tmp_path, patience)
    if how == "away":
        server.away = 10**9
    else:
        server.gate.clear()
    give(way, 1, 2, 3)
    patience.end_within(0)
    with pytest.raises(SinkUnavailable, match=r"6 rows of 3 checkpoints wait for it in .*outbox"):
        way.close()
    owed = way.owed()
    server.away = 0
    other = Server()
    delivery(other, tmp_path, owed=owed).close()
    assert other.has == EXPECTED
    server.gate.set()


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_a_run_that_ends_by_itself_gives_up_after_a_time(tmp_path: Path, how: str) -> None:
    clock, server = VirtualClock(), Server()
    way = delivery(server, tmp_path, Patience(600, clock))
    if how == "away":
        server.away = 10**9
    else:
        server.gate.clear()
    give(way, 1)
    until(lambda: bool(way.outages()) or way._taking_since_s is not None)
    clock.advance("599s")
    assert not way.full()
    clock.advance("1s")
    with pytest.raises(SinkUnavailable, match="2 rows of 1 checkpoints wait for it"):
        way.close()
    server.gate.set()


def test_a_sink_that_comes_back_as_another_is_refused(tmp_path: Path) -> None:
    server = Server()
    way = delivery(server, tmp_path)
    give(way, 1, 2)
    until(lambda: server.last == 2)
    server.last, server.away = 0, 1  # restored from an older copy
    give(way, 3)
    with pytest.raises(SinkError, match=r"out has the output up to epoch 0, .* can go on from 2 to 3"):
        way.close()
