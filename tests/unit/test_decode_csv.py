"""CSV decoded to Arrow."""

from __future__ import annotations

import csv
import io
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.columnar import decode_csv
from thalweg.columnar.decode_csv import CsvDecoder, read_header
from thalweg.columnar.decoded import Decoded
from thalweg.core.schema import TIMESTAMP, Field, Rule, Schema

PAIR = Schema((Field("a", pa.string()), Field("b", pa.int64())))


def decode(text: bytes, schema: Schema = PAIR, header: tuple[str, ...] = ("a", "b")) -> Decoded:
    done = CsvDecoder(schema, header).decode(text, 2, "x:{}".format)
    done.data.validate(full=True)
    assert done.data.schema.equals(schema.arrow, check_metadata=True)
    return done


def rows(done: Decoded) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in done.data.to_pylist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"x,1\ny,2\n", [("x", 1), ("y", 2)]),
        (b"x,1\r\ny,2", [("x", 1), ("y", 2)]),
        (b",\n", [(None, None)]),
        (b'"",""\n', [("", None)]),
        (b'"a,b",1\n', [("a,b", 1)]),
        (b'"a""b",1\n', [('a"b', 1)]),
        (b'"a\nb",1\nc,2\n', [("a\nb", 1), ("c", 2)]),
        (b'"a\r\nb",1\r\n', [("a\r\nb", 1)]),
        (b'5" pipe,3\n', [('5" pipe', 3)]),
        (b'x, "1"\n y,2\n', [(" y", 2)]),
        (b"\n\nx,1\n\n", [("x", 1)]),
        (b"x,007\n", [("x", 7)]),
        (b"", []),
    ],
)
def test_fields_are_read_as_rfc_4180_says(text: bytes, expected: list[tuple[Any, ...]]) -> None:
    assert rows(decode(text)) == expected


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"x", "1 field, where the header has 2"),
        (b"x,1,2", "3 fields, where the header has 2"),
        (b"x,1.0", "takes a whole number"),
        (b"x,0x1F", "takes a whole number"),
        (b"x, 1", "takes a whole number"),
        (b"x,9223372036854775808", "takes a whole number"),
        (b'"x"y,1', "not valid CSV"),
        (b'"x,1', "not valid CSV"),
        (b"x\ry,1", "not valid CSV"),
        (b"\xff,1", "not UTF-8"),
    ],
)
def test_a_bad_row_is_rejected_whole_and_the_others_go_on(line: bytes, says: str) -> None:
    done = decode(b"a,1\n" + line + b"\nb,2\n")
    (rejected,) = done.rejected
    assert says in rejected.reason
    assert (rejected.raw, rejected.place) == (line, "x:3")
    assert rows(done) == [("a", 1), ("b", 2)]
    assert [done.line(row) for row in range(2)] == [2, 4]


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    done = decode(b'"x,1\ny,2\nz,3\n')
    assert rows(done) == [("y", 2), ("z", 3)]
    assert [one.raw for one in done.rejected] == [b'"x,1']


def test_columns_are_found_by_the_header_and_missing_ones_are_null() -> None:
    schema = Schema((Field("b", pa.int64()), Field("zz", pa.string()), Field("t", TIMESTAMP)))
    done = decode(b"2013-01-01T05:00,x,7\n", schema, ("t", "other", "b"))
    assert done.data.to_pydict()["b"] == [7]
    assert done.data.to_pydict()["zz"] == [None]
    assert done.data.column("t").cast(pa.int64()).to_pylist() == [1_357_016_400_000_000]


def test_rules_and_nulls_are_checked() -> None:
    schema = Schema((Field("a", pa.string(), False), Field("b", pa.int64(), True, (Rule("ge", 0),))))
    done = decode(b"x,1\n,1\nx,-1\n", schema)
    assert rows(done) == [("x", 1)]
    assert [(one.raw, one.column) for one in done.rejected] == [(b",1", "a"), (b"x,-1", "b")]


def test_one_column_may_be_null_on_an_empty_line() -> None:
    done = decode(b'x\n\n""\n', Schema((Field("a", pa.string()),)), ("a",))
    assert rows(done) == [("x",), (None,), ("",)]


def test_lists_and_structs_are_json() -> None:
    schema = Schema((Field("l", pa.list_(pa.int64())), Field("o", pa.struct([("k", pa.string())]))))
    done = decode(b'"[1,2]","{""k"":""x""}"\n"[1.5]",\n,\n', schema, ("l", "o"))
    assert rows(done) == [([1, 2], {"k": "x"}), (None, None)]
    assert [one.column for one in done.rejected] == ["l"]


def test_floats_and_booleans_as_text() -> None:
    schema = Schema((Field("f", pa.float64()), Field("b", pa.bool_())))
    done = decode(b"Infinity,true\n1e400,true\n-1.5e3,0\nnan(1),1\n1,yes\n", schema, ("f", "b"))
    assert rows(done) == [(float("inf"), True), (-1500.0, False)]
    assert [one.column for one in done.rejected] == ["f", "f", "b"]


def test_a_header_has_names_that_differ() -> None:
    assert read_header(b'a,"b ""x"""\r\n1,2\n') == (("a", 'b "x"'), 13)
    assert read_header(b"a,b") is None
    with pytest.raises(ValueError, match='two columns have the name "a"'):
        read_header(b"a,b,a\n")


# ── against the row by row definition, and Python's own reader ──

cells = st.one_of(
    st.sampled_from(
        ["1", "", '""', '"x"', '"a""b"', '"a,b"', '"a\nb"', 'a"b', '"a"b', '"', "\r", '"\r\n"', "\x00", "é"]
    ),
    st.text('ab1,"\n\r ', max_size=4),
)
texts = st.lists(
    st.tuples(st.lists(cells, min_size=1, max_size=3), st.sampled_from(["\n", "\r\n", "\n\n"])), max_size=12
).map(lambda some: "".join(",".join(row) + end for row, end in some).encode())


def told(done: Decoded) -> tuple[str, list[int], Any]:
    return repr(done.data.to_pylist()), list(done.lines), done.rejected


@given(st.one_of(texts, st.binary(max_size=60)))
def test_all_at_once_and_row_by_row_are_the_same(text: bytes) -> None:
    done = decode(text)
    assert len(done) == done.data.num_rows + len(done.rejected)
    with mock.patch.object(decode_csv, "_is_plain", return_value=False):
        assert told(decode(text)) == told(done)


@given(texts, st.data())
def test_it_makes_no_difference_where_the_text_is_cut(text: bytes, data: st.DataObject) -> None:
    whole = decode(text)
    decoder = CsvDecoder(PAIR, ("a", "b"))
    at, buffer = 0, b""
    found: list[str] = []
    rejected: list[Any] = []
    line = 2
    while True:
        step = data.draw(st.integers(1, 12))
        buffer += text[at : at + step]
        at += step
        stop = decoder.whole(buffer, final=at >= len(text))
        done = decoder.decode(buffer[:stop], line, "x:{}".format)
        line += buffer[:stop].count(b"\n")
        buffer = buffer[stop:]
        found += [repr(row) for row in done.data.to_pylist()]
        rejected += done.rejected
        if at >= len(text):
            break
    assert found == [repr(row) for row in whole.data.to_pylist()]
    assert tuple(rejected) == whole.rejected


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-9, 9)), max_size=20))
def test_what_pythons_writer_writes_is_read(some: list[tuple[str, int]]) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows(some)
    assert rows(decode(file.getvalue().encode())) == some
