"""The versions of an app's state: directories beside each other, and which of them is the current one.

Version 1 is the directory that the app was given; version 2 stands beside it as ``NAME@2``. The file
``NAME@current`` says which one a run goes on with that asks for none; without it that is version 1.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thalweg.core.errors import StateError
from thalweg.core.version import DEV, FIRST, is_version, path_of
from thalweg.state.files import replace_file, sync_folder
from thalweg.state.manifests import read_manifest
from thalweg.state.store import StateStore

_BEGAN: Final = "began.json"
_STARTED: Final = "starts.json"
"""What a run notes before it does anything else."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an app's state.

    Attributes:
        first: The state directory of the first version.
        name: ``1``, ``2``, …, or ``dev``.
    """

    first: Path
    name: str

    @property
    def directory(self) -> Path:
        """Where its state is."""
        return path_of(self.first, self.name)

    @property
    def from_us(self) -> int | None:
        """The time from which on it reads its sources, in microseconds since 1970; None: from their beginning.

        Raises:
            StateError: What says so is damaged.
        """
        return from_us(self.directory)


def from_us(directory: Path) -> int | None:
    """Return the time from which on the state of a directory reads its sources; None: from their beginning.

    Raises:
        StateError: What says so is damaged.
    """
    path = directory / _BEGAN
    try:
        found = json.loads(path.read_bytes())["from_us"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if not (found is None or (isinstance(found, int) and not isinstance(found, bool))):
        raise _damaged(path)
    return found


def current(first: Path) -> Version:
    """Return the version that runs go on with.

    Raises:
        StateError: What says so is damaged, or names a version that is not there.
    """
    return existing(first, _named(first).name)


def _named(first: Path) -> Version:
    path = _pointer(first)
    try:
        name = path.read_text("ascii").removesuffix("\n")
    except FileNotFoundError:
        return Version(first, FIRST)
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path) from error
    if not is_version(name) or name == DEV:
        raise _damaged(path)
    return Version(first, name)


def existing(first: Path, name: str) -> Version:
    """Return a version that is there; the first one always is.

    Raises:
        StateError: There is none of that name.
    """
    version = Version(first, name)
    if name != FIRST and not version.directory.is_dir():
        there = ", ".join(each.name for each in versions(first)) or "none"
        raise StateError(
            f"there is no version {name} of the state {first}; there are: {there}. To make one: --from earliest"
        )
    return version


def versions(first: Path) -> list[Version]:
    """Return the versions that are there, in order; not that of ``thalweg dev``."""
    beside = path_of(first, "2").parent
    names = (path.name.rpartition("@") for path in beside.iterdir() if path.is_dir()) if beside.is_dir() else ()
    stem = path_of(first, "2").name.removesuffix("@2")
    found = sorted(int(v) for n, at, v in names if at and n == stem and is_version(v) and v not in (FIRST, DEV))
    began = [Version(first, FIRST)] if _is_begun(first) else []
    return [*began, *(Version(first, str(number)) for number in found)]


def begin(first: Path, from_us: int | None) -> Version:
    """Make a new version beside the others: the first one, where nothing has run yet.

    Raises:
        StateError: It cannot be made.
    """
    try:
        if not versions(first):
            first.mkdir(parents=True, exist_ok=True)
            return _noted(Version(first, FIRST), first, from_us)
        while True:
            version = Version(first, str(int(versions(first)[-1].name) + 1))
            # It gets its name when it says from where it reads; two that begin at once get different ones.
            hidden = version.directory.with_name(f".{version.directory.name}.{os.getpid()}")
            hidden.mkdir(exist_ok=True)
            _noted(version, hidden, from_us)
            if _renamed(hidden, version.directory):
                return version
    except OSError as error:
        raise StateError(f"no version of the state {first} can be made beside it: {error}") from error


def promote(version: Version) -> Version:
    """Make a version the current one; return the one that it was before.

    Raises:
        StateError: A run is on with one of the two, or the version has no checkpoint.
    """
    before = _named(version.first)
    if before == version:
        return before
    if not version.directory.is_dir() or read_manifest(version.directory) is None:
        raise StateError(
            f"version {version.name} in {version.directory} has no checkpoint that a run can go on with; run it first"
        )
    # Who runs on goes on with what it has: both must have stopped, so that what follows is one run, of this version.
    locked = [each.directory for each in (before, version) if each.directory.is_dir()]
    with ExitStack() as locks:
        for directory in locked:
            locks.enter_context(closing(StateStore(directory)))
        try:
            replace_file(_pointer(version.first), f"{version.name}\n".encode())
        except StateError as error:
            raise StateError(f"{error}; version {_named(version.first).name} is still current") from error
    return before


def _is_begun(first: Path) -> bool:
    return (first / _STARTED).exists()


def _noted(version: Version, directory: Path, from_us: int | None) -> Version:
    replace_file(directory / _BEGAN, json.dumps({"from_us": from_us}).encode())
    return version


def _renamed(hidden: Path, directory: Path) -> bool:
    if directory.exists():
        _discard(hidden)
        return False
    try:
        os.rename(hidden, directory)
    except OSError:
        if not directory.exists():
            raise
        _discard(hidden)  # another one was first
        return False
    sync_folder(directory.parent)
    return True


def _discard(hidden: Path) -> None:
    (hidden / _BEGAN).unlink()
    hidden.rmdir()


def _pointer(first: Path) -> Path:
    return path_of(first, "current")


def _damaged(path: Path) -> StateError:
    return StateError(f"{path} is damaged; restore it from a copy, or say which version is meant: --version N")
