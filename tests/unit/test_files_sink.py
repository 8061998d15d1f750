"""Files as a sink."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from thalweg.connect import _files_write, files
from thalweg.core.errors import SinkError
from thalweg.core.ports import Sink, WriteRequest
from thalweg.core.schema import Field, Schema

SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


def request(epoch: int = 0, fresh: bool = False, changing: bool = False) -> WriteRequest:
    return WriteRequest(SCHEMA, changing, None, epoch, fresh)


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64()), "s": pa.array(["x"] * len(numbers), pa.string())})


def read(path: Path) -> list[Any]:
    if path.suffix == ".parquet":
        return list(pa.parquet.read_table(path).column("n").to_pylist())
    if path.suffix == ".arrow":
        with pa.ipc.open_file(path) as file:
            return list(file.read_all().column("n").to_pylist())
    opened = files(path).open(Schema((Field("n", pa.int64()),)))
    reader = opened.reader("files", None)
    batch = reader.read(10**6, 0)
    reader.close()
    return list(batch.data.column("n").to_pylist())  # type: ignore[union-attr]  # a batch: the file has rows


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_sink_describes_itself() -> None:
    sink = files("out/", format="csv")
    assert isinstance(sink, Sink)
    assert (sink.name, sink.changes, sink.target) == ("out", "passed on", os.path.abspath("out"))


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet", "arrow"])
def test_each_epoch_with_rows_is_one_file_that_appears_at_its_commit(tmp_path: Path, format_: str) -> None:
    folder = tmp_path / "out"
    writer = files(folder, format=format_).open(request())
    writer.write(rows(3, 1))
    writer.write(rows(2))
    assert names(folder) == []
    writer.commit(1)
    writer.commit(2)
    writer.write(rows(4))
    writer.commit(3)
    writer.write(rows(5))
    writer.close()
    assert names(folder) == [f"part-00000001.{format_}", f"part-00000003.{format_}"]
    assert read(folder / f"part-00000001.{format_}") == [1, 2, 3]
    assert read(folder / f"part-00000003.{format_}") == [4]


def test_rows_of_an_epoch_are_sorted_by_all_columns(tmp_path: Path) -> None:
    writer = files(tmp_path, format="csv").open(request())
    writer.write(pa.table({"n": [2, 1, None, 1], "s": ["a", "b", "c", "a"]}))
    writer.commit(1)
    assert (tmp_path / "part-00000001.csv").read_text() == "n,s\n1,a\n1,b\n2,a\n,c\n"


def test_more_rows_than_fit_in_memory_wait_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files_write, "_IN_MEMORY_BYTES", 100)
    writer = files(tmp_path, format="parquet").open(request())
    for start in range(0, 1_000, 100):
        writer.write(rows(*range(start, start + 100)))
    assert names(tmp_path) == ["_waiting.arrow"]
    writer.commit(1)
    assert names(tmp_path) == ["part-00000001.parquet"]
    assert read(tmp_path / "part-00000001.parquet") == list(range(1_000))
    writer.write(rows(*range(100)))
    writer.close()
    assert names(tmp_path) == ["part-00000001.parquet"]


def test_parts_of_a_run_that_died_are_removed_and_committed_ones_stay(tmp_path: Path) -> None:
    writer = files(tmp_path, format="ndjson").open(request())
    for epoch in (1, 2, 3):
        writer.write(rows(epoch))
        writer.commit(epoch)
    writer.close()
    (tmp_path / "other.ndjson").write_text("{}")
    (tmp_path / "part-x.ndjson").write_text("{}")
    writer = files(tmp_path, format="ndjson").open(request(epoch=2))
    kept = ["other.ndjson", "part-00000001.ndjson", "part-00000002.ndjson", "part-x.ndjson"]
    assert names(tmp_path) == kept
    writer.write(rows(3))
    writer.commit(3)
    writer.close()
    assert read(tmp_path / "part-00000003.ndjson") == [3]


def test_a_batch_replaces_a_folders_parts_at_its_first_commit(tmp_path: Path) -> None:
    for name in ("part-00000001.ndjson", "part-00000009.ndjson", "part-00000002.parquet", "mine.ndjson"):
        (tmp_path / name).write_text("old")
    writer = files(tmp_path, format="ndjson").open(request(fresh=True))
    writer.write(rows(1))
    assert len(names(tmp_path)) == 4
    writer.commit(1)
    assert names(tmp_path) == ["mine.ndjson", "part-00000001.ndjson"]
    assert read(tmp_path / "part-00000001.ndjson") == [1]
    writer.write(rows(2))
    writer.commit(2)
    writer.close()
    assert names(tmp_path) == ["mine.ndjson", "part-00000001.ndjson", "part-00000002.ndjson"]


def test_a_batch_without_rows_leaves_no_parts(tmp_path: Path) -> None:
    (tmp_path / "part-00000001.ndjson").write_text("old")
    writer = files(tmp_path, format="ndjson").open(request(fresh=True))
    writer.commit(1)
    writer.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["x.ndjson", "x.csv", "x.parquet", "x.arrow", "x.csv.gz", "x.ndjson.zst"])
def test_a_batch_replaces_a_single_file_as_a_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    path.parent.mkdir()
    path.write_text("old")
    writer = files(path).open(request(fresh=True))
    writer.write(rows(2, 1))
    assert path.read_text() == "old"
    writer.commit(1)
    writer.write(rows(0))
    writer.commit(2)
    writer.close()
    assert names(path.parent) == [name]
    assert read(path) == [0, 1, 2]


def test_a_single_file_without_rows_is_empty(tmp_path: Path) -> None:
    for name, content in (("x.csv", b"n,s\n"), ("x.ndjson", b"")):
        writer = files(tmp_path / name).open(request(fresh=True))
        writer.commit(1)
        writer.close()
        assert (tmp_path / name).read_bytes() == content
    writer = files(tmp_path / "x.parquet").open(request(fresh=True))
    writer.commit(1)
    writer.close()
    assert pa.parquet.read_schema(tmp_path / "x.parquet") == SCHEMA


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("x.csv.gz", "x.parquet", "x.arrow", "x.ndjson.zst"):
        found = []
        for order in ((1, 2, 3), (3, 1, 2)):
            writer = files(tmp_path / name).open(request(fresh=True))
            for n in order:
                writer.write(rows(n))
            writer.commit(1)
            writer.close()
            found.append((tmp_path / name).read_bytes())
        assert found[0] == found[1]
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()) == b"n,s\n1,x\n2,x\n3,x\n"


def test_a_changing_stream_is_written_with_its_weights(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("_weight", pa.int64())])
    writer = files(tmp_path, format="ndjson").open(WriteRequest(schema, True, ("n",), 0, False))
    writer.write(pa.table({"n": [1, 1], "_weight": [1, -1]}))
    writer.commit(1)
    writer.close()
    assert (tmp_path / "part-00000001.ndjson").read_text() == '{"n":1,"_weight":-1}\n{"n":1,"_weight":1}\n'


def test_what_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match='say what to write there, as in format="parquet"'):
        files(tmp_path / "out").open(request())
    with pytest.raises(SinkError, match=r'name a folder, as in files\(".*x/", format="csv"\)'):
        files(tmp_path / "x.csv").open(request())
    with pytest.raises(SinkError, match="is a pattern"):
        files(f"{tmp_path}/*.csv").open(request())
    with pytest.raises(SinkError, match="compressed inside"):
        files(tmp_path / "x.parquet.gz").open(request(fresh=True))
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkError, match="cannot be written"):
        files(tmp_path / "file" / "out", format="csv").open(request())


def test_a_commit_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ndjson"
    path.write_text("old")
    writer = files(path).open(request(fresh=True))
    writer.write(rows(1))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkError, match="No space left on device"):
        writer.commit(1)
    writer.close()
    assert names(tmp_path) == ["x.ndjson"]
    assert path.read_text() == "old"
