"""Where the test kit keeps states: they are needed for as long as a test lasts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 256 * 2**20


def state_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for a state, removed at the end.

    It is in memory where the system has a file system there, with room: a checkpoint syncs a dozen files, which on a
    disk takes longer than all the rest, and a test that ends a run does not end the machine.
    """
    quick = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    return tempfile.TemporaryDirectory(prefix="thalweg-", dir=_MEMORY if quick else None)
