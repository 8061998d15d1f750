"""How the bytes of ``log_1`` were made. They stay as they are: what was written once must read for ever.

Run ``python -m tests.formats.make_log_1 FOLDER`` to see what today's code would write.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from thalweg.core.schema import Field, Rule, Schema
from thalweg.log import Log
from thalweg.testing.clock import VirtualClock

FIRST = Schema((Field("user", pa.string(), False, (Rule("min_length", 1),)), Field("n", pa.int32())))
LATER = Schema((Field("user", pa.string(), False), Field("n", pa.int64()), Field("ts", pa.timestamp("us", "UTC"))))


def make(folder: Path) -> None:
    """Write a log: two schemas, small and joined frames, a sealed and a compacted topic, a writer's epoch, a trim."""
    clock = VirtualClock()
    log = Log(folder, clock=clock, upkeep=False)
    plain = log.create("plain", FIRST, partitions=2, key="user", id="n", segment_bytes=1024)
    for n in range(8):
        plain.append([{"user": f"u{n}", "n": n}])
        clock.advance("1m")
    plain.append_epoch("sink", 5, pa.table({"user": ["w"], "n": pa.array([100], pa.int32())}))
    plain.evolve(LATER)
    plain.append([{"user": "late", "n": 2**40, "ts": "2024-01-01T10:00:00+00:00"}])
    plain.trim(1, 0)
    table = log.create("table", FIRST, key="user", compact=True, segment_bytes=1024)
    for n in range(12):
        table.append([{"user": f"u{n % 2}", "n": n}])
    table.maintain()
    sealed = log.create("sealed", FIRST, segment_bytes=2048)
    for n in range(12):
        sealed.append([{"user": "u", "n": n}])
    sealed.maintain()
    log.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
