"""Upkeep that happens by itself: when an append has begun a new segment, on one thread, whose failures are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import LogError
from thalweg.log import Log, Topic
from thalweg.log.upkeep import Upkeep
from thalweg.testing.clock import VirtualClock

SCHEMA = pa.schema([("k", pa.string()), ("n", pa.int32())])


def fill(topic: Topic, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        topic.append([{"k": f"k{n % 3}", "n": n}])


def numbers(topic: Topic) -> list[int]:
    return [n for p in range(topic.options.partitions) for n in topic.read(p, topic.start(p), 10**6)["n"].to_pylist()]


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def upkeep_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("upkeep of ")]


def is_quiet() -> bool:
    return not upkeep_threads()


def sizes(topic: Topic) -> list[int]:
    return [path.stat().st_size for path in sorted(topic.path.glob("0000/*.seg"))]


def test_retention_sealing_and_compaction_need_no_call(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Log(tmp_path, clock=clock) as log:
        old = log.create("old", SCHEMA, retention="1h", segment_bytes=1024)
        fill(old, 20)
        wait_for(is_quiet)
        assert old.start() == 0
        clock.advance("2h")
        fill(old, 8, 20)
        wait_for(is_quiet)
        assert 0 < old.start() <= 20
        table = log.create("table", SCHEMA, key="k", compact=True, segment_bytes=1024)
        fill(table, 60)
        wait_for(is_quiet)
        assert table.describe().rows < 40
        assert table.read(limit=100).to_pylist()[-1] == {"k": "k2", "n": 59}
        small = log.create("small", SCHEMA, segment_bytes=16_384)
        fill(small, 200)
        wait_for(is_quiet)
        *sealed, _ = sizes(small)
        assert max(sealed) < 8_192
        assert numbers(small) == list(range(200))
        for topic in (old, table, small):
            assert topic.verify() == [] and topic.describe().upkeep_failure is None


def test_without_upkeep_nothing_happens_by_itself(tmp_path: Path) -> None:
    with Log(tmp_path, upkeep=False) as log:
        topic = log.create("t", SCHEMA, retention_bytes=1, segment_bytes=1024)
        fill(topic, 20)
        assert upkeep_threads() == [] and topic.start() == 0
        assert topic.maintain().removed > 0


def test_one_thread_does_it_for_all_partitions_and_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, at_it, most, runs = Upkeep.run_a_while, threading.Semaphore(1), [0], [0]

    def alone(self: Upkeep, is_over: Callable[[], bool]) -> object:
        runs[0] += 1
        if not at_it.acquire(blocking=False):
            most[0] += 1
            return real(self, is_over)
        try:
            time.sleep(0.002)
            return real(self, is_over)
        finally:
            at_it.release()

    monkeypatch.setattr(Upkeep, "run_a_while", alone)
    with Log(tmp_path) as log:
        log.create("t", SCHEMA, partitions=4, key="n", segment_bytes=1024)
        handles = [log.topic("t") for _ in range(3)]
        threads = [threading.Thread(target=fill, args=(handle, 60, i * 1000)) for i, handle in enumerate(handles)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(is_quiet)
        assert sorted(numbers(handles[0])) == sorted(i * 1000 + n for i in range(3) for n in range(60))
        assert handles[0].verify() == [] and all(h.describe().upkeep_failure is None for h in handles)
        assert runs[0] > 3 and most[0] == 0


def test_a_failure_is_told_until_upkeep_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise LogError("no, said the disk")

    with Log(tmp_path) as log:
        topic = log.create("t", SCHEMA, segment_bytes=1024)
        with monkeypatch.context() as patched:
            patched.setattr(Upkeep, "run_a_while", refuse)
            fill(topic, 20)
            wait_for(is_quiet)
            failure = topic.describe().upkeep_failure
            assert failure is not None and "no, said the disk" in failure
            patched.setattr(Upkeep, "run", refuse)
            with pytest.raises(LogError, match="said the disk"):
                topic.maintain()
        topic.maintain()
        assert topic.describe().upkeep_failure is None
        assert numbers(topic) == list(range(20))


def test_damage_that_upkeep_meets_is_left_alone_and_told(tmp_path: Path) -> None:
    with Log(tmp_path, upkeep=False) as log:
        fill(log.create("t", SCHEMA, segment_bytes=1024), 20)
    first = min((tmp_path / "t" / "0000").glob("*.seg"))
    data = bytearray(first.read_bytes())
    data[-70] ^= 1
    first.write_bytes(data)
    with Log(tmp_path) as log:
        topic = log.topic("t")
        fill(topic, 8, 20)
        wait_for(is_quiet)
        failure = topic.describe().upkeep_failure
        assert failure is not None and "is damaged" in failure
        assert first.read_bytes() == bytes(data)
        fill(topic, 1, 28)  # appends go on


def test_closing_a_handle_ends_its_upkeep_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, after = threading.Event(), threading.Event()
    real = Upkeep.run_a_while

    def slowly(self: Upkeep, is_over: Callable[[], bool]) -> object:
        begun.set()
        while not is_over():
            time.sleep(0.001)
        done = real(self, is_over)
        after.set()
        return done

    monkeypatch.setattr(Upkeep, "run_a_while", slowly)
    with Log(tmp_path) as log:
        topic = log.create("t", SCHEMA, segment_bytes=1024)
        fill(topic, 20)
        assert begun.wait(20)
        topic.close()
        assert after.is_set() and upkeep_threads() == []
        fill(topic, 10, 20)  # a handle that was closed opens its files anew
        assert numbers(topic) == list(range(30))


def test_upkeep_of_all_topics_goes_on_past_one_that_fails(tmp_path: Path) -> None:
    with Log(tmp_path, upkeep=False) as log:
        for name in ("a", "b", "c"):
            fill(log.create(name, SCHEMA, retention_bytes=1, segment_bytes=1024), 12)
        done = log.maintain()
        assert sorted(done) == ["a", "b", "c"] and all(one.removed > 0 for one in done.values())
        for name in ("a", "b", "c"):
            fill(log.topic(name), 12, 12)
        (tmp_path / "b" / "topic.json").write_bytes(b"nothing")
        with pytest.raises(LogError, match="checksum of the topic's metadata"):
            log.maintain()
        assert log.topic("a").start() > 12 and log.topic("c").start() > 12


def test_a_trim_beside_upkeep_harms_neither(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        topic = log.create("t", SCHEMA, segment_bytes=1024)
        for n in range(0, 300, 3):
            fill(topic, 3, n)
            log.topic("t").trim(n)
        wait_for(is_quiet)
        assert topic.describe().upkeep_failure is None
        assert numbers(topic) == list(range(topic.start(), 300))


PROGRAM = """
import sys
import pyarrow as pa
from thalweg.log import Log
topic = Log(sys.argv[1]).create("t", pa.schema([("k", pa.string()), ("n", pa.int32())]), segment_bytes=2048)
for n in range(400):
    topic.append([{"k": "k", "n": n}])
print("done", flush=True)
"""


def test_a_program_that_ends_is_not_held_up_and_leaves_all_whole(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert time.monotonic() - began < 50
    with Log(tmp_path) as log:
        assert log.topic("t").verify() == []
        assert numbers(log.topic("t")) == list(range(400))


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05])
def test_a_program_that_is_killed_in_its_upkeep_leaves_all_whole(tmp_path: Path, seconds: float) -> None:
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE)
    wait_for(lambda: len(list((tmp_path / "t").glob("0000/*.seg"))) > 2)
    time.sleep(seconds)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    with Log(tmp_path) as log:
        topic = log.topic("t")
        end = topic.end()
        assert numbers(topic) == list(range(end))
        fill(topic, 30, end)
        topic.maintain()
        assert topic.verify() == [] and numbers(topic) == list(range(end + 30))
        assert list(tmp_path.glob("t/0000/*.tmp")) == []
