"""Bad input, end to end: the right rows are rejected with place and reason, the rest go on, nothing is lost."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thalweg as tw
from thalweg import Report, SinkError, SourceError, Stream, col, count
from thalweg.connect import files, memory, view
from thalweg.connect._files import Files
from thalweg.connect._files_read import Found
from thalweg.core.errors import FunctionError
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded.ledger import Entry, balance


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


def checked(report: Report) -> Report:
    """Balance a report's ledger by hand, and count its errors."""
    lines = report.ledger.to_pylist()
    for line in lines:
        counts = {name: line[name] for name in line if name not in ("step", "in")}
        balance([Entry(line["step"], pairs=line["in"], **counts)])
    assert sum(line["rejected"] for line in lines) == report.error_rows == report.errors.num_rows
    (first, *_) = [line for line in lines if " read " in line["step"]]
    assert first["rows_in"] <= report.rows_in
    return report


def told(report: Report) -> list[tuple[str, str, str | None]]:
    """Place, reason and column of each rejected row."""
    columns = report.errors.select(["place", "reason", "column"]).to_pylist()
    return sorted((row["place"], row["reason"], row["column"]) for row in columns)


def values(report: Report, name: str = "a") -> list[Any]:
    found: list[Any] = report.view("v").column(name).to_pylist()
    return found


def received(report: Report) -> list[bytes]:
    assert set(report.errors.column("encoding").to_pylist()) <= {"received"}
    rows: list[bytes] = report.errors.column("row").to_pylist()
    return rows


def whole_rows(report: Report) -> list[dict[str, Any]]:
    """Rejected rows that were decoded already: Arrow bytes of one row."""
    found = []
    for row in report.errors.to_pylist():
        assert row["encoding"] == "arrow"
        with pa.ipc.open_stream(row["row"]) as reader:
            found += reader.read_all().to_pylist()
    return found


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


# ---------------------------------------------------------------------- times


def timed(seconds_us: list[int | None], **options: Any) -> tuple[Report, list[tuple[int, int]]]:
    """Count rows per minute; return also each window's end and count."""
    app = tw.App("times")
    table = pa.table({"id": range(len(seconds_us)), "ts": pa.array(seconds_us, TIMESTAMP)})
    stream = app.read(memory([table]), time="ts", lateness="0s", **options)
    stream.group_by().window("1m").agg(n=count()).write(view("v"))
    report = checked(app.batch())
    ends = report.view("v").column("window_end").cast(pa.int64()).to_pylist()
    return report, list(zip(ends, report.view("v").column("n").to_pylist(), strict=True))


def us(year: int, *rest: int) -> int:
    moment = dt.datetime(year, *(rest or (1, 1)), tzinfo=dt.UTC)  # type: ignore[arg-type]  # month, day, hour …
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


MINUTE = 60_000_000


@pytest.mark.parametrize(
    "moment",
    [
        us(2262, 4, 11, 23, 47, 16),  # the last that 64 bits of nanoseconds hold
        us(2262, 4, 12),
        us(2300),
        us(9999, 12, 31, 23, 59, 59),
        us(1969, 12, 31, 23, 59, 59),
        us(1677, 9, 21),
        us(1, 1, 1, 0, 0, 1),
    ],
)
def test_every_time_of_the_years_1_to_9999_has_its_window(moment: int) -> None:
    report, windows = timed([moment])
    assert windows == [(moment - moment % MINUTE + MINUTE, 1)]
    assert told(report) == []


def test_a_time_in_the_year_2262_closes_what_lies_before_it() -> None:
    report, windows = timed([us(2026), us(2262, 6, 1), us(2026)])
    assert [n for _, n in windows] == [1, 1]
    assert report.late_rows == 1


@pytest.mark.parametrize("moment", [us(9999, 12, 31, 23, 59, 59) + 1_000_000, us(1) - 1, 2**63 - 1, -(2**63)])
def test_a_time_outside_of_these_years_is_rejected_and_moves_no_watermark(moment: int) -> None:
    report, windows = timed([us(2026), moment, us(2026) + 1])
    assert [n for _, n in windows] == [2]
    assert report.late_rows == 0
    assert told(report) == [("memory[partition 0]:1", "ts lies outside the years 1 to 9999; is its unit right?", None)]


def test_a_row_without_a_time_is_rejected() -> None:
    report, windows = timed([us(2026), None, us(2026) + 1])
    assert [n for _, n in windows] == [2]
    assert told(report) == [("memory[partition 0]:1", "ts is null; every row needs an event time", None)]


def test_a_clock_that_runs_ahead_is_stopped_by_max_jump() -> None:
    report, windows = timed([us(2026), us(2262), us(2026) + 1], max_jump="1d")
    assert [n for _, n in windows] == [2]
    assert report.late_rows == 0
    ((place, reason, _),) = told(report)
    assert place == "memory[partition 0]:1"
    assert reason.endswith("ahead of all rows before it, more than max_jump=1d; a clock may be wrong")


