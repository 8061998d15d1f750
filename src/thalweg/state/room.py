"""Writing where a disk may be full: the write waits for room at the very byte, and nothing is torn or written twice."""

from __future__ import annotations

from typing import IO

import pyarrow as pa

from thalweg.core.outage import Retrying, no_space


def write_whole(out: IO[bytes], data: bytes | memoryview | pa.Buffer, room: Retrying | None) -> None:
    """Write all bytes to an unbuffered file; where the disk is full, wait for room.

    Args:
        out: The file, opened with ``buffering=0``: what it says it wrote is all that it has.
        data: The bytes.
        room: How a full disk is waited for; None: not at all.

    Raises:
        OSError: They cannot be written, or there was no room for too long.
    """
    left = memoryview(data).cast("B")

    def go_on() -> None:
        nonlocal left
        while left:
            left = left[out.write(left) :]

    if room is None:
        go_on()
    else:
        room.until_done(go_on, no_space)
