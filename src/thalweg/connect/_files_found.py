"""A file that was found, and what was read of one."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class WasRead:
    """What was read of a file: its size then, for text the line after, and whether that line lacked its newline."""

    size: int
    line: int = 1
    open: bool = False

    def json(self, name: str) -> Json:
        """Return it as a part of a position."""
        return [name, self.size, self.line, self.open]
