"""``thalweg demo``: the packaged programs."""

from __future__ import annotations

from importlib import import_module

from thalweg.core.errors import PlanError, near
from thalweg.demo import DEMOS


def show_list() -> None:
    """Print the demonstrations' names and what each shows."""
    for name, what in DEMOS.items():
        print(f"{name:<10} {what}")


def run_demo(name: str, *, seconds: float, speed: float | None) -> None:
    """Run a demonstration.

    Args:
        name: Which.
        seconds: For how long a live one runs.
        speed: Seconds of event time per second of the clock, for the flights.

    Raises:
        PlanError: There is none of this name, or the speed is not for it.
    """
    if name not in DEMOS:
        raise PlanError(f'there is no demonstration "{name}"; {near(name, DEMOS)}')
    if speed is not None and name != "flights":
        raise PlanError(f'the demonstration "{name}" has no speed: --speed is for flights')
    module = import_module(f"thalweg.demo.{name}")
    print(f"{name}: {DEMOS[name]}\nprogram: {module.__file__}\n", flush=True)
    if name == "flights":
        module.show(seconds=seconds, speed=speed)
    elif name == "logs":
        module.show(seconds=seconds)
    else:
        module.show()
