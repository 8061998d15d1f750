"""What becomes of the bytes past a partition's known end, after an appender died or the power was cut.

*Known* is what the published end names. Bytes past it are of writes that were never acknowledged, or, after a power
cut, of acknowledged ones whose publication was lost. So whatever can have been acknowledged must stay:

- a frame that is right stays;
- a file that ends inside a frame is torn there, and cut: the sync of that frame never returned;
- a frame of full length that is wrong is *damage*, unless the medium shows that it never was written: a stretch of
  nothing but zeros where its sectors would be. Then it was not synced, hence not acknowledged, and is cut. A right
  frame of a later write behind it proves the opposite, since each write waits for the sync of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from thalweg.log.layout import (
    ALIGNMENT,
    FRAME_HEADER,
    FRAME_MAGIC,
    BadBytesError,
    FrameHeader,
    crc,
    unpack_frame_header,
)

_SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Tail:
    """What is past the known end of a segment.

    Attributes:
        frames: The headers of the frames to keep, in order.
        kept: How many bytes they take; what is behind them is to be cut.
        damage: What is wrong with what is behind them, where it must not be cut.
    """

    frames: tuple[FrameHeader, ...]
    kept: int
    damage: str | None = None


def judge_tail(data: bytes, position: int, offset: int, topic: int) -> Tail:
    """Decide what of a segment's tail to keep.

    Args:
        data: The bytes from the known end to the end of the file.
        position: Where in the file they begin.
        offset: The offset at which the first frame must begin.
        topic: The topic's number.
    """
    frames: list[FrameHeader] = []
    at = 0
    while at < len(data):
        if len(data) - at < FRAME_HEADER:
            break
        header = _header(data, at)
        wrong = "the checksum of a frame's header is wrong"
        if header is not None and (header.topic != topic or header.base != offset):
            return Tail(tuple(frames), at, f"the frame of another place stands here (offset {header.base})")
        if header is not None:
            if at + header.size > len(data):
                break
            if crc(data[at + FRAME_HEADER : at + header.size]) == header.body_crc:
                frames.append(header)
                at, offset = at + header.size, header.next
                continue
            wrong = "the checksum of a frame's body is wrong"
        if _later_write(data, at, offset, topic) or not _never_written(data, at, position):
            return Tail(tuple(frames), at, wrong)
        break
    return Tail(tuple(frames), at)


def _header(data: bytes, at: int) -> FrameHeader | None:
    try:
        return unpack_frame_header(data[at : at + FRAME_HEADER])
    except BadBytesError:
        return None


def _later_write(data: bytes, at: int, offset: int, topic: int) -> bool:
    """Whether behind a bad frame stands one of a write that began after the bad one's was synced."""
    start = at + ALIGNMENT
    while (start := data.find(FRAME_MAGIC, start)) >= 0:
        header = _header(data, start) if len(data) - start >= FRAME_HEADER else None
        if header is not None and header.topic == topic and header.group > offset:
            return True
        start += ALIGNMENT if start % ALIGNMENT == 0 else 1
    return False


def _never_written(data: bytes, at: int, position: int) -> bool:
    """Whether some sector of the bytes from ``at`` on, or the part of one that they begin or end in, is all zeros."""
    while at < len(data):
        end = min(len(data), at + _SECTOR - (position + at) % _SECTOR)
        if end - at >= ALIGNMENT and not any(data[at:end]):
            return True
        at = end
    return False
