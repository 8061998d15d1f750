"""Files as a source."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.columnar import runs
from thalweg.columnar.inflate import InflatedFile
from thalweg.connect import files
from thalweg.connect._files_read import OpenFiles
from thalweg.core.errors import PlanError, SourceError
from thalweg.core.ports import Json, Nothing, Rejected, Source
from thalweg.core.schema import Field, Schema

N = Schema((Field("n", pa.int64()),))
PAIR = Schema((Field("n", pa.int64()), Field("s", pa.string())))


class FakeClock:
    """Time that passes only while someone waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits = 0

    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.now_s += timeout_s
        self.waits += 1
        return event.is_set()


class Drained:
    """What a source gave: rows, rejected ones, places, and the position after."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.rejected: list[Rejected] = []
        self.places: list[str] = []
        self.position: Json = None


def drain(
    source: Any, schema: Schema = N, position: Json = None, batches: int = 10**9, max_rows: Any = lambda: 10**6
) -> Drained:
    found = Drained()
    found.position = position
    opened = source if isinstance(source, OpenFiles) else source.open(schema)
    # Hypothesis ends an example with an error, too.
    with contextlib.closing(opened.reader("files", position)) as reader:
        for _ in range(batches):
            wanted = max_rows()
            batch = reader.read(wanted, 0)
            if isinstance(batch, Nothing):
                break
            assert 1 <= batch.data.num_rows + len(batch.rejected) <= wanted
            found.rows += [tuple(row.values()) for row in batch.data.to_pylist()]
            found.places += [batch.locate(row) for row in range(batch.data.num_rows)]
            found.rejected += batch.rejected
            found.position = json.loads(json.dumps(batch.position))
    return found


def lines(*numbers: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % n for n in numbers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "clicks"
    path.mkdir()
    return path


# ── what is read ──


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("clicks/*.ndjson", "clicks"),
        ("data/clicks.ndjson", "clicks"),
        ("clicks.csv.gz", "clicks"),
        ("clicks/", "clicks"),
        ("clicks.2013/", "clicks.2013"),
        ("data/clicks/**/*.csv", "clicks"),
        ("*.csv", "files"),
    ],
)
def test_the_name_is_the_folders_or_files(path: str, name: str) -> None:
    assert files(path).name == name


def test_a_source_describes_itself() -> None:
    source = files("a/*.x", format="csv", follow=True)
    assert isinstance(source, Source)
    assert source.describe() == "files(a/*.x, format=csv, follow)"
    assert source.final is False
    assert source.target == os.path.abspath("a")


def test_an_unknown_format_is_a_mistake_in_the_program() -> None:
    with pytest.raises(PlanError, match="allowed: ndjson, csv, parquet, arrow"):
        files("x", format="xml")


def test_files_are_read_in_name_order_and_some_names_skipped(folder: Path) -> None:
    for name, n in (("b.ndjson", 2), ("a.jsonl", 1), ("c.ndjson", 3), ("_d.ndjson", 4), (".e.ndjson", 5)):
        (folder / name).write_bytes(lines(n))
    (folder / "sub").mkdir()
    (folder / "sub" / "f.ndjson").write_bytes(lines(6))
    assert drain(files(folder)).rows == [(1,), (2,), (3,)]
    assert drain(files(f"{folder}/*.ndjson")).rows == [(2,), (3,)]
    assert drain(files(f"{folder}/**/*.ndjson")).rows == [(2,), (3,), (6,)]
    assert drain(files(folder / "_d.ndjson")).rows == [(4,)]


@pytest.mark.parametrize(
    "format_", ["parquet", "arrow", "stream", "csv", "ndjson", "csv.gz", "ndjson.zst", "stream.gz"]
)
def test_every_format_gives_the_same_rows(folder: Path, format_: str) -> None:
    table = pa.table({"s": ["a", None, "é"], "n": [1, 2, None], "extra": [1, 2, 3]})
    kind, _, compression = format_.partition(".")
    path = folder / f"x.{'arrow' if kind == 'stream' else kind}{'.' + compression if compression else ''}"
    if kind == "parquet":
        pa.parquet.write_table(table, path, row_group_size=2)
    elif kind in ("arrow", "stream"):
        sink = pa.BufferOutputStream()
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        data = sink.getvalue().to_pybytes()
        path.write_bytes(gzip.compress(data) if compression else data)
    else:
        text = b"s,n,extra\na,1,1\n,2,2\n\xc3\xa9,,3\n"
        if kind == "ndjson":
            text = b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())
        packed = {"": bytes, "gz": gzip.compress, "zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True)}
        path.write_bytes(packed[compression](text))
    source = files(path)
    schema = source.schema()
    assert schema is not None
    assert dict(zip(schema.names, schema.types, strict=True))["n"] == pa.int64()
    expected = {(1, "a"), (2, None), (None, "é")}
    for max_rows in (1, 2, 100):
        found = drain(source, PAIR, max_rows=lambda: max_rows)  # noqa: B023  # used at once
        names = ("s", "n") if kind in ("arrow", "stream", "parquet") and found.rows[0][0] == "a" else ("n", "s")
        assert {row if names[0] == "n" else row[::-1] for row in found.rows} == expected
        assert len(set(found.places)) == 3


def test_places_name_the_file_and_line(folder: Path) -> None:
    (folder / "a.csv").write_bytes(b'n,s\n1,"x\ny"\n2,z\nbad\n')
    (folder / "b.csv").write_bytes(b"n\n3\n")
    found = drain(files(folder), PAIR)
    assert found.places == ["a.csv:2", "a.csv:4", "b.csv:2"]
    assert [one.place for one in found.rejected] == ["a.csv:5"]
    pa.parquet.write_table(pa.table({"n": [1, 2]}), folder.parent / "x.parquet")
    assert drain(files(folder.parent / "x.parquet")).places == ["x.parquet: row 1", "x.parquet: row 2"]


def test_files_of_other_columns_and_types_cost_rows_only(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(b'{"n":1,"s":"x"}\n')
    (folder / "b.ndjson").write_bytes(b'{"n":2}\n')
    (folder / "c.ndjson").write_bytes(b'{"n":"3","s":"x"}\n')
    found = drain(files(folder), PAIR)
    assert found.rows == [(1, "x"), (2, None)]
    assert [one.column for one in found.rejected] == ["n"]


def test_a_byte_order_mark_and_empty_files_are_no_rows(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(b"")
    (folder / "b.ndjson").write_bytes(b'\xef\xbb\xbf{"n":1}\n')
    (folder / "c.ndjson").write_bytes(b"\n\n")
    assert drain(files(folder)).rows == [(1,)]
    (folder.parent / "x.csv").write_bytes(b"\xef\xbb\xbfn\n7\n")
    assert drain(files(folder.parent / "x.csv")).rows == [(7,)]


# ── what goes wrong ──


def test_nothing_to_read_is_an_error_unless_followed(folder: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        drain(files(folder / "x.csv"))
    with pytest.raises(SourceError, match="give schema="):
        files(folder).schema()
    (folder / "a.ndjson").write_bytes(b"")
    with pytest.raises(SourceError, match="all without rows"):
        files(folder).schema()
    assert drain(files(f"{folder}/*.csv", follow=True)).rows == []


def test_a_suffix_that_tells_nothing_and_mixed_formats_are_errors(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(1))
    (folder / "b.txt").write_bytes(lines(2))
    with pytest.raises(SourceError, match=r"b\.txt: its suffix tells no format"):
        files(folder).open(N).reader("files", None)
    assert drain(files(folder, format="ndjson")).rows == [(1,), (2,)]
    (folder / "b.txt").rename(folder / "b.csv")
    with pytest.raises(SourceError, match="several formats"):
        files(folder).open(N).reader("files", None)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_compressed_file_gives_its_rows_and_the_run_goes_on(folder: Path, suffix: str) -> None:
    text = b"".join(b'{"n":%d}\n' % (n * n * 2_654_435_761 % 2**32) for n in range(40_000))
    packed = gzip.compress(text) if suffix == ".gz" else pa.compress(text, codec="zstd", asbytes=True)
    (folder / f"a.ndjson{suffix}").write_bytes(packed[: len(packed) // 2])
    (folder / "b.ndjson").write_bytes(lines(7))
    found = drain(files(folder))
    assert 5_000 < len(found.rows) < 40_000
    assert found.rows[-1] == (7,)
    (rejected,) = found.rejected
    assert "cannot be inflated" in rejected.reason
    assert rejected.place == f"a.ndjson{suffix}:{len(found.rows)}"
    random_cuts = random.Random(5)
    again = drain(files(folder), max_rows=lambda: random_cuts.randrange(1, 9_000))
    assert (again.rows, again.rejected) == (found.rows, found.rejected)


@pytest.mark.parametrize("suffix", ["ndjson.gz", "csv.gz", "ndjson.zst", "csv.zst"])
def test_what_is_not_compressed_at_all_is_rejected(folder: Path, suffix: str) -> None:
    (folder / f"a.{suffix}").write_bytes(b"not compressed")
    found = drain(files(folder))
    assert found.rows == []
    assert len(found.rejected) == 1


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_damaged_table_stops_the_run_and_is_named(folder: Path, suffix: str) -> None:
    path = folder / f"a.{suffix}"
    path.write_bytes(b"PAR1 nothing of the kind")
    with pytest.raises(SourceError, match=rf"a\.{suffix} cannot be read as {suffix}"):
        drain(files(path))
    with pytest.raises(SourceError, match=rf"a\.{suffix} cannot be read as {suffix}"):
        files(path).schema()


def test_an_arrow_stream_that_was_cut_between_batches_is_damaged(folder: Path) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"n": range(10)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    (folder / "a.arrow").write_bytes(sink.getvalue().to_pybytes()[:-8])
    with pytest.raises(SourceError, match="may have been cut"):
        drain(files(folder))


def test_a_file_without_any_of_the_columns_is_an_error(folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"1,2\n3,4\n")
    with pytest.raises(SourceError, match="the header has none of the columns n; it has 1, 2"):
        drain(files(folder))
    pa.parquet.write_table(pa.table({"x": [1]}), folder.parent / "x.parquet")
    with pytest.raises(SourceError, match="none of the columns n; it has x"):
        drain(files(folder.parent / "x.parquet"))


def test_a_header_that_is_none_is_an_error(folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"n,n\n1,2\n")
    with pytest.raises(SourceError, match='two columns have the name "n"'):
        drain(files(folder))


def test_a_file_that_vanishes_is_an_error_unless_followed(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.ndjson").write_bytes(lines(1))
    for follow in (False, True):
        reader = files(folder, follow=follow).open(N).reader("files", None)
        assert not isinstance(reader.read(10, 0), Nothing)
        (folder / "b.ndjson").unlink()
        if follow:
            assert reader.read(10, 0) is Nothing.NOW
        else:
            with pytest.raises(SourceError, match=r"b\.ndjson has vanished"):
                reader.read(10, 0)
        (folder / "b.ndjson").write_bytes(lines(1))
        reader.close()


def test_a_file_that_may_not_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.ndjson").write_bytes(lines(1))

    def refused(file: InflatedFile) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(InflatedFile, "_opened", refused)
    with pytest.raises(SourceError, match=r"a\.ndjson cannot be read: Permission denied"):
        drain(files(folder))


# ── positions ──


def test_a_second_run_reads_only_what_is_new(folder: Path) -> None:
    (folder / "b.ndjson").write_bytes(lines(1, 2))
    (folder / "c.ndjson").write_bytes(lines(3))
    first = drain(files(folder))
    (folder / "a.ndjson").write_bytes(lines(4))
    (folder / "b.ndjson").write_bytes(lines(1, 2, 5))
    (folder / "c.ndjson").write_bytes(lines(3, 6))
    second = drain(files(folder), position=first.position)
    assert second.rows == [(6,), (4,), (5,)]
    assert second.places == ["c.ndjson:2", "a.ndjson:1", "b.ndjson:3"]
    assert drain(files(folder), position=second.position).rows == []


def test_what_is_added_to_a_line_without_newline_is_not_lost(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(b'{"n":1}')
    first = drain(files(folder))
    assert first.rows == [(1,)]
    (folder / "a.ndjson").write_bytes(b'{"n":1}\n{"n":2}\n')
    second = drain(files(folder), position=first.position)
    assert (second.rows, second.rejected, second.places) == ([(2,)], [], ["a.ndjson:2"])
    (folder / "a.ndjson").write_bytes(b'{"n":1}9\n{"n":2}\n')
    third = drain(files(folder), position=first.position)
    assert third.rows == [(2,)]
    assert [(one.raw, one.place) for one in third.rejected] == [(b"9", "a.ndjson:1")]


@pytest.mark.parametrize("shrink", [True, False])
def test_a_file_that_changed_after_it_was_read_is_an_error(folder: Path, shrink: bool) -> None:
    for name in ("a.ndjson.gz", "b.ndjson", "c.ndjson"):
        (folder / name).write_bytes(gzip.compress(lines(1, 2)) if name.endswith("gz") else lines(1, 2))
    position = drain(files(folder)).position
    if shrink:
        (folder / "b.ndjson").write_bytes(lines(1))
    else:
        (folder / "a.ndjson.gz").write_bytes(gzip.compress(lines(1, 2)) + gzip.compress(lines(3)))
    with pytest.raises(SourceError, match=r"was read when it had \d+ bytes and has \d+ now"):
        drain(files(folder), position=position)


def test_the_file_that_is_being_read_must_still_be_there_and_as_long(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(1, 2, 3))
    position = drain(files(folder), batches=1, max_rows=lambda: 2).position
    (folder / "a.ndjson").write_bytes(lines(1))
    with pytest.raises(SourceError, match="has fewer rows than were read"):
        drain(files(folder), position=position)
    position = drain(files(folder)).position
    (folder / "a.ndjson").write_bytes(b"\n")
    with pytest.raises(SourceError, match="shorter than what was read"):
        drain(files(folder), position=position)
    (folder / "a.ndjson").unlink()
    (folder / "b.ndjson").write_bytes(lines(1))
    with pytest.raises(SourceError, match="read in part and is gone"):
        drain(files(folder), position=position)


def test_a_resume_does_not_read_what_was_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_BYTES", 1_000)
    monkeypatch.setattr(runs, "_LEAST_READ_BYTES", 1_000)
    data = lines(*range(100_000, 101_000))
    (folder / "a.ndjson").write_bytes(data)
    position = drain(files(folder), batches=500, max_rows=lambda: 1).position
    # Only what stands after the run in which the position lies is looked at again.
    (folder / "a.ndjson").write_bytes(b"x" * 6_000 + data[6_000:])
    rest = drain(files(folder), position=position)
    assert rest.rows == [(n,) for n in range(100_500, 101_000)]
    assert rest.places[0] == "a.ndjson:501"


CELLS = st.sampled_from(["1", "22", "", "x", '"5"', '"a\nb"'])


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from(["1", "22", "x"]), CELLS), max_size=12), min_size=1, max_size=3),
    st.sampled_from(["ndjson", "csv", "ndjson.gz", "csv.zst", "parquet", "arrow"]),
    st.sampled_from([12, 100, 8 << 20]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_every_cut_gives_the_same_rows_and_every_position_reads_on_there(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[list[tuple[str, str]]],
    kind: str,
    run_bytes: int,
    ends: bool,
    draws: random.Random,
) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    for number, rows in enumerate(contents):
        _write_file(folder / f"{number}.{kind}", kind, rows, ends)
    source = files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_BYTES", run_bytes)
        patch.setattr(runs, "_LEAST_READ_BYTES", run_bytes)
        whole = drain(source, PAIR)
        cut = drain(source, PAIR, max_rows=lambda: draws.randrange(1, 5))
        assert (cut.rows, cut.rejected, cut.places) == (whole.rows, whole.rejected, whole.places)
        pieces = Drained()
        while True:
            more = drain(source, PAIR, pieces.position, batches=1, max_rows=lambda: draws.randrange(1, 5))
            if not more.rows and not more.rejected:
                break
            pieces.rows += more.rows
            pieces.rejected += more.rejected
            pieces.places += more.places
            pieces.position = more.position
        assert (pieces.rows, pieces.rejected, pieces.places) == (whole.rows, whole.rejected, whole.places)


def _write_file(path: Path, kind: str, rows: list[tuple[str, str]], ends: bool) -> None:
    if kind in ("parquet", "arrow"):
        table = pa.table(
            {"n": pa.array(range(len(rows)), pa.int64()), "s": pa.array([s for _, s in rows], pa.string())}
        )
        if kind == "parquet":
            pa.parquet.write_table(table, path, row_group_size=3)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
        return
    if kind.startswith("csv"):
        text = "n,s\n" + "".join(f"{n},{s}\n" for n, s in rows)
    else:
        text = "".join(f'{{"n":{n},"s":{json.dumps(s)}}}\n' if s else "\n" for n, s in rows)
    raw = (text if ends else text.removesuffix("\n")).encode()
    if kind.endswith(".gz"):
        raw = gzip.compress(raw)
    if kind.endswith(".zst"):
        raw = pa.compress(raw, codec="zstd", asbytes=True)
    path.write_bytes(raw)


# ── following ──


def following(path: Path, clock: FakeClock) -> OpenFiles:
    source = files(path, follow=True)
    return OpenFiles(source.listed, N, True, str(path), clock)


def numbers(batch: Any) -> list[int]:
    assert not isinstance(batch, Nothing)
    found: list[int] = batch.data.column("n").to_pylist()
    return found


def test_files_that_come_later_are_read_in_the_order_of_discovery(folder: Path) -> None:
    clock = FakeClock()
    (folder / "b.ndjson").write_bytes(lines(1))
    reader = following(folder, clock).reader("files", None)
    assert numbers(reader.read(10, 0)) == [1]
    assert reader.read(10, 0) is Nothing.NOW
    (folder / "a.ndjson").write_bytes(lines(2))
    assert reader.read(10, 0) is Nothing.NOW, "the folder is not listed for every read"
    assert numbers(reader.read(10, 5.0)) == [2]
    assert clock.now_s <= 0.5
    (folder / "b.ndjson").write_bytes(lines(1, 3))
    assert numbers(reader.read(10, 5.0)) == [3]
    reader.close()


def test_waiting_for_files_ends_with_the_timeout(folder: Path) -> None:
    clock = FakeClock()
    reader = following(folder, clock).reader("files", None)
    assert reader.read(10, 0.6) is Nothing.NOW
    assert clock.now_s == pytest.approx(0.6)
    assert clock.waits == 3
    reader.close()


def test_a_half_line_of_a_followed_file_waits_until_the_file_is_quiet(folder: Path) -> None:
    clock = FakeClock()
    path = folder / "a.ndjson"
    path.write_bytes(lines(1) + b'{"n":')
    reader = following(folder, clock).reader("files", None)
    assert numbers(reader.read(10, 0)) == [1]
    assert reader.read(10, 0.9) is Nothing.NOW
    path.write_bytes(lines(1, 2))
    assert numbers(reader.read(10, 5)) == [2]
    path.write_bytes(lines(1, 2) + b'{"n":3}')
    assert reader.read(10, 0.9) is Nothing.NOW
    assert numbers(reader.read(10, 5)) == [3]
    reader.close()
