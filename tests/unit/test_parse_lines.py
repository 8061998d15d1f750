"""Parsers of log lines: what stands in a line, and what becomes of one that does not match."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.columnar.decode_log_lines import LogLinesDecoder, log_parser
from thalweg.columnar.decoded import Decoded
from thalweg.core.schema import Field, Schema

IN_JANUARY = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
LEVELS = Schema(
    (Field("level", pa.string()), Field("n", pa.int64()), Field("msg", pa.string()), Field("ok", pa.bool_()))
)


def decode(parse: Any, text: bytes, schema: Schema | None = None, changed: dt.datetime = IN_JANUARY) -> Decoded:
    parser = log_parser(parse)
    columns = schema or (parser.columns if parser is not None else None)
    assert columns is not None
    decoder = LogLinesDecoder(columns, parser)
    decoder.changed(int(changed.timestamp() * 1e6))
    return decoder.decode(text, 1, "x:{}".format)


def rows(found: Decoded) -> list[dict[str, Any]]:
    return list(found.data.to_pylist())


ENTRY = b'1.2.3.4 - bob [10/Oct/2000:13:55:36 -0700] "GET /a?b=c HTTP/1.0" 200 2326 "http://x.y/" "Mozilla/4.08 (X; Y)"'


def test_combined() -> None:
    assert rows(decode("combined", ENTRY)) == [
        {
            "host": "1.2.3.4",
            "ident": None,
            "user": "bob",
            "time": dt.datetime(2000, 10, 10, 20, 55, 36, tzinfo=dt.UTC),
            "request": "GET /a?b=c HTTP/1.0",
            "method": "GET",
            "path": "/a?b=c",
            "protocol": "HTTP/1.0",
            "status": 200,
            "size": 2326,
            "referer": "http://x.y/",
            "user_agent": "Mozilla/4.08 (X; Y)",
        }
    ]


def test_common_is_combined_without_its_last_two() -> None:
    (common,) = rows(decode("common", ENTRY.partition(b' "http:')[0]))
    (combined,) = rows(decode("combined", ENTRY))
    assert common == {name: value for name, value in combined.items() if name not in ("referer", "user_agent")}
    assert decode("common", ENTRY).rejected


@pytest.mark.parametrize(
    ("request_", "parts"),
    [
        ("-", (None, None, None)),
        ("", (None, None, None)),
        ("GET /", (None, None, None)),
        ("GET / b HTTP/1.1", (None, None, None)),
        ("GET  HTTP/1.1", (None, None, None)),
        ("POST /x HTTP/2.0", ("POST", "/x", "HTTP/2.0")),
        (r"GET /\"x HTTP/1.1", ("GET", r"/\"x", "HTTP/1.1")),
        (r"\x16\x03\x01", (None, None, None)),
    ],
)
def test_requests(request_: str, parts: tuple[str | None, ...]) -> None:
    line = ENTRY.replace(b"GET /a?b=c HTTP/1.0", request_.encode())
    (row,) = rows(decode("combined", line))
    assert (row["method"], row["path"], row["protocol"]) == parts
    assert row["request"] == request_


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        ENTRY.replace(b"Oct", b"Foo"),
        ENTRY.replace(b"10/Oct", b"32/Oct"),
        ENTRY.replace(b" 200 ", b" 2000 "),
        ENTRY.replace(b" 2326 ", b" -1 "),
        ENTRY + b" more",
        ENTRY[:-1],
        b" " + ENTRY,
    ],
)
def test_lines_that_are_no_access_log_are_rejected_whole(line: bytes) -> None:
    found = decode("combined", ENTRY + b"\n" + line + b"\r\n" + ENTRY + b"\n")
    assert len(rows(found)) == 2
    (bad,) = found.rejected
    assert (bad.place, bad.raw) == ("x:2", line)
    assert bad.reason.startswith("not the combined log format")


FIELD = st.text(st.sampled_from('ab/-[]:. "\\é'), min_size=1, max_size=8)


@given(user=FIELD, request_=FIELD, agent=FIELD)
def test_what_is_cut_is_what_the_groups_would_be(user: str, request_: str, agent: str) -> None:
    line = f'h - {user} [10/Oct/2000:13:55:36 +0000] "{request_}" 200 - "-" "{agent}"'
    escaped = ENTRY.replace(b"GET /a", rb"GET /\"a")  # makes the decoder match the groups of all lines
    alone, beside = decode("combined", line.encode()), decode("combined", escaped + b"\n" + line.encode())
    assert rows(alone) == rows(beside)[1:]


def test_syslog_of_both_kinds() -> None:
    text = (
        b"<34>1 2003-10-11T22:14:15.003Z mymachine su 77 ID47 [a@1 k=\"v\\]\"][b@1] 'su root' failed\n"
        b"<34>1 - - - - - -\n"
        b"<13>Jan  2 01:00:00 host tag: m\n"
        b"Dec 31 22:14:15 host su[12]: hi: there\n"
        b"2026-01-01T00:00:00.5+01:00 host sshd[1]: yes\n"
        b"Jan 30 00:00:00 host no tag here\n"
    )
    found = decode("syslog", text)
    assert found.rejected == ()
    new, empty, pri, old, iso, bare = rows(found)
    assert new == {
        "facility": 4,
        "severity": 2,
        "time": dt.datetime(2003, 10, 11, 22, 14, 15, 3000, tzinfo=dt.UTC),
        "host": "mymachine",
        "app": "su",
        "pid": "77",
        "message_id": "ID47",
        "data": '[a@1 k="v\\]"][b@1]',
        "message": "'su root' failed",
    }
    assert {name for name, value in empty.items() if value is not None} == {"facility", "severity"}
    assert (pri["facility"], pri["severity"], pri["time"].year, pri["app"], pri["message"]) == (1, 5, 2026, "tag", "m")
    assert (old["facility"], old["time"].year, old["pid"], old["message"]) == (None, 2025, "12", "hi: there")
    assert (iso["time"], iso["app"]) == (dt.datetime(2025, 12, 31, 23, 0, 0, 500_000, tzinfo=dt.UTC), "sshd")
    assert (bare["app"], bare["message"]) == (None, "no tag here")


@pytest.mark.parametrize(
    ("text", "changed", "expected"),
    [
        ("Feb 29 10:00:00", dt.datetime(2026, 3, 1), dt.datetime(2024, 2, 29, 10)),
        ("Feb 29 10:00:00", dt.datetime(1904, 1, 1), dt.datetime(1896, 2, 29, 10)),
        ("Feb 28 10:00:00", dt.datetime(2026, 3, 1), dt.datetime(2026, 2, 28, 10)),
        ("Mar  1 10:00:00", dt.datetime(2026, 2, 28, 11), dt.datetime(2026, 3, 1, 10)),
        ("Mar  1 12:00:00", dt.datetime(2026, 2, 28, 11), dt.datetime(2025, 3, 1, 12)),
        ("Mar  1 12:00:00", dt.datetime(2024, 12, 31), dt.datetime(2024, 3, 1, 12)),
        ("Jan  1 00:00:10", dt.datetime(2025, 12, 31, 23, 59), dt.datetime(2026, 1, 1, 0, 0, 10)),
        ("Dec 31 23:59:59", dt.datetime(2026, 1, 1), dt.datetime(2025, 12, 31, 23, 59, 59)),
    ],
)
def test_a_time_without_a_year_is_the_latest_that_can_be(
    text: str, changed: dt.datetime, expected: dt.datetime
) -> None:
    (row,) = rows(decode("syslog", f"{text} h a: m".encode(), changed=changed.replace(tzinfo=dt.UTC)))
    assert row["time"] == expected.replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "line",
    [b"rubbish", b"Foo 30 00:00:00 h x: y", b"Jan 32 00:00:00 h x: y", b"<192>1 - - - - - -", b"<1>1 x - - - - -"],
)
def test_lines_that_are_no_syslog_are_rejected(line: bytes) -> None:
    (bad,) = decode("syslog", line).rejected
    assert bad.raw == line


def test_logfmt() -> None:
    text = b'level=info n=1 msg="a \\"q\\" level=x\\\\n" ok\n  n= level= other=1\nmsg="\\"" url=a=b n=2 ok=false\n\n'
    found = decode("logfmt", text, LEVELS)
    assert found.rejected == ()
    assert [tuple(row.values()) for row in rows(found)] == [
        ("info", 1, 'a "q" level=x\\n', True),
        ("", None, None, None),
        (None, 2, '"', False),
    ]


@pytest.mark.parametrize(
    ("line", "column"),
    [(b"n=x", "n"), (b"n=1 n=2", None), (b'bad"', None), (b'a="x', None), (b'"', None), (b"=1", None)],
)
def test_lines_that_are_no_logfmt_are_rejected(line: bytes, column: str | None) -> None:
    (bad,) = decode("logfmt", line, LEVELS).rejected
    assert (bad.raw, bad.column) == (line, column)


def test_ndjson_is_what_it_is_in_files() -> None:
    found = decode("ndjson", b'{"level":"a","n":1}\n{"n":"x"}\n', LEVELS)
    assert rows(found) == [{"level": "a", "n": 1, "msg": None, "ok": None}]
    assert found.rejected[0].column == "n"


def test_a_pattern_takes_the_schemas_types() -> None:
    schema = Schema((Field("n", pa.int64()), Field("at", pa.timestamp("us", tz="UTC"))))
    found = decode(re.compile(r"(?P<n>\S*) (?P<at>.*)"), b"1 2026-01-01\n 2026-01-01T10:00+01:00\nx y\nno\n", schema)
    assert [tuple(row.values()) for row in rows(found)] == [
        (1, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        (None, dt.datetime(2026, 1, 1, 9, tzinfo=dt.UTC)),
    ]
    assert [(bad.place, bad.column) for bad in found.rejected] == [("x:3", "n"), ("x:4", None)]


@pytest.mark.parametrize(
    ("pattern", "line", "level"),
    [
        (re.compile(r"(?P<level>\w+)?.*"), b"?", None),
        (re.compile(r"(?P<level>info)", re.IGNORECASE), b"INFO", "INFO"),
        (re.compile("(?P<level>a)  # the level", re.VERBOSE), b"a", "a"),
        (re.compile(r"a|(?P<level>b)"), b"b", "b"),
    ],
)
def test_flags_and_groups_of_patterns(pattern: re.Pattern[str], line: bytes, level: str | None) -> None:
    assert rows(decode(pattern, line)) == [{"level": level}]


def test_a_pattern_matches_the_whole_line() -> None:
    assert len(decode(re.compile(r"a|(?P<level>b)"), b"ab\nba\nbb\n").rejected) == 3


TEXT = st.lists(st.sampled_from([ENTRY, b"", b"x", b"\xff", b"  ", "é".encode()]), max_size=8)


@given(lines=TEXT, parse=st.sampled_from(["lines", "combined", "syslog", "logfmt"]), at=st.integers(0, 8))
def test_it_makes_no_difference_where_a_text_is_cut(lines: list[bytes], parse: str, at: int) -> None:
    schema = LEVELS if parse == "logfmt" else None
    text = [line + b"\n" for line in lines]
    whole = decode(parse, b"".join(text), schema)
    first, second = decode(parse, b"".join(text[:at]), schema), decode(parse, b"".join(text[at:]), schema)
    assert rows(whole) == rows(first) + rows(second)
    assert [bad.raw for bad in whole.rejected] == [bad.raw for part in (first, second) for bad in part.rejected]
    assert len(whole.lines) == len(rows(whole)) + len(whole.rejected)
