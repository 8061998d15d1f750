"""Runs of rows from a text of any size, inflating, guessing a schema, and writing what can be read again."""

from __future__ import annotations

import gzip
import io
import itertools
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.columnar import runs
from thalweg.columnar.decode_csv import CsvDecoder, read_header
from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.encode import write_rows
from thalweg.columnar.infer import infer_csv, infer_json
from thalweg.columnar.inflate import InflatedFile
from thalweg.columnar.runs import Cursor, DamagedTextError, Run, Runs
from thalweg.core.schema import TIMESTAMP, Field, Schema

N = Schema((Field("n", pa.int64()),))


class Text:
    """A text that can grow, read some bytes at a time."""

    def __init__(self, data: bytes, step: int = 1 << 30, damaged: bool = False) -> None:
        self.data, self.at, self.step, self.damaged = data, 0, step, damaged

    def read(self, size: int) -> bytes:
        part = self.data[self.at : self.at + min(size, self.step)]
        self.at += len(part)
        if not part and self.damaged:
            raise DamagedTextError("cut")
        return part


def runs_of(text: Text, cursor: Cursor | None = None) -> Runs:
    return Runs(JsonDecoder(N), text.read, "x:{}".format, cursor or Cursor())


def all_of(some: Runs) -> list[Run]:
    found = []
    while (run := some.next()) is not None:
        found.append(run)
    return found


def test_each_run_starts_where_the_one_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_BYTES", 20)
    monkeypatch.setattr(runs, "_LEAST_READ_BYTES", 1)
    data = b"".join(b'{"n":%d}\n' % n for n in range(100))
    found = all_of(runs_of(Text(data)))
    assert len(found) > 30
    assert [n for run in found for n in run.rows.data.column("n").to_pylist()] == list(range(100))
    assert found[0].start == Cursor()
    for run, after in itertools.pairwise(found):
        assert run.end == after.start
        text = Text(data)
        text.at = after.start.offset
        again = runs_of(text, after.start).next()
        assert again is not None
        assert again.rows.data.column("n")[0] == after.rows.data.column("n")[0]
    assert found[-1].end == Cursor(len(data), 101)


def test_a_line_that_is_too_long_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LONGEST_ROW_BYTES", 100)
    monkeypatch.setattr(runs, "RUN_BYTES", 16)
    monkeypatch.setattr(runs, "_LEAST_READ_BYTES", 16)
    monkeypatch.setattr(runs, "_KEPT_BYTES", 10)
    data = b'{"n":1}\n' + b"x" * 1_000 + b'\n{"n":2}\n' + b"y" * 100
    some = runs_of(Text(data))
    found = all_of(some)
    assert [n for run in found for n in run.rows.data.column("n").to_pylist()] == [1, 2]
    rejected = [one for run in found for one in run.rows.rejected]
    assert [(one.place, one.raw[:10]) for one in rejected] == [("x:2", b"x" * 10), ("x:4", b"y" * 10)]
    assert len(rejected[0].raw) == 10
    assert len(rejected[1].raw) == 100
    assert "longer than" in rejected[0].reason
    assert some.cursor == Cursor(len(data), 4, open=True)


def test_a_held_line_waits_for_its_newline() -> None:
    text = Text(b'{"n":1}\n{"n":')
    some = runs_of(text)
    first = some.next(hold=True)
    assert first is not None and first.rows.data.num_rows == 1
    assert some.next(hold=True) is None
    assert some.waiting_bytes == 5
    text.data += b"2}\n"
    second = some.next(hold=True)
    assert second is not None and second.rows.data.column("n").to_pylist() == [2]


