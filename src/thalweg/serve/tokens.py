"""Tokens: who may do what. A file holds their hashes; a token itself is shown once, when it is made.

The file is TOML::

    [[token]]
    name = "shop"
    hash = "sha256:…"
    scopes = ["ingest"]
    topics = ["clicks", "orders-*"]      # without it: all

A token is 256 random bits, so that its plain SHA-256 cannot be guessed back.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import os
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thalweg.core.errors import PlanError, near

SCOPES: Final = ("ingest", "read", "admin")
"""What a token may allow; ``admin`` allows all."""

_PREFIX: Final = "thalweg_"
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9_.*?-]{1,200}")


@dataclass(frozen=True, slots=True)
class Token:
    """What the holder of a token may do.

    Attributes:
        name: Who it was made for.
        hash: ``sha256:`` and the hash of the token.
        scopes: Of ``SCOPES``.
        topics: Names or patterns with ``*`` and ``?``; empty: all topics.
    """

    name: str
    hash: str
    scopes: tuple[str, ...]
    topics: tuple[str, ...] = ()

    def allows(self, scope: str, topic: str | None = None) -> bool:
        """Return whether it allows something, with a topic where one is meant.

        Example:
            >>> Token("shop", "sha256:…", ("ingest",), ("clicks*",)).allows("ingest", "clicks-eu")
            True
        """
        if scope not in self.scopes and "admin" not in self.scopes:
            return False
        return topic is None or not self.topics or any(fnmatch.fnmatchcase(topic, one) for one in self.topics)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a file."""

    all: tuple[Token, ...]

    def find(self, given: str) -> Token | None:
        """Return the token that was given, compared with each in constant time."""
        wanted = hashed(given)
        found = None
        for token in self.all:
            if hmac.compare_digest(token.hash, wanted):
                found = token
        return found


class TokenFile:
    """The tokens of a file as it is now: each look-up sees whether it was changed, so removing one needs no restart.

    Args:
        path: The file.

    Raises:
        PlanError: It cannot be read, or is no token file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)
        self._tokens = load_tokens(path)

    def find(self, given: str) -> Token | None:
        """Return the token that was given.

        Raises:
            PlanError: The file was changed, and cannot be read or is no token file; what it held before counts no more.
        """
        version = _version(self._path)
        if version is None or version != self._version:
            self._version = None
            self._tokens = load_tokens(self._path)
            self._version = version
        return self._tokens.find(given)


def _version(path: Path) -> tuple[int, int, int] | None:
    """Return what differs when a file was written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def hashed(token: str) -> str:
    """Return what a file holds of a token."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def load_tokens(path: Path) -> Tokens:
    """Read a token file.

    Raises:
        PlanError: It cannot be read, or is no token file.
    """
    make = f"make one: thalweg token create NAME --scope ingest --file {path}"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PlanError(f"there is no token file {path}; {make}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError(f"the token file {path} cannot be read: {error}") from error
    tables = found.get("token")
    if not isinstance(tables, list) or not tables:
        raise PlanError(f"the token file {path} has no [[token]]; {make}")
    return Tokens(tuple(_token(table, number, path) for number, table in enumerate(tables, 1)))


def create_token(path: Path, name: str, scopes: Sequence[str], topics: Sequence[str] = ()) -> str:
    """Make a token, append its hash to a file and return it: nothing else ever shows it.

    Raises:
        PlanError: A scope or topic cannot be, the name is taken, or the file cannot be written.
    """
    token = _PREFIX + secrets.token_urlsafe(32)
    table = {"name": name, "hash": hashed(token), "scopes": list(scopes)} | ({"topics": list(topics)} if topics else {})
    _token(table, 1, path)
    if path.exists() and any(other.name == name for other in load_tokens(path).all):
        raise PlanError(f'{path} has a token named "{name}" already; choose another name, or remove that one')
    # A JSON string or list of them is TOML as well.
    lines = "\n[[token]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PlanError(f"the token file {path} cannot be written: {error}") from error
    return token


def _token(table: Any, number: int, path: Path) -> Token:  # any TOML
    where = f"{path}, token {number}"
    if not isinstance(table, dict):
        raise PlanError(f"{where}: it is no table; write [[token]]")
    unknown = [key for key in table if key not in ("name", "hash", "scopes", "topics")]
    if unknown:
        raise PlanError(
            f'{where}: "{unknown[0]}" is not known; {near(unknown[0], ("name", "hash", "scopes", "topics"))}'
        )
    name, hash_ = table.get("name"), table.get("hash")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise PlanError(f"{where}: its name is {name!r}; allowed: up to 200 printable characters")
    if not isinstance(hash_, str) or not _HASH.fullmatch(hash_):
        raise PlanError(
            f'{where}: its hash must be "sha256:" and 64 hexadecimal digits; thalweg token create writes it'
        )
    scopes = _texts(table.get("scopes"), "scopes", where)
    for scope in scopes:
        if scope not in SCOPES:
            raise PlanError(f'{where}: there is no scope "{scope}"; {near(scope, SCOPES)}')
    if not scopes:
        raise PlanError(f"{where}: it has no scope; there are: {', '.join(SCOPES)}")
    topics = _texts(table.get("topics", []), "topics", where)
    for topic in topics:
        if not _TOPIC.fullmatch(topic):
            raise PlanError(f"{where}: {topic!r} is no topic; allowed: names, with * and ?")
    return Token(name, hash_, scopes, topics)


def _texts(value: Any, what: str, where: str) -> tuple[str, ...]:  # any TOML
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PlanError(f"{where}: {what} must be a list of texts")
    return tuple(value)
