"""Files as a sink."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
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


def request(fresh: bool = False, changing: bool = False, run: str = "r", term: int = 1) -> WriteRequest:
    return WriteRequest(SCHEMA, changing, None, 0, fresh, "app", run, 0 if fresh else term)


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
    return sorted(name for name in os.listdir(folder) if name != ".thalweg.json")  # the record of what counts


def test_a_sink_describes_itself() -> None:
    sink = files("out/", format="csv")
    assert isinstance(sink, Sink)
    assert (sink.name, sink.changes, sink.target) == ("out", "passed on", os.path.abspath("out"))


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet", "arrow"])
def test_each_epoch_with_rows_is_one_file_that_appears_whole(tmp_path: Path, format_: str) -> None:
    folder = tmp_path / "out"
    writer = files(folder, format=format_).open(request())
    assert writer.last_epoch() == 0

    def steps() -> Iterator[pa.Table]:
        yield rows(3, 1)
        assert names(folder) == []
        yield rows(2)

    writer.apply(1, 0, steps())
    writer.apply(2, 1, iter(()))
    writer.apply(3, 2, iter([rows(4)]))
    assert writer.last_epoch() == 3
    writer.apply(3, 2, iter([rows(5)]))  # it has it
    writer.close()
    assert names(folder) == [f"part-00000001.{format_}", f"part-00000003.{format_}"]
    assert read(folder / f"part-00000001.{format_}") == [1, 2, 3]
    assert read(folder / f"part-00000003.{format_}") == [4]


def test_rows_of_an_epoch_are_sorted_by_all_columns(tmp_path: Path) -> None:
    writer = files(tmp_path, format="csv").open(request())
    writer.apply(1, 0, iter([pa.table({"n": [2, 1, None, 1], "s": ["a", "b", "c", "a"]})]))
    assert (tmp_path / "part-00000001.csv").read_text() == "n,s\n1,a\n1,b\n2,a\n,c\n"


def test_more_rows_than_fit_in_memory_wait_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files_write, "_IN_MEMORY_BYTES", 100)
    writer = files(tmp_path, format="parquet").open(request())

    def steps() -> Iterator[pa.Table]:
        for start in range(0, 1_000, 100):
            yield rows(*range(start, start + 100))
        assert names(tmp_path) == [".waiting.arrow"]

    writer.apply(1, 0, steps())
    assert names(tmp_path) == ["part-00000001.parquet"]
    assert read(tmp_path / "part-00000001.parquet") == list(range(1_000))
    writer.close()


class Died(BaseException):
    """The process is gone."""


def dies(*given: object) -> None:
    raise Died


def test_an_epoch_that_counts_is_shown_by_the_next_start_and_one_that_does_not_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = files(tmp_path, format="ndjson").open(request())
    writer.apply(1, 0, iter([rows(1)]))
    with monkeypatch.context() as patch, pytest.raises(Died):  # before the record says that it counts
        patch.setattr(_files_write.FolderWriter, "_write_record", dies)
        writer.apply(2, 1, iter([rows(20)]))
    assert names(tmp_path) == [".part-00000002.ndjson", "part-00000001.ndjson"]
    writer = files(tmp_path, format="ndjson").open(request(term=2))
    assert (names(tmp_path), writer.last_epoch()) == (["part-00000001.ndjson"], 1)

    replace, record = os.replace, ".thalweg.json"

    def dies_at_the_part(old: str, new: str) -> None:  # after the record, before the file is seen
        if not new.endswith(record):
            raise Died
        replace(old, new)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(os, "replace", dies_at_the_part)
        writer.apply(2, 1, iter([rows(2)]))
    assert names(tmp_path) == [".part-00000002.ndjson", "part-00000001.ndjson"]
    writer = files(tmp_path, format="ndjson").open(request(term=3))
    assert writer.last_epoch() == 2
    assert names(tmp_path) == ["part-00000001.ndjson", "part-00000002.ndjson"]
    assert read(tmp_path / "part-00000002.ndjson") == [2]


def test_what_is_not_the_states_own_output_is_refused(tmp_path: Path) -> None:
    first = files(tmp_path, format="ndjson").open(request())
    first.apply(1, 0, iter([rows(1)]))
    with pytest.raises(
        SinkError, match=r"the output of another state of the app app\. Go on with the state that wrote"
    ):
        files(tmp_path, format="ndjson").open(request(run="other"))
    second = files(tmp_path, format="ndjson").open(request(term=2))
    second.apply(2, 1, iter([rows(2)]))
    with pytest.raises(SinkError, match=r"is written by a later start of this app \(2; this is start 1\)"):
        first.apply(2, 1, iter([rows(3)]))
    with pytest.raises(SinkError, match="a later start of this app"):
        files(tmp_path, format="ndjson").open(request(term=1))
    assert read(tmp_path / "part-00000002.ndjson") == [2]
    (tmp_path / ".thalweg.json").unlink()
    with pytest.raises(SinkError, match="has no record any more of what this state has written there"):
        files(tmp_path, format="ndjson").open(WriteRequest(SCHEMA, False, None, 2, False, "app", "r", 3))
    (tmp_path / ".thalweg.json").write_text("{")
    with pytest.raises(SinkError, match="is damaged"):
        files(tmp_path, format="ndjson").open(request(term=3))


def test_a_batch_replaces_a_folders_parts_with_its_end(tmp_path: Path) -> None:
    for name in ("part-00000001.ndjson", "part-00000009.ndjson", "part-00000002.parquet", "mine.ndjson"):
        (tmp_path / name).write_text("old")
    writer = files(tmp_path, format="ndjson").open(request(fresh=True))

    def steps() -> Iterator[pa.Table]:
        yield rows(1)
        assert len(names(tmp_path)) == 4

    writer.apply(1, 0, steps())
    writer.close()
    assert names(tmp_path) == ["mine.ndjson", "part-00000001.ndjson"]
    assert read(tmp_path / "part-00000001.ndjson") == [1]


def test_a_batch_without_rows_leaves_no_parts(tmp_path: Path) -> None:
    (tmp_path / "part-00000001.ndjson").write_text("old")
    writer = files(tmp_path, format="ndjson").open(request(fresh=True))
    writer.apply(1, 0, iter(()))
    writer.close()
    assert names(tmp_path) == []


def test_a_run_that_starts_from_nothing_replaces_what_a_batch_has_left_and_a_batch_replaces_all(tmp_path: Path) -> None:
    batch = files(tmp_path, format="ndjson").open(request(fresh=True, run="a"))
    batch.apply(1, 0, iter([rows(1)]))
    run = files(tmp_path, format="ndjson").open(request(run="b"))
    assert (names(tmp_path), run.last_epoch()) == ([], 0)
    run.apply(7, 0, iter([rows(2)]))
    batch = files(tmp_path, format="ndjson").open(request(fresh=True, run="c"))
    batch.apply(1, 0, iter([rows(3)]))
    assert names(tmp_path) == ["part-00000001.ndjson"]
    with pytest.raises(SinkError, match="has by now the output of another run"):
        run.apply(8, 7, iter([rows(4)]))


@pytest.mark.parametrize("name", ["x.ndjson", "x.csv", "x.parquet", "x.arrow", "x.csv.gz", "x.ndjson.zst"])
def test_a_batch_replaces_a_single_file_as_a_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    path.parent.mkdir()
    path.write_text("old")
    writer = files(path).open(request(fresh=True))

    def steps() -> Iterator[pa.Table]:
        yield rows(2, 1)
        yield rows(0)
        assert path.read_text() == "old"

    writer.apply(1, 0, steps())
    writer.close()
    assert names(path.parent) == [name]
    assert read(path) == [0, 1, 2]


def test_a_single_file_without_rows_is_empty(tmp_path: Path) -> None:
    for name, content in (("x.csv", b"n,s\n"), ("x.ndjson", b"")):
        writer = files(tmp_path / name).open(request(fresh=True))
        writer.apply(1, 0, iter(()))
        writer.close()
        assert (tmp_path / name).read_bytes() == content
    writer = files(tmp_path / "x.parquet").open(request(fresh=True))
    writer.apply(1, 0, iter(()))
    writer.close()
    assert pa.parquet.read_schema(tmp_path / "x.parquet") == SCHEMA


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("x.csv.gz", "x.parquet", "x.arrow", "x.ndjson.zst"):
        found = []
        for order in ((1, 2, 3), (3, 1, 2)):
            writer = files(tmp_path / name).open(request(fresh=True))
            writer.apply(1, 0, iter([rows(n) for n in order]))
            writer.close()
            found.append((tmp_path / name).read_bytes())
        assert found[0] == found[1]
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()) == b"n,s\n1,x\n2,x\n3,x\n"


def test_a_changing_stream_is_written_with_its_weights(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("_weight", pa.int64())])
    writer = files(tmp_path, format="ndjson").open(WriteRequest(schema, True, ("n",), 0, False))
    writer.apply(1, 0, iter([pa.table({"n": [1, 1], "_weight": [1, -1]})]))
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

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkError, match="No space left on device"):
        writer.apply(1, 0, iter([rows(1)]))
    writer.close()
    assert names(tmp_path) == ["x.ndjson"]
    assert path.read_text() == "old"
