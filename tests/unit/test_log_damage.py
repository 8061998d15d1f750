"""What the log does when the disk fails, forgets or lies."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import LogDamaged, LogError, NoSpace, WriterPoisoned
from thalweg.log import Log, Topic, disk

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", upkeep=False)


def put(topic: Topic, *numbers: int) -> None:
    topic.append([{"n": n} for n in numbers])


def numbers(topic: Topic) -> list[int]:
    return list(topic.read(limit=100_000)["n"].to_pylist())


def segment(topic: Topic, place: int = -1) -> Path:
    return sorted((topic.path / "0000").glob("*.seg"))[place]


def edit(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def test_every_torn_tail_is_cut_and_nothing_else(log: Log, tmp_path: Path) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1)
    end = (topic.path / "0000" / "end").read_bytes()
    durable = segment(topic).stat().st_size
    put(topic, 2)
    whole = segment(topic).read_bytes()
    for length in range(durable, len(whole) + 1, 7):
        copy = tmp_path / "copy" / str(length)
        shutil.copytree(log.path, copy)
        again = Log(copy).topic("t")
        segment(again).write_bytes(whole[:length])
        (again.path / "0000" / "end").write_bytes(end)
        assert numbers(again) == ([1, 2] if length == len(whole) else [1])
        put(again, 3)
        assert numbers(again) == ([1, 2, 3] if length == len(whole) else [1, 3])
        assert again.verify() == []


def test_an_older_published_end_loses_nothing(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=1024)
    end = topic.path / "0000" / "end"
    kept = [end.read_bytes()]
    for n in range(12):
        put(topic, n)
        kept.append(end.read_bytes())
    for old in [*kept, b"", bytes(128), b"x" * 64]:
        end.write_bytes(old)
        assert numbers(log.topic("t")) == list(range(12))


def test_a_segment_shorter_than_what_was_durable_is_damage(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1)
    put(topic, 2)
    edit(segment(topic), lambda data: data.__delitem__(slice(len(data) - 1, None)))
    length = segment(topic).stat().st_size
    for use in (lambda: put(log.topic("t"), 3), lambda: numbers(log.topic("t"))):
        with pytest.raises(LogDamaged) as caught:
            use()
        assert caught.value.path == segment(topic)
    assert segment(topic).stat().st_size == length
    assert [damage.path for damage in topic.verify()]


def test_every_flipped_bit_below_the_end_is_found_and_kept(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    for n in range(3):
        put(topic, n)
    path = segment(topic)
    whole = path.read_bytes()
    for position in range(0, len(whole), 5):
        edit(path, lambda data, at=position: data.__setitem__(at, data[at] ^ 4))  # type: ignore[misc]  # at is bound
        flipped = path.read_bytes()
        found = topic.verify()
        assert [damage.path for damage in found] == [path], position
        with pytest.raises(LogDamaged, match="damaged at byte"):
            numbers(log.topic("t"))
        assert path.read_bytes() == flipped
        path.write_bytes(whole)
    assert topic.verify() == []


def test_damage_in_the_middle_is_named_and_the_rest_is_looked_at(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=4096)
    for n in range(30):
        put(topic, n)
    path = segment(topic, 0)
    data = path.read_bytes()
    frames = [at for at in range(0, len(data), 64) if data[at : at + 4] == b"THWF"]
    edit(path, lambda data: data.__setitem__(frames[2] + 5, 77))
    edit(path, lambda data: data.__setitem__(frames[4] + 200, data[frames[4] + 200] ^ 1))
    found = [(d.position, d.first, d.next) for d in topic.verify()]
    assert found == [(frames[2], 2, 3), (frames[4], 4, 5)]
    assert topic.read(limit=2)["n"].to_pylist() == [0, 1]


def test_a_bad_frame_past_the_end_stays_unless_it_was_never_written(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1)
    end = topic.path / "0000" / "end"
    old = end.read_bytes()
    durable = segment(topic).stat().st_size
    put(topic, 2)
    whole = segment(topic).read_bytes()
    end.write_bytes(old)
    edit(segment(topic), lambda data: data.__setitem__(durable + 200, data[durable + 200] ^ 1))
    with pytest.raises(LogDamaged, match="nothing was changed"):
        put(log.topic("t"), 3)
    end.write_bytes(old)
    segment(topic).write_bytes(whole[:durable] + bytes(len(whole) - durable))  # as a power cut leaves it
    again = log.topic("t")
    put(again, 3)
    assert numbers(again) == [1, 3]


def test_a_bad_frame_before_a_later_write_is_damage(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1)
    end = topic.path / "0000" / "end"
    old, durable = end.read_bytes(), segment(topic).stat().st_size
    put(topic, 2)
    middle = segment(topic).stat().st_size
    put(topic, 3)
    end.write_bytes(old)
    edit(segment(topic), lambda data: data.__setitem__(slice(durable, middle), bytes(middle - durable)))
    with pytest.raises(LogDamaged):
        put(log.topic("t"), 4)
    assert [(damage.position, damage.first) for damage in topic.verify()] == [(durable, 1)]


def test_metadata_with_a_wrong_checksum_is_refused(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    path = topic.path / "topic.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 11):
        edit(path, lambda data, at=position: data.__setitem__(at, data[at] ^ 1))  # type: ignore[misc]  # at is bound
        with pytest.raises(LogDamaged):
            log.topic("t")
        assert [damage.path for damage in topic.verify()] == [path]
        path.write_bytes(whole)
    put(log.topic("t"), 1)


def test_a_later_format_is_refused_untouched(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("thalweg.log.metadata.FORMAT", 2)
        patched.setattr("thalweg.log.layout.FORMAT", 2)
        topic = log.create("t", SCHEMA)
    before = {path: path.read_bytes() for path in topic.path.rglob("*") if path.is_file()}
    with pytest.raises(LogError, match="format 2, this version of Thalweg reads 1"):
        log.topic("t")
    assert before == {path: path.read_bytes() for path in topic.path.rglob("*") if path.is_file()}


def test_after_a_failed_sync_the_handle_is_poisoned_and_a_new_one_recovers(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync", fail)
        with pytest.raises(WriterPoisoned, match="may or may not be there"):
            put(topic, 2)
    for call in (lambda: put(topic, 3), lambda: topic.trim(1), lambda: topic.evolve(SCHEMA), topic.maintain):
        with pytest.raises(WriterPoisoned, match=r'open it anew with log.topic\("t"\)'):
            call()
    written: list[int] = []
    real = disk.write
    monkeypatch.setattr(disk, "write", lambda fd, parts, at: (written.append(at), real(fd, parts, at))[1])
    again = log.topic("t")
    put(again, 4)
    assert numbers(again) == [1, 2, 4]
    assert len(written) >= 4  # the bytes that were not synced were written afresh


def test_a_full_disk_refuses_and_goes_on_when_there_is_space(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=2048)
    put(topic, 1)
    real = disk.write

    def half(fd: int, parts: list[bytes], at: int) -> None:
        whole = b"".join(bytes(part) for part in parts)
        real(fd, [whole[: len(whole) // 2]], at)
        raise OSError(errno.ENOSPC, "no space left on device")

    for n in range(2, 20):
        with monkeypatch.context() as patched:
            patched.setattr(disk, "write", half)
            with pytest.raises(NoSpace):
                put(topic, -n)
        assert numbers(topic) == list(range(1, n))
        put(topic, n)
    assert topic.verify() == []


def test_short_writes_are_finished(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA)
    real = disk.os.pwritev
    monkeypatch.setattr(disk.os, "pwritev", lambda fd, parts, at: real(fd, [bytes(parts[0])[:50]], at))
    put(topic, *range(100))
    monkeypatch.undo()
    assert numbers(log.topic("t")) == list(range(100))
    assert topic.verify() == []


def test_a_missing_segment_is_damage_not_a_gap(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=1024)
    for n in range(12):
        put(topic, n)
    gone = segment(topic, 1)
    gone.unlink()
    with pytest.raises(LogDamaged):
        numbers(topic)
    assert len(topic.verify()) == 1


def test_what_a_dead_process_left_half_made_is_swept_up(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    (log.path / ".building-u-00").mkdir()
    (log.path / ".deleted-u-00").mkdir()
    (log.path / ".deleted-u-00" / "topic.json").write_bytes(b"{")
    (topic.path / "0000" / "00000000000000000007.seg.tmp").write_bytes(b"half")
    assert log.topics() == ["t"]
    log.create("v", SCHEMA)
    topic.maintain()
    assert sorted(path.name for path in log.path.iterdir()) == ["t", "v"]
    assert not list(topic.path.rglob("*.tmp"))


def test_a_reader_stops_before_damage_every_time_it_is_asked(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    ends = []
    for n in range(5):
        put(topic, n)
        ends.append(segment(topic).stat().st_size)
    edit(segment(topic), lambda data: data.__setitem__(ends[1] + 150, data[ends[1] + 150] ^ 1))
    with topic.reader() as reader:
        batch = reader.read(50)
        assert batch is not None
        assert batch["n"].to_pylist() == [0, 1]
        for _ in range(3):
            with pytest.raises(LogDamaged) as caught:
                reader.read(50)
            assert (caught.value.position, caught.value.offset, reader.offset) == (ends[1], 2, 2)


def test_a_full_disk_can_be_trimmed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=1024)
    for n in range(12):
        put(topic, n)
    real, sizes = disk.write, disk.size

    def full(fd: int, parts: list[bytes], at: int) -> None:
        if at + sum(map(len, parts)) > sizes(fd):
            raise OSError(errno.ENOSPC, "no space left on device")
        real(fd, parts, at)

    with monkeypatch.context() as patched:
        patched.setattr(disk, "write", full)
        with pytest.raises(NoSpace):
            put(topic, 12)
        files = len(list((topic.path / "0000").glob("*.seg")))
        assert topic.trim(10) == 10
        assert len(list((topic.path / "0000").glob("*.seg"))) < files
    put(topic, 12)
    assert topic.read(offset=10)["n"].to_pylist() == [10, 11, 12]
    slot = topic.path / "0000" / "start"
    edit(slot, lambda data: data.__setitem__(10, 9))
    assert [damage.path for damage in topic.verify()] == [slot]


def test_a_start_that_may_not_be_durable_is_written_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1, 2, 3)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync", fail)
        with pytest.raises(LogError, match="trimming the topic"):
            topic.trim(2)
    synced: list[int] = []
    real = disk.sync
    monkeypatch.setattr(disk, "sync", lambda fd: (synced.append(fd), real(fd))[1])
    again = log.topic("t")
    assert again.start() == 2
    assert len(synced) == 1  # before an end is published that goes by it
    assert again.trim(2) == 2
    assert len(synced) == 1
    assert log.topic("t").trim(2) == 2  # another handle cannot know
    assert len(synced) == 2


def test_columns_that_may_not_be_durable_are_made_so_before_that_is_said(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = log.create("t", SCHEMA)
    wider = pa.schema([*SCHEMA, ("more", pa.int64())])
    real = disk.sync_directory
    synced: list[Path] = []

    def refuse(path: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_directory", refuse)
        with pytest.raises(LogError, match="evolving the topic"):
            topic.evolve(wider)
    monkeypatch.setattr(disk, "sync_directory", lambda path: (synced.append(path), real(path))[1])
    log.topic("t").evolve(wider)
    assert topic.path in synced


def test_a_deletion_that_was_begun_is_finished(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for finish in ("topics", "create", "delete"):
        topic = log.create("t", SCHEMA, partitions=2)
        ends = [topic.path / f"000{partition}" / "end" for partition in range(2)]
        before = ends[0].read_bytes()

        def fail(source: Path, target: Path) -> None:
            raise OSError(errno.EIO, "input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(disk, "rename", fail)
            with pytest.raises(LogError, match="deleting the topic"):
                log.delete("t")
        ends[0].write_bytes(before)  # the power cut took this partition's flag
        if finish == "create":
            log.create("t", SCHEMA, partitions=2).append([{"n": 1}])
            log.delete("t")
        elif finish == "delete":
            log.delete("t")
        assert log.topics() == []
        with pytest.raises(LogError, match="no topic"):
            log.topic("t")
        assert list(log.path.iterdir()) == []


@pytest.mark.parametrize("end_is_lost", [False, True])
def test_damage_behind_the_end_stops_appends_but_not_reads(log: Log, end_is_lost: bool) -> None:
    topic = log.create("t", SCHEMA)
    put(topic, 1, 2)
    path = segment(topic)
    length = path.stat().st_size
    edit(path, lambda data: data.extend(b"\x55" * 256))
    if end_is_lost:
        (topic.path / "0000" / "end").write_bytes(b"")
    again = log.topic("t")
    assert numbers(again) == [1, 2]
    assert [(damage.path, damage.position, damage.first) for damage in again.verify()] == [(path, length, 2)]
    for _ in range(2):
        with pytest.raises(LogDamaged) as caught:
            put(again, 3)
        assert (caught.value.position, caught.value.offset) == (length, 2)
    assert path.stat().st_size == length + 256