@pytest.mark.parametrize(("added", "kept"), [(b'\n{"n":2}\n', []), (b'5}\n{"n":2}\n', [b"5}"]), (b"5", [b"5"])])
def test_what_is_added_to_a_line_that_was_taken_for_whole_is_rejected(added: bytes, kept: list[bytes]) -> None:
    text = Text(b'{"n":1}')
    some = runs_of(text)
    assert len(all_of(some)) == 1
    assert some.cursor == Cursor(7, 1, open=True)
    text.data += added
    found = all_of(runs_of(text, some.cursor))
    assert [one.raw for run in found for one in run.rows.rejected] == kept
    assert [n for run in found for n in run.rows.data.column("n").to_pylist()] == (
        [2] if added.endswith(b"2}\n") else []
    )
    assert found[-1].end is not None
    assert found[-1].end.offset == len(text.data)


def test_what_stands_after_damage_is_rejected_and_the_rows_before_are_kept() -> None:
    found = all_of(runs_of(Text(b'{"n":1}\n{"n":', damaged=True)))
    assert [run.rows.data.column("n").to_pylist() for run in found] == [[1], []]
    (rejected,) = found[1].rows.rejected
    assert (rejected.raw, rejected.place) == (b'{"n":', "x:2")
    assert "cannot be inflated (cut)" in rejected.reason
    assert found[1].end is None


@pytest.mark.parametrize("suffix", [None, ".gz", ".zst"])
@pytest.mark.parametrize("cut", [False, True])
def test_all_that_can_be_inflated_is_given(tmp_path: Path, suffix: str | None, cut: bool) -> None:
    text = b"".join(b"%d\n" % (n * n * 2_654_435_761 % 2**32) for n in range(50_000))
    packed = {
        None: text,
        ".gz": gzip.compress(text),
        ".zst": pa.compress(text, codec="zstd", asbytes=True),
    }[suffix]
    path = tmp_path / "x"
    path.write_bytes(packed[: len(packed) // 2] if cut else packed)
    file = InflatedFile(str(path), suffix)
    found = b""
    try:
        while part := file.read(10_000):
            found += part
        assert suffix is None or not cut
    except DamagedTextError:
        assert cut
    assert text.startswith(found)
    assert len(found) > 10_000
    if not cut:
        assert found == text
    for at in (5, 9_999, 3, len(found) - 1):
        file.seek(at)
        assert file.read(1) == text[at : at + 1]
    file.close()


def test_many_gzip_members_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    file = InflatedFile(str(path), ".gz")
    assert file.read(100) == b"a\nb\n"
    file.close()


def test_a_json_schema_is_guessed_from_all_lines() -> None:
    lines = [
        b'{"i":1,"f":1,"s":"x","t":"2013-01-01T05:00Z","d":"2013-01-01","l":[1],"o":{"a":1},"e":{},"n":null,"big":1}',
        b"not json",
        b'{"f":1.5,"t":"2013-01-01","s":"2013-01-01","l":[2.5,null],"o":{"b":"x"},"m":[],"b":true,"x":1,"big":%d}'
        % 2**64,
        b'{"x":"1"}',
    ]
    assert infer_json(lines) == pa.schema(
        {
            "i": pa.int64(),
            "f": pa.float64(),
            "s": pa.string(),
            "t": TIMESTAMP,
            "d": pa.date32(),
            "l": pa.list_(pa.float64()),
            "o": pa.struct([("a", pa.int64()), ("b", pa.string())]),
            "n": pa.string(),
            "big": pa.float64(),
            "m": pa.list_(pa.string()),
            "b": pa.bool_(),
            "x": pa.string(),
        }
    )


def test_a_csv_schema_is_guessed_from_all_rows() -> None:
    text = b'1,1,007,true,2013-01-01,2013-01-01 05:00,,x\n2,1.5,1,FALSE,2013-01-02,2013-01-01,,"1"\nbad\n'
    assert infer_csv(list("ifzbdtnx"), text, final=True) == pa.schema(
        {
            "i": pa.int64(),
            "f": pa.float64(),
            "z": pa.string(),
            "b": pa.bool_(),
            "d": pa.date32(),
            "t": TIMESTAMP,
            "n": pa.string(),
            "x": pa.string(),
        }
    )


# ── what is written is read again ──

moments = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
nested = pa.struct([pa.field("f", pa.float64()), pa.field("l", pa.list_(pa.field("item", TIMESTAMP)))])
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "u": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "f": (pa.float64(), st.floats()),
    "g": (pa.float32(), st.floats(width=32)),
    "b": (pa.bool_(), st.booleans()),
    "s": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]))),
    "x": (pa.binary(), st.binary()),
    "t": (TIMESTAMP, moments),
    "d": (pa.date32(), st.integers(-719_162, 2_932_896)),
    "c": (pa.time64("us"), st.integers(0, 86_399_999_999)),
    "p": (pa.duration("us"), st.integers(-(2**63), 2**63 - 1)),
    "n": (pa.decimal128(38, 9), st.decimals(-(10**20), 10**20, places=9)),
    "l": (pa.list_(pa.field("item", pa.string())), st.lists(st.one_of(st.none(), st.text('a,"\n')), max_size=3)),
    "o": (
        nested,
        st.fixed_dictionaries({"f": st.none() | st.floats(), "l": st.none() | st.lists(moments, max_size=2)}),
    ),
}
FULL = Schema(tuple(Field(name, given) for name, (given, _) in COLUMNS.items()))
tables = st.lists(st.fixed_dictionaries({name: st.none() | some for name, (_, some) in COLUMNS.items()}), max_size=6)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in FULL]
    return pa.Table.from_arrays(arrays, schema=FULL.arrow)


