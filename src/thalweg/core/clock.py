"""Where time comes from. Nothing else in Thalweg reads a clock."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Gives the time and waits."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since 1970, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from an unnamed start; never falls."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until the event is set or the time is over; return whether it is set."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)