def test_a_clock_set_back_makes_late_rows_and_no_wrong_ones() -> None:
    report, windows = timed([us(2026), us(2026) + 10 * MINUTE, us(2026) - 60 * MINUTE, us(2026) + 10 * MINUTE + 1])
    assert [n for _, n in windows] == [1, 2]
    assert [row["position"] for row in report.late.to_pylist()] == ["memory[partition 0]:2"]


def test_a_time_that_is_no_time_is_rejected() -> None:
    app = tw.App("times")
    rows = [{"ts": "2026-01-01T00:00:00"}, {"ts": "soon"}, {"ts": "2026-01-01T00:00:30"}]
    stream = app.read(memory(rows), time=col("ts").str.to_datetime())
    stream.group_by().window("1m").agg(n=count()).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").column("n").to_pylist() == [2]
    ((place, reason, _),) = told(report)
    assert place == "memory[partition 0]:1"
    assert "soon" in reason


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_integer_times_count_in_their_unit(unit: str, factor: int) -> None:
    app = tw.App("times")
    stream = app.read(memory([{"t": second * factor} for second in (0, 59, 60, 125)]), time="t", time_unit=unit)  # type: ignore[arg-type]  # one of the four
    stream.group_by().window("1m").agg(n=count()).write(view("v"))
    assert checked(app.batch()).view("v").column("n").to_pylist() == [2, 1, 1]


# ---------------------------------------------------------------------- functions of the user

NUMBERS = pa.schema([("k", pa.string()), ("n", pa.int64())])
ROWS = [{"k": "ab"[n % 2], "n": n} for n in range(10)]
BAD = 6


def picky(row: dict[str, Any]) -> dict[str, Any]:
    if row["n"] == BAD:
        raise ValueError(f"I do not like {row['n']}")
    return row


def picky_many(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield row
    if row["n"] == BAD:
        raise ValueError(f"I do not like {row['n']}")
    yield row


def picky_batch(table: pa.Table) -> pa.Table:
    if BAD in table.column("n").to_pylist():
        raise ValueError(f"I do not like {BAD}")
    return table


def picky_sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if other["n"] == BAD:  # the row that is added: a sum may well be what a row may not
        raise ValueError(f"I do not like {BAD}")
    return one | {"n": one["n"] + other["n"]}


def picky_step(state: int, value: int) -> int:
    if value == BAD:
        raise ValueError(f"I do not like {value}")
    return state + value


picky_total = tw.aggregate(init=int, step=picky_step, merge=lambda a, b: a + b, returns=int)
KEPT = [row for row in ROWS if row["n"] != BAD]
TOTALS = [{"k": "a", "n": 0 + 2 + 4 + 8}, {"k": "b", "n": 1 + 3 + 5 + 7 + 9}]
USERS: dict[str, tuple[Callable[[Stream], Stream], list[dict[str, Any]], str]] = {
    "map": (lambda s: s.map(picky, schema=NUMBERS), KEPT, "memory[partition 0]:6"),
    "flat_map": (
        lambda s: s.flat_map(picky_many, schema=NUMBERS),
        [row for row in KEPT for _ in (1, 2)],
        "memory[partition 0]:6",
    ),
    "map_batches": (lambda s: s.map_batches(picky_batch), KEPT, "memory[partition 0]:6"),
    "map after a filter": (
        lambda s: s.filter(col("n") > 2).map(picky, schema=NUMBERS),
        [row for row in KEPT if row["n"] > 2],
        "memory[partition 0]:6",
    ),
    "aggregate": (lambda s: s.group_by("k").agg(n=picky_total(col("n"))), TOTALS, "a"),
    "reduce": (lambda s: s.reduce_by_key("k", picky_sum), TOTALS, "a"),
}


@pytest.mark.parametrize("rows", [None, 1, 3])
@pytest.mark.parametrize("what", USERS)
def test_a_row_on_which_a_function_raises_is_rejected_and_the_rest_go_on(what: str, rows: int | None) -> None:
    build, expected, where = USERS[what]
    app = tw.App("users")
    build(app.read(memory(ROWS))).write(view("v"))
    report = checked(app.batch(max_step_rows=rows))
    assert report.view("v").to_pylist() == sorted(expected, key=lambda row: (row["k"], row["n"]))
    (error,) = report.errors.to_pylist()
    assert error["reason"] == f"ValueError: I do not like {BAD}"
    assert where in error["place"]
    assert "picky" in error["traceback"]
    assert __file__ in error["traceback"]
    assert whole_rows(report) == [ROWS[BAD]]


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_window_s_aggregate_leaves_out_the_row_on_which_it_raises(rows: int | None) -> None:
    app = tw.App("users")
    given = [row | {"ts": dt.datetime(2026, 1, 1, 0, 0, row["n"] * 10)} for row in ROWS[:6]]
    given += [{"k": "a", "n": BAD, "ts": dt.datetime(2026, 1, 1, 0, 0, 30)}]
    stream = app.read(memory(given), time="ts", lateness="1m")
    stream.group_by("k").window("1m").agg(n=picky_total(col("n")), rows=count()).write(view("v"))
    report = checked(app.batch(max_step_rows=rows))
    assert [(row["k"], row["n"], row["rows"]) for row in report.view("v").to_pylist()] == [("a", 6, 3), ("b", 9, 3)]
    (error,) = report.errors.to_pylist()
    assert error["reason"] == f"ValueError: I do not like {BAD}"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "a row is a dict or an object of the schema's class, not NoneType"),
        ([1], "a row is a dict or an object of the schema's class, not list"),
        ({"k": "a", "n": "many"}, "what odd returned does not fit its schema"),
        ({"k": 3, "n": 3}, "what odd returned does not fit its schema"),
        ({"k": "a", "n": 2**70}, "what odd returned does not fit its schema"),
        ({"k": "a", "n": 1.5}, "what odd returned does not fit its schema"),
    ],
    ids=str,
)
def test_a_row_for_which_a_function_returns_something_else_is_rejected(returned: Any, words: str) -> None:
    def odd(row: dict[str, Any]) -> Any:
        return returned if row["n"] == BAD else row

    app = tw.App("users")
    app.read(memory(ROWS)).map(odd, schema=NUMBERS).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").num_rows == len(ROWS) - 1
    (error,) = report.errors.to_pylist()
    assert words in error["reason"]
    assert error["place"] == f"memory[partition 0]:{BAD}"


