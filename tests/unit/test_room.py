"""A write that meets a full disk goes on at the very byte, or says why it cannot."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import IO, Any, cast

import pytest

from thalweg.core.outage import Patience, Retrying
from thalweg.state.room import write_whole
from thalweg.testing.clock import VirtualClock


class Disk:
    """An unbuffered file on a disk that has room for so many bytes, and for more after each refusal."""

    def __init__(self, room: int, more: int, error: int = errno.ENOSPC) -> None:
        self.data = b""
        self.refused = 0
        self._room, self._more, self._error = room, more, error

    def write(self, data: memoryview) -> int:
        if not self._room:
            self.refused += 1
            self._room = self._more
            raise OSError(self._error, "full")
        part = bytes(data[: self._room])
        self._room -= len(part)
        self.data += part
        return len(part)


class Hasty(VirtualClock):
    """A clock on which waiting takes no time."""

    def wait(self, event: Any, timeout_s: float) -> bool:
        self.advance(f"{int(timeout_s * 1e6) + 1}us")
        return False


Write = Callable[[IO[bytes], bytes, "Retrying | None"], None]


def check_whole(write: Write) -> None:
    """Write through a disk that fills up at every byte, and look at what it has."""
    data = bytes(range(50))
    for room in range(51):
        for more in (1, 7, 100):
            disk = Disk(room, more)
            write(cast(IO[bytes], disk), data, Retrying("the disk", Patience(3_600, Hasty())))
            assert disk.data == data


def test_the_write_goes_on_where_it_stopped() -> None:
    check_whole(write_whole)


def test_planted_a_write_that_begins_again() -> None:
    def again(out: IO[bytes], data: bytes, room: Retrying | None) -> None:
        assert room is not None
        room.until_done(lambda: write_whole(out, data, None), lambda error: True)

    with pytest.raises((AssertionError, OSError)):
        check_whole(again)


def test_without_patience_a_full_disk_is_an_error() -> None:
    with pytest.raises(OSError, match="full"):
        write_whole(cast(IO[bytes], Disk(3, 9)), b"12345", None)


def test_after_a_broken_disk_nothing_is_tried_again() -> None:
    disk = Disk(3, 9, errno.EIO)
    with pytest.raises(OSError, match="full"):
        write_whole(cast(IO[bytes], disk), b"12345", Retrying("the disk", Patience(None, Hasty())))
    assert disk.refused == 1


def test_a_disk_that_stays_full_is_given_up_after_a_time() -> None:
    clock = Hasty()
    begun = clock.monotonic_s()
    with pytest.raises(OSError, match="full"):
        write_whole(cast(IO[bytes], Disk(0, 0)), b"12345", Retrying("the disk", Patience(600, clock)))
    assert 600 <= clock.monotonic_s() - begun < 611
