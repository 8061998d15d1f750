"""Bad input, end to end: the right rows are rejected with place and reason, the rest go on, nothing is lost."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thalweg as tw
from tests.unit.rejections import checked, told, whole_rows
from thalweg import Report, SinkError, SourceError, Stream
from thalweg.connect import files, memory, view
from thalweg.connect._files import Files
from thalweg.connect._files_found import Found


class Row:
    a: int
    s: str | None


GOOD = b'{"a": 1, "s": "x"}\n'


def read(path: Path, schema: object = Row, build: Callable[[Stream], Stream] = lambda s: s, **options: Any) -> Report:
    """Run a batch over files, once whole and once row by row, which must agree."""
    reports = []
    for rows in (None, 1):
        app = tw.App("bad")
        build(app.read(files(path, **options), schema=schema)).write(view("v"))
        reports.append(app.batch(max_step_rows=rows))
    whole, stepwise = reports
    assert sorted(map(repr, whole.view("v").to_pylist())) == sorted(map(repr, stepwise.view("v").to_pylist()))
    assert told(whole) == told(stepwise)
    return checked(whole)


def values(report: Report, name: str = "a") -> list[Any]:
    found: list[Any] = report.view("v").column(name).to_pylist()
    return found


def received(report: Report) -> list[bytes]:
    assert set(report.errors.column("encoding").to_pylist()) <= {"received"}
    rows: list[bytes] = report.errors.column("row").to_pylist()
    return rows


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------------- files without rows


@pytest.mark.parametrize("name", ["empty.ndjson", "empty.csv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    report = read(written(tmp_path / name, b""))
    assert (report.rows_in, values(report), told(report)) == (0, [], [])


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert read(written(tmp_path / "head.csv", b"a,s\n")).rows_in == 0


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    report = read(written(tmp_path / "blank.ndjson", b"\n \n" + GOOD + b"\r\n\n"))
    assert (report.rows_in, values(report)) == (1, [1])


def test_empty_files_among_others_are_passed_over(tmp_path: Path) -> None:
    for number, data in enumerate((b"", GOOD, b"", b'{"a": 2}\n')):
        written(tmp_path / f"{number}.ndjson", data)
    assert values(read(tmp_path)) == [1, 2]


@pytest.mark.parametrize("name", ["empty.ndjson", "empty.csv"])
def test_an_empty_file_shows_no_schema(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="there is no schema to be seen; give schema="):
        tw.App("bad").read(files(written(tmp_path / name, b"")))


@pytest.mark.parametrize("name", ["empty.parquet", "empty.arrow"])
def test_a_table_of_no_bytes_is_damaged(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, b"")
    with pytest.raises(SourceError, match="cannot be read as") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "restore it, or take it away" in str(caught.value)


# ---------------------------------------------------------------------- lines


def test_half_a_last_line_is_rejected_and_the_lines_before_it_count(tmp_path: Path) -> None:
    report = read(written(tmp_path / "half.ndjson", GOOD + b'{"a": 2, "s": "y'))
    assert values(report) == [1]
    ((place, reason, _),) = told(report)
    assert place == "half.ndjson:2"
    assert reason.startswith("not valid JSON: Unterminated string")
    assert received(report) == [b'{"a": 2, "s": "y']


def test_a_whole_last_line_needs_no_newline(tmp_path: Path) -> None:
    report = read(written(tmp_path / "whole.ndjson", GOOD + b'{"a": 2}'))
    assert (values(report), told(report)) == ([1, 2], [])


def test_half_a_last_row_of_csv_is_rejected(tmp_path: Path) -> None:
    report = read(written(tmp_path / "half.csv", b'a,s\n1,x\n2,"y'))
    assert values(report) == [1]
    ((place, reason, _),) = told(report)
    assert place == "half.csv:3"
    assert "a quote is not closed" in reason


def test_rows_of_csv_with_too_few_or_too_many_fields_are_rejected(tmp_path: Path) -> None:
    report = read(written(tmp_path / "fields.csv", b"a,s\n1,x\n2\n3,y,z\n4,w\n"))
    assert values(report) == [1, 4]
    assert [(place, reason) for place, reason, _ in told(report)] == [
        ("fields.csv:3", "1 field, where the header has 2"),
        ("fields.csv:4", "3 fields, where the header has 2"),
    ]


def test_a_line_of_10_mb_is_a_row_like_others(tmp_path: Path) -> None:
    long = b"y" * 10_000_000
    report = read(written(tmp_path / "long.ndjson", GOOD + b'{"a": 2, "s": "' + long + b'"}\n{"a": 3}\n'))
    assert values(report) == [1, 2, 3]
    assert len(report.view("v").column("s")[1].as_py()) == 10_000_000


def test_a_line_of_10_mb_that_is_no_row_is_rejected_whole(tmp_path: Path) -> None:
    long = b"y" * 10_000_000
    report = read(written(tmp_path / "long.ndjson", GOOD + long + b'\n{"a": 3}\n'))
    assert values(report) == [1, 3]
    assert [place for place, _, _ in told(report)] == ["long.ndjson:2"]
    assert received(report) == [long]


def test_a_field_of_10_mb_is_a_field_like_others(tmp_path: Path) -> None:
    report = read(written(tmp_path / "long.csv", b"a,s\n1,x\n2," + b"y" * 10_000_000 + b"\n3,z\n"))
    assert values(report) == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "words", "column"),
    [
        (b'{"a": 1, "a": 2}', 'the name "a" stands twice in one object', "a"),
        (b'{"a": NaN}', "not valid JSON: NaN", None),
        (b'{"a": 1e400}', 'column "a" takes a whole number (int64), this is the number 1e400', "a"),
        (b'{"a": 1.5}', 'column "a" takes a whole number (int64), this is the number 1.5', "a"),
        (b'{"a": "1"}', 'column "a" takes a whole number (int64), this is the text', "a"),
        (b'{"a": true}', 'column "a" takes a whole number (int64)', "a"),
        (b'{"a": null}', "null, but the column must have a value", "a"),
        (b"{}", "null, but the column must have a value", "a"),
        (b'{"a": 99999999999999999999}', 'column "a" takes a whole number (int64)', "a"),
        (b"[1]", "", None),
        (b'{"a": 1} {"a": 2}', "", None),
        (b"\x00\x00", "not valid JSON", None),
        (b'{"a": 1, "s": "\\ud800"}', "", None),
    ],
    ids=lambda value: value.decode(errors="replace") if isinstance(value, bytes) else "",
)
def test_a_line_that_is_no_row_of_the_schema_is_rejected_and_kept_as_it_was(
    tmp_path: Path, line: bytes, words: str, column: str | None
) -> None:
    report = read(written(tmp_path / "lines.ndjson", GOOD + line + b'\n{"a": 3}\n'))
    assert values(report) == [1, 3]
    ((place, reason, at),) = told(report)
    assert place == "lines.ndjson:2"
    assert words in reason
    assert reason
    assert column is None or at == column
    assert received(report) == [line]


# ---------------------------------------------------------------------- encodings


def test_text_of_another_encoding_is_rejected_line_by_line(tmp_path: Path) -> None:
    text = '{"a": 1, "s": "ok"}\n{"a": 2, "s": "ä"}\n{"a": 3}\n'
    report = read(written(tmp_path / "latin.ndjson", text.encode("latin-1")))
    assert values(report) == [1, 3]
    assert told(report) == [("latin.ndjson:2", "not UTF-8: byte 0xe4 at position 16", None)]
    assert received(report) == ['{"a": 2, "s": "ä"}'.encode("latin-1")]


def test_csv_of_another_encoding_is_rejected_row_by_row(tmp_path: Path) -> None:
    report = read(written(tmp_path / "latin.csv", "a,s\n1,ok\n2,ä\n3,z\n".encode("latin-1")))
    assert values(report) == [1, 3]
    assert [(place, reason) for place, reason, _ in told(report)] == [("latin.csv:3", "not UTF-8: byte 0xe4")]


def test_utf_16_is_no_json_here(tmp_path: Path) -> None:
    report = read(written(tmp_path / "wide.ndjson", '{"a": 1}\n{"a": 2}\n'.encode("utf-16")))
    assert values(report) == []
    assert report.error_rows == report.rows_in >= 2
    assert "not UTF-8: byte 0xff at position 1" in [reason for _, reason, _ in told(report)]


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_row(tmp_path: Path) -> None:
    report = read(written(tmp_path / "mark.ndjson", b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b'{"a": 2}\r\n'))
    assert (values(report), told(report)) == ([1, 2], [])


# ---------------------------------------------------------------------- several files, compressed and damaged ones


def test_files_whose_values_are_of_another_type_have_those_rows_rejected(tmp_path: Path) -> None:
    written(tmp_path / "1.ndjson", GOOD)
    written(tmp_path / "2.ndjson", b'{"a": "two"}\n{"a": 2}\n')
    written(tmp_path / "3.ndjson", b'{"b": 1}\n')
    report = read(tmp_path)
    assert sorted(values(report)) == [1, 2]
    assert [place for place, _, _ in told(report)] == ["2.ndjson:1", "3.ndjson:1"]


def test_tables_whose_columns_differ_are_brought_to_the_schema_or_rejected(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "s": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["one"], "s": ["y"]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"a": pa.array([3], pa.int32()), "more": [0]}), tmp_path / "3.parquet")
    report = read(tmp_path)
    assert values(report) == [1, 3]
    assert told(report) == [("2.parquet: row 1", "'one' of type string is not a value of type int64", "a")]
    assert whole_rows(report) == [{"a": "one", "s": "y"}]


def test_a_table_with_none_of_the_columns_stops_the_run(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": [1]}), tmp_path / "2.parquet")
    with pytest.raises(
        SourceError, match=r"2\.parquet cannot be read as parquet: it has none of the columns a, s; it has b"
    ):
        read(tmp_path)


def test_files_of_several_formats_are_not_guessed_at(tmp_path: Path) -> None:
    written(tmp_path / "1.ndjson", GOOD)
    written(tmp_path / "2.csv", b"a,s\n")
    with pytest.raises(SourceError, match=r"holds files of several formats \(csv, ndjson\); name one as in \*\.csv"):
        read(tmp_path)


def test_a_compressed_file_that_was_cut_gives_the_rows_before_the_cut(tmp_path: Path) -> None:
    data = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(1000)), mtime=0)
    report = read(written(tmp_path / "cut.ndjson.gz", data[: len(data) // 2]))
    rows = values(report)
    assert rows == list(range(len(rows)))
    assert 0 < len(rows) < 1000
    ((place, reason, _),) = told(report)
    assert place == f"cut.ndjson.gz:{len(rows) + 1}"
    assert reason.startswith("the rest cannot be inflated")


def test_a_file_that_is_not_compressed_as_its_name_says_is_rejected(tmp_path: Path) -> None:
    report = read(written(tmp_path / "plain.ndjson.gz", GOOD))
    ((place, reason, _),) = told(report)
    assert (values(report), place) == ([], "plain.ndjson.gz:1")
    assert "cannot be inflated" in reason


def test_a_damaged_table_stops_the_run_and_says_which(tmp_path: Path) -> None:
    path = written(tmp_path / "broken.parquet", b"PAR1" + b"x" * 100 + b"PAR1")
    with pytest.raises(SourceError, match="cannot be read as parquet") as caught:
        read(path)
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------------- paths


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.ndjson: there is no such file; check the path"):
        read(tmp_path / "none.ndjson")


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\*\.csv: there is no such file"):
        read(tmp_path / "*.csv")


def test_a_file_where_a_folder_is_meant_is_named(tmp_path: Path) -> None:
    written(tmp_path / "file", b"")
    with pytest.raises(SourceError, match=r"file/a\.ndjson: there is no such file"):
        read(tmp_path / "file" / "a.ndjson")


def test_a_folder_where_a_file_is_meant_is_read_as_a_folder(tmp_path: Path) -> None:
    written(tmp_path / "clicks.ndjson" / "part.ndjson", GOOD)
    report = read(tmp_path / "clicks.ndjson")
    assert values(report) == [1]


def test_a_folder_among_files_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path / "data" / "1.ndjson", GOOD)
    written(tmp_path / "data" / "2.ndjson" / "inner.ndjson", b'{"a": 2}\n')
    assert values(read(tmp_path / "data")) == [1]
    assert values(read(tmp_path / "data" / "*.ndjson")) == [1]


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(SourceError, match="no file") as caught:
        read(tmp_path / "data")
    assert "there is no such file" not in str(caught.value)  # the folder is there


def test_a_folder_where_a_sink_s_file_is_meant_is_named(tmp_path: Path) -> None:
    (tmp_path / "out.ndjson").mkdir()
    app = tw.App("bad")
    app.read(memory([{"a": 1}])).write(files(tmp_path / "out.ndjson"))
    with pytest.raises(SinkError, match="is a folder; say what to write there"):
        app.batch()


def test_a_sink_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    written(tmp_path / "file", b"")
    app = tw.App("bad")
    app.read(memory([{"a": 1}])).write(files(tmp_path / "file" / "out", format="ndjson"))
    with pytest.raises(SinkError, match="file") as caught:
        app.batch()
    assert str(tmp_path) in str(caught.value)


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "secret.ndjson", GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file, as root may")
    with pytest.raises(SourceError, match=r"secret\.ndjson cannot be read: Permission denied"):
        read(path)


def test_a_file_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "secret.ndjson", GOOD)

    def refused(*given: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("thalweg.connect._files_read.InflatedFile", refused)
    with pytest.raises(SourceError, match=r"secret\.ndjson cannot be read: Permission denied"):
        read(path)


def test_a_file_that_vanishes_after_it_was_listed_stops_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "1.ndjson", GOOD)
    second = written(tmp_path / "2.ndjson", b'{"a": 2}\n')
    vanishing(monkeypatch, second)
    with pytest.raises(SourceError, match=r"2\.ndjson has vanished since it was listed; put it back, or start again"):
        read(tmp_path)


def test_a_file_that_vanishes_from_a_followed_folder_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "1.ndjson", GOOD)
    vanishing(monkeypatch, written(tmp_path / "2.ndjson", b'{"a": 2}\n'))
    app = tw.App("bad")
    app.read(files(tmp_path, follow=True), schema=Row).write(view("v"))
    report = app.run(data=None, until="caught-up", quiet=True)
    assert values(checked(report)) == [1]


def vanishing(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    listed = Files.listed

    def then_gone(self: Files) -> list[Found]:
        found = listed(self)
        path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Files, "listed", then_gone)
