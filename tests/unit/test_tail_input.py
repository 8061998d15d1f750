"""Which files are logs, mistakes, bad input, and logs in a pipeline."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from tests.unit.tail_follower import add, following
from thalweg.connect import tail, view
from thalweg.connect._tail_files import base_of, rotated_of
from thalweg.core.errors import PlanError, SourceError
from thalweg.core.ports import SourceBatch
from thalweg.core.schema import schema_of


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


# ── several files ──


def test_each_log_is_a_partition_and_its_rotated_files_are_not(tmp_path: Path) -> None:
    for name in ("b.log", "a.log", "a.log.1", "a.log.2", "c.log.gz", "d-2026-03-01.log", "e.1"):
        add(tmp_path / name, f"{name}\n")
    (tmp_path / "folder.log").mkdir()
    opened = tail(f"{tmp_path}/*").open(schema_of(pa.schema([("line", pa.string())])))
    assert opened.partitions() == ["a.log", "b.log", "d-2026-03-01.log", "e.1"]
    add(tmp_path / "f.log", "f\n")
    (tmp_path / "b.log").rename(tmp_path / "b.log.1")
    assert opened.partitions() == ["a.log", "b.log", "d-2026-03-01.log", "e.1", "f.log"]


def test_rotated_files_that_the_pattern_names_are_read_first_the_oldest_first(tmp_path: Path) -> None:
    for name in ("a.log", "a.log.1", "a.log.2", "a.log.10"):
        add(tmp_path / name, f"{name}\n")
    with following(f"{tmp_path}/a.log*", partition="a.log") as follower:
        assert follower.new() == ["a.log.10", "a.log.2", "a.log.1", "a.log"]
    with following(f"{tmp_path}/*.log", partition="a.log") as follower:
        assert follower.new() == ["a.log"]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("app.log.1", "app.log"),
        ("app.log.12.gz", "app.log"),
        ("app.log-20260301", "app.log"),
        ("app.log.2026-03-01_10-00-00", "app.log"),
        ("app.log-20260301-10.zst", "app.log"),
        ("app.log", None),
        ("app-2026-03-01.log", None),
        ("app.2026", "app"),
        ("app.log.bak", None),
    ],
)
def test_names_of_rotated_files(name: str, base: str | None) -> None:
    assert base_of(name) == base


def test_dates_are_in_order_and_a_half_packed_file_does_not_count(log: Path) -> None:
    for suffix in ("-20260302", "-20260301", "-20260301.gz", "-20251231.gz"):
        add(log.with_name("app.log" + suffix), "x")
    names = [os.path.basename(file.path) for file in rotated_of(str(log))]
    assert names == ["app.log-20251231.gz", "app.log-20260301", "app.log-20260302"]


# ── mistakes and bad input ──


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        ("combind", 'did you mean "combined"'),
        (3, "there are: lines, common"),
        (re.compile("a(b)"), "no named group"),
        (re.compile("(?P<a>x)(?=y)"), "look-around"),
        (re.compile("(?P<a>x)", re.ASCII), "re.ASCII"),
        (re.compile(b"(?P<a>x)"), "there are: lines"),
    ],
)
def test_a_parser_that_cannot_be_is_a_mistake_in_the_program(parse: Any, words: str) -> None:
    with pytest.raises(PlanError, match=re.escape(words)):
        tail("x.log", parse=parse)


def test_the_files_column_must_be_a_new_one() -> None:
    with pytest.raises(PlanError, match="choose another"):
        tail("x.log", file_column="line")


def test_ndjson_needs_a_schema() -> None:
    with pytest.raises(PlanError, match="give schema="):
        tw.App("a").read(tail("x.log", parse="ndjson"))


def test_a_column_that_no_line_has_is_refused(log: Path) -> None:
    with pytest.raises(SourceError, match='finds no column "hots"; did you mean "host"'):
        tail(log, parse="common").open(schema_of(pa.schema([("hots", pa.string())])))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=re.escape("is a folder; name the files in it")):
        tail(tmp_path).open(schema_of(pa.schema([("line", pa.string())])))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with following(tmp_path / "pipe") as follower, pytest.raises(SourceError, match="name regular files"):
        follower.catch_up()


def test_a_file_that_may_not_be_read_stops_the_run_and_is_named(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, "a\n")

    def refuse(path: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    with following(log) as follower:
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(SourceError, match=r"app\.log cannot be read: Permission denied; let this process read it"):
            follower.catch_up()


def test_a_pattern_without_a_match_is_an_error_where_nothing_more_can_come(tmp_path: Path) -> None:
    app = tw.App("none")
    app.read(tail(f"{tmp_path}/*.log")).write(view("v"))
    with pytest.raises(SourceError, match="there is no such file"):
        app.batch()
    assert app.run(data=None, until="caught-up", quiet=True).rows_in == 0


def test_bytes_that_are_no_text_are_rejected_line_by_line(log: Path) -> None:
    log.write_bytes(b"a\n\xff\xfe\x00\nb\n" + bytes(range(128, 256)) + b"\n")
    with following(log) as follower:
        assert follower.new() == ["a", "b"]
        assert [(bad.place, bad.raw) for bad in follower.rejected] == [
            ("app.log:2", b"\xff\xfe\x00"),
            ("app.log:4", bytes(range(128, 256))),
        ]
        assert follower.places == ["app.log:1", "app.log:3"]


def test_a_line_that_is_too_long_is_rejected_without_being_held(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.columnar.runs.LONGEST_ROW_BYTES", 1 << 21)
    monkeypatch.setattr("thalweg.columnar.runs.RUN_BYTES", 1 << 20)
    add(log, "a\n" + "x" * (1 << 22) + "\nb\n")
    with following(log) as follower:
        follower.catch_up()
        assert follower.rows == ["a", "b"]
        assert "longer than" in follower.rejected[0].reason


# ── in a pipeline ──


def test_a_batch_counts_the_half_line_and_names_the_file(tmp_path: Path) -> None:
    add(tmp_path / "a.log", "INFO one\nbad\nWARN two")
    add(tmp_path / "b.log", "INFO three\n")
    app = tw.App("levels")
    lines = app.read(tail(f"{tmp_path}/*.log", parse=re.compile(r"(?P<level>\w+) (?P<text>.*)"), file_column="file"))
    lines.write(view("lines"))
    report = app.batch()
    assert sorted(tuple(row.values()) for row in report.view("lines").to_pylist()) == [
        ("INFO", "one", "a.log"),
        ("INFO", "three", "b.log"),
        ("WARN", "two", "a.log"),
    ]
    assert report.errors.num_rows == 1


def test_runs_that_catch_up_read_on_even_where_the_log_is_gone_for_now(tmp_path: Path) -> None:
    def run(until: Any) -> list[str]:
        app = tw.App("lines")
        app.read(tail(f"{tmp_path}/*.log")).write(view("lines"))
        report = app.run(data=tmp_path / "state", until=until, quiet=True)
        return sorted(report.view("lines").column("line").to_pylist())

    log = tmp_path / "a.log"
    add(log, "1\n2\nha")
    assert run("caught-up") == ["1", "2"]
    add(log, "lf\n3\n")
    log.rename(tmp_path / "a.log.1")
    assert run("caught-up") == ["1", "2", "3", "half"]
    add(log, "4\nend")
    assert run("caught-up") == ["1", "2", "3", "4", "half"]
    assert run("end") == ["1", "2", "3", "4", "end", "half"]


def test_a_log_that_is_missing_at_the_first_look_has_its_rotated_files_all_the_same(tmp_path: Path) -> None:
    """Between the renaming of a log and its new file there is none of the name; its rows came twice."""
    opened = tail(f"{tmp_path}/*.log*").open(schema_of(tail("x").schema()))
    add(tmp_path / "a.log.1", "1\n")
    assert opened.partitions() == ["a.log"]
    reader = opened.reader("a.log", None)
    first = reader.read(10, 1.0)
    assert isinstance(first, SourceBatch) and first.data.column(0).to_pylist() == ["1"]
    add(tmp_path / "a.log", "2\n")
    assert opened.partitions() == ["a.log"]
    second = reader.read(10, 5.0)
    assert isinstance(second, SourceBatch) and second.data.column(0).to_pylist() == ["2"]
    reader.close()


def test_numbered_files_without_a_log_are_logs_of_their_own(tmp_path: Path) -> None:
    for name in ("worker.1", "worker.2"):
        add(tmp_path / name, "1\n")
    opened = tail(f"{tmp_path}/*").open(schema_of(tail("x").schema()))
    assert opened.partitions() == ["worker.1", "worker.2"]
