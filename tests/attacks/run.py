"""Runs a campaign in a process of its own and reads its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.attacks import shim

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Report:
    """What a campaign did and found.

    Attributes:
        counts: How often it did what.
        faults: The invariants that did not hold, each with what repeats it.
    """

    counts: Mapping[str, int]
    faults: tuple[str, ...]


def attack(
    name: str, folder: Path, seed: str, *, preload: bool = False, timeout_s: float = 110, **options: object
) -> Report:
    """Run a campaign.

    Args:
        name: The campaign's module, with its package if that is another one.
        folder: An empty folder for its files.
        seed: Decides all that it draws.
        preload: Whether the shim stands between the process and its files.
        timeout_s: When it is ended, with its children: it must have been done before.
        options: What the campaign takes.

    Returns:
        Its report.

    Raises:
        AssertionError: The campaign itself failed, or did not end in time.
    """
    settings = json.dumps({"folder": str(folder), "seed": seed, **options})
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
    environment["PYTHONFAULTHANDLER"] = "1"
    # A campaign forks all the time: threads of the allocator or of Arrow would not survive it.
    environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    if preload:
        environment["LD_PRELOAD"] = str(shim.build())
    process = subprocess.Popen(
        [sys.executable, "-m", name if "." in name else f"tests.attacks.{name}", settings],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, cried = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        said, cried = process.communicate()
        raise AssertionError(f"{name} hung (seed {seed}):\n{said[-2000:]}\n{cried[-4000:]}") from None
    if process.returncode:
        raise AssertionError(f"{name} failed (seed {seed}), exit {process.returncode}:\n{cried[-4000:]}")
    report = json.loads(said.splitlines()[-1])
    return Report(report["counts"], tuple(report["faults"]))


def settings() -> dict[str, object]:
    """Return what a campaign was started with, in its process."""
    given: dict[str, object] = json.loads(sys.argv[1])
    return given


def answer(counts: Mapping[str, int], faults: list[str]) -> None:
    """Print the report; the last thing that a campaign does."""
    sys.stdout.write(json.dumps({"counts": counts, "faults": faults}) + "\n")
    sys.stdout.flush()
