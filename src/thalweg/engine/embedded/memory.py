"""What the state of all operators may take of the memory; the rest of it lives in files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final, Protocol

from thalweg.state.files import writing

_RESIDENT: Final = 2
"""Of the budget one part in so many is for what is kept."""
_MERGED: Final = 8
"""And one in so many for two runs that are merged in memory."""


class Keeps(Protocol):
    """Something that keeps state, and can move it to files."""

    def resident_bytes(self) -> int:
        """Return what it takes of the memory."""
        ...

    def largest_bytes(self) -> int:
        """Return what its largest run in memory takes."""
        ...

    def spill(self, folder: Path) -> None:
        """Move its largest run in memory to files."""
        ...


class Memory:
    """A budget for state.

    Args:
        limit_bytes: How much may be in memory; None: all.
        beside: Where a folder for files is made when it is needed; None: in the system's folder for temporary files.
    """

    def __init__(self, limit_bytes: int | None = None, beside: Path | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._beside = beside
        self._sizes: weakref.WeakKeyDictionary[Keeps, int] = weakref.WeakKeyDictionary()
        self._folder: Path | None = None
        self._used_bytes = 0

    @property
    def limit_bytes(self) -> int | None:
        """How much may be in memory; None: all."""
        return self._limit_bytes

    @property
    def used_bytes(self) -> int:
        """What the state of those that keep to the budget takes of it; from any thread."""
        return self._used_bytes

    def takes(self, size_bytes: int) -> bool:
        """Tell whether so much may be merged in memory: that takes several times as much for a moment."""
        return self._limit_bytes is None or size_bytes * _MERGED <= self._limit_bytes

    def grown(self, keeper: Keeps) -> None:
        """Say that something has grown; where all together are too large, the largest run goes to files."""
        if self._limit_bytes is None:
            return
        self._sizes[keeper] = keeper.resident_bytes()
        # The rest of the budget is for what is under way.
        while sum(self._sizes.values()) * _RESIDENT > self._limit_bytes:
            largest = max(self._sizes, key=lambda each: each.largest_bytes())
            if not largest.largest_bytes():
                break
            largest.spill(self.folder())
            self._sizes[largest] = largest.resident_bytes()
        self._used_bytes = sum(self._sizes.values())

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def folder(self) -> Path:
        """Return where files go; it is made when it is first asked for.

        Raises:
            StateError: It cannot be made.
        """
        if self._folder is None:
            with writing(self._beside or Path(tempfile.gettempdir())):
                if self._beside is not None:
                    self._beside.mkdir(parents=True, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(prefix="thalweg-state-", dir=self._beside))
        return self._folder


UNBOUNDED = Memory()
"""For state that is small, or in tests."""