def same(found: pa.Table | pa.RecordBatch, table: pa.Table) -> bool:
    """Say whether all values are the same, with NaN as itself and −0.0 apart from 0.0."""
    return bool(found.schema.equals(table.schema)) and _told(found) == _told(table)


def _told(rows: pa.Table | pa.RecordBatch) -> list[list[str]]:
    # Times as numbers: Python's own do not reach as far.
    counted = pa.struct([pa.field("f", pa.float64()), pa.field("l", pa.list_(pa.int64()))])
    casts = {"t": pa.int64(), "p": pa.int64(), "o": counted}
    columns = ((field.name, rows.column(field.name)) for field in FULL)
    return [[repr(v) for v in column.cast(casts.get(name, column.type)).to_pylist()] for name, column in columns]


@given(tables)
def test_ndjson_is_read_as_it_was_written(rows: list[dict[str, Any]]) -> None:
    table = table_of(rows)
    file = io.BytesIO()
    write_rows(file, [table], table.schema, "ndjson")
    done = JsonDecoder(FULL).decode(file.getvalue(), 1, str)
    assert done.rejected == ()
    assert same(done.data, table)


@given(tables)
def test_csv_is_read_as_it_was_written(rows: list[dict[str, Any]]) -> None:
    table = table_of(rows)
    file = io.BytesIO()
    write_rows(file, [table], table.schema, "csv")
    header = read_header(file.getvalue())
    assert header is not None
    done = CsvDecoder(FULL, header[0]).decode(file.getvalue()[header[1] :], 2, str)
    assert done.rejected == ()
    assert same(done.data, table)


@given(tables)
def test_parquet_and_arrow_are_read_as_they_were_written(rows: list[dict[str, Any]]) -> None:
    table = table_of(rows)
    for format_, read in (
        ("parquet", lambda data: pa.parquet.read_table(pa.BufferReader(data))),
        ("arrow", lambda data: pa.ipc.open_file(data).read_all()),
    ):
        file = io.BytesIO()
        write_rows(file, [table], table.schema, format_)
        assert same(read(file.getvalue()), table)


def test_ndjson_spells_out_what_json_has_no_number_for() -> None:
    table = pa.table({"f": [1.0, math.nan, -math.inf, None]})
    file = io.BytesIO()
    write_rows(file, [table], table.schema, "ndjson")
    assert file.getvalue() == b'{"f":1.0}\n{"f":"NaN"}\n{"f":"-Infinity"}\n{"f":null}\n'
