"""For each bug an input, with time lines, whose result is another one with the bug."""

from __future__ import annotations

import pyarrow as pa

from tests.oracle.aggregates import Aggregate
from tests.oracle.programs import Branch, Pipeline, Program, Stage
from tests.oracle.values import Row
from tests.oracle.windows import Cumulating, Hopping, Read, Tumbling, Window
from tests.property.cases import Case, Cuts
from tests.property.kinds import TIMESTAMP

SECOND = 1_000_000
SCHEMA = pa.schema([pa.field("k", pa.string()), pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])
MADE = (Aggregate("n", "rows"), Aggregate("total", "sum", "x"), Aggregate("last", "last", "x"))


def _case(windows: tuple[Window, ...], partitions: list[list[int]], cuts: list[Cuts], lateness_s: int = 0) -> Case:
    """Return counts per key and window over rows with times in seconds; the key alternates, x numbers the rows."""
    rows = [
        tuple[Row, ...]({"k": "ab"[n % 2], "x": n, "ts": second * SECOND} for n, second in enumerate(seconds))
        for seconds in partitions
    ]
    read = Read(("k", "x", "ts"), "ts", tuple(rows), lateness_s * SECOND)
    pipelines = tuple(Pipeline(f"v{n}", (Stage(("k",), MADE, window),)) for n, window in enumerate(windows))
    return Case(Program((read,), (Branch(0),), pipelines), SCHEMA, (tuple(cuts),))


def _lateness_per_batch() -> Case:
    """One batch of rows that are late, and that are not, through rows of the same batch.

        seconds     1    3   40    2   41   12   90   39   88    5
        watermark  −∞   −4   -2   35   35   36   36   85   85   85      (lateness 5, windows of 10)
        late for              ·    10    ·   20    ·   40    ·   10

    By the watermark at the batch's start none is late; by that at its end 1, 3, 40 and 41 are, too.
    """
    return _case((Tumbling(10 * SECOND),), [[1, 3, 40, 2, 41, 12, 90, 39, 88, 5]], [()], lateness_s=5)


def _watermark_of_the_fastest_partition() -> Case:
    """One partition runs ahead; the other goes on through windows that are still open.

        partition 0    0   55   55   55 …
        partition 1    0    2    4   …  58

    Closed by the maximum, the windows up to 50 lack most rows of partition 1.
    """
    fast = [0] + [55] * 29
    slow = list(range(0, 60, 2))
    return _case((Tumbling(10 * SECOND),), [fast, slow], [(1,), (3, 9)])


def _partial_merged_twice() -> Case:
    """Many rows per group, in many batches, and windows that share slices.

    Counts and sums show a part that is merged twice; extremes would not.
    """
    seconds = [n // 8 for n in range(480)]
    windows: tuple[Window, ...] = (
        Tumbling(30 * SECOND),
        Hopping(20 * SECOND, 7 * SECOND),
        Cumulating(60 * SECOND, 10 * SECOND),
    )
    return _case(windows, [seconds, seconds], [tuple(range(10, 480, 10)), (100, 200)], lateness_s=1)


def _late_hopping_row_counted() -> Case:
    """Rows that are late for some of their windows and not for others.

    windows        0–10  3–13  6–16  9–19  12–22  15–25        (size 10, every 3)
    14 makes the watermark 14: 0–10 and 3–13 are over
    then 9                      ×     ×                        late for 0–10 and 3–13
    18 makes it 18: 6–16 is over
    then 13                            ×     ×                 late for 6–16
    """
    return _case((Hopping(10 * SECOND, 3 * SECOND),), [[8, 14, 9, 18, 13, 17]], [(3,)])


INPUTS: dict[str, Case] = {
    "lateness per batch": _lateness_per_batch(),
    "watermark of the fastest partition": _watermark_of_the_fastest_partition(),
    "a partial merged twice": _partial_merged_twice(),
    "a late hopping row counted": _late_hopping_row_counted(),
}
