"""How rows get to sinks that are slow, that fail, or whose run ends too soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from thalweg import SinkError, StateError
from thalweg.core.ports import EpochWriter, StepWriter
from thalweg.engine.embedded import delivery as module
from thalweg.engine.embedded.delivery import Delivery, PassingDelivery, StepDelivery
from thalweg.engine.embedded.posting import OutboxDelivery, Post
from thalweg.state.outbox import Owed

SCHEMA = pa.schema([("v", pa.int64())])
PATIENCE_S = 20.0
A_WHILE_S = 0.3


def rows(*values: int) -> pa.Table:
    return pa.table({"v": pa.array(values, pa.int64())}, schema=SCHEMA)


class Scripted:
    """What writers of both kinds have: they note each call, fail at one, and wait for a gate."""

    def __init__(self, fails_at: str = "", fails_after: int = 0) -> None:
        self.calls: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self._fails_at = fails_at
        self._fails_after = fails_after

    def close(self) -> None:
        self._call("close")

    def _call(self, name: str, *given: Any) -> None:
        assert self.gate.wait(PATIENCE_S)
        self.calls.append((name, *given) if given else name)
        if name == self._fails_at:
            self._fails_after -= 1
            if self._fails_after < 0:
                raise SinkError(f"the disk is full at {name}; make room")


class Steps(Scripted):
    """Writes step by step."""

    def write(self, rows: pa.Table) -> None:
        self._call("write", rows["v"].to_pylist())

    def flush(self) -> None:
        self._call("flush")


class Epochs(Scripted):
    """Writes epochs; an epoch counts once all of its rows have come."""

    def __init__(self, fails_at: str = "", fails_after: int = 0, last: int = 0) -> None:
        super().__init__(fails_at, fails_after)
        self.last = last
        self.came: list[int] = []
        self.has: dict[int, list[int]] = {}

    def last_epoch(self) -> int:
        return self.last

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        self._call("apply", epoch)
        whole = []
        for table in rows:
            whole += table["v"].to_pylist()
            self.came += table["v"].to_pylist()
        self.has[epoch] = whole
        self.last = epoch


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def started(act: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def main() -> None:
        try:
            act()
        except BaseException as error:  # looked at by the test
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    return thread, errors


def outbox(writer: EpochWriter, folder: Path, owed: tuple[Owed, ...] = (), last: int = 0) -> OutboxDelivery:
    return OutboxDelivery(Post("out", lambda: writer, folder, SCHEMA), owed, last)


def test_the_writers_of_this_test_are_writers() -> None:
    assert isinstance(Steps(), StepWriter)
    assert isinstance(Epochs(), EpochWriter)
    assert not isinstance(Steps(), EpochWriter)


# ---------------------------------------------------------------------- step by step


def test_steps_are_written_in_order_and_flushed_at_each_checkpoint() -> None:
    writer = Steps()
    delivery = StepDelivery(writer, "out")
    delivery.put(rows(1, 2))
    delivery.put(rows(3))
    delivery.seal(1)
    assert writer.calls == [("write", [1, 2]), ("write", [3]), "flush"], "sealed means flushed"
    delivery.deliver(1)
    delivery.put(rows(4))
    delivery.close()
    assert writer.calls[3:] == [("write", [4]), "close"]
    assert delivery.owed() == ()


@pytest.mark.parametrize("call", ["write", "flush", "close"])
def test_a_step_writer_that_fails_is_closed_and_its_error_is_the_one_that_is_raised(call: str) -> None:
    writer = Steps(fails_at=call)
    delivery = StepDelivery(writer, "out")
    with pytest.raises(SinkError, match=f"the disk is full at {call}; make room"):
        act_and_close(delivery)
    assert writer.calls.count("close") == 1
    with pytest.raises(SinkError, match=f"at {call};"):
        delivery.put(rows(9))


def act_and_close(delivery: Delivery) -> None:
    delivery.put(rows(1))
    delivery.seal(1)
    delivery.deliver(1)
    delivery.close()


# ---------------------------------------------------------------------- the queue


def test_the_queue_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    size = rows(1).nbytes
    monkeypatch.setattr(module, "QUEUE_BYTES", 3 * size - 1)
    writer = Steps()
    writer.gate.clear()
    delivery = StepDelivery(writer, "out")
    given: list[int] = []

    def give() -> None:
        for number in range(20):
            delivery.put(rows(number))
            given.append(number)

    thread, errors = started(give)
    # One is with the writer, three wait: past the limit nothing more is taken.
    until(lambda: len(given) == 4)
    time.sleep(A_WHILE_S)
    assert len(given) == 4
    writer.gate.set()
    thread.join(PATIENCE_S)
    delivery.close()
    assert (given, errors) == (list(range(20)), [])
    assert [call[1] for call in writer.calls[:-1]] == [[number] for number in range(20)]


def test_a_table_larger_than_the_queue_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 0)
    writer = Steps()
    delivery = StepDelivery(writer, "out")
    for number in range(5):
        delivery.put(rows(*range(number * 1000, number * 1000 + 1000)))
    delivery.close()
    assert sum(len(call[1]) for call in writer.calls if call[0] == "write") == 5000


def test_a_run_that_waits_for_room_is_told_when_the_sink_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 0)
    writer = Steps(fails_at="write")
    writer.gate.clear()
    delivery = StepDelivery(writer, "out")

    def give() -> None:
        while True:
            delivery.put(rows(1))

    thread, errors = started(give)
    time.sleep(A_WHILE_S)
    writer.gate.set()
    thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [SinkError]
    with pytest.raises(SinkError):
        delivery.close()


def test_a_run_that_waits_for_the_seal_is_told_when_the_sink_fails() -> None:
    writer = Epochs(fails_at="apply")
    writer.gate.clear()
    delivery = PassingDelivery(writer, "out", empty=False)
    delivery.put(rows(1))
    thread, errors = started(lambda: delivery.seal(1))
    writer.gate.set()
    thread.join(PATIENCE_S)
    assert [str(error) for error in errors] == ["the disk is full at apply; make room"]
    with pytest.raises(SinkError):
        delivery.close()


# ---------------------------------------------------------------------- epochs without a state


def test_an_epoch_without_a_state_is_passed_on_while_it_comes_in() -> None:
    writer = Epochs()
    delivery = PassingDelivery(writer, "out", empty=False)
    delivery.put(rows(1))
    until(lambda: writer.came == [1])
    assert writer.has == {}, "it does not count yet"
    delivery.put(rows(2, 3))
    delivery.seal(1)
    assert writer.has == {1: [1, 2, 3]}
    delivery.seal(2)
    delivery.put(rows(4))
    delivery.seal(3)
    delivery.close()
    assert writer.has == {1: [1, 2, 3], 2: [4]}, "an epoch without rows is none"
    assert writer.calls[-1] == "close"


def test_an_epoch_without_rows_is_passed_on_where_it_replaces_an_output() -> None:
    writer = Epochs()
    delivery = PassingDelivery(writer, "out", empty=True)
    delivery.seal(1)
    delivery.close()
    assert writer.has == {1: []}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_epoch_that_is_abandoned_never_counts(count: int) -> None:
    writer = Epochs()
    delivery = PassingDelivery(writer, "out", empty=True)
    delivery.put(rows(0))
    delivery.seal(1)
    for number in range(count):
        delivery.put(rows(number))
    delivery.close()
    assert writer.has == {1: [0]}
    assert writer.calls.count("close") == 1


@pytest.mark.parametrize("call", ["apply", "close"])
def test_a_passing_writer_that_fails_is_closed_and_told(call: str) -> None:
    writer = Epochs(fails_at=call)
    with pytest.raises(SinkError, match=f"the disk is full at {call}; make room"):
        act_and_close(PassingDelivery(writer, "out", empty=False))
    until(lambda: writer.calls.count("close") == 1)


# ---------------------------------------------------------------------- epochs by way of the outbox


def test_an_epoch_is_applied_once_it_is_committed_and_not_before(tmp_path: Path) -> None:
    writer = Epochs()
    delivery = outbox(writer, tmp_path)
    delivery.put(rows(1))
    delivery.put(rows(2))
    delivery.seal(1)
    (owed,) = delivery.owed()
    assert (owed.epoch, owed.previous, owed.rows) == (1, 0, 2)
    assert (tmp_path / owed.stored.file).exists()
    assert writer.calls == []
    delivery.deliver(1)
    until(lambda: delivery.owed() == ())
    assert writer.has == {1: [1, 2]}
    delivery.close()
    assert writer.calls == [("apply", 1), "close"]


def test_epochs_are_applied_in_order_up_to_the_one_that_is_committed(tmp_path: Path) -> None:
    writer = Epochs()
    delivery = outbox(writer, tmp_path)
    for epoch in (1, 2, 4):
        delivery.put(rows(epoch))
        delivery.seal(epoch)
    delivery.seal(5)
    assert [(owed.epoch, owed.previous) for owed in delivery.owed()] == [(1, 0), (2, 1), (4, 2)], "5 had no rows"
    assert delivery.last == 4
    delivery.deliver(3)
    delivery.close()
    assert writer.has == {1: [1], 2: [2]}
    assert [owed.epoch for owed in delivery.owed()] == [4]


def test_rows_of_an_epoch_that_is_not_sealed_are_dropped(tmp_path: Path) -> None:
    writer = Epochs()
    delivery = outbox(writer, tmp_path)
    delivery.put(rows(1))
    delivery.close()
    assert (writer.has, delivery.owed()) == ({}, ())


def sealed(folder: Path, *epochs: int) -> tuple[Owed, ...]:
    """Return what a run that died after its commits has left."""
    delivery = outbox(Epochs(), folder)
    for epoch in epochs:
        delivery.put(rows(epoch, epoch))
        delivery.seal(epoch)
    delivery.close()
    return tuple(delivery.owed())


@pytest.mark.parametrize("confirmed", [0, 1, 2, 4])
def test_the_next_run_applies_what_the_sink_does_not_have(tmp_path: Path, confirmed: int) -> None:
    owed = sealed(tmp_path, 1, 2, 4)
    writer = Epochs(last=confirmed)
    delivery = outbox(writer, tmp_path, owed, 4)
    delivery.put(rows(9))
    delivery.seal(5)
    delivery.deliver(5)
    delivery.close()
    assert list(writer.has) == [epoch for epoch in (1, 2, 4, 5) if epoch > confirmed]
    assert writer.has[5] == [9]


@pytest.mark.parametrize(("confirmed", "from_"), [(1, 2), (5, 2), (0, 2)])
def test_a_sink_with_epochs_that_the_state_cannot_know_is_refused(tmp_path: Path, confirmed: int, from_: int) -> None:
    owed = tuple(each for each in sealed(tmp_path, 2, 3, 4) if each.epoch > from_)
    writer = Epochs(last=confirmed)
    with pytest.raises(SinkError, match=f"out has the output up to epoch {confirmed}, .* can go on from 2 to 4"):
        outbox(writer, tmp_path, owed, 4)
    assert writer.calls == ["close"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_a_sink_fails_to_take_stays_owed(tmp_path: Path, after: int) -> None:
    writer = Epochs(fails_at="apply", fails_after=after)
    delivery = outbox(writer, tmp_path)
    for epoch in (1, 2, 3):
        delivery.put(rows(epoch))
        delivery.seal(epoch)
    delivery.deliver(3)
    with pytest.raises(SinkError, match="the disk is full at apply"):
        delivery.close()
    assert [owed.epoch for owed in delivery.owed()] == [1, 2, 3][after:]
    assert all((tmp_path / owed.stored.file).exists() for owed in delivery.owed())
    assert writer.calls[-1] == "close"
    again = Epochs(last=after)
    outbox(again, tmp_path, tuple(delivery.owed()), 3).close()
    assert again.has == {epoch: [epoch] for epoch in (1, 2, 3)[after:]}


def test_while_a_slow_sink_applies_an_epoch_it_stays_owed(tmp_path: Path) -> None:
    writer = Epochs()
    delivery = outbox(writer, tmp_path)
    delivery.put(rows(1))
    delivery.seal(1)
    writer.gate.clear()
    delivery.deliver(1)
    time.sleep(A_WHILE_S)
    assert [owed.epoch for owed in delivery.owed()] == [1], "a manifest that is written now still names its file"
    writer.gate.set()
    delivery.close()
    assert delivery.owed() == ()


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_a_damaged_outbox_file_is_named_and_nothing_of_it_is_applied(tmp_path: Path, harm: str) -> None:
    owed = sealed(tmp_path, 1, 2)
    path = tmp_path / owed[1].stored.file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data if harm == "flipped" else data[:-8])
    writer = Epochs()
    delivery = outbox(writer, tmp_path, owed, 2)
    with pytest.raises(StateError, match=path.name):
        delivery.close()
    assert writer.has == {1: [1, 1]}
    assert [each.epoch for each in delivery.owed()] == [2]
