"""The shim from Python: built with the machine's compiler, armed for one run, its records read."""

from __future__ import annotations

import ctypes
import enum
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
_HEAD = struct.Struct("<IIqqiIII")
_MAGIC = 0x54574B41


class Call(enum.IntEnum):
    """What a call does to the files."""

    WRITE = 1
    SYNC = 2
    RENAME = 3
    TRUNCATE = 4
    UNLINK = 5
    MKDIR = 6
    RMDIR = 7
    CREATE = 8
    TALE = 9  # no call: a line of a child's tale, in its place between the calls


class Fault(enum.IntEnum):
    """How a call is broken."""

    NONE = 0
    KILL = 1  # before the call
    TEAR = 2  # after half of a write, else before the call
    EIO = 3
    ENOSPC = 4
    SHORT = 5  # half of a write; other calls pass
    FULL = 6  # from this call on, those that take space fail with ENOSPC
    SYNC_EIO = 7  # like EIO, at syncs only


@dataclass(frozen=True, slots=True)
class Record:
    """One call that was made.

    Attributes:
        call: What it was.
        path: The file or directory, by its name then.
        other: The new name, of a rename.
        offset: Where a write began; the new length, of a truncation.
        data: What was written.
        error: The errno of a call that failed, else 0.
    """

    call: Call
    path: str
    other: str
    offset: int
    data: bytes
    error: int


def why_not() -> str:
    """Return why the shim cannot be used here, or nothing."""
    if sys.platform != "linux":
        return "the shim that breaks calls is written for Linux"
    if shutil.which("cc") is None:
        return "there is no C compiler (cc) to build the shim that breaks calls"
    return ""


def build() -> Path:
    """Build the shim once for each version of its source; return its path."""
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"thalweg-shim-{os.getuid()}-{name}.so"
    if not built.exists():
        # Beside, then renamed: workers build at the same time.
        beside = built.with_suffix(f".{os.getpid()}.tmp")
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(beside), str(SOURCE), "-ldl", "-lpthread"]
        subprocess.run(command, check=True, capture_output=True)
        beside.rename(built)
    return built


class Shim:
    """The shim in this process, which was started with it preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._folder: Path | None = None
        self._record = -1
        self._library.attack_counted.restype = ctypes.c_long
        self._library.attack_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int]

    def arm(self, folder: Path | None, record: int = -1, at: int = 0, fault: Fault = Fault.NONE) -> None:
        """Count from here the calls below a folder, and break one; no folder: let all calls pass, unseen."""
        self._folder, self._record = folder, record
        self._library.attack_arm(str(folder or "").encode(), record, at, int(fault))

    def relent(self) -> None:
        """Break no more calls; go on recording them."""
        self.arm(self._folder, self._record)

    def counted(self) -> int:
        """Return how many calls there were since the shim was armed."""
        return int(self._library.attack_counted())

    def fired(self) -> tuple[Call, str] | None:
        """Return the call that was broken and its path, if it has come to that."""
        path = ctypes.create_string_buffer(4096)
        call = self._library.attack_fired(path, len(path))
        return (Call(call), path.value.decode()) if call else None


def tale_record(line: bytes) -> bytes:
    """Return a line of a tale in the form of a record."""
    return _HEAD.pack(_MAGIC, Call.TALE, 0, len(line), 0, 0, 0, len(line)) + line


def read_records(file: Path) -> Iterator[Record]:
    """Give the calls that were recorded in a file, in order; a record that a kill cut off is left out."""
    data, place = file.read_bytes(), 0
    while place + _HEAD.size <= len(data):
        magic, call, offset, _, error, path, other, length = _HEAD.unpack_from(data, place)
        if magic != _MAGIC:
            raise ValueError(f"{file} has no record at {place}")
        start = place + _HEAD.size
        ends = [start + path, start + path + other, start + path + other + length]
        if ends[-1] > len(data):
            return
        names = data[start : ends[0]].decode(), data[ends[0] : ends[1]].decode()
        yield Record(Call(call), *names, offset, data[ends[1] : ends[2]], error)
        place = ends[-1]
