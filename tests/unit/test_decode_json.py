"""NDJSON decoded to Arrow."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.decoded import Decoded
from thalweg.columnar.json_rows import DEEPEST, JsonFault, JsonRows, Unknown
from thalweg.core.schema import TIMESTAMP, Field, Rule, Schema

GOOD = b'{"v":null}'
NESTED = pa.struct([("a", pa.float64()), ("t", TIMESTAMP)])


def schema(given: pa.DataType) -> Schema:
    return Schema((Field("v", given),))


def decode(text: bytes, schema: Schema, unknown: Unknown = "drop") -> Decoded:
    done = JsonDecoder(schema, unknown).decode(text, 1, "x:{}".format)
    done.data.validate(full=True)
    assert done.data.schema.equals(schema.arrow, check_metadata=True)
    assert len(done) == done.data.num_rows + len(done.rejected)
    return done


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]  # year, month, day and what follows


@pytest.mark.parametrize("neighbours", [0, 100], ids=["alone", "among others"])
@pytest.mark.parametrize(
    ("given", "value", "expected"),
    [
        (pa.int64(), "1", 1),
        (pa.int64(), " -0 ", 0),
        (pa.int64(), "9223372036854775807", 2**63 - 1),
        (pa.int8(), "-128", -128),
        (pa.uint64(), "18446744073709551615", 2**64 - 1),
        (pa.float64(), "1", 1.0),
        (pa.float64(), "1e3", 1000.0),
        (pa.float64(), "0.1", 0.1),
        (pa.float64(), "1e-400", 0.0),
        (pa.float64(), '"Infinity"', float("inf")),
        (pa.float64(), '"-Infinity"', float("-inf")),
        (pa.bool_(), "true", True),
        (pa.string(), '"\\u00e9\\ud83d\\ude00"', "é😀"),
        (pa.string(), '"\\u0000"', "\x00"),
        (pa.string(), '"a}\\n{b"', "a}\n{b"),
        (pa.string(), '"NaN"', "NaN"),
        (pa.decimal128(38, 9), "0.1", Decimal("0.1")),
        (pa.decimal128(38, 9), '"12345678901234567890.123456789"', Decimal("12345678901234567890.123456789")),
        (TIMESTAMP, '"2013-01-01T05:00:00Z"', utc(2013, 1, 1, 5)),
        (TIMESTAMP, '"2013-01-01T05:00:00"', utc(2013, 1, 1, 5)),
        (TIMESTAMP, '"2013-01-01 05:00"', utc(2013, 1, 1, 5)),
        (TIMESTAMP, '"2013-01-01"', utc(2013, 1, 1)),
        (TIMESTAMP, '"2013-01-01T05:00:00+02:00"', utc(2013, 1, 1, 3)),
        (TIMESTAMP, '"2013-01-01t05:00:00.123456789z"', utc(2013, 1, 1, 5, 0, 0, 123456)),
        (TIMESTAMP, '"1969-12-31T23:59:59.9999999Z"', utc(1969, 12, 31, 23, 59, 59, 999999)),
        (pa.date32(), '"2013-01-31"', dt.date(2013, 1, 31)),
        (pa.time64("us"), '"05:00"', dt.time(5)),
        (pa.time64("us"), '"05:00:00.1234567"', dt.time(5, 0, 0, 123456)),
        (pa.duration("us"), "-5", dt.timedelta(microseconds=-5)),
        (pa.binary(), '"YQ=="', b"a"),
        (pa.list_(pa.int64()), "[1, null]", [1, None]),
        (pa.list_(pa.int64()), "[]", []),
        (NESTED, '{"a": "Infinity", "z": 1}', {"a": float("inf"), "t": None}),
        (pa.list_(NESTED), '[{"t": "2013-01-01"}, null]', [{"a": None, "t": utc(2013, 1, 1)}, None]),
    ],
)
def test_a_value_is_read_exactly(given: pa.DataType, value: str, expected: Any, neighbours: int) -> None:
    text = b"\n".join([GOOD] * neighbours + [f'{{"v":{value}}}'.encode()] + [GOOD] * neighbours)
    done = decode(text, schema(given))
    assert done.rejected == ()
    assert done.data.column("v").to_pylist() == [None] * neighbours + [expected] + [None] * neighbours


@pytest.mark.parametrize("neighbours", [0, 100], ids=["alone", "among others"])
@pytest.mark.parametrize(
    ("given", "value"),
    [
        (pa.int64(), value)
        for value in ("1.0", "1e3", '"1"', "true", "[1]", "{}", "01", "NaN", "1" * 5_000, "9223372036854775808", "-Inf")
    ]
    + [(pa.int8(), "128"), (pa.uint64(), "-1")]
    + [(pa.float64(), value) for value in ("1e400", "-1e400", "1" * 5_000, "NaN", "Infinity", '"1.5"', '"nan"', "true")]
    + [(pa.float32(), "1e39")]
    + [(pa.bool_(), value) for value in ("1", '"true"', "TRUE")]
    + [(pa.string(), value) for value in ("1", "true", "[]", '"\\ud800"', '"a\tb"', '"\\x"', "'x'")]
    + [
        (TIMESTAMP, value)
        for value in ("5", '"5"', '""', '"2013-02-30"', '"2013-01-01T24:00"', '"0000-01-01T00:00Z"', '" 2013-01-01"')
    ]
    + [(pa.date32(), value) for value in ("5", '"2013-01-01T00:00"', '"20130101"')]
    + [(pa.time64("us"), value) for value in ("5", '"25:00"', '"05:00Z"')]
    + [(pa.duration("us"), value) for value in ("1.5", '"5"')]
    + [(pa.binary(), value) for value in ("1", '"YQ"', '"Y Q=="')]
    + [(pa.decimal128(38, 9), value) for value in ("1e30", "0.1234567891", '"x"', "1" * 30)]
    + [(pa.list_(pa.int64()), value) for value in ("1", "{}", "[1.5]", "[[1]]")]
    + [(NESTED, value) for value in ("[]", '{"a": true}', '{"a": 1, "a": 1}', '{"a": 1e400}')],
)
def test_what_is_no_value_of_the_type_costs_its_own_row_only(given: pa.DataType, value: str, neighbours: int) -> None:
    line = f'{{"v":{value}}}'.encode()
    done = decode(b"\n".join([GOOD] * neighbours + [line] + [GOOD] * neighbours) + b"\n", schema(given))
    (rejected,) = done.rejected
    assert rejected.raw == line
    assert rejected.place == f"x:{neighbours + 1}"
    assert done.data.num_rows == 2 * neighbours


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"v":1}{"v":2}', "more than one value"),
        (b'{"v":1} null {"v":2}', "more than one value"),
        (b'{"v":1},', "more than one value"),
        (b"null", "this is null"),
        (b"[]", "this is a list"),
        (b"7", "this is the number 7"),
        (b'{"v":1', "not valid JSON"),
        (b'{"v":1}\x00', "not valid JSON"),
        (b"}", "not valid JSON"),
        (b'{"v":1,"v":1}', '"v" stands twice'),
        (b'{"v":1,"z":"\xff"}', "not UTF-8: byte 0xff"),
        (b'{"z":NaN}', "NaN"),
        (b'{"z":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}", "nested more than 200 deep"),
        (b'{"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 200 deep"),
    ],
)
def test_a_malformed_line_says_why_and_the_others_go_on(line: bytes, says: str) -> None:
    done = decode(b'{"v":1}\n' * 50 + line + b'\n{"v":2}\n', schema(pa.int64()))
    (rejected,) = done.rejected
    assert says in rejected.reason
    assert rejected.raw == line
    assert done.data.column("v").to_pylist() == [1] * 50 + [2]


def test_what_the_schema_does_not_name_is_not_looked_at() -> None:
    text = b'{"z":1e400,"z":[{}],"v":1}\n{"v":2,"z":' + b"1" * 5_000 + b"}\n"
    assert decode(text, schema(pa.int64())).data.column("v").to_pylist() == [1, 2]


def test_two_lines_are_not_read_as_two_rows_that_cross_them() -> None:
    done = decode(b'{"v":1}{"v":\n2}\n{"v":3}\n', schema(pa.int64()))
    assert done.data.column("v").to_pylist() == [3]
    assert [one.raw for one in done.rejected] == [b'{"v":1}{"v":', b"2}"]


def test_blank_lines_are_no_rows_and_lines_keep_their_numbers() -> None:
    done = JsonDecoder(schema(pa.int64())).decode(b'\n{"v":1}\r\n  \n{"v":x}\r\n\t\r\n {"v":2} \n', 10, "x:{}".format)
    assert done.data.column("v").to_pylist() == [1, 2]
    assert [done.line(row) for row in range(2)] == [11, 15]
    assert [(one.place, one.raw) for one in done.rejected] == [("x:13", b'{"v":x}')]


def test_rows_that_break_the_schema_are_rejected_with_their_text() -> None:
    rules = Schema((Field("v", pa.int64(), False, (Rule("ge", 0),)),))
    done = decode(b'{"v":1}\n{}\n{"v":-1}\n{"v":2}\n', rules)
    assert done.data.column("v").to_pylist() == [1, 2]
    assert [(one.raw, one.column) for one in done.rejected] == [(b"{}", "v"), (b'{"v":-1}', "v")]


def test_a_cut_gives_rows_and_rejected_ones_in_their_order() -> None:
    done = decode(b'{"v":1}\nx\n{"v":2}\n\ny\n{"v":3}\n', schema(pa.int64()))
    parts = [done.cut(at, at + 2) for at in range(0, len(done), 2)]
    assert [part.data.column("v").to_pylist() for part in parts] == [[1], [2], [3]]
    assert [[one.raw for one in part.rejected] for part in parts] == [[b"x"], [b"y"], []]
    assert [[part.line(row) for row in range(part.data.num_rows)] for part in parts] == [[1], [3], [6]]


def test_a_line_of_ten_megabytes_is_a_row() -> None:
    text = json.dumps({"v": "x" * 10_000_000}).encode()
    done = decode(text + b"\n" + text + b"\n", schema(pa.string()))
    assert [len(value) for value in done.data.column("v").to_pylist()] == [10_000_000] * 2


def test_names_that_msgspec_cannot_have_are_columns_all_the_same() -> None:
    done = decode(b'{"a\\"b":1}\n{"a\\"b":x}\n' * 40, Schema((Field('a"b', pa.int64()),)))
    assert done.data.num_rows == len(done.rejected) == 40


# ── against the line by line definition ──

WIDE = Schema(
    (
        Field("i", pa.int64()),
        Field("f", pa.float64()),
        Field("g", pa.float32()),
        Field("s", pa.string()),
        Field("t", TIMESTAMP),
        Field("d", pa.date32()),
        Field("x", pa.binary()),
        Field("n", pa.decimal128(38, 9)),
        Field("l", pa.list_(pa.field("item", TIMESTAMP))),
        Field("o", NESTED),
    )
)
LIKELY = {
    "i": ["1", "-5", "9223372036854775807"],
    "f": ["1", "0.1", '"NaN"', "1e3"],
    "g": ["0.1", "16777217", "0.30000000000000004"],
    "s": ['"x"', '"é"', '""', '"Inf"'],
    "t": ['"2013-01-01T05:00:00Z"', '"2013-01-01"', '"2013-01-01T05:00:00.1234567+02:00"'],
    "d": ['"2013-01-01"'],
    "x": ['"YQ=="'],
    "n": ["1.5", '"1.5"'],
    "l": ["[]", '["2013-01-01T00:00"]'],
    "o": ['{"a":1}', '{"a":1,"u":null}', '{"t":null}', '{"a":"Infinity"}'],
    "z": ["1e400", "[[1]]", "null", '{"z":1,"z":2}'],
}
ODD = [text for texts in LIKELY.values() for text in texts] + [
    "NaN",
    "1" * 30,
    "300",
    '"\\ud800"',
    "[1.5]",
    "{}",
    "tru",
]

members = st.sampled_from(sorted(LIKELY)).flatmap(
    lambda name: st.sampled_from(LIKELY[name] * 6 + ODD).map(lambda value: f'"{name}":{value}')
)
objects = st.lists(members, max_size=4).map(lambda parts: ("{" + ",".join(parts) + "}").encode())
lines = st.one_of(
    *[objects] * 8,
    st.tuples(objects, st.sampled_from([b" ", b"\r", b"{}", b"null", b"\x00", b"\xff"])).map(b"".join),
    st.sampled_from([b"", b"  ", b"null", b"[]", b"\xef\xbb\xbf{}", b'{"z":' + b"[" * 250 + b"]" * 250 + b"}"]),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")),
)


def one_by_one(text: bytes, unknown: Unknown) -> tuple[list[str], list[tuple[str, str, bytes]]]:
    rows = JsonRows(WIDE, unknown)
    good: list[dict[str, Any]] = []
    bad = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip(b" \t\r\n"):
            try:
                good.append(rows.decode(line))
            except JsonFault as fault:
                bad.append((f"x:{number}", fault.reason, line.removesuffix(b"\r")))
    return [repr(row) for row in pa.RecordBatch.from_pylist(good, WIDE.arrow).to_pylist()], bad


@given(st.lists(lines, max_size=60), st.integers(0, 40), st.booleans(), st.sampled_from(["drop", "refuse"]))
def test_all_at_once_and_line_by_line_are_the_same(
    some: list[bytes], padding: int, ends: bool, unknown: Unknown
) -> None:
    text = b"\n".join([b'{"i":1,"f":2.5}'] * padding + some) + (b"\n" if ends else b"")
    done = decode(text, WIDE, unknown)
    rows, rejected = one_by_one(text, unknown)
    assert [repr(row) for row in done.data.to_pylist()] == rows
    assert [(one.place, one.reason, one.raw) for one in done.rejected] == rejected


@given(st.lists(lines, max_size=40), st.data())
def test_it_makes_no_difference_where_the_text_is_cut(some: list[bytes], data: st.DataObject) -> None:
    whole = decode(b"\n".join(some), WIDE)
    cut = data.draw(st.integers(0, len(some)))
    parts = [decode(b"\n".join(part), WIDE) for part in (some[:cut], some[cut:])]
    rows = [repr(row) for part in parts for row in part.data.to_pylist()]
    assert rows == [repr(row) for row in whole.data.to_pylist()]
    assert [one.raw for part in parts for one in part.rejected] == [one.raw for one in whole.rejected]


@given(st.binary(max_size=300))
def test_every_line_of_random_bytes_is_a_row_or_rejected(text: bytes) -> None:
    done = decode(text, WIDE)
    assert len(done) == sum(1 for line in text.split(b"\n") if line.strip(b" \t\r\n"))
    assert [one.raw for one in done.rejected] == [
        text.split(b"\n")[done.lines[at] - 1].removesuffix(b"\r") for at in done.rejected_at
    ]
