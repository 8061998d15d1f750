"""Small file systems to break: a tmpfs that fills up, an ext4 in a file whose power can be cut. Need root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: at once, without even the journal being written.
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, (2).to_bytes(4, sys.byteorder)


def why_not(*programs: str) -> str:
    """Return why no file system can be mounted here, as far as can be seen without trying, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a file system needs Linux and root"
    if missing := [program for program in ("mount", "umount", *programs) if shutil.which(program) is None]:
        return f"mounting needs the programs {', '.join(missing)}"
    return ""


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


@contextmanager
def small_tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of a size for the length of the block.

    Raises:
        PermissionError: This machine does not let us.
    """
    folder.mkdir(parents=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    except subprocess.CalledProcessError as e:
        raise PermissionError(f"a tmpfs cannot be mounted here: {e.stderr.strip()}") from e
    try:
        yield folder
    finally:
        _run("umount", "--lazy", folder)


def why_no_loop(folder: Path) -> str:
    """Return why no ext4 in a file can be mounted here, or nothing; mounts one to see."""
    disk = Ext4(folder, 4 * 2**20)
    try:
        disk.mount()
    except PermissionError as e:
        return str(e)
    disk.unmount()
    return ""


class Ext4:
    """An ext4 in a file, mounted through a loop device.

    Args:
        folder: Where the file and the mount point are made.
        size_bytes: Its size.
    """

    def __init__(self, folder: Path, size_bytes: int = 48 * 2**20) -> None:
        self.image, self.root = folder / "ext4.image", folder / "ext4"
        self.root.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self._mounted = False

    def mount(self) -> None:
        """Mount it; replays its journal after a power cut.

        Raises:
            PermissionError: This machine does not let us.
        """
        try:
            _run("mount", "-o", "loop", self.image, self.root)
        except subprocess.CalledProcessError as e:
            raise PermissionError(f"a loop device cannot be mounted here: {e.stderr.strip()}") from e
        self._mounted = True

    def cut_power(self) -> None:
        """Stop it at once: what it has not written to its device, it never writes."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Unmount it."""
        if self._mounted:
            _run("umount", self.root)
            self._mounted = False
