"""The last epoch of each writer in a partition.

A segment begins with those of all before it, so the active one alone tells them; it is read once, and then only what
was added.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from thalweg.log.layout import NO_WRITER, WRITERS, unpack_writers
from thalweg.log.segment import Segment


@dataclass(slots=True)
class LastEpochs:
    """The last epochs as of a place in the log."""

    segment: int = -1
    position: int = 0
    offset: int = 0
    last: dict[bytes, int] = field(default_factory=dict)

    def catch_up(self, segment: Segment, limit: int) -> None:
        """Read what was added to the active segment.

        Raises:
            LogDamaged: A header on the way is not right.
        """
        if self.segment != segment.base or self.position > limit:
            self.segment, self.position, self.offset = segment.base, segment.first, segment.base
            self.last = {}
        for frame in segment.frames(self.position, limit, self.offset):
            header = frame.header
            if header.kind == WRITERS:
                self.last |= unpack_writers(segment.body(frame).to_pybytes())
            elif header.writer != NO_WRITER:
                self.last[header.writer] = max(header.epoch, self.last.get(header.writer, 0))
            self.position, self.offset = frame.end, header.next
