"""Files of a source: what is there, and which of them were read up to a position, to read them again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.core.errors import SourceError
from thalweg.core.ports import Json


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its name within the source, its path, format, and the suffix of its compression."""

    name: str
    path: str
    format: str
    compression: str | None

    @property
    def grows(self) -> bool:
        """Whether one can read on where it ended once: only text that is not compressed."""
        return self.format in ("ndjson", "csv") and self.compression is None


def read_before(found: Sequence[Found], position: Json, folder: str) -> list[Found]:
    """Return the files that a position says were read, in their order.

    Args:
        found: The files that there are now.
        position: A position of ``files``.
        folder: Where they are, for people.

    Raises:
        SourceError: One of them is gone, or has changed since.
    """
    was: dict[str, Any] = position if isinstance(position, dict) else {}
    there = {file.name: file for file in found}
    current = was.get("file")
    sizes = {name: size for name, size, *_ in was.get("done", ()) if name != current}
    names = [*sizes] if current is None else [*sizes, current]
    for name in names:
        if name not in there:
            raise SourceError(f"{name} in {folder} was read and is gone; put it back to read it again")
        size = os.path.getsize(there[name].path)
        # The last one may have grown: what was added comes after all that was read.
        if size < sizes.get(name, 0) or (name != names[-1] and size > sizes[name]):
            raise SourceError(
                f"{there[name].path} was read when it had {sizes[name]} bytes and has {size} now; restore it to read "
                "it again"
            )
    return [there[name] for name in names]
