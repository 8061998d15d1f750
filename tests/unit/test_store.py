"""The directory of state: what was committed is read back, what is damaged stops the run, and one run holds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import StateError
from thalweg.state import files, manifests
from thalweg.state.files import Stored
from thalweg.state.store import StateStore

TABLE = pa.table({"a": [1, 2, 3]})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state"


def committed(directory: Path, epoch: int = 1) -> Stored:
    """Commit one file at an epoch, and let go."""
    store = StateStore(directory)
    store.load()
    stored = store.write(f"files/{epoch}.arrow", [TABLE])
    store.commit({"epoch": epoch, "file": stored.file, "sha256": stored.sha256}, [stored])
    store.close()
    return stored


def test_a_new_directory_is_made_and_empty(directory: Path) -> None:
    store = StateStore(directory)
    assert store.load() is None
    store.close()
    assert directory.is_dir()


def test_what_was_committed_is_read_back(directory: Path) -> None:
    stored = committed(directory)
    store = StateStore(directory)
    body = store.load()
    assert body is not None
    assert (body["epoch"], body["file"]) == (1, stored.file)
    assert store.read(stored).equals(TABLE)
    store.close()


def names(directory: Path, folder: str) -> list[str]:
    return sorted(path.name for path in (directory / folder).iterdir())


@pytest.mark.parametrize("restarts", [True, False])
def test_the_last_three_checkpoints_are_kept_with_the_files_that_they_name(directory: Path, restarts: bool) -> None:
    store = StateStore(directory)
    store.load()
    shared = store.write("files/shared.arrow", [TABLE])
    for epoch in range(1, 7):
        if restarts and epoch > 1:
            store.close()
            store = StateStore(directory)
            store.load()
        own = store.write(f"files/{epoch}.arrow", [TABLE])
        waits = store.write(f"outbox/{epoch}.arrow", [TABLE])
        store.commit({"epoch": epoch}, [own, waits, *([shared] if epoch < 4 else [])])
        first = max(epoch - 2, 1)
        assert names(directory, "manifests") == [f"{n:08d}.json" for n in range(first, epoch + 1)]
        kept = [f"{n}.arrow" for n in range(first, epoch + 1)]
        assert names(directory, "outbox") == kept
        assert names(directory, "files") == [*kept, *(["shared.arrow"] if first < 4 else [])]
    store.close()


def test_what_a_run_that_died_has_left_goes_when_the_next_begins(directory: Path) -> None:
    kept = committed(directory)
    store = StateStore(directory)
    for name in ("files/half.arrow", "outbox/half.arrow"):
        store.write(name, [TABLE])
    store.close()
    store = StateStore(directory)
    store.load()
    assert (names(directory, "files"), names(directory, "outbox")) == ([Path(kept.file).name], [])
    store.close()


def test_no_file_goes_while_a_damaged_manifest_may_name_it(directory: Path) -> None:
    files_of = [committed(directory, epoch) for epoch in (1, 2, 3)]
    path = directory / manifests.name_of(1)
    path.write_bytes(path.read_bytes()[:-5])
    store = StateStore(directory)
    store.write("files/left.arrow", [TABLE])
    store.load()
    assert all((directory / stored.file).exists() for stored in files_of)
    store.commit({"epoch": 4}, [])  # with it the damaged one goes
    assert all((directory / stored.file).exists() for stored in files_of)
    store.close()
    store = StateStore(directory)
    store.load()
    assert names(directory, "files") == ["2.arrow", "3.arrow"]
    store.close()


def test_an_older_checkpoint_is_gone_on_from_and_the_later_ones_go_when_that_is_certain(directory: Path) -> None:
    for epoch in (1, 2, 3):
        committed(directory, epoch)
    store = StateStore(directory)
    body = store.load(2)
    assert body is not None
    assert body["epoch"] == 2
    assert names(directory, "manifests")[-1] == "00000003.json"
    store.forget_later()
    assert names(directory, "manifests") == ["00000001.json", "00000002.json"]
    assert names(directory, "files") == ["1.arrow", "2.arrow"]
    store.close()
    assert committed(directory, 3).file == "files/3.arrow"


def test_a_checkpoint_that_is_not_kept_is_refused_with_those_that_are(directory: Path) -> None:
    store = StateStore(directory)
    with pytest.raises(StateError, match="keeps no checkpoint of epoch 1; there is none"):
        store.load(1)
    store.close()
    for epoch in (1, 2, 3, 4):
        committed(directory, epoch)
    store = StateStore(directory)
    with pytest.raises(StateError, match="keeps no checkpoint of epoch 1; there are 4, 3, 2"):
        store.load(1)
    store.close()


def test_damage_names_the_checkpoints_that_are_whole(directory: Path) -> None:
    for epoch in (1, 2, 3):
        stored = committed(directory, epoch)
    newest = directory / manifests.name_of(3)
    whole = newest.read_bytes()
    newest.write_bytes(whole.replace(b'"epoch":3', b'"epoch":4'))
    store = StateStore(directory)
    with pytest.raises(
        StateError, match=r"go on from an older checkpoint with --recover-from 2 \(also whole: 1\), res"
    ):
        store.load()
    newest.write_bytes(whole)
    store.load()
    (directory / stored.file).write_bytes(b"")
    (directory / "files/2.arrow").unlink()
    with pytest.raises(
        StateError, match="go on from an older checkpoint with --recover-from 1, restore it from a copy"
    ):
        store.read(stored)
    (directory / "files/1.arrow").unlink()
    with pytest.raises(StateError, match="its checksum is wrong; restore it from a copy, or start anew elsewhere"):
        store.read(stored)
    store.close()


def test_a_manifest_under_another_s_name_is_damaged(directory: Path) -> None:
    committed(directory)
    (directory / manifests.name_of(1)).rename(directory / manifests.name_of(2))
    with pytest.raises(StateError, match=r"00000002\.json is damaged: it is of epoch 1"):
        manifests.read_manifest(directory)


def test_a_file_is_written_piece_by_piece_and_read_as_one(directory: Path) -> None:
    store = StateStore(directory)
    stored = store.write("files/a.arrow", (TABLE.slice(row, 1) for row in range(3)))
    path = directory / stored.file
    assert (stored.rows, stored.size_bytes, stored.sha256) == (3, path.stat().st_size, files.sha256_of(path))
    assert store.read(stored).equals(TABLE)
    store.close()


class Died(Exception):
    """Stands for a process that dies here."""


@pytest.mark.parametrize("call", ["fdatasync", "replace", "open"])
def test_a_crash_before_the_rename_leaves_the_old_state(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    old = committed(directory, 1)
    store = StateStore(directory)
    store.load()
    new = store.write("files/2.arrow", [TABLE.slice(1)])

    def dies(*given: object) -> None:
        raise Died(call)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(files.os, call, dies)
        store.commit({"epoch": 2}, [new])
    store.close()
    again = StateStore(directory)
    body = again.load()
    assert body is not None
    assert body["epoch"] == 1
    assert again.read(old).equals(TABLE)
    assert not (directory / new.file).exists()
    again.commit({"epoch": 2}, [old])  # and it goes on from there
    again.close()


def test_a_crash_after_the_rename_leaves_the_new_state(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(directory, 1)
    store = StateStore(directory)
    new = store.write("files/2.arrow", [TABLE.slice(1)])

    def dies(path: Path) -> None:
        raise Died("sync")

    with monkeypatch.context() as patch, pytest.raises(Died):
        syncs, last = files.sync_folder, directory / manifests.FOLDER
        patch.setattr(files, "sync_folder", lambda path: dies(path) if path == last else syncs(path))
        store.commit({"epoch": 2}, [new])
    store.close()
    again = StateStore(directory)
    body = again.load()
    assert body is not None
    assert body["epoch"] == 2
    assert again.read(new).num_rows == 2
    again.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-10], "is damaged"),
        (lambda text: b"", "is damaged"),
        (lambda text: b"[]", "is damaged"),
        (lambda text: b"\xff" + text[1:], "is damaged"),
        (lambda text: text.replace(b'"epoch":1', b'"epoch":7'), "its checksum is wrong"),
    ],
    ids=["cut off", "empty", "another document", "not text", "changed"],
)
def test_a_damaged_manifest_stops_the_run_and_says_what_to_do(directory: Path, damage: object, words: str) -> None:
    committed(directory)
    path = directory / manifests.name_of(1)
    changed = damage(path.read_bytes())  # type: ignore[operator]  # a function of bytes
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    store = StateStore(directory)
    with pytest.raises(StateError, match=words) as caught:
        store.load()
    assert str(path) in str(caught.value)
    assert "restore it from a copy, or start anew elsewhere" in str(caught.value)
    store.close()


def test_a_manifest_of_a_later_version_is_not_touched(directory: Path) -> None:
    committed(directory)
    path = directory / manifests.name_of(1)
    body = json.loads(path.read_bytes())["body"] | {"format": manifests.FORMAT + 1}
    path.write_bytes(manifests.document(body))
    before = path.read_bytes()
    store = StateStore(directory)
    with pytest.raises(
        StateError, match=f"has format {manifests.FORMAT + 1}, this version of Thalweg reads {manifests.FORMAT}"
    ):
        store.load()
    store.close()
    assert path.read_bytes() == before


def test_a_file_with_a_wrong_hash_is_never_given_to_a_reader(directory: Path) -> None:
    stored = committed(directory)
    path = directory / stored.file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store = StateStore(directory)
    with pytest.raises(StateError, match="is damaged: its checksum is wrong") as caught:
        store.read(stored)
    assert str(path) in str(caught.value)
    store.close()


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_file_that_was_cut_off_is_damaged(directory: Path, length: int) -> None:
    stored = committed(directory)
    os.truncate(directory / stored.file, length)
    store = StateStore(directory)
    with pytest.raises(StateError, match="is damaged"):
        store.read(stored)
    store.close()


def test_a_missing_file_is_named(directory: Path) -> None:
    stored = committed(directory)
    (directory / stored.file).unlink()
    store = StateStore(directory)
    with pytest.raises(StateError, match=r"cannot be read.*No such file") as caught:
        store.read(stored)
    assert stored.file in str(caught.value)
    store.close()


_HOLD = """
import sys
from pathlib import Path
from thalweg.state.store import StateStore
store = StateStore(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_state_of_another_process_is_refused_and_free_when_that_dies(directory: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(StateError, match=rf"is used by another run \(process {other.pid}\)") as caught:
                StateStore(directory)
            assert "stop it, or name another directory with data=" in str(caught.value)
        finally:
            other.kill()
            other.wait()
    StateStore(directory).close()


def test_two_runs_of_one_process_do_not_share_state_either(directory: Path) -> None:
    store = StateStore(directory)
    with pytest.raises(StateError, match="is used by another run"):
        StateStore(directory)
    store.close()
    StateStore(directory).close()


def test_a_refused_run_leaves_the_holder_s_number(directory: Path) -> None:
    store = StateStore(directory)
    for _ in range(2):
        with pytest.raises(StateError, match=f"process {os.getpid()}"):
            StateStore(directory)
    store.close()


def test_a_directory_that_cannot_be_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot be made.*name another with data="):
        StateStore(tmp_path / "file" / "state")


def test_files_are_synced_before_the_manifest_names_them(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fdatasync", "fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(files.os, name, lambda *given, n=name, r=real: (calls.append(n), r(*given))[1])
    store = StateStore(directory)
    calls.clear()
    stored = store.write("files/1.arrow", [TABLE])
    assert calls == ["fdatasync"]
    store.commit({"epoch": 1}, [stored])
    # The folder of files, then the manifest, then its name, then the folder that has the name.
    assert calls[1:] == ["fsync", "fdatasync", "replace", "fsync"]
    store.close()


def test_a_full_disk_is_told_with_the_file(directory: Path) -> None:
    store = StateStore(directory)
    os.symlink("/dev/full", directory / "files" / "a.arrow")
    with pytest.raises(StateError, match=r"a\.arrow cannot be written: No space left on device; .* make room"):
        store.write("files/a.arrow", [TABLE])
    os.symlink("/dev/full", directory / "manifests" / "_00000001.json")
    with pytest.raises(StateError, match=r"_00000001\.json cannot be written: No space left on device"):
        store.commit({"epoch": 1}, [])
    store.close()


def test_the_same_directory_by_another_path_is_the_same_state(directory: Path, tmp_path: Path) -> None:
    store = StateStore(directory)
    (tmp_path / "link").symlink_to(directory, target_is_directory=True)
    for path in (tmp_path / "link", directory / ".." / directory.name):
        with pytest.raises(StateError, match=f"is used by another run \\(process {os.getpid()}, which is this one\\)"):
            StateStore(path)
    store.close()
    StateStore(tmp_path / "link").close()


def test_a_number_that_a_dead_process_left_holds_nobody_up(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "lock").write_text("999999999\n")
    StateStore(directory).close()


_FORK = """
import os, sys
from pathlib import Path
from thalweg.state.store import StateStore
store = StateStore(Path(sys.argv[1]))
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
if sys.argv[2] == "closes":
    store.close()
"""


@pytest.mark.parametrize("how", ["closes", "dies"])
def test_a_process_that_was_forked_meanwhile(directory: Path, how: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _FORK, str(directory), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        parent.wait()
        if how == "dies":
            # Its child has the lock still: it might go on with the run.
            with pytest.raises(StateError, match=rf"a process that process {parent.pid}, which has ended, had forked"):
                StateStore(directory)
        else:
            StateStore(directory).close()
