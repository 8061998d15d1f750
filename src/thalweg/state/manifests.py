"""The manifests of a state directory, one for each checkpoint that is kept; the newest is the state.

``manifests/00000042.json`` names every file that the checkpoint of epoch 42 consists of. It is written beside,
synced, renamed, and the folder synced: the rename is the commit. Nothing here needs the lock of the directory, so all
of it can be read while a run is on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thalweg.core.errors import StateError
from thalweg.state.files import Stored, sha256_of

FORMAT: Final = 1
KEPT: Final = 3
"""So many checkpoints are kept."""
FOLDER: Final = "manifests"

_NAME: Final = re.compile(r"(\d{8,})\.json")


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that is kept.

    Attributes:
        epoch: Its epoch.
        body: What its manifest says; None if that is damaged.
        error: What is wrong with the manifest; None if nothing is.
    """

    epoch: int
    body: Mapping[str, Any] | None
    error: StateError | None = None

    @property
    def damaged(self) -> bool:
        """Whether the manifest is damaged, and not just of another version."""
        return self.error is not None and not isinstance(self.error, _OtherFormatError)

    @property
    def files(self) -> tuple[Stored, ...]:
        """The files that it consists of; none are known where the manifest is damaged."""
        found = {} if self.body is None else self.body["files"]
        return tuple(Stored(file, *facts) for file, facts in found.items())


class _OtherFormatError(StateError):
    """A document of another version of Thalweg."""


def name_of(epoch: int) -> str:
    """Return the name of a checkpoint's manifest within the state directory.

    Example:
        >>> name_of(42)
        'manifests/00000042.json'
    """
    return f"{FOLDER}/{epoch:08d}.json"


def epochs(directory: Path) -> list[int]:
    """Return the epochs of the manifests that are there, the newest first."""
    folder = directory / FOLDER
    names = (_NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((int(found[1]) for found in names if found), reverse=True)


def kept(directory: Path) -> list[Kept]:
    """Return the checkpoints that are kept, the newest first."""
    found = []
    for epoch in epochs(directory)[:KEPT]:
        try:
            body = _manifest(directory, epoch)
        except StateError as error:
            found.append(Kept(epoch, None, error))
            continue
        if body is not None:  # a run that is on may have let it go meanwhile
            found.append(Kept(epoch, body))
    return found


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return what the last checkpoint says, also while a run is on; None if there is none yet.

    Raises:
        StateError: It is damaged, or of a later version.
    """
    while there := epochs(directory):
        body = _manifest(directory, there[0])
        if body is not None:
            return body
    return None


def damage_of(directory: Path, checkpoint: Kept) -> list[str]:
    """Return what is wrong with a checkpoint, file by file; every byte of it is looked at."""
    if checkpoint.error is not None:
        return [str(checkpoint.error)]
    found = []
    for stored in checkpoint.files:
        path = directory / stored.file
        try:
            if sha256_of(path) != stored.sha256:
                found.append(f"{path} is damaged: its checksum is wrong")
        except OSError as error:
            found.append(f"{path} cannot be read: {error.strerror}")
    # What a run that is on has let go is not damaged.
    return found if (directory / name_of(checkpoint.epoch)).exists() else []


def ways_out(directory: Path, epoch: int) -> str:
    """Return what can be done about a checkpoint that is damaged: the end of a message."""
    older = [str(each.epoch) for each in kept(directory) if each.epoch < epoch and not damage_of(directory, each)]
    otherwise = "restore it from a copy, or start anew elsewhere"
    if not older:
        return otherwise
    more = f" (also whole: {', '.join(older[1:])})" if older[1:] else ""
    return f"go on from an older checkpoint with --recover-from {older[0]}{more}, {otherwise}"


def read_document(path: Path) -> dict[str, Any] | None:
    """Return the body of a document with a checksum; None where there is no such file.

    Raises:
        StateError: It is damaged, or of a later version.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    try:
        whole = json.loads(text)
        body: dict[str, Any] = whole["body"]
        digest = whole["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(f"{path} is damaged: {error}") from error
    # The very bytes that were written: a number may be written in several ways.
    if digest != hashlib.sha256(_dumped(body)).hexdigest() or text != document(body):
        raise StateError(f"{path} is damaged: its checksum is wrong")
    if body.get("format") != FORMAT:
        raise _OtherFormatError(
            f"{path} has format {body.get('format')}, this version of Thalweg reads {FORMAT}; use the version that "
            "wrote it, or start anew elsewhere"
        )
    return body


def document(body: Mapping[str, Any]) -> bytes:
    """Return a document with its checksum."""
    return _dumped({"sha256": hashlib.sha256(_dumped(body)).hexdigest(), "body": body})


def _manifest(directory: Path, epoch: int) -> dict[str, Any] | None:
    path = directory / name_of(epoch)
    body = read_document(path)
    if body is not None and body.get("epoch") != epoch:
        raise StateError(f"{path} is damaged: it is of epoch {body.get('epoch')}")
    return body


def _dumped(value: Any) -> bytes:  # a JSON value
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
