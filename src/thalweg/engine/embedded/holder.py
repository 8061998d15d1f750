"""Who holds the watermark of a run."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.engine.embedded.intake import Intake
from thalweg.engine.embedded.rows import ALWAYS, NEVER


def watermark_holder(intakes: Sequence[Intake]) -> tuple[int | None, str | None]:
    """Return the least watermark of all sources, and the partition that has it; None while it is not known."""
    least: tuple[int, str] | None = None
    for intake in intakes:
        if intake.read.timed:
            for partition in list(intake.partitions.values()):
                mark = partition.watermark(intake.read.lateness_us)
                if not partition.idle and (least is None or mark < least[0]):
                    least = (mark, f"{intake.read.source.name}[{partition.name}]")
    return least if least is not None and NEVER < least[0] < ALWAYS else (None, None)
