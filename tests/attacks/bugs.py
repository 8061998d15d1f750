"""The bugs that are planted in the log, to show that the attacks find them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.log import disk, partition, recover, segment
from thalweg.log.ids import RecentIds
from thalweg.log.layout import FRAME_HEADER
from thalweg.log.published import End

Patch = Callable[[pytest.MonkeyPatch], None]


def _no_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "sync", lambda fd: None)


def _acknowledged_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    # Each sync waits for the next write: what was acknowledged last was never synced.
    true_sync, true_write, owed = disk.sync, disk.write, list[int]()

    def write(fd: int, buffers: Sequence[disk.Bytes], position: int) -> None:
        published = sum(map(len, buffers)) == 64
        while owed and not published:
            true_sync(owed[0])
            os.close(owed.pop(0))
        true_write(fd, buffers, position)

    patch.setattr(disk, "sync", lambda fd: owed.append(os.dup(fd)))
    patch.setattr(disk, "write", write)


def _no_directory_sync(patch: pytest.MonkeyPatch) -> None:
    def planted(path: Path) -> None:
        return None

    patch.setattr(disk, "sync_directory", planted)


def _retry_after_a_failed_sync(patch: pytest.MonkeyPatch) -> None:
    true = disk.sync

    def planted(fd: int) -> None:
        try:
            true(fd)
        except OSError:
            true(fd)

    patch.setattr(disk, "sync", planted)


def _short_write(patch: pytest.MonkeyPatch) -> None:
    def planted(fd: int, buffers: Sequence[disk.Bytes], position: int) -> None:
        os.pwritev(fd, [memoryview(part).cast("B") for part in buffers if len(part)], position)

    patch.setattr(disk, "write", planted)


def _checksum_unchecked(patch: pytest.MonkeyPatch) -> None:
    def planted(self: segment.Segment, frame: segment.Frame) -> pa.Buffer:
        return self._bytes(frame.position + FRAME_HEADER, frame.header.length, frame.end)

    patch.setattr(segment.Segment, "body", planted)


def _torn_tail_stays(patch: pytest.MonkeyPatch) -> None:
    def planted(fd: int, length: int) -> None:
        return None

    patch.setattr(disk, "truncate", planted)


def _tail_dropped(patch: pytest.MonkeyPatch) -> None:
    # All that stands past the published end is taken for torn.
    def planted(data: bytes, position: int, offset: int, topic: int) -> recover.Tail:
        return recover.Tail((), 0)

    patch.setattr(partition, "judge_tail", planted)


def _duplicate_id(patch: pytest.MonkeyPatch) -> None:
    # What other processes, or this one before a restart, have appended is not looked at.
    def planted(self: RecentIds, end: End, now: int) -> None:
        self._read_to = end.offset

    patch.setattr(RecentIds, "catch_up", planted)


def _no_space_is_any_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "is_full", lambda error: False)


def _no_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "locked", lambda fd: nullcontext())


PATCHES: dict[str, Patch] = {
    "no sync": _no_sync,
    "acknowledged before the sync": _acknowledged_before_the_sync,
    "no directory sync": _no_directory_sync,
    "retry after a failed sync": _retry_after_a_failed_sync,
    "a short write taken for a whole one": _short_write,
    "checksum unchecked": _checksum_unchecked,
    "a torn tail stays": _torn_tail_stays,
    "rows past the published end dropped": _tail_dropped,
    "a duplicate id accepted": _duplicate_id,
    "no space taken for any error": _no_space_is_any_error,
    "no lock": _no_lock,
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Put a bug into the log for the length of the block; None: no bug.

    Raises:
        LookupError: No such bug is known.
    """
    if name is None:
        yield
        return
    if name not in PATCHES:
        raise LookupError(f'no patch plants "{name}"; there are: {", ".join(PATCHES)}')
    with pytest.MonkeyPatch.context() as patch:
        PATCHES[name](patch)
        yield
