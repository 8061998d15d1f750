"""Where attacks take place, and how hard they are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture(params=["disk", "memory"])
def either_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Give an empty folder on the machine's disk, and one in memory: a killed write is torn there far oftener."""
    if request.param == "disk":
        yield tmp_path
    else:
        yield from _in_memory()


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """Give an empty folder in memory where there is such a thing: for attacks in which a sync need not take time."""
    if MEMORY.is_dir():
        yield from _in_memory()
    else:
        yield tmp_path


def _in_memory() -> Iterator[Path]:
    if not MEMORY.is_dir():
        pytest.skip(f"this machine has no file system in memory at {MEMORY}")
    folder = Path(tempfile.mkdtemp(prefix="thalweg-attack-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