def test_a_function_of_batches_that_changes_their_length_is_told_so() -> None:
    app = tw.App("users")
    app.read(memory(ROWS)).map_batches(lambda table: table.slice(1)).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").num_rows == 0
    assert all("it must return as many, in order" in reason for _, reason, _ in told(report))


def test_an_error_that_has_no_text_of_its_own_is_named() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def mute(row: dict[str, Any]) -> dict[str, Any]:
        if row["n"] == BAD:
            raise Mute
        return row

    app = tw.App("users")
    app.read(memory(ROWS)).map(mute, schema=NUMBERS).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").num_rows == len(ROWS) - 1
    assert "Mute" in report.errors.column("reason")[0].as_py()


def test_a_row_that_no_python_value_can_hold_is_rejected_before_the_function() -> None:
    table = pa.table({"n": [1, 2, 3], "at": pa.array([0, 10**18, 0], TIMESTAMP)})
    app = tw.App("users")
    app.read(memory(table)).map(lambda row: {"n": row["n"]}, schema=pa.schema([("n", pa.int64())])).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").to_pylist() == [{"n": 1}, {"n": 3}]
    ((place, reason, column),) = told(report)
    assert (place, column) == ("memory[partition 0]:1", "at")
    assert "outside the years 1 to 9999" in reason


def test_a_merge_that_raises_stops_the_run_and_is_named() -> None:
    def no_merge(one: int, other: int) -> int:
        raise ValueError("I cannot merge")

    total = tw.aggregate(init=int, step=picky_step, merge=no_merge, returns=int)
    app = tw.App("users")
    app.read(memory(ROWS[:4])).group_by("k").agg(n=total(col("n"))).write(view("v"))
    # No single row is at fault, so there is none to reject.
    with pytest.raises(
        FunctionError, match=r"merge of the aggregate picky_step raised ValueError on \(0, 2\): I cannot merge"
    ):
        app.batch(max_step_rows=1)


def test_a_finish_that_raises_stops_the_run_and_is_named() -> None:
    def no_finish(state: int) -> int:
        raise ValueError("too much")

    total = tw.aggregate(init=int, step=picky_step, merge=lambda a, b: a + b, finish=no_finish)
    app = tw.App("users")
    app.read(memory(ROWS[:1])).group_by("k").agg(n=total(col("n"))).write(view("v"))
    with pytest.raises(
        FunctionError, match=r"finish of the aggregate picky_step raised ValueError on \(0,\): too much"
    ):
        app.batch()


def test_a_value_that_cannot_be_cast_has_its_row_rejected() -> None:
    app = tw.App("casts")
    rows = [{"n": "1"}, {"n": "two"}, {"n": "3"}]
    app.read(memory(rows)).select(n=col("n").cast(int)).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").to_pylist() == [{"n": 1}, {"n": 3}]
    ((place, reason, _),) = told(report)
    assert place == "memory[partition 0]:1"
    assert "two" in reason
    assert whole_rows(report) == [{"n": "two"}]


def test_a_cast_after_a_step_that_others_read_too_knows_its_place() -> None:
    app = tw.App("casts")
    rows = [{"n": "0"}, {"n": "1"}, {"n": "two"}]
    kept = app.read(memory(rows)).filter(col("n") != "0")
    kept.write(view("kept"))
    kept.select(n=col("n").cast(int)).write(view("v"))
    report = checked(app.batch())
    assert report.view("v").to_pylist() == [{"n": 1}]
    assert [place for place, _, _ in told(report)] == ["memory[partition 0]:2"]


def test_errors_can_be_read_as_a_stream() -> None:
    app = tw.App("errors")
    mapped = app.read(memory(ROWS)).map(picky, schema=NUMBERS)
    mapped.write(view("v"))
    mapped.errors.select("place", "reason").write(view("errors"))
    report = checked(app.batch())
    assert report.view("errors").to_pylist() == [
        {"place": f"memory[partition 0]:{BAD}", "reason": f"ValueError: I do not like {BAD}"}
    ]
