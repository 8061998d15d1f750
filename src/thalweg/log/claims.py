"""``writers.json``: which start of which state writes a topic's epochs, by the name of who does.

Frames carry a writer and an epoch, which make each epoch count once. That a writer is the one whom the topic knows is
said here. Who looks at a claim and appends, or changes it, holds the file's lock all the while: nobody else can claim
in between. The file is made when somebody first claims.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thalweg.core.errors import LogDamaged
from thalweg.log import disk
from thalweg.log.layout import crc
from thalweg.log.refused import told

FILE: Final = "writers.json"
_LOCK: Final = "writers.lock"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who writes.

    Attributes:
        run: The random id of the state that the epochs come from.
        term: The last start on it.
    """

    run: str
    term: int


class Claims:
    """The claims of a topic, while their lock is held.

    Args:
        directory: The topic's.

    Raises:
        LogDamaged: They are not what was written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._claims = _read(self._path)

    def of(self, name: str) -> Claim | None:
        """Return who writes under a name; None if nobody has claimed it."""
        return self._claims.get(name)

    def claim(self, name: str, claim: Claim) -> None:
        """Note durably who writes under a name from now on.

        Raises:
            LogError: The disk refused.
        """
        if self._claims.get(name) == claim:
            return
        self._claims[name] = claim
        body = {name: [each.run, each.term] for name, each in sorted(self._claims.items())}
        text = json.dumps(body, indent=1).encode()
        with told(f"noting in {self._path} who writes"):
            disk.write_whole(self._path, [b'{"crc32c": "%08x", "writers":\n' % crc(text), text, b"\n}\n"])


@contextmanager
def claims_of(directory: Path) -> Iterator[Claims]:
    """Hold a topic's claims; waits for who holds them.

    Raises:
        LogDamaged: They are not what was written.
        OSError: The disk refused.
    """
    fd = disk.open_file(directory / _LOCK, write=True, create=True)
    try:
        with disk.locked(fd):
            yield Claims(directory)
    finally:
        disk.close(fd)


def _read(path: Path) -> dict[str, Claim]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    head, _, rest = data.partition(b"\n")
    text = rest.removesuffix(b"\n}\n")
    matched = re.fullmatch(rb'\{"crc32c": "([0-9a-f]{8})", "writers":', head)
    if matched is None or text == rest or int(matched[1], 16) != crc(text):
        raise LogDamaged(path, 0, None, "the checksum of the topic's writers is wrong")
    return {name: Claim(run, term) for name, (run, term) in json.loads(text).items()}
