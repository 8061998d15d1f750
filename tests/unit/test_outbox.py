"""The outbox: files of rows that wait for a sink."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import StateError
from thalweg.connect import topic
from thalweg.engine.embedded.posting import OutboxDelivery
from thalweg.log import Log
from thalweg.state.files import Stored
from thalweg.state.manifests import read_manifest
from thalweg.state.outbox import OutboxFile, Owed, outbox_rows
from thalweg.state.store import StateStore

SCHEMA = pa.schema([pa.field("k", pa.string(), nullable=False), ("v", pa.int64())])


def table(*values: int | None) -> pa.Table:
    return pa.table({"k": ["x"] * len(values), "v": pa.array(values, pa.int64())}, schema=SCHEMA)


def written(folder: Path, *steps: pa.Table, name: str = "outbox/a.arrow") -> Stored:
    file = OutboxFile(folder, name, SCHEMA)
    for step in steps:
        file.write(step)
    return file.seal()


def values(folder: Path, stored: Stored) -> list[int | None]:
    return [value for part in outbox_rows(folder, stored) for value in part["v"].to_pylist()]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    stored = written(tmp_path, table(1, None), table(), table(2**63 - 1))
    assert stored.file == "outbox/a.arrow"
    assert values(tmp_path, stored) == [1, None, 2**63 - 1]
    assert all(part.schema == SCHEMA for part in outbox_rows(tmp_path, stored))


def test_the_name_has_the_hash_of_the_files_bytes(tmp_path: Path) -> None:
    stored = written(tmp_path, table(*range(10_000)))
    assert stored.sha256 == hashlib.sha256((tmp_path / stored.file).read_bytes()).hexdigest()


def test_a_file_without_rows_is_a_file(tmp_path: Path) -> None:
    assert values(tmp_path, written(tmp_path)) == []


def test_only_what_may_be_null_can_differ_between_steps(tmp_path: Path) -> None:
    loose = table(1).cast(pa.schema([("k", pa.string()), ("v", pa.int64())]))
    file = OutboxFile(tmp_path, "outbox/a.arrow", SCHEMA)
    file.write(loose)
    file.write(table(2, 3))
    assert file.rows == 3
    stored = file.seal()
    (first, *_) = outbox_rows(tmp_path, stored)
    assert first.schema == SCHEMA


def test_every_flipped_byte_and_every_cut_is_found_before_a_row_is_given(tmp_path: Path) -> None:
    stored = written(tmp_path, table(1, 2, 3))
    path = tmp_path / stored.file
    whole = path.read_bytes()
    harmed = [whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in range(len(whole))]
    harmed += [whole[:at] for at in range(0, len(whole), 7)] + [whole + b"\0"]
    for data in harmed:
        path.write_bytes(data)
        with pytest.raises(StateError, match=r"outbox/a\.arrow is damaged: its checksum is wrong; restore it"):
            outbox_rows(tmp_path, stored)
    path.write_bytes(whole)
    assert values(tmp_path, stored) == [1, 2, 3]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    stored = written(tmp_path, table(1))
    (tmp_path / stored.file).unlink()
    with pytest.raises(StateError, match=r"outbox/a\.arrow cannot be read"):
        outbox_rows(tmp_path, stored)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    with pytest.raises(StateError, match=r"outbox/a\.arrow cannot be written"):
        OutboxFile(tmp_path, "outbox/a.arrow", SCHEMA)


def test_a_file_that_was_not_sealed_is_swept_with_all_that_no_manifest_names(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.load()
    kept = written(tmp_path, table(1), name="outbox/kept.arrow")
    store.commit({"epoch": 1}, [kept])
    store.close()
    left = OutboxFile(tmp_path, "outbox/left.arrow", SCHEMA)
    left.write(table(2))
    left.drop()
    store = StateStore(tmp_path)
    store.load()
    store.close()
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["kept.arrow"]


def test_what_is_owed_goes_through_the_manifest_unchanged() -> None:
    owed = Owed(7, 4, Stored("outbox/out-7.arrow", "ab" * 32, 99, 12), 12)
    assert Owed.from_json(json.loads(json.dumps(owed.as_json()))) == owed


def copy_app(folder: Path) -> tw.App:
    app = tw.App("copy")
    app.read(topic("in", log=folder / "log")).write(topic("out", log=folder / "log"))
    return app


@pytest.fixture
def owing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state whose run died after its commit, before the sink had the rows."""

    class Killed(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Killed

    Log(tmp_path / "log").create("in", pa.schema([("v", pa.int64())])).append([{"v": 1}, {"v": 2}])
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(OutboxDelivery, "_deliver", dies)
        copy_app(tmp_path).run(data=tmp_path / "data", until="caught-up", quiet=True)
    return tmp_path


def appended(folder: Path) -> list[int]:
    found: list[int] = Log(folder / "log").topic("out").read()["v"].to_pylist()
    return found


def test_a_run_gives_what_the_one_before_owed_and_the_file_goes(owing: Path) -> None:
    manifest = read_manifest(owing / "data")
    assert manifest is not None
    ((last, [owed]),) = manifest["outputs"].values()
    assert (last, owed[0], owed[4]) == (1, 1, 2)
    assert appended(owing) == []
    copy_app(owing).run(data=owing / "data", until="caught-up", quiet=True)
    assert appended(owing) == [1, 2]
    for value in (3, 4, 5):  # until no checkpoint that is kept owed them
        Log(owing / "log").topic("in").append([{"v": value}])
        copy_app(owing).run(data=owing / "data", until="caught-up", quiet=True)
    copy_app(owing).run(data=owing / "data", until="caught-up", quiet=True)
    assert appended(owing) == [1, 2, 3, 4, 5]
    left = [path.name for path in (owing / "data" / "outbox").iterdir()]
    assert owed[2].rpartition("/")[2] not in left


def test_a_run_that_owes_rows_of_a_damaged_file_names_it_and_gives_none(owing: Path) -> None:
    (path,) = (owing / "data" / "outbox").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.raises(StateError, match=f"{path.name} is damaged: its checksum is wrong; restore it from a copy"):
        copy_app(owing).run(data=owing / "data", until="caught-up", quiet=True)
    assert appended(owing) == []
    path.write_bytes(whole)
    copy_app(owing).run(data=owing / "data", until="caught-up", quiet=True)
    assert appended(owing) == [1, 2]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "a.arrow").symlink_to("/dev/full")
    file = OutboxFile(tmp_path, "outbox/a.arrow", SCHEMA)
    with pytest.raises(StateError, match=r"a\.arrow cannot be written: .*No space left on device.*make room"):
        for _ in range(1_000):
            file.write(table(*range(1_000)))
    file.drop()
