"""The bugs that are planted in the state, to show that the attacks find them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from thalweg.state import files, manifests, store
from thalweg.state.files import Stored

Patch = Callable[[pytest.MonkeyPatch], None]


def _rename_without_sync(patch: pytest.MonkeyPatch) -> None:
    true = files.sync_folder

    def planted(path: Path) -> None:
        if path.name != manifests.FOLDER:
            true(path)

    patch.setattr(files, "sync_folder", planted)


def _file_not_synced(patch: pytest.MonkeyPatch) -> None:
    true = files.sync_file

    def planted(out: BinaryIO) -> None:
        if "/files/" in str(out.name):
            out.flush()
        else:
            true(out)

    patch.setattr(files, "sync_file", planted)


def _names_not_synced(patch: pytest.MonkeyPatch) -> None:
    true = files.sync_folder

    def planted(path: Path) -> None:
        if path.name != "files":
            true(path)

    patch.setattr(store, "sync_folder", planted)


def _manifest_first(patch: pytest.MonkeyPatch) -> None:
    true_write, true_commit = store.StateStore.write, store.StateStore.commit
    later: list[tuple[Path, bytes]] = []

    def write(self: store.StateStore, file: str, tables: Iterable[pa.Table]) -> Stored:
        stored = true_write(self, file, tables)
        path = self.directory / file
        later.append((path, path.read_bytes()))
        path.unlink()
        return stored

    def commit(self: store.StateStore, body: Mapping[str, Any], named: Iterable[Stored]) -> None:
        true_commit(self, body, named)
        while later:
            path, data = later.pop()
            files.write_synced(path, data)

    patch.setattr(store.StateStore, "write", write)
    patch.setattr(store.StateStore, "commit", commit)


def _checksum_unchecked(patch: pytest.MonkeyPatch) -> None:
    def planted(directory: Path, stored: Stored) -> pa.Table:
        with pa.OSFile(str(directory / stored.file)) as file, pa.ipc.open_file(file) as reader:
            return reader.read_all()

    patch.setattr(store, "read_table", planted)


def _manifest_unchecked(patch: pytest.MonkeyPatch) -> None:
    true = manifests.read_document

    def planted(path: Path) -> dict[str, Any] | None:
        if path.parent.name != manifests.FOLDER:
            return true(path)

        body: dict[str, Any] = json.loads(path.read_bytes())["body"]
        return body

    patch.setattr(manifests, "read_document", planted)


def _removed_too_early(patch: pytest.MonkeyPatch) -> None:
    # What the new checkpoint does not need goes before it is the current one.
    true = store.StateStore.commit

    def planted(self: store.StateStore, body: Mapping[str, Any], named: Iterable[Stored]) -> None:
        there = list(named)
        needed = {stored.file for stored in there}
        for path in (self.directory / "files").iterdir():
            if f"files/{path.name}" not in needed:
                os.unlink(path)
        true(self, body, there)

    patch.setattr(store.StateStore, "commit", planted)


PATCHES: dict[str, Patch] = {
    "rename without sync": _rename_without_sync,
    "a file not synced": _file_not_synced,
    "names of files not synced": _names_not_synced,
    "a manifest written before its files": _manifest_first,
    "checksum unchecked": _checksum_unchecked,
    "checksum of the manifest unchecked": _manifest_unchecked,
    "files removed before the commit": _removed_too_early,
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Put a bug into the state for the length of the block; None: no bug.

    Raises:
        LookupError: No such bug is known.
    """
    if name is None:
        yield
        return
    if name not in PATCHES:
        raise LookupError(f'no patch plants "{name}"; there are: {", ".join(PATCHES)}')
    with pytest.MonkeyPatch.context() as patch:
        PATCHES[name](patch)
        yield
