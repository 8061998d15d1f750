"""Growing logs as a source: lines as they come, rotation, truncation, restarts."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.unit.tail_follower import FakeClock, add, cut, following
from thalweg.connect import tail
from thalweg.core.ports import Nothing, Source


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


# ── growing ──


def test_a_source_describes_itself(tmp_path: Path) -> None:
    source = tail(f"{tmp_path}/*.log", parse="combined", file_column="file")
    assert isinstance(source, Source)
    assert source.describe() == f"tail({tmp_path}/*.log, parse=combined, file_column=file)"
    assert (source.name, source.final, source.target) == (tmp_path.stem, False, str(tmp_path))


def test_whole_lines_are_given_as_they_come(log: Path) -> None:
    add(log, "a\nb\nhal")
    with following(log) as follower:
        assert follower.new() == ["a", "b"]
        assert follower.new() == []
        add(log, "f\n\nc\r\n")
        assert follower.new() == ["half", "", "c"]
        assert follower.places == ["app.log:1", "app.log:2", "app.log:3", "app.log:4", "app.log:5"]
        assert follower.rejected == []


def test_a_file_that_is_not_there_yet_is_waited_for_without_spinning(log: Path) -> None:
    with following(log) as follower:
        clock = follower.source.clock
        assert follower.reader.read(10, 1.0) is Nothing.NOW
        assert isinstance(clock, FakeClock)
        assert clock.waits <= 400
        assert follower.reader.read(10, 0.0) is Nothing.NOW
        add(log, "a\n")
        assert follower.new() == ["a"]


@pytest.mark.parametrize("max_rows", [1, 2, 3])
def test_it_goes_on_from_any_cut_between_two_rows(log: Path, max_rows: int) -> None:
    add(log, "".join(f"{n}\n" for n in range(7)) + "ha")
    with following(log) as follower:
        while follower.step(max_rows) is None:
            follower.start()
        add(log, "lf\n")
        follower.start()
        follower.catch_up(max_rows)
        assert follower.rows == [*map(str, range(7)), "half"]
        assert follower.places == [f"app.log:{line}" for line in range(1, 9)]


def test_the_last_line_of_a_complete_input_counts_without_its_newline(log: Path) -> None:
    add(log, "a\nhalf")
    with following(log) as follower:
        follower.start(bounded=True)
        assert follower.catch_up() is Nothing.EVER
        assert follower.rows == ["a"]
        follower.start(bounded=True, complete=True)
        assert follower.catch_up() is Nothing.EVER
        assert follower.rows == ["a", "half"]


def test_a_bounded_run_ends_at_what_was_there_when_it_began(log: Path) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.start(bounded=True)
        follower.step(1)
        add(log, "c\n")
        assert follower.catch_up() is Nothing.EVER
        assert follower.rows == ["a", "b"]
        follower.start(bounded=True)
        follower.catch_up()
        assert follower.rows == ["a", "b", "c"]


# ── rotation by rename ──


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(log: Path) -> None:
    add(log, "a\n")
    with following(log) as follower:
        assert follower.new() == ["a"]
        add(log, "b\n")
        log.rename(log.with_name("app.log.1"))
        assert follower.new() == ["b"]
        add(log.with_name("app.log.1"), "straggler\n")
        add(log, "c\n")
        assert follower.new() == ["straggler", "c"]
        assert follower.position["generation"] == 1  # type: ignore[index, call-overload]


def test_a_file_that_was_renamed_and_still_grows_is_not_left(log: Path) -> None:
    add(log, "a\n")
    with following(log) as follower:
        follower.new()
        log.rename(log.with_name("app.log.1"))
        add(log, "new\n")
        follower.step(timeout_s=0.2)
        add(log.with_name("app.log.1"), "b\n")
        follower.step(timeout_s=0.3)
        assert follower.rows == ["a", "b"]
        assert follower.new() == ["new"]


def test_an_empty_new_file_is_not_gone_to(log: Path) -> None:
    add(log, "a\n")
    with following(log) as follower:
        follower.new()
        log.rename(log.with_name("app.log.1"))
        log.touch()
        assert follower.new() == []
        add(log.with_name("app.log.1"), "b\n")
        assert follower.new() == ["b"]


def test_what_was_removed_is_still_read_to_its_end(log: Path) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.step(1)
        log.unlink()
        add(log, "c\n")
        follower.catch_up()
        assert follower.rows == ["a", "b", "c"]
        assert follower.rejected == []


def test_several_rotations_between_two_looks(log: Path) -> None:
    add(log, "a\n")
    with following(log) as follower:
        follower.new()
        add(log, "b\n")
        for name in ("c", "d", "e"):
            for number in (3, 2, 1):
                if (older := log.with_name(f"app.log.{number}")).exists():
                    older.rename(log.with_name(f"app.log.{number + 1}"))
            log.rename(log.with_name("app.log.1"))
            add(log, f"{name}\n")
        assert follower.new() == ["b", "c", "d", "e"]
        assert follower.rejected == []


@pytest.mark.parametrize("name", ["app.log.1", "app.log-20260301", "app.log.2026-03-01", "moved away"])
def test_a_rotation_while_it_was_down(log: Path, name: str) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.step(1)
        follower.stop()
        add(log, "c\n")
        log.rename(log.with_name(name))
        add(log, "d\n")
        follower.start()
        follower.catch_up()
        assert follower.rows == ["a", "b", "c", "d"]
        assert follower.rejected == []


@pytest.mark.parametrize("packed", [False, True])
def test_several_rotations_while_it_was_down(log: Path, packed: bool) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.step(1)
        follower.stop()
        log.rename(log.with_name("app.log.2"))
        add(log.with_name("app.log.1"), "c\n")
        add(log, "d\n")
        if packed:
            for number in (1, 2):
                plain = log.with_name(f"app.log.{number}")
                log.with_name(f"app.log.{number}.gz").write_bytes(gzip.compress(plain.read_bytes()))
                plain.unlink()
        follower.start()
        follower.step(1)
        follower.start()
        follower.catch_up(1)
        follower.start()
        follower.catch_up()
        assert follower.rows == ["a", "b", "c", "d"]
        assert follower.rejected == []


def test_a_file_that_was_read_in_part_and_is_gone_is_told(log: Path) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.step(1)
        follower.stop()
        log.rename(log.with_name("gone"))
        add(log, "c\n")  # while the old one is there, so that it has an inode of its own
        log.with_name("gone").unlink()
        follower.start()
        follower.catch_up()
        assert follower.rows == ["a", "c"]
        (gap,) = follower.rejected
        assert gap.place == "app.log: byte 0"
        assert "gone" in gap.reason
        follower.start()
        follower.catch_up()
        assert len(follower.rejected) == 1


def test_an_inode_that_is_used_again_is_another_file(log: Path) -> None:
    add(log, "a\n")
    with following(log) as follower:
        follower.new()
        follower.stop()
        cut(log, "other\nlines\n")
        follower.start()
        follower.catch_up()
        assert follower.rows == ["a", "other", "lines"]
        assert len(follower.rejected) == 1


# ── truncation ──


def test_a_truncated_file_is_read_from_its_beginning(log: Path) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.new()
        cut(log)
        assert follower.new() == []
        add(log, "c\n")
        assert follower.new() == ["c"]
        cut(log, "longer than it was before\n")
        assert follower.new() == ["longer than it was before"]
        assert follower.rejected == []


def test_a_file_that_was_rewritten_with_the_same_size_is_read_again(log: Path) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.new()
        cut(log, "c\nd\n")
        os.utime(log, ns=(0, 10**18))
        assert follower.new() == ["c", "d"]


def test_a_file_with_the_same_head_that_was_rewritten_is_told_by_what_stands_before_the_place(log: Path) -> None:
    head = "".join(f"the header, line {n}\n" for n in range(100))
    add(log, head + "a\n")
    with following(log) as follower:
        follower.new()
        cut(log, head + "b\nc\n")
        assert follower.new()[-2:] == ["b", "c"]


def test_a_copy_is_read_to_its_end_before_what_follows_the_truncation(log: Path) -> None:
    add(log, "a\n")
    with following(log) as follower:
        follower.new()
        add(log, "b\nhal")
        log.with_name("app.log.1").write_bytes(log.read_bytes())
        cut(log, "c\n")
        assert follower.new() == ["b", "hal", "c"]
        assert follower.rejected == []


def test_copies_while_it_was_down(log: Path) -> None:
    add(log, "a\nb\n")
    with following(log) as follower:
        follower.step(1)
        follower.stop()
        log.with_name("app.log.2").write_bytes(log.read_bytes())
        log.with_name("app.log.1").write_text("c\n")
        cut(log, "d\n")
        follower.start()
        follower.catch_up()
        assert follower.rows == ["a", "b", "c", "d"]
        assert follower.rejected == []
